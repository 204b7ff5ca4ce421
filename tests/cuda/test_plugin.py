"""The plugin: libraries that are none, and devices that fail, each in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import c_abi
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


def compiled(source: str, folder: Path) -> Path:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "plugin.so"
    (folder / "plugin.c").write_text(source)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "plugin.c")]
    subprocess.run(command, check=True, capture_output=True)
    return library


def test_a_library_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "liblucid_cuda.so"
    assert refusal(path) == f"cuda: {path} does not exist"


def test_a_file_must_be_a_library(tmp_path: Path) -> None:
    path = tmp_path / "liblucid_cuda.so"
    path.write_text("no library")
    assert refusal(path).startswith(f"cuda: {path} cannot be opened: ")


def test_a_library_must_have_a_table(tmp_path: Path) -> None:
    path = compiled("int other(void) { return 0; }", tmp_path)
    assert refusal(path) == f"cuda: {path} is no CUDA library of lucid: it has no lucid_cuda_backend"


def test_nothing_is_read_of_a_table_with_another_abi(tmp_path: Path) -> None:
    source = """
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
/* Four bytes, and behind them a page that must not be read. */
const void* lucid_cuda_backend(void) {
  char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(pages + 4096, 4096, PROT_NONE);
  int32_t* abi = (int32_t*)(pages + 4092);
  *abi = 123456;
  return abi;
}
"""
    path = compiled(source, tmp_path)
    message = refusal(path)
    assert re.fullmatch(
        re.escape(f"cuda: {path} was built for another lucid: its ABI must be ") + r"\d+, got 123456", message
    )


def table(error: int) -> str:
    """A plugin whose device_count() fails; it has nothing else that the library may call."""
    header = (Path(__file__).parents[2] / "csrc" / "cuda" / "backend.h").read_text()
    match = re.search(r"kBackendAbi = (\d+)", header)
    assert match is not None
    return f"""
#include <stdint.h>
static const char* text(int error) {{ return "unknown trouble"; }}
static int count(int32_t* devices) {{ *devices = 0; return {error}; }}
static const struct {{
  int32_t abi, simulation; const char* version; const char* (*error_text)(int); void *sticky, *memory;
  int (*device_count)(int32_t*);
}} table = {{{match[1]}, 0, "0.1.0, CUDA 13.0", text, 0, 0, count}};
const void* lucid_cuda_backend(void) {{ return &table; }}
"""


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
    assert re.fullmatch(f"cuda: {reason}", refusal(compiled(table(error), tmp_path)))


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
