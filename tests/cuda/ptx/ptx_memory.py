"""Memory of a device and of its blocks: notices what a kernel must not do, counts what accesses cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Lanes = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NOBODY, SEVERAL = -1, -2
SECTOR = 32  # bytes that memory gives out at least
BANK_WIDTH, BANKS = 4, 32


class Fault(Exception):
    """A kernel did what it must not do."""


class DeviceMemory:
    """All allocations of a device, at the addresses that they had."""

    def __init__(self, blocks: list[tuple[int, Bytes]]) -> None:
        self.begin = min(address for address, _ in blocks)
        size = max(address + len(content) for address, content in blocks) - self.begin
        self.content = np.full(size, 0xFF, np.uint8)
        self.allocated = np.zeros(size, np.bool_)
        for address, content in blocks:
            place = address - self.begin
            self.content[place : place + len(content)] = content
            self.allocated[place : place + len(content)] = True

    def places(self, addresses: Lanes, size: int, what: str) -> Lanes:
        """Indices of every byte, (lanes, size)."""
        places = (addresses - self.begin)[:, None] + np.arange(size)
        inside = (places >= 0) & (places < len(self.content))
        if not inside.all() or not self.allocated[places].all():
            raise Fault(f"a {what} outside of every allocation")
        return places

    def read(self, address: int, size: int) -> Bytes:
        return self.content[address - self.begin : address - self.begin + size]

    def load(self, addresses: Lanes, size: int) -> Bytes:
        return self.content[self.places(addresses, size, "load")]

    def store(self, addresses: Lanes, values: Bytes) -> None:
        self.content[self.places(addresses, values.shape[1], "store")] = values


class SharedMemory:
    """Shared memory of some blocks; knows who read and wrote each byte since the last barrier."""

    def __init__(self, blocks: int, size: int, threads: int) -> None:
        shape = (blocks, max(size, 1))
        self.size, self.threads = size, threads
        self.content = np.full(shape, 0xFF, np.uint8)
        self.written = np.zeros(shape, np.bool_)
        self.writer = np.full(shape, NOBODY, np.int32)
        self.reader = np.full(shape, NOBODY, np.int32)

    def barrier(self, block: int) -> None:
        self.writer[block] = self.reader[block] = NOBODY

    def places(self, addresses: Lanes, size: int, what: str) -> Lanes:
        places = addresses[:, None] + np.arange(size)
        if (places < 0).any() or (places >= self.size).any():
            raise Fault(f"a {what} outside of shared memory")
        return places

    def load(self, blocks: Lanes, threads: Lanes, addresses: Lanes, size: int, written: bool = True) -> Bytes:
        """Content, which somebody must have written unless ``written`` is false."""
        places, block, thread = self.places(addresses, size, "load"), blocks[:, None], threads[:, None]
        if written and not self.written[block, places].all():
            raise Fault("a load of shared memory that nobody wrote")
        writer = self.writer[block, places]
        if ((writer >= 0) & (writer // 32 != thread // 32)).any():
            raise Fault("a load of what another warp stored, without a barrier between")
        reader = self.reader[block, places]
        self.reader[block, places] = np.where((reader == NOBODY) | (reader == thread), thread, SEVERAL)
        return self.content[block, places]

    def store(self, blocks: Lanes, threads: Lanes, addresses: Lanes, values: Bytes) -> None:
        places = self.places(addresses, values.shape[1], "store")
        block, thread = blocks[:, None], threads[:, None]
        writer, reader = self.writer[block, places], self.reader[block, places]
        foreign = ((writer >= 0) & (writer // 32 != thread // 32)) | (
            (reader >= 0) & (reader // 32 != thread // 32)
        )
        if foreign.any() or ((reader == SEVERAL) & (self.threads > 32)).any():
            raise Fault("a store over what another warp uses, without a barrier between")
        self.content[block, places] = values
        self.written[block, places] = True
        self.writer[block, places] = thread

    def forget(self, blocks: Lanes, addresses: Lanes, size: int) -> None:
        """A copy is on its way there: until it arrives, nobody may read."""
        self.written[blocks[:, None], self.places(addresses, size, "copy")] = False


def pairs_agree(warps: Lanes, lanes: Lanes, addresses: Lanes, other: int) -> bool:
    """Whether each lane wants the address of the lane whose number differs in a bit, if there is one."""
    table = np.full((int(warps.max()) + 1, 32), NOBODY, np.int64)
    table[warps, lanes] = addresses
    theirs = table[:, np.arange(32) ^ other]
    return bool(((table == theirs) | (table == NOBODY) | (theirs == NOBODY)).all())


@dataclass
class Traffic:
    """Accesses of whole warps, their cost and the least possible: sectors, or passes over the banks."""

    requests: int = 0
    cost: int = 0
    least: int = 0


class Counts:
    """Work of some blocks: instructions of warps by their whole name, and their accesses to memory."""

    def __init__(self) -> None:
        self.instructions: Counter[str] = Counter()
        self.traffic: dict[tuple[str, str], Traffic] = {}
        self._sectors: list[Lanes] = []  # of global memory, in the order of the accesses

    def distinct_sectors(self) -> int:
        """Sectors of global memory, each counted once however often the blocks come back to it."""
        return len(np.unique(np.concatenate(self._sectors))) if self._sectors else 0

    def access(self, space: str, kind: str, warps: Lanes, lanes: Lanes, addresses: Lanes, size: int) -> None:
        traffic = self.traffic.setdefault((space, kind), Traffic())
        traffic.requests += len(np.unique(warps))
        if space == "shared":
            self._count_passes(traffic, kind, warps, lanes, addresses, size)
        else:
            sectors = (addresses[:, None] + np.arange(0, size, 4)) // SECTOR
            self._sectors.append(np.unique(sectors))
            keys = np.repeat(warps, sectors.shape[1]).astype(np.uint64) << np.uint64(44)
            traffic.cost += len(np.unique(keys | sectors.ravel().astype(np.uint64)))
            traffic.least += -(-len(addresses) * size // SECTOR)

    @staticmethod
    def _count_passes(
        traffic: Traffic, kind: str, warps: Lanes, lanes: Lanes, addresses: Lanes, size: int
    ) -> None:
        """A pass reaches each bank once; wide accesses go by halves and quarters of a warp.

        Two of these are loaded in one pass where lanes n and n ^ 1 want the same address, or n and n ^ 2, for
        all n: https://forums.developer.nvidia.com/t/unexpected-shared-memory-bank-conflict/77228
        """
        lanes_together = 32 // max(1, size // BANK_WIDTH)
        if kind == "load" and lanes_together < 32:
            paired = any(pairs_agree(warps, lanes, addresses, other) for other in (1, 2))
            lanes_together *= 2 if paired else 1
        part = warps * 8 + lanes // lanes_together
        words = (addresses[:, None] + np.arange(0, max(size, BANK_WIDTH), BANK_WIDTH)) // BANK_WIDTH
        each = np.unique((np.repeat(part, words.shape[1]) << 32) | words.ravel())
        banks, visits = np.unique(((each >> 32) << 5) | (each % BANKS), return_counts=True)
        groups, first = np.unique(banks >> 5, return_index=True)
        traffic.cost += int(np.maximum.reduceat(visits, first).sum())
        traffic.least += len(groups)
