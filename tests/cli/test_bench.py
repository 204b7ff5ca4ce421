"""lucid bench: small cases from end to end, and what goes wrong before anything is measured."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lucid import benchmark, runtime
from lucid.cli import bench, bench_arguments
from lucid.cli.main import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = ("--rounds", "2", "--size", "16", "--peers", "none")


def test_names_that_the_command_repeats() -> None:
    """It does so to answer --help without importing what it would measure."""
    assert bench_arguments.PEERS == benchmark.PEERS
    assert bench_arguments.CUDA_PEERS == benchmark.CUDA_PEERS
    assert bench_arguments.BFLOAT16_PEERS == benchmark.BFLOAT16_PEERS
    assert bench_arguments.STREAM_PEERS == benchmark.STREAM_PEERS
    assert benchmark.BFLOAT16_ENGINES.keys() == {"plan", *benchmark.BFLOAT16_PEERS}
    assert benchmark.cuda_engines("cuda:0", "float32").keys() == {"plan", "eager", *benchmark.CUDA_PEERS}


def test_kernel_prints_a_table_and_writes_json(command: Command, tmp_path: Path) -> None:
    done = command("bench", "kernel", "3x3", "_32to", "--model", "resnest_digits", *QUICK, "--json", "k.json")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["case", "count"]
    report = json.loads((tmp_path / "k.json").read_text())
    assert report["settings"] == {"kind": "kernel", "batch": 1, "size": [16, 16], "rounds": 2}
    names = [case["name"] for case in report["cases"]]
    assert names
    assert [row.split()[0] for row in rows[: len(names)]] == names
    assert all("3x3" in name and "_32to" in name for name in names)
    for case in report["cases"]:
        assert case["engines"].keys() == {"plan", "eager"}
        assert case["not_timed"] == {}
        assert all(len(engine["rounds"]) == 2 for engine in case["engines"].values())


def test_an_operator_is_chosen_by_name_and_has_no_roofline(command: Command) -> None:
    arguments = ("bench", "kernel", "batch_norm", "_64_", "--model", "resnext_digits", *QUICK)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("batch_norm_")]
    assert rows
    assert all("_64_" in row[0] and row[-6:-3] == ["%", "-", "-"] for row in rows)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = command(*arguments, "--roofline", "r.svg")
    assert done.returncode == 2
    assert "--roofline needs cases that multiply, got batch_norm" in done.stderr


def test_pool2d_is_both_and_numpy_is_a_peer_where_it_fits(command: Command, tmp_path: Path) -> None:
    model = ("--model", "resnest_digits", "--rounds", "1", "--size", "16", "--json", "k.json")
    done = command("bench", "kernel", "pool2d", *model, "--peers", "none")
    assert done.returncode == 0, done.stderr
    names = [case["name"] for case in json.loads((tmp_path / "k.json").read_text())["cases"]]
    assert {name.split("2d")[0] for name in names} == {"max_pool", "avg_pool"}
    done = command("bench", "kernel", "softmax", *model, "--peers", "numpy")
    assert done.returncode == 0, done.stderr
    [case] = json.loads((tmp_path / "k.json").read_text())["cases"]
    assert case["engines"].keys() == {"plan", "eager", "numpy"}


@pytest.mark.parametrize(
    ("arguments", "peers"),
    [
        (["kernel", "add"], ("torch", "openvino", "onnxruntime", "numpy")),
        (["kernel", "linear"], ("torch", "openvino", "onnxruntime")),
        (["kernel", "3x3"], ("torch", "openvino", "onnxruntime", "ai-edge-litert")),
        (["kernel"], ("torch", "openvino", "onnxruntime", "ai-edge-litert")),
        (["model", "resnet"], ("torch", "openvino", "onnxruntime")),
        (["model", "resnet", "--dtype", "bfloat16"], ("torch", "openvino")),
        (["model", "resnet", "--throughput"], ("openvino", "onnxruntime")),
        (["model", "resnet", "--throughput", "--dtype", "bfloat16"], ("openvino",)),
    ],
)
def test_peers_unless_they_are_named(arguments: list[str], peers: tuple[str, ...]) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    options = parser.parse_args(arguments)
    assert bench._gpu(options) is None
    assert options.peers == peers


def test_model_prints_eager_and_plan_and_layers(command: Command, tmp_path: Path) -> None:
    arguments = ("bench", "model", "resnext_digits", *QUICK, "--batch", "2", "--threads", "1", "--layers")
    done = command(*arguments, "--json", "m.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("resnext_digits: ")
    assert [line.split()[0] for line in lines[1:4]] == ["engine", "plan", "eager"]
    report = json.loads((tmp_path / "m.json").read_text())
    assert report["machine"]["threads"] == 1
    for step in report["layers"]:
        assert any(line.split()[:2] == [step["name"], step["kind"]] for line in lines)
    assert {step["kind"] for step in report["layers"]} >= {"conv2d", "linear", "max_pool2d"}
    [case] = report["cases"]
    assert case["macs"] == sum(step["macs"] for step in report["layers"])


def test_a_pinned_isa_is_used(command: Command, tmp_path: Path) -> None:
    isa = runtime.isas()[-1]
    arguments = ("bench", "model", "resnext_digits", "--rounds", "1", "--size", "16")
    done = command(*arguments, "--isa", isa, "--peers", "onnxruntime", "--json", "k.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "k.json").read_text())["machine"]["isa"] == isa
    assert ("onnxruntime cannot be kept to" in done.stderr) == (isa != runtime.isas()[0])


def configure(monkeypatch: pytest.MonkeyPatch, machine: str, isa: str) -> dict[str, str | None]:
    """Variables that the command sets for the peers, where another instruction set is the best."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(runtime, "isas", lambda: ["best", isa])
    monkeypatch.setattr(runtime, "isa", lambda: isa)
    names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
    for name in names:
        monkeypatch.setenv(name, "as before")  # which undoes what the command sets
        monkeypatch.delenv(name)
    bench._configure(argparse.Namespace(isa=None, peers=benchmark.PEERS))
    return {name: os.environ.get(name) for name in names}


