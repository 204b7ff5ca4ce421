"""lucid bench --device cuda: what it computes is checked, what it prints, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import benchmark, nn
from lucid.benchmark import Case, Gpu, compare, cuda_engines
from lucid.cli.main import main
from lucid.inference import optimize, trace

pytestmark = pytest.mark.cuda

QUICK = ("--rounds", "1", "--size", "8", "--device", "cuda", "--peers", "none")
WAYS = {"plan", "eager"}


@pytest.fixture
def case() -> Case:
    model = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    graph = optimize(trace(model, (2, 6, 5, 4)))
    return Case("small", graph, model, lambda x: np.asarray(model(lucid.tensor(x))), {"small": 1})


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_engines_are_right_in_each_dtype(device: str, case: Case, dtype: str) -> None:
    if dtype == "bfloat16" and importlib.util.find_spec("ml_dtypes") is None:
        pytest.skip("ml_dtypes is not installed")
    engines = {name: cuda_engines(device, dtype)[name] for name in WAYS}
    gpu = Gpu.found(device, dtype)
    result = compare(case, engines, 1, 1, 0.0, gpu)
    assert result.refused == {}
    assert result.on_gpu
    assert case.eager(*map(lucid.tensor, case.inputs())).device == "cpu"  # the model itself stays where it is


def test_a_result_that_is_too_far_off_is_not_timed(device: str, case: Case) -> None:
    """float16 is within its own tolerance, and not within that of float32."""
    engines = {name: cuda_engines(device, "float16")[name] for name in WAYS}
    result = compare(case, engines, 1, 1, 0.0, Gpu.found(device, "float32"))
    assert result.timings == {}
    assert result.refused.keys() == WAYS
    assert all("allowed 0.0001" in reason for reason in result.refused.values())


def test_results_stay_on_the_device(device: str, case: Case) -> None:
    """A copy to the host would be timed as well."""
    for name in WAYS:
        y: Any = cuda_engines(device, "float16")[name](case, case.inputs(), 1)()
        assert y.device == device
        assert y.dtype == (np.float32 if name == "plan" else np.float16)


def test_model_in_float16(device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.json"
    line = ("bench", "model", "resnest_digits", *QUICK, "--dtype", "float16", "--layers", "--json", str(path))
    assert main(line) == 0
    printed = capsys.readouterr()
    assert [row.split()[0] for row in printed.out.splitlines()[1:4]] == ["engine", "plan", "eager"]
    report = json.loads(path.read_text())
    machine = report["machine"]
    assert machine["gpu"] == lucid.cuda.get_device_name(device)
    assert (machine["device"], machine["dtype"]) == (device, "float16")
    assert machine["driver"]
    assert machine["plugin"].startswith(lucid.__version__)
    assert ("this is the simulator" in printed.err) is machine["simulation"]
    [found] = report["cases"]
    assert found["engines"].keys() == WAYS
    assert found["not_timed"] == {}
    assert found["bytes"] == sum(step["bytes"] for step in report["layers"])
    in_float32 = benchmark.model_case("resnest_digits", 1, (8, 8))
    assert found["bytes"] == in_float32.bytes / 2


def test_kernels(device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "k.json"
    line = ("bench", "kernel", "3x3s1g8", "--model", "resnext_digits", *QUICK, "--json", str(path))
    assert main(line) == 0
    names = [case["name"] for case in json.loads(path.read_text())["cases"]]
    assert names
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[1 : 1 + len(names)]] == names


def test_a_peer_that_cannot_compute_there_is_named(device: str, case: Case) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("PyTorch has a GPU")
    engines = {"torch": cuda_engines(device, "float32")["torch"]}
    result = compare(case, engines, 1, 1, 0.0, Gpu.found(device, "float32"))
    assert result.refused == {"torch": f"a PyTorch that can compute on {device} is not installed"}


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch with settings that no engine may keep, and those from before at the end."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = True, True, False
    yield torch
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before


def test_pytorch_replays_a_captured_graph(torch: Any, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, with stand-ins for PyTorch's streams and graphs that take down what they are asked for."""
    done: list[str] = []

    @contextmanager
    def recorded(name: str) -> Iterator[None]:
        done.append(name)
        yield
        done.append(f"end of {name}")

    def stream(name: str) -> Any:
        return SimpleNamespace(
            wait_stream=lambda other: done.append(f"{name} waits for {other.name}"), name=name
        )

    stand_ins: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "Stream": lambda device: stream("side"),
        "current_stream": lambda: stream("main"),
        "stream": lambda used: recorded(used.name),
        "device": lambda name: nullcontext(),
        "graph": lambda captured: recorded("graph"),
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: done.append("replay")),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    call = cuda_engines("cpu", "float32")["torch"](case, case.inputs(), 1)
    assert done == [
        "side waits for main", "side", "end of side", "main waits for side", "graph", "end of graph",
    ]  # fmt: skip
    y: Any = call()
    assert done[6:] == ["replay"]
    assert np.abs(y.numpy() - case.expected(*case.inputs())).max() < 1e-5
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "cuda:7"), "--device: device must be below cuda:1, got cuda:7"),
        (("--device", "cuda:x"), "--device: device must be 'cpu', 'cuda' or one of several such as 'cuda:1'"),
        (("--device", "mps"), "--device: device must be 'cpu' or 'cuda'"),
        (("--device", "cuda", "--dtype", "float64"), "argument --dtype: invalid choice: 'float64'"),
    ],
)
def test_what_is_wrong_is_one_line(
    device: str, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if lucid.cuda.device_count() > 7:
        pytest.skip("there are many devices")
    message = message.replace("cuda:1,", f"cuda:{lucid.cuda.device_count()},")
    assert main(["bench", "model", "resnext_digits", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_plot_needs_known_peaks(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    if Gpu.found(device, "float32").peak_gflops is not None:
        pytest.skip("the peaks of this device are known")
    assert main(["bench", "kernel", *QUICK, "--roofline", "r.svg"]) == 2
    assert "--roofline needs a device whose peaks are known, got " in capsys.readouterr().err


def test_peaks_follow_from_clocks(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of 2 multiprocessors at 1 GHz with 4 GB/s, by the figures of compute capability 8.0."""
    facts = lucid.cuda.DeviceProperties("a device", 8, 0, 1 << 30, 2, 1 << 16, 1 << 20, 10**6, 5 * 10**5, 32)
    monkeypatch.setattr(lucid.cuda, "get_device_properties", lambda device: facts)
    gpu = Gpu.found(device, "float32")
    assert gpu.peak_gflops == pytest.approx(2 * 64 * 2)
    assert gpu.bandwidth == pytest.approx(4.0)
    assert Gpu.found(device, "bfloat16").peak_gflops == pytest.approx(2 * 1024 * 2)
    object.__setattr__(facts, "major", 99)
    assert Gpu.found(device, "float32").peak_gflops is None


def test_no_device_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    """In a process of its own, since a plugin is opened once."""
    path = str(tmp_path / "nowhere.so")
    line = [sys.executable, "-m", "lucid", "bench", "model", "resnext_digits", "--device", "cuda"]
    environment = os.environ | {"LUCID_CUDA_LIBRARY": path}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"lucid bench: LUCID_CUDA_LIBRARY must name a file, got {path!r}\n"
