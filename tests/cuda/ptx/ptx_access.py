"""Accesses to memory, by the space that an instruction names or that its addresses lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ptx_memory import Fault, Lanes
from ptx_values import Values

if TYPE_CHECKING:
    from ptx_machine import Threads

# Where a space begins in generic addresses; global memory keeps its own.
WINDOWS = {"shared": 1 << 60, "local": 1 << 61}
SPACES = ("global", "shared", "local", "param")


def space_of(parts: tuple[str, ...], addresses: Lanes) -> tuple[str, Lanes]:
    """The space that an instruction names or generic addresses lie in; and the addresses inside of it."""
    for part in parts[1:]:
        if part in SPACES:
            return part, addresses
    windows = np.unique(addresses >> 60)
    if len(windows) > 1:
        raise Fault("one access to several spaces of memory")
    for space, begin in WINDOWS.items():
        if int(windows[0]) == begin >> 60:
            return space, addresses - begin
    return "global", addresses


def check_alignment(addresses: Lanes, size: int) -> None:
    if (addresses % size).any():
        raise Fault(f"an address is no multiple of {size}")


def load_bytes(
    t: Threads, space: str, addresses: Lanes, size: int, lanes: Lanes, written: bool = True
) -> Values:
    if space == "global":
        found = t.device.load(addresses, size)
    elif space == "shared":
        found = t.shared.load(t.block[lanes], t.thread[lanes], addresses, size, written)
    elif space == "param":
        found = t.parameters[addresses[:, None] + np.arange(size)]
    else:
        found = t.local[lanes[:, None], addresses[:, None] + np.arange(size)]
    return np.ascontiguousarray(found)


def store_bytes(t: Threads, space: str, addresses: Lanes, bits: Values, lanes: Lanes) -> None:
    raw = np.ascontiguousarray(bits).view(np.uint8).reshape(len(lanes), -1)
    if space == "global":
        t.device.store(addresses, raw)
    elif space == "shared":
        t.shared.store(t.block[lanes], t.thread[lanes], addresses, raw)
    else:
        t.local[lanes[:, None], addresses[:, None] + np.arange(raw.shape[1])] = raw


def names(operand: str) -> list[str]:
    return [name.strip() for name in operand.strip("{}").split(",")]
