"""The plugin and kernel_tests, compiled by nvcc, with the PTX that it writes and what it says of kernels."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent
ARCHITECTURES = (75, 90, 120)
TOOLS = ("cmake", "ninja", "nvcc", "c++filt", "nm")


@dataclass(frozen=True)
class NvccBuild:
    """Results of a build.

    Attributes:
        folder: kernel_tests, and the plugin in a folder of its own.
        log: The output of ptxas.
        ptx: Of every source, by architecture.
    """

    folder: Path
    log: str
    ptx: dict[int, list[str]]

    @property
    def plugin(self) -> Path:
        return self.folder / "plugin" / "liblucid_cuda.so"


def missing_tools() -> list[str]:
    return [name for name in TOOLS if shutil.which(name) is None]


@functools.cache
def built(folder: Path, architectures: Sequence[int] = ARCHITECTURES) -> NvccBuild:
    """Compiles all anew into a folder, since ptxas says nothing of what it does not compile."""
    kept = folder / "kept"
    shutil.rmtree(folder, ignore_errors=True)
    kept.mkdir(parents=True)
    names = ";".join(f"{architecture}-real" for architecture in architectures)
    flags = f"-Xptxas=-v --keep --keep-dir={kept}"
    _call(
        *("cmake", "-G", "Ninja", "-S", str(SOURCE), "-B", str(folder)),
        *("-DLUCID_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={names}", f"-DCMAKE_CUDA_FLAGS={flags}"),
    )
    log = _call("cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1))
    ptx: dict[int, list[str]] = {architecture: [] for architecture in architectures}
    for path in sorted(kept.glob("*.ptx")):
        text = path.read_text()
        target = re.search(r"^\.target sm_(\d+)", text, re.MULTILINE)
        assert target is not None, path
        ptx[int(target[1])].append(text)
    return NvccBuild(folder, log, ptx)


def _call(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout
