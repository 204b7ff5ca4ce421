"""Batch norm of a batch that is spread over processes: that of the whole batch, forward and backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import process_threads
import pytest
import reference
import reference_gradients as gradients
from process_threads import ThreadCommunicator
from tolerance import assert_close

import lucid
from lucid.communicator import BatchPart, batch_part, share
from lucid.nn import Parameter
from lucid.nn import functional as F

# Images, channels, height and width; images of each process. A process may have a single value of a channel.
SHAPES = [(6, 5, 7, 3), (5, 67, 4, 4), (4, 33, 1, 1), (16, 3, 20, 20)]


class Found(NamedTuple):
    y: Any
    dx: Any
    dweight: Any
    dbias: Any
    running_mean: Any
    running_var: Any


class Case:
    """A batch whose images are unlike, so that no part has the statistics of the whole."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], offset: float = 0.0) -> None:
        drift = 3.0 * rng.standard_normal(shape[:2])[:, :, None, None]
        self.x = (rng.standard_normal(shape) + drift + offset).astype(np.float32)
        self.dy = rng.standard_normal(shape).astype(np.float32)
        self.weight = (0.5 + rng.random(shape[1])).astype(np.float32)
        self.bias = rng.standard_normal(shape[1]).astype(np.float32)

    def run(self, communicator: ThreadCommunicator, relu: bool) -> Found:
        own = share(len(self.x), communicator.rank, communicator.size)
        x, weight, bias = map(Parameter, (self.x[own], self.weight, self.bias))
        mean, var = np.zeros_like(self.bias), np.ones_like(self.bias)
        part = BatchPart(communicator, own.start, own.stop - own.start, len(self.x))
        with batch_part(part):
            y = F.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.3, relu=relu)
            y.backward(self.dy[own])
        assert x.grad is not None
        assert weight.grad is not None
        assert bias.grad is not None
        found = (y.detach(), x.grad, weight.grad, bias.grad)
        return Found(*(each.numpy() for each in found), mean, var)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_that_of_the_whole_batch(
    shape: tuple[int, ...], processes: int, relu: bool, rng: np.random.Generator
) -> None:
    case = Case(rng, shape)
    parts = process_threads.run(processes, lambda communicator: case.run(communicator, relu))
    count, largest = case.x.size // shape[1], float(np.abs(case.dy).max())
    mean, var = reference.batch_norm_statistics(case.x)
    for part in parts:  # the same bits everywhere, or the models would drift apart
        np.testing.assert_array_equal(part.running_mean, parts[0].running_mean)
        np.testing.assert_array_equal(part.running_var, parts[0].running_var)
    assert_close(parts[0].running_mean, 0.3 * mean, terms=count, products=float(np.abs(case.x).max()))
    assert_close(parts[0].running_var, 0.7 + 0.3 * var * count / (count - 1), terms=count)
    y = np.concatenate([part.y for part in parts])
    want = reference.batch_norm(case.x, mean, var, case.weight, case.bias)
    normalized = float(np.abs(reference.batch_norm(case.x, mean, var)).max())
    assert_close(y, np.maximum(want, 0) if relu else want, terms=count, products=normalized * 1.5)
    dx, dweight, dbias = gradients.batch_norm(
        case.dy, case.x, mean, var, case.weight, y=y if relu else None, training=True
    )
    scale = float((case.weight / np.sqrt(var)).max())
    found = np.concatenate([part.dx for part in parts])
    assert_close(found, dx, terms=count, products=scale * largest * max(1.0, normalized**2))
    assert_close(sum(part.dweight for part in parts), dweight, terms=count, products=largest * normalized)
    assert_close(sum(part.dbias for part in parts), dbias, terms=count, products=largest)


@pytest.mark.parametrize("offset", [100.0, -30000.0])
def test_means_that_are_large_leave_the_variance_right(offset: float, rng: np.random.Generator) -> None:
    case = Case(rng, (6, 5, 20, 20), offset)
    part, _ = process_threads.run(2, lambda communicator: case.run(communicator, False))
    _, var = reference.batch_norm_statistics(case.x)
    # A mean is rounded to float32, and by as much the distance between those of two parts is wrong.
    rounding = abs(offset) * np.finfo(np.float32).eps * 4 * np.sqrt(var)
    want = 0.7 + 0.3 * var * 2400 / 2399
    assert (np.abs(part.running_var - want) <= rounding + 2400 * np.finfo(np.float32).eps * want).all()


def test_one_value_in_each_process_is_enough(rng: np.random.Generator) -> None:
    case = Case(rng, (2, 4, 1, 1))
    parts = process_threads.run(2, lambda communicator: case.run(communicator, False))
    y = np.concatenate([part.y for part in parts]) - case.bias[:, None, None]
    # Two values are normalised to one below and one above.
    assert_close(np.abs(y), np.broadcast_to(case.weight[:, None, None], y.shape), terms=40)
    assert (np.sign(y[0]) == -np.sign(y[1])).all()


def test_one_value_in_all_processes_is_refused() -> None:
    x = np.ones((1, 3, 1, 1), np.float32)

    def work(communicator: ThreadCommunicator) -> None:
        with batch_part(BatchPart(communicator, 0, 1, 1)):
            F.batch_norm(x[communicator.rank :], None, None, training=True)

    with pytest.raises(ValueError, match="training needs more than one value per channel"):
        process_threads.run(1, work)


def test_inference_exchanges_nothing() -> None:
    """One process alone does not wait for the other."""
    norm = lucid.nn.BatchNorm2d(3).eval()
    x = np.ones((2, 3, 4, 4), np.float32)

    def work(communicator: ThreadCommunicator) -> None:
        with batch_part(BatchPart(communicator, 0, 2, 4)):
            if communicator.rank == 0:
                norm(x)

    process_threads.run(2, work)


def test_dropout_draws_for_the_whole_batch() -> None:
    x, found = np.ones((6, 5), np.float32), []

    class Silent(ThreadCommunicator):
        def __init__(self) -> None:
            self.rank, self.size = 0, 3

    for layer in (F.dropout, F.drop_path):
        lucid.random.seed(1)
        whole = layer(x, 0.5).numpy()
        after = lucid.random.generator().random()
        for first, count in ((0, 3), (3, 1), (4, 2)):
            lucid.random.seed(1)
            with batch_part(BatchPart(Silent(), first, count, 6)):
                found.append(layer(x[:count], 0.5).numpy())
            assert lucid.random.generator().random() == after
        np.testing.assert_array_equal(np.concatenate(found), whole)
        assert 0 < (whole == 0).sum() < whole.size
        found.clear()
