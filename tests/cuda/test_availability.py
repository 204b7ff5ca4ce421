"""lucid.cuda where no device can be used: one sentence that says why, whoever asks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import c_abi
import plugins
import pytest
from cuda_plugin import PLUGIN, SIMULATOR

import lucid

pytestmark = pytest.mark.cuda

ASKS = """
import lucid
from lucid import cuda, nn
assert not cuda.is_available() and cuda.device_count() == 0
print(cuda.why_not())
calls = [
    lambda: lucid.ones(2).cuda(), lambda: lucid.ones(2).to("cuda:1"), lambda: lucid.zeros(2, device="cuda"),
    lambda: lucid.tensor([1.0], device="cuda"), lambda: nn.Linear(2, 2).to("cuda"), lambda: nn.ReLU().cuda(),
    lambda: lucid.random.rand(2, device="cuda"), lambda: lucid.arange(2, device="cuda"), cuda.synchronize,
    cuda.get_device_name, cuda.Stream, cuda.Event, cuda.current_device, lambda: nn.Linear(2, 2).cuda(0),
    lambda: nn.Linear(2, 2).to(device="cuda:0"), lambda: lucid.compile(layer, (1, 2), device="cuda"),
    lambda: lucid.compile(layer, (1, 2), "float16", device="cuda:1"), lambda: lucid.load_plan("plan", "cuda"),
]
layer = nn.Linear(2, 2).eval()
lucid.compile(layer, (1, 2)).save("plan")
for call in calls:
    try:
        call()
    except RuntimeError as error:
        assert type(error) is RuntimeError and str(error).endswith(cuda.why_not()), error
        assert ": cuda must be available, got: " in str(error), error
    else:
        raise AssertionError("a call went through")
cuda.empty_cache()
assert layer.weight.device == "cpu" and layer(lucid.ones(1, 2)).shape == (1, 2)
"""


def asked(tmp_path: Path, **variables: str) -> str:
    """The sentence, in a process of its own: a plugin is opened once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LUCID_", "CUDA_"))}
    command = [sys.executable, "-c", ASKS]
    done = subprocess.run(
        command, cwd=tmp_path, env={**kept, **variables}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [sentence] = done.stdout.splitlines()
    return sentence


def test_no_plugin(tmp_path: Path) -> None:
    if PLUGIN.is_file():
        pytest.skip("this build has the plugin")
    assert asked(tmp_path).startswith("no plugin is installed: pip install lucid-kernels-cuda13")


def test_a_variable_that_names_no_file(tmp_path: Path) -> None:
    for path in (str(tmp_path / "nowhere.so"), str(tmp_path)):
        assert (
            asked(tmp_path, LUCID_CUDA_LIBRARY=path) == f"LUCID_CUDA_LIBRARY must name a file, got {path!r}"
        )


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    for name, content in (("text.so", b"no library"), ("empty.so", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        sentence = asked(tmp_path, LUCID_CUDA_LIBRARY=str(path))
        assert re.fullmatch(
            f"cuda: {re.escape(str(path))} cannot be opened: .*(file too short|header)", sentence
        )


def test_a_library_that_is_no_plugin(tmp_path: Path) -> None:
    core = str(c_abi.LIBRARY)
    reason = f"cuda: {core} is no CUDA library of lucid: it has no lucid_cuda_backend"
    assert asked(tmp_path, LUCID_CUDA_LIBRARY=core) == reason


# Beside each: a variable that hides devices, of which only a sentence without any device speaks.
HIDES = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize("abi", [0, 123456])
def test_a_plugin_of_another_abi(abi: int, tmp_path: Path) -> None:
    path = plugins.compiled(plugins.table(100, abi=abi), tmp_path)
    reason = rf"cuda: {re.escape(str(path))} was built for another lucid: its ABI must be \d+, got {abi}"
    assert re.fullmatch(reason, asked(tmp_path, LUCID_CUDA_LIBRARY=str(path), **HIDES))


@pytest.mark.parametrize("version", ["0.0.9", f"{lucid.__version__}1", "unversioned"])
def test_a_plugin_of_another_version(version: str, tmp_path: Path) -> None:
    path = plugins.compiled(plugins.table(100, version=version), tmp_path)
    sentence = asked(tmp_path, LUCID_CUDA_LIBRARY=str(path), **HIDES)
    other = f"it is that of lucid {version}, CUDA 13.0"
    assert sentence == f"cuda: {path} is of another version than lucid {lucid.__version__}: {other}"


def test_no_driver(tmp_path: Path) -> None:
    path = plugins.compiled(plugins.table(35), tmp_path)
    sentence = asked(tmp_path, LUCID_CUDA_LIBRARY=str(path), **HIDES)
    loaded = os.path.exists("/proc/driver/nvidia/version")
    assert sentence == (
        f"cuda: the NVIDIA driver is too old for CUDA 13.0 of {path}"
        if loaded
        else f"cuda: no NVIDIA driver is loaded, which CUDA 13.0 of {path} needs"
    )


def test_all_devices_are_hidden(tmp_path: Path) -> None:
    path = plugins.compiled(plugins.table(100), tmp_path)
    assert asked(tmp_path, LUCID_CUDA_LIBRARY=str(path)) == "cuda: the machine has no CUDA device"
    for visible in ("", "-1"):
        sentence = asked(tmp_path, LUCID_CUDA_LIBRARY=str(path), CUDA_VISIBLE_DEVICES=visible)
        hidden = f"that CUDA_VISIBLE_DEVICES={visible!r} lets lucid see"
        assert sentence == f"cuda: the machine has no CUDA device {hidden}"


def test_no_device(tmp_path: Path) -> None:
    if not SIMULATOR.is_file():
        pytest.skip("there is no simulator")
    none = {"LUCID_CUDA_LIBRARY": str(SIMULATOR), "LUCID_SIM_DEVICES": "0"}
    assert asked(tmp_path, **none).endswith("the machine has no CUDA device")
