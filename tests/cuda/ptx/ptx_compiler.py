"""The kernels of sources, as nvcc compiles them to PTX."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ptx_parser
import resources

INCLUDE = [f"-I{resources.CSRC}", f"-I{resources.CSRC / 'include'}"]


def kernels_of(sources: Sequence[Path]) -> dict[str, ptx_parser.Kernel]:
    """Every kernel by its name without parameters. Needs nvcc and c++filt."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return {name: kernel for found in pool.map(compiled, sources) for name, kernel in found.items()}


def compiled(source: Path) -> dict[str, ptx_parser.Kernel]:
    command = ["nvcc", "-std=c++20", "-O3", "-arch=compute_80", "-ptx", *INCLUDE, str(source), "-o", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = ptx_parser.parse(done.stdout)
    return dict(zip(resources.demangled(list(found)), found.values(), strict=True)) if found else {}
