"""``python -m bench throughput``: pieces that are measured apart end in one file and one table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_files import ROOT

from lucid import runtime

sys.path.append(str(ROOT))

from bench import throughput


@pytest.fixture(autouse=True)
def quick_without_peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before, whole = runtime.get_num_threads(), throughput.measured
    small = ("--size", "16", "--peers", "none", "--quick")
    monkeypatch.setattr(throughput, "measured", lambda arguments: whole([*arguments, *small]))
    yield
    runtime.set_num_threads(before)


def test_pieces_are_merged(tmp_path: Path) -> None:
    def measure(batch: str, rounds: str) -> list[tuple[int, int]]:
        arguments = ["resnext_digits", "--batch", batch, "--rounds", rounds, "--out", str(tmp_path)]
        throughput.run(tmp_path, arguments)
        sections = json.loads((tmp_path / "resnext_digits_throughput.json").read_text())["sections"]
        return [(section["settings"]["batch"], section["settings"]["rounds"]) for section in sections]

    assert measure("10,2", "1") == [(2, 1), (10, 1)]
    assert measure("2", "2") == [(2, 2), (10, 1)]
    assert measure("1", "1") == [(1, 1), (2, 2), (10, 1)]
    text = (tmp_path / "throughput.md").read_text()
    head, *rows = text.split("```")[1].strip().splitlines()
    assert head.split()[:3] == ["batch", "plan", "plan_streams"]
    assert [row.split()[0] for row in rows[:3]] == ["1", "2", "10"]
    assert rows[3].split(";")[0].endswith(", 2 threads")
    assert len(rows) == 5
    assert "## resnext_digits, 2 threads" in text


def test_numbers_of_the_table_are_those_of_the_report() -> None:
    def way(rate: float, ratio: float | None, spread: float) -> dict[str, float | None]:
        return {"images_per_second": rate, "to_best_peer": ratio, "spread": spread}

    engines = {"plan": way(10.0, 0.5, 0.01), "plan_streams": way(30.0, 1.5, 0.02)}
    sections = [
        {"settings": {"batch": 1, "rounds": 7}, "cases": [{"engines": engines}]},
        {"settings": {"batch": 8, "rounds": 2}, "cases": [{"engines": {"openvino": way(20.0, 1.0, 0.25)}}]},
    ]
    head, *rows = throughput.table(sections).splitlines()
    assert head.split()[:4] == ["batch", "plan", "plan_streams", "openvino"]
    assert [row.split() for row in rows] == [
        ["1", "10.0", "30.0", "-", "0.50x", "1.50x", "2", "%", "7"],
        ["8", "-", "-", "20.0", "-", "-", "25", "%", "2"],
    ]


def test_the_published_table_is_that_of_the_reports(tmp_path: Path) -> None:
    folder = ROOT / "bench" / "results"
    for path in folder.glob(f"*{throughput.ENDING}"):
        (tmp_path / path.name).write_text(path.read_text())
    throughput.write_tables(tmp_path)
    assert (tmp_path / "throughput.md").read_text() == (folder / "throughput.md").read_text()
