"""Plugins in C, which have what the library reads of one before it calls a kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_plugin import SIMULATOR

import lucid


def compiled(source: str, folder: Path) -> Path:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "plugin.so"
    (folder / "plugin.c").write_text(source)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "plugin.c")]
    subprocess.run(command, check=True, capture_output=True)
    return library


def table(error: int, abi: int | None = None, version: str = lucid.__version__) -> str:
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
}} table = {{{match[1] if abi is None else abi}, 0, "{version}, CUDA 13.0", text, 0, 0, count}};
const void* lucid_cuda_backend(void) {{ return &table; }}
"""


def in_simulator(program: str, folder: Path, **variables: str) -> list[str]:
    """The lines that a program prints, run in a process of its own with variables of the simulator.

    It begins with ``import numpy as np``, ``import lucid`` and ``from lucid import _core, cuda, nn``, and may
    import what tests do.
    """
    if not SIMULATOR.is_file():
        pytest.skip("there is no simulator")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    given = {**os.environ, "LUCID_CUDA_LIBRARY": str(SIMULATOR), "PYTHONPATH": paths, **variables}
    text = f"import numpy as np\nimport lucid\nfrom lucid import _core, cuda, nn\n{program}"
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
