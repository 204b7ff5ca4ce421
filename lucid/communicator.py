"""Communicator: the way in which processes that train one model together exchange numbers.

A batch is then spread over them. The statistics of batch norm and the draws of dropout are those of the whole
batch within ``batch_part``, so that a network does not notice how many processes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchPart", "Communicator", "Request", "SingleProcess", "batch_part", "share"]


class Request(Protocol):
    """Something that was started, and goes on while the process computes."""

    def test(self) -> object:
        """Lets it make progress; does not wait."""

    def wait(self) -> object:
        """Returns when it is done."""


class Communicator(Protocol):
    """Processes that all call the same methods in the same order, each with values of its own.

    Attributes:
        rank: The number of this process, from 0.
        size: How many processes there are.
    """

    rank: int
    size: int

    def all_reduce(self, array: NDArray[Any]) -> None:
        """Replaces the elements of a contiguous array by their sums over all processes."""

    def start_all_reduce(self, array: NDArray[Any]) -> Request:
        """Begins an ``all_reduce``. The array must stay as it is until the request is done."""

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks; any that can be pickled."""

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0; any that can be pickled."""


class _Done:
    def test(self) -> None: ...
    def wait(self) -> None: ...


class SingleProcess:
    """The communicator of a process on its own."""

    rank, size = 0, 1

    def all_reduce(self, array: NDArray[Any]) -> None: ...

    def start_all_reduce(self, array: NDArray[Any]) -> Request:
        return _Done()

    def all_gather(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any) -> Any:
        return value


def share(items: int, rank: int, size: int) -> slice:
    """The items of one process, where consecutive ones are spread as evenly as they can be."""
    return slice(items * rank // size, items * (rank + 1) // size)


@dataclass(frozen=True)
class BatchPart:
    """The items of a batch that this process computes.

    Attributes:
        communicator: That of the processes that compute the rest.
        first: The number of the first item here in the whole batch.
        count: Items here.
        whole: Items of the whole batch.
    """

    communicator: Communicator
    first: int
    count: int
    whole: int

    def gathered(self, items: NDArray[Any]) -> NDArray[Any]:
        """The items of the whole batch."""
        if self.count == self.whole:
            return items
        found = np.zeros((self.whole, *items.shape[1:]), items.dtype)
        found[self.slice] = items
        self.communicator.all_reduce(found)  # nothing is rounded: all but one of the terms are 0
        return found

    @property
    def slice(self) -> slice:
        """The place of the items here in the whole batch."""
        return slice(self.first, self.first + self.count)


_part_in_use: ContextVar[BatchPart | None] = ContextVar("_part_in_use", default=None)


@contextmanager
def batch_part(part: BatchPart) -> Iterator[None]:
    """Within it, batch norm in training and dropout take their input for a part of a batch."""
    token = _part_in_use.set(part)
    try:
        yield
    finally:
        _part_in_use.reset(token)


def part_in_use() -> BatchPart | None:
    """The part in whose context this is; None where it is all of a batch."""
    part = _part_in_use.get()
    return None if part is None or part.communicator.size == 1 else part
