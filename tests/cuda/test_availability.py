"""lucid.cuda where no device can be used: one sentence that says why, whoever asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_plugin import LIBRARIES, PLUGIN, SIMULATOR

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
    cuda.get_device_name, cuda.Stream, cuda.Event, cuda.current_device,
]
for call in calls:
    try:
        call()
    except RuntimeError as error:
        assert type(error) is RuntimeError and str(error).endswith(cuda.why_not()), error
        assert ": cuda must be available, got: " in str(error), error
    else:
        raise AssertionError("a call went through")
cuda.empty_cache()
layer = nn.Linear(2, 2)
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
    path = str(tmp_path / "nowhere.so")
    assert asked(tmp_path, LUCID_CUDA_LIBRARY=path) == f"LUCID_CUDA_LIBRARY must name a file, got {path!r}"


def test_a_file_that_is_no_plugin(tmp_path: Path) -> None:
    for name, content in (("text.so", b"no library"), ("empty.so", b"")):
        (tmp_path / name).write_bytes(content)
        assert name in asked(tmp_path, LUCID_CUDA_LIBRARY=str(tmp_path / name))
    core = str(LIBRARIES / "liblucid.so")
    assert core in asked(tmp_path, LUCID_CUDA_LIBRARY=core)


def test_no_device(tmp_path: Path) -> None:
    if not SIMULATOR.is_file():
        pytest.skip("this build has no simulator")
    none = {"LUCID_CUDA_LIBRARY": str(SIMULATOR), "LUCID_SIM_DEVICES": "0"}
    assert asked(tmp_path, **none).endswith("the machine has no CUDA device")
    hidden = "the machine has no CUDA device, and CUDA_VISIBLE_DEVICES='' hides all"
    assert asked(tmp_path, **none, CUDA_VISIBLE_DEVICES="").endswith(hidden)


TWO = """
import lucid
from lucid import cuda, nn
assert cuda.device_count() == 2
x, y = lucid.ones(2, device="cuda"), lucid.ones(2, device="cuda:1")
assert (x.device, y.device, y.to("cuda").device, x.cuda(1).device) == ("cuda:0", "cuda:1", "cuda:0", "cuda:1")
assert (x.to(y) + y).device == "cuda:1" and (x.to(y) + y).tolist() == [2.0, 2.0]
with cuda.device(1):
    assert cuda.current_device() == 1 and lucid.zeros(1, device="cuda").device == "cuda:1"
    assert nn.Linear(2, 2).cuda().weight.device == "cuda:1"
assert cuda.current_device() == 0
cuda.set_device("cuda:1")
assert lucid.ones(1).cuda().device == "cuda:1"
try:
    x + y
except ValueError as error:
    assert "cuda:0" in str(error) and "cuda:1" in str(error), error
else:
    raise AssertionError("devices were mixed")
"""


def test_two_devices(tmp_path: Path) -> None:
    if not SIMULATOR.is_file():
        pytest.skip("this build has no simulator")
    variables = {"LUCID_CUDA_LIBRARY": str(SIMULATOR), "LUCID_SIM_DEVICES": "2"}
    command = [sys.executable, "-c", TWO]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
