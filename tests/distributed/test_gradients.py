"""GradientBuckets: sums over processes, begun in backward and in one order, and gradients that are absent."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import process_threads
import pytest
from process_threads import ThreadCommunicator

import lucid
from lucid.communicator import SingleProcess
from lucid.distributed import GradientBuckets
from lucid.nn import Parameter

SIZES = (3, 5, 2, 7)


def parameters(count: int = len(SIZES)) -> list[Parameter]:
    return [Parameter(np.arange(1, size + 1, dtype=np.float32)) for size in SIZES[:count]]


def loss(values: list[Parameter], factor: float) -> Any:
    """A number whose slopes are integers; the last parameters are reached first by backward."""
    total: Any = lucid.zeros()
    for number, value in enumerate(values, 1):
        total = total + (value * (factor * number)).sum()
    return total


@pytest.mark.parametrize("bucket_bytes", [1, 24, 32, 1 << 20])
def test_gradients_are_sums_over_processes(bucket_bytes: int) -> None:
    def work(communicator: ThreadCommunicator) -> list[Any]:
        values = parameters()
        buckets = GradientBuckets(values, communicator, bucket_bytes)
        for _ in range(2):  # the second time as the first
            for value in values:
                value.grad = None
            with buckets.reducing():
                loss(values, communicator.rank + 1).backward()
        return [value.grad for value in values]

    for found in process_threads.run(3, work):
        for number, (gradient, size) in enumerate(zip(found, SIZES, strict=True), 1):
            np.testing.assert_array_equal(gradient.numpy(), np.full(size, 6.0 * number, np.float32))


def test_buckets_are_sent_while_backward_goes_on() -> None:
    """And in one order, although each process reaches the parameters in another."""

    def work(communicator: ThreadCommunicator) -> tuple[list[int], list[int]]:
        values = parameters()
        buckets = GradientBuckets(values, communicator, bucket_bytes=1)
        seen: list[int] = []
        for value in values:
            value.register_post_accumulate_grad_hook(lambda _: seen.append(len(communicator.started)))
        turned = values if communicator.rank == 0 else values[::-1]
        with buckets.reducing():
            loss(turned, 1.0).backward()
        return seen, [started.array.size for started in communicator.started]

    first, second = process_threads.run(2, work)
    assert sorted([first[0], second[0]]) == [[0, 0, 0, 4], [1, 2, 3, 4]]
    assert first[1] == second[1] == [size + 1 for size in reversed(SIZES)]


def test_accumulated_gradients_are_sent_once() -> None:
    def work(communicator: ThreadCommunicator) -> tuple[int, list[Any]]:
        values = parameters()
        buckets = GradientBuckets(values, communicator)
        for number in range(3):
            with buckets.reducing() if number == 2 else nullcontext():
                # The last call reaches the first parameter alone.
                loss(values if number < 2 else values[:1], 1.0).backward()
        return len(communicator.started), [value.grad for value in values]

    for count, found in process_threads.run(2, work):
        assert count == 1
        for number, gradient in enumerate(found, 1):
            want = 2 * number * (3 if number == 1 else 2)
            np.testing.assert_array_equal(gradient.numpy(), np.full(SIZES[number - 1], want, np.float32))


def test_a_gradient_of_one_process_is_that_of_all_and_one_of_none_stays_absent() -> None:
    def work(communicator: ThreadCommunicator) -> list[Any]:
        values = parameters(3)
        buckets = GradientBuckets(values, communicator)
        used = values[:1] if communicator.rank == 0 else values[:2]
        with buckets.reducing():
            loss(used, 1.0).backward()
        return [value.grad for value in values]

    for first, second, third in process_threads.run(2, work):
        np.testing.assert_array_equal(first.numpy(), np.full(3, 2, np.float32))
        np.testing.assert_array_equal(second.numpy(), np.full(5, 2, np.float32))
        assert third is None


def test_two_calls_of_backward_are_refused() -> None:
    def work(communicator: ThreadCommunicator) -> None:
        values = parameters()
        buckets = GradientBuckets(values, communicator)
        with buckets.reducing():
            loss(values, 1.0).backward()
            loss(values, 1.0).backward()

    with pytest.raises(ValueError, match="backward must be called once within reducing"):
        process_threads.run(2, work)


def test_one_process_exchanges_nothing() -> None:
    values = parameters()
    buckets = GradientBuckets(values, SingleProcess())
    with buckets.reducing():
        loss(values, 1.0).backward()
    for number, value in enumerate(values, 1):
        assert value.grad is not None
        np.testing.assert_array_equal(value.grad.numpy(), np.full(SIZES[number - 1], number, np.float32))


def test_other_dtypes_are_refused() -> None:
    values = [Parameter(np.ones(3))]

    def work(communicator: ThreadCommunicator) -> None:
        GradientBuckets(values, communicator)

    with pytest.raises(NotImplementedError, match="must be float32 on the CPU, got float64 on cpu"):
        process_threads.run(2, work)


def test_frozen_parameters_are_left_out() -> None:
    def work(communicator: ThreadCommunicator) -> int:
        values = parameters(2)
        values[0].requires_grad = False
        buckets = GradientBuckets(values, communicator)
        with buckets.reducing():
            loss(values, 1.0).backward()
        assert values[0].grad is None
        return int(communicator.started[0].array.size)

    assert process_threads.run(2, work) == [6, 6]
