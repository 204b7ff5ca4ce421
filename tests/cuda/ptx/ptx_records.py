"""Launches that the simulator recorded, compared with what the PTX of the same kernel leaves in memory."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ptx_machine import Launch
from ptx_memory import Counts, DeviceMemory
from ptx_parser import Kernel
from resources import demangled


@dataclass(frozen=True)
class Record:
    """One launch: kernel (by its name without parameters), sizes, arguments, and memory before and after."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: list[bytes]
    before: list[tuple[int, npt.NDArray[np.uint8]]]
    after: list[tuple[int, npt.NDArray[np.uint8]]]
    elements: list[str]  # of each allocation: float32, float16, bfloat16, or bytes


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


def read(folder: Path, program: Path) -> Record:
    lines = [line.split() for line in (folder / "launch.txt").read_text().splitlines()]
    fields = {line[0]: line[1:] for line in lines if line[0] not in ("argument", "memory")}
    blocks = [(int(line[1]), int(line[2])) for line in lines if line[0] == "memory"]

    def memory(name: str) -> list[tuple[int, npt.NDArray[np.uint8]]]:
        content = np.fromfile(folder / name, np.uint8)
        ends = np.cumsum([size for _, size in blocks])
        return [
            (address, content[end - size : end]) for (address, size), end in zip(blocks, ends, strict=True)
        ]

    return Record(
        kernel=symbols(program)[int(fields["kernel"][0])],
        grid=triple(fields["grid"]),
        block=triple(fields["block"]),
        shared=int(fields["shared"][0]),
        arguments=[
            bytes.fromhex(line[1]) if len(line) > 1 else b"" for line in lines if line[0] == "argument"
        ],
        before=memory("before.bin"),
        after=memory("after.bin"),
        elements=[line[3] for line in lines if line[0] == "memory"],
    )


def replay(record: Record, kernel: Kernel) -> tuple[Counts, str]:
    """Runs the launch; its counts, and what differs, which must be nothing."""
    device = DeviceMemory(record.before)
    launch = Launch(kernel, device, record.grid, record.block, record.shared, record.arguments)
    for place, (address, want) in enumerate(record.after):
        if not agrees(device.read(address, len(want)), want, record.elements[place]):
            return launch.counts, f"allocation {place} of {len(want)} bytes differs"
    return launch.counts, ""


# By what sums in another order, fused products and fast functions may differ: roundings of the largest value.
ROUNDINGS = {"float64": 2.0**32, "float32": 256, "float16": 2, "bfloat16": 2}


def agrees(got: npt.NDArray[np.uint8], want: npt.NDArray[np.uint8], elements: str) -> bool:
    """Whether two contents are the same, but for roundings of their elements.

    What is in a workspace, memory does not say: it may be any of the types.
    """
    changed = got != want
    kinds = ROUNDINGS if elements == "bytes" else [elements]
    return not changed.any() or any(close(got, want, changed, kind) for kind in kinds)


def close(
    got: npt.NDArray[np.uint8], want: npt.NDArray[np.uint8], changed: npt.NDArray[np.bool_], kind: str
) -> bool:
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


def numbers(content: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.float64]:
    with np.errstate(all="ignore"):
        if kind == "bfloat16":
            return (content.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return content.view(kind).astype(np.float64)
