"""``lucid bench model file.onnx``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lucid
from lucid.benchmark import onnx_case
from lucid.cli.main import main
from lucid.models import create_model

pytest.importorskip("onnx")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A network whose batch is open, and the same for three images."""
    model = create_model("resnext_digits", weights="pretrained").eval()
    paths = tmp_path / "open.onnx", tmp_path / "three.onnx"
    lucid.onnx.export(model, paths[0], shape=(1, 1, 32, 32), symbolic_batch=True)
    lucid.onnx.export(model, paths[1], shape=(3, 1, 32, 32))
    return paths


def test_a_file_is_measured_as_a_plan(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "model", str(files[0]), "--batch", "2", "--rounds", "1", "--peers", "none"]
    assert main([*command, "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    text = capsys.readouterr().out
    assert "open" in text
    assert "plan" in text
    assert "eager" not in text
    assert report["settings"]["batch"] == 2


def test_sizes_of_the_file_count(files: tuple[Path, Path]) -> None:
    case = onnx_case(files[1])
    assert case.graph.inputs == {"input": (3, 1, 32, 32)}
    (x,) = case.inputs()
    model = create_model("resnext_digits", weights="pretrained").eval()
    np.testing.assert_allclose(case.expected(x), model(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", [["--batch", "2"], ["--size", "64"]])
def test_other_sizes_than_the_file_has_are_refused(
    files: tuple[Path, Path], option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "model", str(files[1]), *option, "--peers", "none"]) != 0
    assert "for which it was exported, got" in capsys.readouterr().err
