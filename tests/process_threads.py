"""Processes of a communicator as threads of one, for tests without MPI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_SECONDS = 60.0  # after which a process that waits for another one gives up


class _Job:
    """The values that the threads exchange."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=_SECONDS)
        self.values: list[Any] = [None] * size


class ThreadCommunicator:
    """One of several threads. What is started is done in ``wait``, so that a missing one shows."""

    def __init__(self, job: _Job, rank: int, size: int) -> None:
        self.job, self.rank, self.size = job, rank, size
        self.started: list[Any] = []

    def all_gather(self, value: Any) -> list[Any]:
        self.job.values[self.rank] = value
        self.job.barrier.wait()
        found = list(self.job.values)
        self.job.barrier.wait()
        return found

    def all_reduce(self, array: Any) -> None:
        array[...] = sum(self.all_gather(array.copy()), np.zeros_like(array))

    def start_all_reduce(self, array: Any) -> _Started:
        self.started.append(_Started(self, array))
        return self.started[-1]

    def broadcast(self, value: Any) -> Any:
        return self.all_gather(value)[0]


class _Started:
    def __init__(self, communicator: ThreadCommunicator, array: Any) -> None:
        self.communicator, self.array = communicator, array
        self.before = array.copy()

    def test(self) -> None: ...

    def wait(self) -> None:
        np.testing.assert_array_equal(self.array, self.before, "the array must stay until it is sent")
        self.communicator.all_reduce(self.array)


def run(size: int, work: Callable[[ThreadCommunicator], T]) -> list[T]:
    """The results of ``work`` in each of ``size`` threads; the first error of one, if any."""
    job = _Job(size)

    def one(rank: int) -> T:
        try:
            return work(ThreadCommunicator(job, rank, size))
        except BaseException:
            job.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        waiting = [pool.submit(one, rank) for rank in range(size)]
    raised = [error for each in waiting if (error := each.exception()) is not None]
    for error in sorted(raised, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [each.result() for each in waiting]