@pytest.mark.parametrize("isa", bench._LIMITS)
def test_peers_are_kept_to_the_instruction_set(
    isa: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = configure(monkeypatch, "x86_64", isa)
    aten = "avx512" if isa in ("amx", "avx512_bf16") else isa.replace("generic", "default")
    assert found == {**bench._LIMITS[isa], "ATEN_CPU_CAPABILITY": aten}
    assert (
        f"bench: onnxruntime and ai-edge-litert and numpy cannot be kept to {isa}" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("machine", "isa"), [("aarch64", "neon"), ("aarch64", "generic"), ("x86_64", "emulated_amx")]
)
def test_peers_that_nothing_keeps_to_it_are_named(
    machine: str, isa: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(configure(monkeypatch, machine, isa).values()) == {None}
    peers = " and ".join(bench.PEERS)
    assert f"{peers} cannot be kept to {isa}" in capsys.readouterr().err


def test_every_instruction_set_of_this_processor_has_its_limit() -> None:
    """On x86-64, but for those that only tests choose."""
    chosen = {isa for isa in runtime.isas() if not isa.startswith("emulated_")}
    assert chosen <= {*bench._LIMITS, "neon"}


def test_pytorch_obeys_the_limit() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    program = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    limits = {**os.environ, **bench._LIMITS["generic"]}
    done = subprocess.run([sys.executable, "-c", program], env=limits, capture_output=True, text=True)
    assert done.stdout.strip() == "DEFAULT", done.stderr


def test_plot_is_written(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = command("bench", "kernel", "5x5", "--model", "resnext_digits", *QUICK, "--plot", "r.svg")
    assert done.returncode == 2
    assert "no case has 5x5 in its name; there are 7x7s2_1to64" in done.stderr
    assert not (tmp_path / "r.svg").exists()
    done = command(
        "bench",
        "kernel",
        "3x3s1g8",
        "--model",
        "resnext_digits",
        *QUICK,
        "--plot",
        "b.svg",
        "--roofline",
        "r.svg",
    )
    assert done.returncode == 0, done.stderr
    for name in ("b.svg", "r.svg"):
        assert (tmp_path / name).read_text().startswith("<?xml")


def test_list_prints_the_cases_and_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "compare", None)
    assert main(["bench", "kernel", "--model", "resnext50_32x4d", "s2g32", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "conv2d 1x256x56x56 weight=256x8x3x3 stride=2 padding=1 groups=32 name=3x3s2g32_256to256_56x56"
    )
    assert main(["bench", "kernel", "split_attention", "--model", "resnest_digits", "--list", *QUICK]) == 0
    line, *_ = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "split_attention"
    assert "radix=2" in line
    assert line.split()[1].count("+") == 1


def test_models_of_kernels_unless_they_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {}
    for name in (None, *bench_arguments.KERNEL_MODELS):
        assert main(["bench", "kernel", "batch_norm", "--list", *(["--model", name] if name else [])]) == 0
        listed[name] = capsys.readouterr().out.splitlines()
    everything = listed.pop(None)
    assert len(everything) == len(set(everything))
    assert set(everything) == {line for lines in listed.values() for line in lines}


def test_each_batch_with_each_number_of_threads_is_a_section(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, before = tmp_path / "m.json", runtime.get_num_threads()
    arguments = ("model", "resnext_digits", "--rounds", "1", "--size", "16", "--peers", "none")
    try:
        assert main(["bench", *arguments, "--batch", "1,2", "--threads", "1,2", "--json", str(path)]) == 0
    finally:
        runtime.set_num_threads(before)
    sections = json.loads(path.read_text())["sections"]
    combinations = [(part["settings"]["batch"], part["machine"]["threads"]) for part in sections]
    assert combinations == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert sections[2]["cases"][0]["macs"] == 2 * sections[0]["cases"][0]["macs"]
    printed = capsys.readouterr().out
    headings = [line for line in printed.splitlines() if line.startswith("batch ")]
    assert headings == [f"batch {batch}, threads {threads}" for batch, threads in combinations]
    assert main(["bench", "compare", str(path), str(path)]) == 0


def test_quick_leaves_out_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "_QUICK_SECONDS", 0.0)
    path = tmp_path / "k.json"
    arguments = ("3x3", "--model", "resnest_digits", "--size", "16", "--peers", "none", "--quick")
    assert main(["bench", "kernel", *arguments, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    [case] = report["cases"]
    assert all(len(engine["rounds"]) == 1 for engine in case["engines"].values())
    assert report["settings"]["rounds"] == bench_arguments.QUICK_ROUNDS
    assert "cases are left out: the time of --quick is over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("kernel", "--model", "resnext51"), 1, "resnext51"),
        (("model", "resnext51"), 1, "resnext51"),
        (("model", "resnext_digits", "--json", "absent/m.json"), 2, "there is no folder"),
        (("kernel", "--json", "."), 2, "is a folder"),
        (
            ("kernel", "--peers", "torch,caffe"),
            2,
            "must be of torch, openvino, onnxruntime, ai-edge-litert, numpy, or none, got 'caffe'",
        ),
        (("kernel", "--isa", "mmx"), 1, "lucid bench: name must be one of"),
        (("kernel", "--rounds", "0"), 2, "must be at least 1"),
        (("kernel", "--batch", "1,0"), 2, "must be at least 1"),
        (("kernel", "--threads", "1,two"), 2, "must be an integer, got 'two'"),
        (("model",), 2, "NAME"),
        ((), 2, "kernel|model"),
        (
            ("kernel", "--dtype", "float16"),
            2,
            "--dtype must be float32 on the CPU, or bfloat16 for a model, got float16",
        ),
        (
            ("model", "resnext_digits", "--dtype", "bfloat16", "--peers", "onnxruntime"),
            2,
            "--peers must be of torch, openvino, or none, in bfloat16",
        ),
        (("kernel", "--throughput"), 2, "unrecognized arguments: --throughput"),
        (
            ("model", "resnext_digits", "--throughput", "--layers"),
            2,
            "--throughput has no --layers and no --plot",
        ),
        (
            ("model", "resnext_digits", "--throughput", "--device", "cuda"),
            2,
            "--throughput measures on the CPU, got cuda",
        ),
        (
            ("model", "resnext_digits", "--throughput", "--peers", "openvino,torch"),
            2,
            "--peers must be of openvino, onnxruntime, or none, with --throughput, got 'torch'",
        ),
        (
            ("model", "resnext_digits", "--throughput", "--dtype", "float16"),
            2,
            "--dtype must be float32 on the CPU, or bfloat16 for a model, got float16",
        ),
        (("kernel", "--device", "cuda", "--isa", "avx2"), 2, "--isa is a setting of the CPU"),
        (("kernel", "--device", "cuda", "--threads", "1"), 2, "--threads is a setting of the CPU"),
        (
            ("model", "resnext_digits", "--device", "cuda", "--peers", "openvino"),
            2,
            "must be of torch, or none",
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_plot_of_a_model_is_written_without_its_table(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = command("bench", "model", "resnext_digits", *QUICK, "--plot", "layers.svg")
    assert done.returncode == 0, done.stderr
    assert "layer1.0.conv1" not in done.stdout
    assert (tmp_path / "layers.svg").read_text().startswith("<?xml")


def test_plot_to_an_unknown_format(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for option in ("--plot", "--roofline"):
        assert main(["bench", "kernel", option, "layers.docx"]) == 2
        assert f"{option} must name a file such as layers.svg or layers.png" in capsys.readouterr().err
    assert main(["bench", "kernel", "--plot", "layers.svg", "--batch", "1,2"]) == 2
    assert "--plot draws one batch and one number of threads" in capsys.readouterr().err


def test_interrupted_shows_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    measure, measured = benchmark.compare, list[str]()

    def compare(case: benchmark.Case, *arguments: Any) -> benchmark.Comparison:
        if measured:
            raise KeyboardInterrupt
        measured.append(case.name)
        return measure(case, *arguments)

    monkeypatch.setattr(benchmark, "compare", compare)
    path = tmp_path / "k.json"
    assert main(["bench", "kernel", "--model", "resnest_digits", *QUICK, "--json", str(path)]) == 130
    printed = capsys.readouterr()
    [case] = json.loads(path.read_text())["cases"]
    assert measured == [case["name"]]
    assert printed.out.splitlines()[1].startswith(case["name"])
    assert printed.err == "lucid bench: interrupted\n"


def test_a_wrong_result_of_lucid_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lucid.benchmark.comparison.TOLERANCE", 0.0)
    assert main(["bench", "kernel", "3x3s1g8", "--model", "resnext_digits", *QUICK]) == 1
    assert "plan: wrong: error" in capsys.readouterr().out


def test_backward_measures_gradients(command: Command, tmp_path: Path) -> None:
    options = ["relu", "--backward", "--model", "resnext_digits", "--size", "32", "--rounds", "1"]
    done = command("bench", "kernel", *options, "--peers", "none", "--json", "report.json")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^relu_\S+_backward +\d+ +- +\d\S+ +-", done.stdout, re.MULTILINE)
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(case["name"].endswith("_backward") for case in report["cases"])
    for more, said in (
        (["--list"], "--backward measures on the CPU, and has no --list"),
        (["--peers", "openvino"], "--peers must be of torch, or none, with --backward, got 'openvino'"),
    ):
        done = command("bench", "kernel", *options, *more)
        assert done.returncode == 2
        assert said in done.stderr
