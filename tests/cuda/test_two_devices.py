"""A machine with two devices: calls work where their tensors are, and leave the thread where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins import in_simulator

pytestmark = pytest.mark.cuda

TWO = {"LUCID_SIM_DEVICES": "2"}


def test_tensors_and_modules(tmp_path: Path) -> None:
    program = """
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
    in_simulator(program, tmp_path, **TWO)


def test_a_plan_runs_on_its_device(tmp_path: Path) -> None:
    """Eagerly, captured and replayed, while the thread's own device is the other one."""
    program = """
from small_networks import randomize, small_models
model, shape = small_models()["resnext"]
rng = np.random.default_rng(0)
randomize(model, rng)
x = rng.standard_normal(shape, dtype=np.float32)
want = lucid.compile(model, shape, device="cuda:0")(x)
plan = lucid.compile(model, shape, device="cuda:1")
assert cuda.memory_allocated(1) >= plan.memory()["weights"]
for _ in range(3):
    np.testing.assert_array_equal(plan(x), want)
    result = plan(lucid.from_numpy(x).to("cuda:1"))
    assert result.device == "cuda:1"
    np.testing.assert_array_equal(result.cpu().numpy(), want)
try:
    plan(lucid.from_numpy(x).to("cuda:0"))
except ValueError as error:
    assert "cuda:1" in str(error) and "cuda:0" in str(error), error
else:
    raise AssertionError("a plan took an image of another device")
del plan, result
assert cuda.memory_allocated(1) == 0
"""
    in_simulator(program, tmp_path, **TWO)


def test_what_a_device_lacks_is_not_taken_from_the_other(tmp_path: Path) -> None:
    program = """
mega = 2**20
def empty(count, device):
    return _core.cuda_empty((count * mega,), "uint8", device)
cuda.require("test")
first, second = empty(20, 0), empty(20, 1)
del first, second
assert [_core.cuda_memory(index) for index in (0, 1)] == [(0, 20 * mega)] * 2
large = empty(50, 0)  # fits only without what is cached
assert _core.cuda_memory(0) == (50 * mega, 50 * mega)
assert _core.cuda_memory(1) == (0, 20 * mega)
try:
    empty(30, 0)
except MemoryError as error:
    free = f"{14 * mega} of {64 * mega} are free"
    assert str(error) == f"cuda: no memory for {30 * mega} bytes on cuda:0: {free}", error
else:
    raise AssertionError("there was memory")
assert _core.cuda_memory(1) == (0, 20 * mega)
"""
    in_simulator(program, tmp_path, **TWO, LUCID_SIM_MEMORY=str(64 << 20))


def test_the_thread_stays_on_its_device(tmp_path: Path) -> None:
    """Other libraries of the process work on it too. The plugin's own runtime is asked."""
    program = """
import ctypes, os
class Table(ctypes.Structure):
    _fields_ = [("abi", ctypes.c_int32 * 2), ("before", ctypes.c_void_p * 6), ("get_device", ctypes.c_void_p)]
cuda.require("test")
plugin = ctypes.CDLL(os.environ["LUCID_CUDA_LIBRARY"])
plugin.lucid_cuda_backend.restype = ctypes.POINTER(Table)
prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int32))
ask = prototype(plugin.lucid_cuda_backend().contents.get_device)
def there():
    found = ctypes.c_int32(-1)
    assert ask(ctypes.byref(found)) == 0
    return found.value
x = lucid.ones(1, 1, 2, 2, device="cuda:1")
layer = nn.Conv2d(1, 1, 1).eval()
plan = lucid.compile(layer, (1, 1, 2, 2), device="cuda:1")
calls = [
    lambda: x + x, lambda: x.cpu(), lambda: plan(x), lambda: layer.to("cuda:1")(x), lambda: cuda.Stream(1),
    lambda: cuda.synchronize(1), lambda: cuda.get_device_name(1), lambda: cuda.Event(1).record(),
]
for call in calls:
    call()
    assert there() == 0
del plan
assert there() == 0
"""
    in_simulator(program, tmp_path, **TWO)
