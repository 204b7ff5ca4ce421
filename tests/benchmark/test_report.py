"""Tables, JSON and picture, from times that are given."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from some_machine import MACHINE

from lucid.benchmark import (
    Case,
    Comparison,
    Gpu,
    Machine,
    Timing,
    as_json,
    bars,
    cases_table,
    conv2d_cases,
    engines_table,
    figure,
    operator_cases,
    roofline,
    time_by_layer,
)
from lucid.inference import InferencePlan, Profile
from lucid.inference.report import Step, StepTime


@pytest.fixture(scope="module")
def results() -> list[Comparison]:
    """The first with all but one peer, the second with none of lucid."""
    first, second, *_ = conv2d_cases(["resnext_digits"], size=(16, 16))
    milliseconds = 2 * first.macs / 50e6  # 50 GFLOP/s
    plan, eager = Timing((milliseconds,) * 3), Timing((2 * milliseconds,) * 3)
    torch = Timing((2 * milliseconds, 3 * milliseconds, 4 * milliseconds))
    return [
        Comparison(
            first, {"plan": plan, "eager": eager, "torch": torch}, {"openvino": "it is not installed"}
        ),
        Comparison(second, {"torch": torch}, {"plan": "wrong", "openvino": "it is not installed"}),
    ]


def test_cases_have_a_line_each(results: list[Comparison]) -> None:
    head, first, second, machine, roofs, meaning, *reasons = cases_table(
        MACHINE, results, ["torch", "openvino"]
    ).splitlines()
    assert head.split()[-2:] == ["torch", "openvino"]
    case = results[0].case
    memory = 100 * case.bytes / case.macs * 25 / 10  # at 50 GFLOP/s
    assert first.split() == [
        case.name, "1", f"{case.macs / 1e6:.1f}",
        f"{case.macs / 12.5e6:.3f}", f"{case.macs / 25e6:.3f}",
        "0", "%", "50.0", "50", "%", f"{memory / 10:.1f}", f"{memory:.0f}", "%", "1.50x", "-",
    ]  # fmt: skip
    assert second.split()[3:] == ["-"] * 9
    assert machine == "Some Processor, avx2, 2 threads, 2026-01-02 03:04 UTC; lucid 0.1.0, torch 2.0"
    assert roofs.startswith("peak 100.0 GFLOP/s, memory 10.0 GB/s")
    assert meaning.startswith("above 1.00x lucid is faster")
    assert reasons == [
        "openvino: it is not installed (2 cases)",
        f"plan: wrong ({results[1].case.name})",
    ]


def test_engines_have_a_line_each(results: list[Comparison]) -> None:
    title, head, plan, eager, torch, *_ = engines_table(MACHINE, results[0], ["torch"]).splitlines()
    assert title.startswith(f"{results[0].case.name}: ")
    assert head.split() == ["engine", "ms", "spread", "GFLOP/s", "of", "peak", "to", "plan"]
    assert plan.split()[0] == "plan"
    assert plan.split()[-5:] == ["%", "50.0", "50", "%", "1.00x"]
    assert eager.split()[-4:] == ["25.0", "25", "%", "2.00x"]
    assert torch.split()[2:4] == ["33", "%"]  # (3.5 - 2.5) / 3


GPU = Gpu(
    gpu="Some GPU",
    device="cuda:1",
    dtype="float16",
    capability=(8, 0),
    driver="module 580",
    plugin="0.1.0 for CUDA 13",
    simulation=False,
    peak_gflops=200.0,
    bandwidth=20.0,
    versions={"lucid": "0.1.0"},
    date="2026-01-02 03:04",
)


def test_a_gpu_has_roofs_of_its_own(results: list[Comparison]) -> None:
    table = engines_table(GPU, results[0], []).splitlines()
    assert table[2].split()[-5:] == ["%", "50.0", "25", "%", "1.00x"]
    assert table[-2:] == [
        "plugin 0.1.0 for CUDA 13, driver module 580; peak 200.0 GFLOP/s, memory 20.0 GB/s, by its clocks",
        f"openvino: it is not installed ({results[0].case.name})",
    ]
    assert table[-3] == "Some GPU, cuda:1, float16, 2026-01-02 03:04 UTC; lucid 0.1.0"


def test_roofs_that_are_not_known_are_left_out(results: list[Comparison]) -> None:
    unknown = replace(GPU, peak_gflops=None, bandwidth=None)
    assert cases_table(unknown, results, []).splitlines()[1].split()[-4:] == [
        "50.0",
        "-",
        f"{results[0].bandwidth('plan'):.1f}",
        "-",
    ]
    assert "peak not known, memory not known" in str(unknown)
    report = as_json(unknown, results, {})
    assert report["cases"][0]["engines"]["plan"]["percent_of_peak"] is None
    assert report["cases"][0]["engines"]["plan"]["gflops"] == pytest.approx(50)
    with pytest.raises(
        ValueError, match="roofline: the peaks of the device must be known, got none for Some GPU"
    ):
        roofline.plot("never.svg", unknown, {})


def test_the_roof_of_a_case_is_arithmetic_or_memory(results: list[Comparison]) -> None:
    case = results[0].case
    ridge = case.flops_per_byte
    computes, waits = (replace(GPU, bandwidth=200.0 / ridge * part) for part in (2.0, 0.5))
    assert computes.roofline(case) == pytest.approx(2 * case.macs / 200e9 * 1e3)
    assert waits.roofline(case) == pytest.approx(2 * computes.roofline(case))
    assert replace(GPU, bandwidth=None).roofline(case) is None
    assert replace(case, itemsize=2).bytes == case.bytes / 2


def test_a_disturbed_machine_is_told(results: list[Comparison]) -> None:
    unsteady = Comparison(results[0].case, {"plan": Timing((1.0, 2.0, 3.0))}, {})
    line = "1 of 2 cases spread by more than 25 %: something else was running"
    assert line in cases_table(MACHINE, [results[0], unsteady], []).splitlines()
    assert "something else" not in cases_table(MACHINE, results, [])


def test_json_holds_all_that_was_measured(results: list[Comparison]) -> None:
    case = results[0].case
    layers = InferencePlan(case.graph).profile(*case.inputs(), runs=1)
    report = json.loads(json.dumps(as_json(MACHINE, results, {"batch": 1}, layers), allow_nan=False))
    assert Machine(**report["machine"]) == MACHINE
    assert report["settings"] == {"batch": 1}
    first, second = report["cases"]
    assert first.keys() == {"name", "counts", "macs", "bytes", "engines", "not_timed"}
    assert (first["name"], first["counts"]) == (case.name, {"resnext_digits": 1})
    assert (first["macs"], first["bytes"]) == (case.macs, case.bytes)
    assert first["not_timed"] == {"openvino": "it is not installed"}
    assert second["engines"].keys() == {"torch"}
    torch = first["engines"]["torch"]
    assert torch["rounds"] == list(results[0].timings["torch"].rounds)
    assert torch["median"] == results[0].timings["torch"].median
    assert torch["quartiles"] == list(results[0].timings["torch"].quartiles)
    assert torch["ratio"] == pytest.approx(1.5)
    plan = first["engines"]["plan"]
    assert plan["gflops"] == pytest.approx(50)
    assert plan["spread"] == 0
    assert plan["gbytes_per_second"] == pytest.approx(results[0].bandwidth("plan"))
    assert plan["percent_of_peak"] == pytest.approx(50)
    assert plan["percent_of_bandwidth"] == pytest.approx(100 * case.bytes / case.macs * 25 / 10)
    [step] = report["layers"]
    assert (step["kind"], step["macs"]) == ("conv2d", case.macs)
    assert step["percent_of_peak"] == pytest.approx(100 * step["gflops"] / layers.peak_gflops)


def test_what_multiplies_nothing_has_no_gflops() -> None:
    case = operator_cases("relu", ["resnext_digits"], size=(16, 16))[0]
    result = Comparison(case, {"eager": Timing((case.bytes / 5e6,) * 2)}, {})  # 5 GB/s
    row = cases_table(MACHINE, [result], []).splitlines()[1].split()
    assert row[2] == "-"
    assert row[-5:] == ["-", "-", "5.0", "50", "%"]
    eager = as_json(MACHINE, [result], {})["cases"][0]["engines"]["eager"]
    assert not {"gflops", "percent_of_peak"} & eager.keys()
    assert (eager["gbytes_per_second"], eager["percent_of_bandwidth"]) == pytest.approx((5, 50))


POINTS = {"plan": [(1.0, 9.0), (30.0, 80.0)], "torch": [(1.0, 5.0)]}


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_roofline_writes_a_picture(ending: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / f"roofline.{ending}"
    assert ending in figure.formats()
    roofline.plot(str(path), MACHINE, POINTS)
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size < 200_000


def test_roofline_names_what_is_measured(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters stay letters
        roofline.plot(str(tmp_path / "roofline.svg"), MACHINE, POINTS)
    text = (tmp_path / "roofline.svg").read_text()
    for words in ("Some Processor, avx2, 2 threads", "100 GFLOP/s", "10 GB/s", "plan", "torch"):
        assert words in text


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_bars_are_written(ending: str, start: bytes, results: list[Comparison], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / f"bars.{ending}"
    bars.plot(str(path), MACHINE, results, ["torch", "openvino"])
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size < 200_000


def test_bars_name_layers_engines_and_unit(results: list[Comparison], tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    relu = operator_cases("relu", ["resnext_digits"], size=(16, 16))[0]
    bound = [Comparison(relu, {"eager": Timing((1.0,)), "numpy": Timing((2.0,))}, {})]
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters stay letters
        bars.plot(str(tmp_path / "a.svg"), MACHINE, results, ["torch", "openvino"])
        bars.plot(str(tmp_path / "b.svg"), MACHINE, bound, ["numpy"])
    first, second = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    for words in ("Some Processor, avx2, 2 threads", "GFLOP/s", *(result.case.name for result in results)):
        assert words in first
    assert all(f">{name}<" in first for name in ("lucid", "torch"))
    assert ">openvino<" not in first  # which was never timed
    assert "GB/s" in second
    assert ">numpy<" in second


def test_a_picture_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"a plot needs matplotlib: pip install 'lucid-kernels\[plot\]'"):
        figure.formats()


def profile(**milliseconds: float) -> Profile:
    """Steps by their names, double underscores for dots: a convolution by an algorithm, or an operator."""
    steps = []
    for name, value in milliseconds.items():
        *path, kind = name.split("__")
        operator = "conv2d" if kind in ("dense", "grouped") else kind
        steps.append(StepTime(Step(".".join(path), operator, kind, (1,), 0, 4), value, 0.0))
    return Profile(tuple(steps), 1, 100.0)


def test_time_by_layer_has_a_row_for_each_block() -> None:
    measured = profile(
        conv1__0__dense=4.0,
        layer1__0__conv1__dense=2.0,
        layer1__0__downsample__0__dense=1.0,
        layer1__1__conv2__grouped=3.0,
        fc__linear=0.5,
    )
    assert time_by_layer.times(measured) == {
        "stem": {"dense": 4.0, "grouped": 0.0, "linear": 0.0},
        "layer1.0": {"dense": 3.0, "grouped": 0.0, "linear": 0.0},
        "layer1.1": {"dense": 0.0, "grouped": 3.0, "linear": 0.0},
        "head": {"dense": 0.0, "grouped": 0.0, "linear": 0.5},
    }


def test_time_by_layer_names_the_longest_kinds() -> None:
    measured = profile(**{f"x__kind{index}": float(index) for index in range(10)})
    [row] = time_by_layer.times(measured).values()
    assert row == {f"kind{index}": float(index) for index in range(9, 3, -1)} | {time_by_layer.REST: 6.0}


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_time_by_layer_is_written(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / f"layers.{ending}"
    measured = profile(conv1__dense=4.0, layer1__0__conv1__dense=2.0, fc__linear=0.5)
    time_by_layer.plot(str(path), "a network", MACHINE, measured)
    assert path.read_bytes()[:4] in (b"<?xm", b"\x89PNG")


def test_the_part_of_the_matrix_unit_is_shown_where_a_plan_uses_it(
    results: list[Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = replace(MACHINE, matrix_gflops=200.0)
    first = results[0].case
    monkeypatch.setattr(Case, "on_matrix_unit", property(lambda case: case is first))
    head, row, other, _, roofs, *_ = cases_table(unit, results, ["torch"]).splitlines()
    assert head.split()[-5:] == ["plan", "of", "matrix", "unit", "torch"]
    assert row.split()[-3:] == ["25", "%", "1.50x"]  # 50 of 200 GFLOP/s
    assert other.split()[-2] == "-"
    assert "matrix unit 200.0 GFLOP/s" in roofs
    with_unit, without = as_json(unit, results, {})["cases"], as_json(MACHINE, results, {})["cases"]
    assert with_unit[0]["engines"]["plan"]["percent_of_matrix_unit"] == pytest.approx(25)
    assert "percent_of_matrix_unit" not in without[0]["engines"]["plan"]
    assert "matrix unit" not in cases_table(MACHINE, results, [])
