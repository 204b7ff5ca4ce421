"""Registers, spills, shared memory and occupancy of every CUDA kernel, as nvcc compiles it.

    python tests/cuda/resources.py

records them anew in resources.txt, which test_nvcc.py compares with. Needs nvcc, c++filt, cmake and ninja.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nvcc_build

RECORDED = Path(__file__).parent / "resources.txt"
HEADER = "architecture registers spilled shared threads warps kernel"

# Of a multiprocessor, from the tables of NVIDIA's programming guide: warps, blocks, bytes of shared memory.
LIMITS = {75: (32, 16, 65536), 90: (64, 32, 233472), 120: (48, 24, 102400)}
REGISTERS = 65536
# Registers by which two builds of one source may differ: which loads nvcc joins depends on where its own
# memory lies, from run to run and with the length of paths. It was seen to take 124 or 128 for one kernel.
GRANULE = 8
# Shared memory that the system takes of each block.
RESERVED = {75: 0, 90: 1024, 120: 1024}


@dataclass(frozen=True, order=True)
class Kernel:
    """A kernel on an architecture; ``spilled`` and ``shared``, without what a launch asks for, in bytes."""

    name: str
    architecture: int
    registers: int
    spilled: int
    shared: int
    threads: int  # of the largest block

    @property
    def warps(self) -> int:
        """Warps that a multiprocessor holds at once."""
        most_warps, most_blocks, shared = LIMITS[self.architecture]
        warps = -(-self.threads // 32)
        registers = -(-self.registers * 32 // 256) * 256 * warps
        used = self.shared + RESERVED[self.architecture]
        blocks = min(most_blocks, most_warps // warps, REGISTERS // registers, shared // max(used, 1))
        return blocks * warps

    def is_like(self, other: Kernel) -> bool:
        """Whether another build of the same source may give the other."""
        mine, its = (replace(kernel, registers=0) for kernel in (self, other))
        return mine == its and self.warps == other.warps and abs(self.registers - other.registers) <= GRANULE

    def line(self) -> str:
        numbers = (self.architecture, self.registers, self.spilled, self.shared, self.threads, self.warps)
        return " ".join(map(str, (*numbers, self.name)))


def recorded() -> tuple[str, dict[tuple[str, int], Kernel]]:
    """The compiler with which kernels were recorded, and these, by name and architecture."""
    version, header, *lines = RECORDED.read_text().splitlines()
    assert header == HEADER
    kernels = []
    for line in lines:
        *numbers, _warps, name = line.split(" ", 6)
        architecture, registers, spilled, shared, threads = map(int, numbers)
        kernels.append(Kernel(name, architecture, registers, spilled, shared, threads))
    return version, {(kernel.name, kernel.architecture): kernel for kernel in kernels}


def nvcc_version() -> str:
    shown = subprocess.run(["nvcc", "--version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"V([\d.]+)", shown)
    assert match is not None
    return match[1]


def demangled(names: list[str]) -> list[str]:
    """Names without namespaces and parameters, as one would write a template's instance."""
    done = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True)
    return [plain_name(name) for name in done.stdout.splitlines()]


def plain_name(name: str) -> str:
    name = name.replace("(anonymous namespace)::", "").replace("lucid::cuda::", "").removeprefix("void ")
    depth = 0
    for place, character in enumerate(name):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            return name[:place]
    return name


THREADS = re.compile(r"\.entry (\w+)\([^{]*?\)\s*(?:\.\w+ [^\n]*\n)*?\.maxntid (\d+)")
ENTRY = re.compile(
    r"Compiling entry function '(\w+)' for 'sm_(\d+)a?f?'.*?"
    r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def kernels_of(log: str, threads: dict[str, int]) -> Iterator[Kernel]:
    """The kernels of what ptxas printed; one without launch bounds may have blocks of 1024 threads."""
    found = ENTRY.findall(log)
    for name, entry in zip(demangled([entry[0] for entry in found]), found, strict=True):
        mangled, architecture, stores, loads, registers, rest = entry
        shared = re.search(r"(\d+) bytes smem", rest)
        yield Kernel(
            name=name,
            architecture=int(architecture),
            registers=int(registers),
            spilled=int(stores) + int(loads),
            shared=int(shared[1]) if shared else 0,
            threads=threads.get(mangled, 1024),
        )


def measured(build: nvcc_build.NvccBuild) -> list[Kernel]:
    """The kernels of a build, on every architecture."""
    ptx = [text for texts in build.ptx.values() for text in texts]
    threads = {name: int(count) for text in ptx for name, count in THREADS.findall(text)}
    kernels = sorted(kernels_of(build.log, threads))
    entries = sum(len(re.findall(r"^\.(?:visible )?entry", text, re.MULTILINE)) for text in ptx)
    twice = [key for key, count in Counter((k.name, k.architecture) for k in kernels).items() if count > 1]
    assert (len(kernels), twice) == (entries, []), "each kernel needs a name of its own"
    return kernels


def table(kernels: list[Kernel]) -> str:
    return "\n".join([f"nvcc {nvcc_version()}", HEADER, *(kernel.line() for kernel in kernels), ""])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        RECORDED.write_text(table(measured(nvcc_build.built(Path(folder)))))
