"""Launches that the simulator recorded, compared with what the PTX of the same kernel leaves in memory."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ptx_machine import Launch
from ptx_memory import Counts, DeviceMemory
from ptx_parser import Kernel
from resources import demangled

Content = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Described:
    """A launch: kernel (by its name without parameters), sizes, arguments, and what memory there was.

    Attributes:
        allocations: Address and size of each.
        elements: Of each allocation: float32, float16, bfloat16, or bytes.
        event: The number of events before it, where launches are written instead of run.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: list[bytes]
    allocations: list[tuple[int, int]]
    elements: list[str]
    event: int


@dataclass(frozen=True)
class Record:
    """A launch, and each allocation before and after it."""

    launch: Described
    before: list[tuple[int, Content]]
    after: list[tuple[int, Content]]


@functools.cache
def symbols(program: Path) -> dict[int, str]:
    """Names of functions by their place in a program."""
    shown = subprocess.run(["nm", "--defined-only", program], check=True, capture_output=True, text=True)
    lines = [line.split() for line in shown.stdout.splitlines()]
    found = {int(line[0], 16): line[2] for line in lines if line[1] in "tTwW"}
    return dict(zip(found, demangled(list(found.values())), strict=True))


def triple(words: list[str]) -> tuple[int, int, int]:
    x, y, z = (int(word) for word in words)
    return x, y, z


def described(path: Path, program: Path) -> list[Described]:
    """The launches of a file that the simulator has written."""
    names, found = symbols(program), []
    for text in path.read_text().split("event ")[1:]:
        lines = [line.split() for line in f"event {text}".splitlines()]
        fields = {line[0]: line[1:] for line in lines if line[0] not in ("argument", "memory")}
        memory = [line for line in lines if line[0] == "memory"]
        found.append(
            Described(
                kernel=names[int(fields["kernel"][0])],
                grid=triple(fields["grid"]),
                block=triple(fields["block"]),
                shared=int(fields["shared"][0]),
                arguments=[bytes.fromhex("".join(line[1:])) for line in lines if line[0] == "argument"],
                allocations=[(int(line[1]), int(line[2])) for line in memory],
                elements=[line[3] for line in memory],
                event=int(fields["event"][0]),
            )
        )
    return found


def contents(path: Path, allocations: list[tuple[int, int]]) -> list[tuple[int, Content]]:
    """Address and content of each allocation, which lie behind each other in a file."""
    whole = np.memmap(path, np.uint8, "r")
    ends = np.cumsum([size for _, size in allocations])
    return [
        (address, whole[end - size : end]) for (address, size), end in zip(allocations, ends, strict=True)
    ]


def read(folder: Path, program: Path) -> Record:
    """A launch that the simulator has run, with all memory before and after it."""
    launch = described(folder / "launch.txt", program)[0]
    before, after = (contents(folder / name, launch.allocations) for name in ("before.bin", "after.bin"))
    return Record(launch, before, after)


def run(
    launch: Described, kernel: Kernel, device: DeviceMemory, blocks: Sequence[int] | None = None
) -> Counts:
    """Runs all blocks of a launch, or some, and returns what they did."""
    return Launch(kernel, device, launch.grid, launch.block, launch.shared, launch.arguments, blocks).counts


def replay(record: Record, kernel: Kernel) -> tuple[Counts, str]:
    """Runs the launch; its counts, and what differs, which must be nothing."""
    device = DeviceMemory(record.before)
    counts = run(record.launch, kernel, device)
    for place, (address, want) in enumerate(record.after):
        if not agrees(device.read(address, len(want)), want, record.launch.elements[place]):
            return counts, f"allocation {place} of {len(want)} bytes differs"
    return counts, ""


# By what sums in another order, fused products and fast functions may differ: roundings of the largest value.
ROUNDINGS = {"float64": 2.0**32, "float32": 256, "float16": 2, "bfloat16": 2}


def agrees(got: Content, want: Content, elements: str) -> bool:
    """Whether two contents are the same, but for roundings of their elements.

    What is in a workspace, memory does not say: it may be any of the types.
    """
    changed = got != want
    kinds = ROUNDINGS if elements == "bytes" else [elements]
    return not changed.any() or any(close(got, want, changed, kind) for kind in kinds)


def close(got: Content, want: Content, changed: npt.NDArray[np.bool_], kind: str) -> bool:
    size = 2 if kind == "bfloat16" else np.dtype(kind).itemsize
    count = len(got) // size * size
    if changed[count:].any():
        return False
    x, y = (numbers(part[:count], kind) for part in (got, want))
    own = changed[:count].reshape(-1, size).any(1)
    x, y = x[own], y[own]
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    eps = 2.0**-7 if kind == "bfloat16" else float(np.finfo(kind).eps)
    return bool((np.abs(x - y) <= ROUNDINGS[kind] * eps * np.abs(y).max()).all())


def numbers(content: Content, kind: str) -> npt.NDArray[np.float64]:
    with np.errstate(all="ignore"):
        if kind == "bfloat16":
            return (content.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return content.view(kind).astype(np.float64)
