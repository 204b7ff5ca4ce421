"""A program that lends lucid its threads and its memory, by a lucid_context made of Python functions."""

from __future__ import annotations

import ctypes
import random
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import c_abi

Task: TypeAlias = Callable[[int | None, int], None]
TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
PARALLEL_FOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, TASK, ctypes.c_void_p)
ALLOCATE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
DEALLOCATE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


def one_after_another(tasks: int, task: Callable[[int], None]) -> None:
    """On the calling thread, in a shuffled order."""
    order = list(range(tasks))
    random.Random(tasks).shuffle(order)
    for index in order:
        task(index)


def on_new_threads(tasks: int, task: Callable[[int], None]) -> None:
    """Each on a thread of its own, which runs in C without Python's lock."""
    threads = [threading.Thread(target=task, args=(index,)) for index in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Pool:
    """Threads for a context; counts the loops that were asked for."""

    def __init__(self, run: Callable[[int, Callable[[int], None]], None], threads: int = 0) -> None:
        self.loops, self._run = 0, run
        self._function = PARALLEL_FOR(self._parallel_for)
        pointer = ctypes.cast(self._function, ctypes.c_void_p)
        self.fields: dict[str, Any] = {"parallel_for": pointer, "threads": threads}

    def _parallel_for(self, host: int | None, tasks: int, task: Task, data: int | None) -> None:
        self.loops += 1
        self._run(tasks, lambda index: task(data, index))


class Limit:
    """The most of lucid's own threads, for a context."""

    def __init__(self, threads: int) -> None:
        self.fields: dict[str, Any] = {"threads": threads}


class Heap:
    """Memory for a context, at addresses that are aligned to nothing; the allocation ``failing`` fails."""

    def __init__(self, failing: int | None = None) -> None:
        self.count, self.wrong, self.blocks = 0, 0, dict[int, Any]()
        self._failing = failing
        self._functions = ALLOCATE(self._allocate), DEALLOCATE(self._deallocate)
        allocate, deallocate = (ctypes.cast(function, ctypes.c_void_p) for function in self._functions)
        self.fields: dict[str, Any] = {"allocate": allocate, "deallocate": deallocate}

    def _allocate(self, host: int | None, size: int) -> int | None:
        self.count += 1
        if self.count - 1 == self._failing:
            return None
        block = ctypes.create_string_buffer(b"\xff" * (size + 2), size + 2)
        address = ctypes.addressof(block) | 1
        self.blocks[address] = block
        return address

    def _deallocate(self, host: int | None, memory: int | None) -> None:
        self.wrong += self.blocks.pop(memory, None) is None  # type: ignore[arg-type]


def context_of(*lent: Pool | Limit | Heap) -> c_abi.Context:
    """A context of what is lent, which must outlive it."""
    fields = {name: value for part in lent for name, value in part.fields.items()}
    return c_abi.Context(size=ctypes.sizeof(c_abi.Context), **fields)
