"""Safetensors files read into memory: as the safetensors package reads them, whatever happens meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import lucid
from lucid import nn
from lucid.models import create_model, save_weights
from lucid.tensor_file import TensorFile

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]


@pytest.fixture
def path(tmp_path: Path, rng: np.random.Generator) -> Path:
    tensors = {str(np.dtype(d)): rng.integers(0, 2, (2, 3)).astype(d) for d in DTYPES}
    tensors |= {"scalar": np.array(3.5), "empty": np.zeros((0, 3), np.float32)}
    save_file(tensors, tmp_path / "a.safetensors", {"format": "np"})
    return tmp_path / "a.safetensors"


def test_reads_what_the_package_reads(path: Path) -> None:
    with TensorFile("op", path) as ours, safe_open(path, framework="numpy") as theirs:
        assert set(ours.tensors) == set(theirs.keys())
        assert ours.texts == theirs.metadata()
        for name in ours.tensors:
            got, want = ours.read(name), theirs.get_tensor(name)
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            np.testing.assert_array_equal(got, want)


def test_refuses_what_the_package_refuses(path: Path) -> None:
    """Random damage to the header; the package accepts no file that is refused here, nor the reverse."""
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(3)
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(0, end)] = rng.integers(0, 256)
        path.write_bytes(damaged)
        assert accepts(path) == accepted_by_package(path), bytes(damaged[:end])


def accepts(path: Path) -> bool:
    try:
        TensorFile("op", path).close()
    except ValueError:
        return False
    return True


def accepted_by_package(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy"):
            return True
    except SafetensorError:
        return False


def test_a_file_cut_off_after_its_header_was_read_is_an_error(path: Path) -> None:
    with TensorFile("op", path) as file:
        os.truncate(path, path.stat().st_size - 1)
        last = max(file.tensors.values(), key=lambda tensor: tensor.end)
        with pytest.raises(ValueError, match=r"^op: .*a.safetensors must be .*: another process cut it off"):
            file.read(last.name)


def test_a_file_that_was_written_to_is_an_error(path: Path) -> None:
    with TensorFile("op", path) as file:
        file.check_unchanged()
        os.utime(path, ns=(0, 0))
        with pytest.raises(ValueError, match="another process changed it while it was read"):
            file.check_unchanged()


def test_a_file_that_was_replaced_is_read_to_its_end(path: Path, tmp_path: Path) -> None:
    with TensorFile("op", path) as file:
        (tmp_path / "b").write_bytes(b"something else")
        os.replace(tmp_path / "b", path)
        assert file.read("scalar") == 3.5
        file.check_unchanged()


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path / "pipe", "a pipe or a device"), (tmp_path, "a folder")):
        with pytest.raises(FileNotFoundError, match=f"must be a file, found {found}"):
            TensorFile("op", path)


# ---- Under memory pressure, in a process of its own

LIMITED = """
import re, resource, sys
import lucid, lucid.inference, lucid.models
lucid.set_num_threads(1)
load = {"weights": lambda path: lucid.models.create_model("resnext50_32x4d", path), "plan": lucid.load_plan}
for megabytes in (0, 1, 30, 60, 2000):
    used = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
    try:
        load[sys.argv[1]](sys.argv[2])
        print("loaded", end=" ")
    except MemoryError:
        print("MemoryError", end=" ")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("kind", ["weights", "plan"])
def test_a_lack_of_memory_is_a_memory_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if kind == "weights":
        save_weights(create_model("resnext50_32x4d"), path)
    else:
        lucid.compile(nn.Conv2d(1024, 1024, 5, padding=2).eval(), (1, 1024, 8, 8)).save(path)
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, kind, str(path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["MemoryError"] * 4 + ["loaded"]
