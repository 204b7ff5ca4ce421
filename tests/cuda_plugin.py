"""The plugin for the tests of this process: that of CUDA where the build has it, else the simulator."""

from __future__ import annotations

import os
from pathlib import Path

from lucid import _core

LIBRARIES = Path(_core.__file__).parent / "lib"
PLUGIN = LIBRARIES / "liblucid_cuda.so"


def _simulator() -> Path:
    """The simulator that lucid is told to use, or that of the build."""
    name = "liblucid_cuda_sim.so"
    used = Path(os.environ.get("LUCID_CUDA_LIBRARY", ""))
    return used if used.name == name else LIBRARIES / name


SIMULATOR = _simulator()


def choose() -> None:
    """Sets the variable that lucid reads; before anything opens a plugin, which a process does once."""
    if SIMULATOR.is_file() and not PLUGIN.is_file():
        os.environ.setdefault("LUCID_CUDA_LIBRARY", str(SIMULATOR))
