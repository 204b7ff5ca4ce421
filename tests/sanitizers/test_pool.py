"""The pool of threads under ThreadSanitizer, which sees who reads what another writes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "csrc" / "core"
SOURCES = [
    "affinity",
    "cpu_count",
    "host",
    "memory",
    "openmp_runtimes",
    "parallel",
    "status",
    "team",
    "wait",
    "worker_threads_pthreads",
]


def test_no_thread_reads_what_another_writes(tmp_path: Path) -> None:
    compiler, setarch = shutil.which(os.environ.get("CXX", "c++")), shutil.which("setarch")
    if compiler is None or setarch is None:
        pytest.skip("no C++ compiler, or no setarch")
    program = tmp_path / "pool"
    command = [compiler, "-std=c++20", "-O1", "-g1", "-fsanitize=thread", f"-I{CORE.parent}"]
    command += [f"-I{CORE.parent / 'include'}", str(HERE / "pool.cpp"), "-o", str(program), "-lpthread"]
    command += [str(CORE / f"{name}.cpp") for name in SOURCES]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if "tsan" in built.stderr and built.returncode != 0:
        pytest.skip("the compiler has no ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    # The sanitizer wants memory where it expects it, and no thread after a fork unless it is told.
    done = subprocess.run(
        [setarch, platform.machine(), "-R", str(program)],
        env={**os.environ, "TSAN_OPTIONS": "die_after_fork=0:halt_on_error=1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
