"""``python -m bench scaling``: one variable at a time, on networks so small that it takes seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from source_files import ROOT

from lucid import runtime

sys.path.append(str(ROOT))

from bench import scaling, scaling_picture

VALUES = {"batch": (1, 2), "size": (16, 32), "threads": (1, 2)}
BASE = scaling.Point("", 0, 1, 16, 2)
FAMILIES = (
    scaling.Family("ResNeXt", {14: "resnext_digits"}),
    scaling.Family("ResNeSt", {14: "resnest_digits"}),
)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return scaling.measure(FAMILIES, VALUES, BASE, peers=(), rounds=1, turn=0.0)


def test_a_curve_changes_one_variable() -> None:
    base = scaling.Point("ResNeSt", 50, 1, 16, 2)
    for name, line in scaling.sweep(scaling.FAMILIES[1], VALUES, BASE).items():
        assert base in line
        assert len({getattr(point, name) for point in line}) == len(line)
        assert {scaling.replace(point, **{name: getattr(base, name)}) for point in line} == {base}


def test_threads_are_powers_of_two_and_all() -> None:
    assert [scaling.powers_of_two(n) for n in (1, 2, 6)] == [(1,), (1, 2), (1, 2, 4, 6)]


def test_each_point_is_measured_once(report: dict[str, Any]) -> None:
    points = report["points"]
    keys = [tuple(point[name] for name in ("family", *scaling.VARIABLES)) for point in points]
    assert len(set(keys)) == len(points) == 2 * 4
    for family, curves in report["curves"].items():
        for name, line in curves.items():
            expected = (14,) if name == "depth" else VALUES[name]
            assert tuple(points[index][name] for index in line) == expected
            assert {points[index]["family"] for index in line} == {family}
    for point in points:
        assert point["engines"].keys() == {"plan", "eager"}
        assert point["not_timed"] == {}
        assert min(point["arena_bytes"], point["weights_bytes"]) > 0
    one, two = (points[index] for index in report["curves"]["ResNeXt"]["batch"])
    assert two["macs"] == 2 * one["macs"]
    assert two["arena_bytes"] > one["arena_bytes"]


def test_threads_are_as_before(report: dict[str, Any]) -> None:
    before = runtime.get_num_threads()
    scaling.measure(FAMILIES[:1], VALUES, scaling.replace(BASE, threads=1), (), 1, 0.0, limit=1e-9)
    assert runtime.get_num_threads() == before


def test_no_point_is_begun_after_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    report = scaling.measure(FAMILIES, VALUES, BASE, (), 1, 0.0, limit=1e-9)
    [point] = report["points"]
    assert point["family"] == "ResNeXt"
    assert report["curves"]["ResNeSt"] == {name: [] for name in scaling.VARIABLES}
    assert "7 of 8 points are left out" in capsys.readouterr().err
    assert "## ResNeSt: threads" in scaling.text(report)


def test_tables_have_a_line_for_each_point(report: dict[str, Any]) -> None:
    head, *rows = scaling.table(report, "ResNeSt", "size").splitlines()
    assert head.split()[:2] == ["size", "GMACs"]
    assert [row.split()[0] for row in rows] == ["16", "32"]
    assert all("x" in row for row in rows)
    [_, row] = scaling.table(report, "ResNeSt", "depth").splitlines()
    assert row.split()[0] == "resnest_digits"
    assert json.loads(json.dumps(report))["curves"] == report["curves"]
    assert scaling.text(report).count("```") == 2 * 2 * 4


def test_the_picture_is_written(report: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    scaling_picture.plot(str(tmp_path / "scaling.svg"), report)
    assert (tmp_path / "scaling.svg").read_text().startswith("<?xml")
