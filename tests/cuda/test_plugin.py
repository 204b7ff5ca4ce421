"""The plugin: libraries that are none, and devices that fail, each in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import c_abi
import plugins
import pytest
from device_arrays import load

pytestmark = pytest.mark.cuda


def run(program: str, **environment: str) -> str:
    """The output of a program that begins with ``from lucid import _core``."""
    result = subprocess.run(
        [sys.executable, "-c", f"import numpy as np\nfrom lucid import _core\n{program}"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        cwd=c_abi.PACKAGE.parent,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def refusal(path: str | Path) -> str:
    """Why a library is not opened; afterwards the CPU computes, and tensors on CUDA name the same reason."""
    return run(f"""
try:
    _core.cuda_load({str(path)!r})
except NotImplementedError as error:
    print(error)
assert _core.cuda_why_not() and _core.cuda_device_count() == 0
assert _core.relu(np.float32([-1])) == [0]
try:
    _core.cuda_empty((1,), "float32", 0)
except NotImplementedError as error:
    assert str(error) == "cuda: there is no cuda:0: " + _core.cuda_why_not(), error
""").strip()


def test_a_library_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "liblucid_cuda.so"
    assert refusal(path) == f"cuda: {path} does not exist"


def test_a_file_must_be_a_library(tmp_path: Path) -> None:
    path = tmp_path / "liblucid_cuda.so"
    path.write_text("no library")
    assert refusal(path).startswith(f"cuda: {path} cannot be opened: ")


def test_a_library_must_have_a_table(tmp_path: Path) -> None:
    path = plugins.compiled("int other(void) { return 0; }", tmp_path)
    assert refusal(path) == f"cuda: {path} is no CUDA library of lucid: it has no lucid_cuda_backend"


@pytest.mark.parametrize("abi", [0, 123456])
def test_nothing_is_read_of_a_table_with_another_abi(abi: int, tmp_path: Path) -> None:
    source = """
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
/* Four bytes, and behind them a page that must not be read. */
const void* lucid_cuda_backend(void) {
  char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(pages + 4096, 4096, PROT_NONE);
  int32_t* abi = (int32_t*)(pages + 4092);
  *abi = ABI;
  return abi;
}
""".replace("ABI", str(abi))
    path = plugins.compiled(source, tmp_path)
    message = refusal(path)
    assert re.fullmatch(
        re.escape(f"cuda: {path} was built for another lucid: its ABI must be ") + rf"\d+, got {abi}", message
    )


DRIVER = r"(no NVIDIA driver is loaded, which CUDA 13\.0 of .* needs|the NVIDIA driver is too old for .*)"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (35, DRIVER),
        (100, "the machine has no CUDA device"),
        (0, "the machine has no CUDA device"),
        (7, ".* finds no CUDA device: unknown trouble"),
    ],
)
def test_a_machine_without_a_device_is_named(error: int, reason: str, tmp_path: Path) -> None:
    assert re.fullmatch(f"cuda: {reason}", refusal(plugins.compiled(plugins.table(error), tmp_path)))


# ---- Devices that fail ---------------------------------------------------------------------------


@pytest.fixture
def library() -> str:
    """The plugin's path, which must be the simulator's."""
    load()
    from lucid import _core

    if not _core.cuda_backend()["simulation"]:
        pytest.skip("a GPU does not fail when it is told to")
    return os.environ["LUCID_CUDA_LIBRARY"]


def test_a_device_without_memory_gives_cached_blocks_back_first(library: str) -> None:
    output = run(
        f"""
_core.cuda_load({library!r})
mega = 2**20 // 4
first = _core.cuda_empty((20 * mega,), "float32", 0)
del first
second = _core.cuda_empty((50 * mega,), "float32", 0)  # fits only without the first
print(_core.cuda_memory(0) == (50 * 2**20, 50 * 2**20))
try:
    _core.relu(second)
except MemoryError as error:
    print(error)
print(_core.cuda_memory(0)[0] == 50 * 2**20)
small = _core.relu(_core.device_array(np.float32([-1, 2]), 0))
print(small.to_host())
""",
        LUCID_SIM_MEMORY=str(64 << 20),
    ).splitlines()
    assert output[0] == "True"
    assert re.fullmatch(r"cuda: no memory for 52428800 bytes on cuda:0: \d+ of 67108864 are free", output[1])
    assert output[2:] == ["True", "[0. 2.]"]


def test_a_failed_device_is_named_once_and_refused_from_then_on(library: str) -> None:
    output = run(
        f"""
_core.cuda_load({library!r})
x = _core.device_array(np.float32([-1, 2]), 0)
print(_core.relu(x).to_host())
wait = lambda: _core.cuda_synchronize(0)
for call in (lambda: _core.sigmoid(x), wait, lambda: _core.relu(x), lambda: x.to_host()):
    try:
        call()
    except RuntimeError as error:
        print(error)
print(_core.relu(np.float32([-1])))
""",
        LUCID_SIM_FAULT="2",
    ).splitlines()
    assert output[0] == "[0. 2.]"
    first = re.fullmatch(r"(sigmoid|cuda): the device failed: (.*)", output[1])
    assert first is not None
    later = f"cuda: the device failed earlier, in {first[1]}: {first[2]}; restart the process"
    assert set(output[2:-1]) == {later}
    assert len(output) >= 5
    assert output[-1] == "[0.]"


def test_a_plan_that_meets_the_failure_names_it_as_it_was_named(library: str) -> None:
    """The only entry point that has no tensor to check the device by."""
    output = run(
        f"""
import ctypes, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import c_abi
from plan_structs import Plan
_core.cuda_load({library!r})
given = np.float32([[[[-1, 2]]]])
x, y = (_core.device_array(given, 0) for _ in range(2))
tensors = [c_abi.tensor(given), c_abi.tensor(given)]
for tensor, array in zip(tensors, (x, y)):
    tensor.data, tensor.device = array.data_ptr, c_abi.Device(2, 0)
plan = Plan(given.shape, (2, 0))
for _ in range(3):
    print(plan.run(*tensors))
    try:
        _core.cuda_synchronize(0)
    except RuntimeError as error:
        print(error)
print(Plan(given.shape, (2, 0)).message)
""",
        LUCID_SIM_FAULT="2",
    ).splitlines()
    assert output[0] == "(0, '')"
    first = re.fullmatch(r"(relu|cuda): the device failed: (.*)", output[1])
    assert first is not None
    later = f"cuda: the device failed earlier, in {first[1]}: {first[2]}; restart the process"
    assert output[2:] == [f"(4, {later!r})", later] * 2 + [later]


def test_a_process_opens_one_plugin(library: str, tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    shutil.copyfile(library, other)
    output = run(f"""
for path in ({library!r}, {library!r}, {str(other)!r}):
    try:
        _core.cuda_load(path)
    except ValueError as error:
        print(error)
print(_core.relu(_core.device_array(np.float32([-1, 2]), 0)).to_host())
""").splitlines()
    assert output == [
        f"cuda: one library can be opened in a process, got {other} as another",
        "[0. 2.]",
    ]
