"""The kernels of a build, as nvcc has compiled them to PTX."""

from __future__ import annotations

import ptx_parser
from nvcc_build import NvccBuild
from resources import demangled

ARCHITECTURE = 90


def kernels_of(build: NvccBuild) -> dict[str, ptx_parser.Kernel]:
    """Every kernel by its name without parameters."""
    found = {
        name: kernel for text in build.ptx[ARCHITECTURE] for name, kernel in ptx_parser.parse(text).items()
    }
    named = dict(zip(demangled(list(found)), found.values(), strict=True))
    assert len(named) == len(found), "each kernel needs a name of its own"
    return named
