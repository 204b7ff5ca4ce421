"""Programs that run CUDA kernels, in the simulator and on a GPU, built where there are compilers for them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import nvcc_build
import pytest

ROOT = Path(__file__).parent.parent.parent
KINDS = ("plain", "address", "thread")


def folder_for(kind: str) -> Path:
    """Where a kind is built, which takes minutes: only where ``$LUCID_KERNEL_TESTS`` names a folder."""
    if "LUCID_KERNEL_TESTS" not in os.environ:
        pytest.skip("takes minutes; LUCID_KERNEL_TESTS=FOLDER asks for it")
    return Path(os.environ["LUCID_KERNEL_TESTS"]) / kind


@functools.cache
def folder_of(kind: str) -> Path:
    """Where the programs of a kind are: ``plain``, or with the sanitizer ``address`` or ``thread``."""
    folder = folder_for(kind)
    if missing := [name for name in ("cmake", "c++") if shutil.which(name) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    build(ROOT, folder, kind)
    return folder


def compiled_by_nvcc() -> nvcc_build.NvccBuild:
    folder = folder_for("nvcc")
    if missing := nvcc_build.missing_tools():
        pytest.skip(f"needs {' and '.join(missing)}")
    return nvcc_build.built(folder)


def build(source: Path, folder: Path, kind: str) -> None:
    """Compiles what has changed of the tree ``source`` into ``folder``."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    sanitizer = "" if kind == "plain" else kind
    command = ["cmake", "-S", str(source / "tests" / "cuda"), "-B", str(folder), *generator]
    call([*command, f"-DLUCID_SANITIZE={sanitizer}"])
    jobs = str(os.cpu_count() or 1)
    call(["cmake", "--build", str(folder), "--parallel", jobs, "--target", "kernel_tests", "mistakes"])


def call(command: list[str]) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout


def without_random_addresses(command: list[str]) -> list[str]:
    """The command as ThreadSanitizer wants it, with memory where it expects it."""
    return ["setarch", "-R", *command] if shutil.which("setarch") else command
