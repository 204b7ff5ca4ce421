"""``python -m bench accuracy``: on networks so small that it takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from source_files import ROOT

sys.path.append(str(ROOT))

from bench import accuracy


def test_table_has_the_errors_of_each_way(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch computes the logits in float64")
    accuracy.run(tmp_path, ["resnext_digits", "resnest_digits", "--seeds", "1"])
    rows = (tmp_path / "accuracy.md").read_text().splitlines()[-2:]
    for name, row in zip(("resnext_digits", "resnest_digits"), rows, strict=True):
        label, *cells = row.strip("| ").split(" | ")
        *float32, bfloat16 = map(float, cells)
        assert label == name
        assert len(cells) == len(accuracy.COLUMNS)
        assert all(0 < error < 1e-5 for error in float32)
        assert 1e-4 < bfloat16 < 3e-2
