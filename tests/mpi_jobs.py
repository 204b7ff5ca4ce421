"""Programs in several processes, which mpirun starts; the tests of them are skipped where there is none."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SECONDS = 240

# Programs given by -c look for lucid where they are started, which must not be the source tree.
HERE = Path(__file__).parent

# That of the package openmpi, beside this Python, or that of the system.
_FOLDERS = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
_MPIRUN = shutil.which("mpirun", path=os.pathsep.join(_FOLDERS))
_HAS_MPI4PY = importlib.util.find_spec("mpi4py") is not None

needs_mpi = pytest.mark.skipif(not (_HAS_MPI4PY and _MPIRUN), reason="needs mpi4py and mpirun")


def is_open_mpi() -> bool:
    """Whether it is not MPICH, or what was made of that."""
    assert _MPIRUN is not None
    done = subprocess.run([_MPIRUN, "--version"], capture_output=True, text=True, check=True)
    return "Open MPI" in done.stdout


def start(processes: int, *command: object, **environment: str) -> subprocess.Popen[str]:
    """A job of Python programs, each process with one thread, since tests share the machine."""
    assert _MPIRUN is not None
    # Open MPI counts processors, and refuses to run as root, as which containers do.
    options = ["--oversubscribe"] if is_open_mpi() else []
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.Popen(
        [_MPIRUN, *options, "-n", str(processes), sys.executable, *map(str, command)],
        cwd=HERE,
        env={**os.environ, **root, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(processes: int, *command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A job that has ended."""
    with start(processes, *command, **environment) as job:
        return ended(job)


def ended(job: subprocess.Popen[str]) -> subprocess.CompletedProcess[Any]:
    """A job that has ended by itself, within minutes: none of its processes waits for another one."""
    try:
        out, err = job.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        job.kill()
        raise
    return subprocess.CompletedProcess(job.args, job.returncode, out, err)
