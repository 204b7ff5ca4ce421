"""lucid bench model --throughput: from end to end on a small network, and what ends it early."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lucid import benchmark, runtime
from lucid.cli.main import main

MODEL = ("bench", "model", "resnext_digits", "--size", "16", "--rounds", "2", "--quick")


@pytest.fixture(autouse=True)
def threads_as_before() -> Any:
    before = runtime.get_num_threads()
    yield
    runtime.set_num_threads(before)


def test_prints_a_line_for_each_way_and_writes_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(tmp_path / "t.json")
    arguments = (*MODEL, "--throughput", "--peers", "none", "--threads", "2")
    assert main([*arguments, "--batch", "1,3", "--json", path]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    sections = json.loads(Path(path).read_text())["sections"]
    assert [section["settings"] for section in sections] == [
        {"kind": "throughput", "size": [16, 16], "rounds": 2, "batch": batch} for batch in (1, 3)
    ]
    for section in sections:
        [case] = section["cases"]
        assert case["not_timed"] == {}
        assert {name: way["calls_at_once"] for name, way in case["engines"].items()} == {
            "plan": 1,
            "plan_streams": 2,
        }
        for name, way in case["engines"].items():
            rate = 1000 * section["settings"]["batch"] / way["median"]
            assert way["images_per_second"] == pytest.approx(rate)
            assert way["to_best_peer"] is None
            assert [name, str(way["calls_at_once"]), f"{rate:.1f}"] in [line[:3] for line in lines]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peers_are_measured_in_both_ways(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("openvino", "onnxruntime", "onnx"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    assert main([*MODEL, "--throughput", "--dtype", dtype]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    peers = ("openvino", "onnxruntime") if dtype == "float32" else ("openvino",)
    ways = [way for name in ("plan", *peers) for way in (name, f"{name}_streams")]
    assert [line[0] for line in lines if line[-1].endswith("x")] == ways


def test_a_report_is_compared_with_its_like_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("t.json", "m.json")]
    for path, more in zip(paths, (["--throughput"], []), strict=True):
        assert main([*MODEL, "--peers", "none", "--json", path, *more]) == 0
    capsys.readouterr()
    assert main(["bench", "compare", paths[0], paths[0]]) == 0
    engines = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "resnext" in line]
    assert engines == ["plan", "plan_streams"]
    assert main(["bench", "compare", *paths]) == 2
    assert "both reports must have the same kind, got throughput and model" in capsys.readouterr().err
    slower = json.loads(Path(paths[0]).read_text())
    streams = slower["cases"][0]["engines"]["plan_streams"]
    streams["rounds"] = [2 * max(streams["rounds"])] * 2
    Path(paths[1]).write_text(json.dumps(slower))
    assert main(["bench", "compare", *paths]) == 1


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert main([*MODEL, "--throughput", "--peers", "openvino"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "openvino: openvino is not installed (resnext_digits)",
        "openvino_streams: openvino is not installed (resnext_digits)",
    ]
    assert all(line.split()[-1] == "-" for line in lines if line.startswith("plan"))


def test_a_wrong_result_of_lucid_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lucid.benchmark.comparison.TOLERANCE", 0.0)
    assert main([*MODEL, "--throughput", "--peers", "none"]) == 1
    assert "plan_streams: wrong: error" in capsys.readouterr().out


def test_interrupted_shows_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    measure, measured = benchmark.compare_throughput, list[str]()

    def compare(case: benchmark.Case, *arguments: Any) -> benchmark.Throughput:
        if measured:
            raise KeyboardInterrupt
        measured.append(case.name)
        return measure(case, *arguments)

    monkeypatch.setattr(benchmark, "compare_throughput", compare)
    path = tmp_path / "t.json"
    arguments = [*MODEL, "--throughput", "--peers", "none", "--batch", "1,2", "--json", str(path)]
    assert main(arguments) == 130
    printed = capsys.readouterr()
    [section] = json.loads(path.read_text())["sections"]
    assert section["settings"]["batch"] == 1
    assert "batch 1" in printed.out.splitlines()
    assert "batch 2" not in printed.out.splitlines()
    assert printed.err == "lucid bench: interrupted\n"
