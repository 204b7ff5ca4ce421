"""Order and memory: where NaN stands, and results that do not depend on strides."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from tolerance import assert_close

import lucid
from lucid import Tensor
from lucid.nn import functional as F

NAN = float("nan")
WITH_NAN = [[1.0, NAN, float("inf"), -2.0, NAN, 1.0], [3.0, 3.0, -1.0, float("-inf"), 0.0, 2.0]]


def test_nan_is_the_largest_everywhere():
    x = lucid.tensor(WITH_NAN)
    values, indices = x.topk(3)
    np.testing.assert_array_equal(values.data, [[NAN, NAN, np.inf], [3, 3, 2]])
    assert indices.tolist() == [[1, 4, 2], [0, 1, 5]]
    assert x.argmax(1).tolist() == x.max(1).indices.tolist() == [row[0] for row in indices.tolist()]
    np.testing.assert_array_equal(x.max(1).values.data, values.data[:, 0])
    assert x.topk(2, largest=False).indices.tolist() == [[3, 0], [3, 2]]
    assert x.sort().indices.tolist()[0] == [3, 0, 5, 2, 1, 4]
    assert x.argsort(descending=True).tolist()[0] == [1, 4, 2, 0, 5, 3]
    assert np.isnan(x.max().item())
    assert x.argmin(1).tolist() == [1, 3]  # NaN again: PyTorch's minimum is NaN as well


def test_integers_are_ordered_without_overflow():
    low = np.iinfo(np.int64).min
    x = lucid.tensor([5, low, 7])
    assert x.topk(3).values.tolist() == [7, 5, low]
    assert lucid.tensor([1, 255, 3], dtype=np.uint8).topk(2).indices.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["argmax", "argmin", "max", "min", "topk", "sort"])
def test_torch_orders_the_same(name, rng):
    torch = pytest.importorskip("torch")
    values = rng.permutation(np.array([NAN, 1, 2, 3, 4, -np.inf, np.inf, 0.5], np.float32))
    args = (8, 0) if name == "topk" else (0,)
    ours, theirs = getattr(Tensor(values), name)(*args), getattr(torch.from_numpy(values), name)(*args)
    if name.startswith("arg"):
        assert ours.item() == theirs.item()
        return
    np.testing.assert_array_equal(ours.values.data, theirs.values.numpy())
    np.testing.assert_array_equal(ours.indices.data, theirs.indices.numpy())


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """The same values in other places of memory."""
    wide = np.zeros([2 * length for length in x.shape], x.dtype)
    every_second = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    every_second[...] = x
    backwards = tuple(slice(None, None, -1) for _ in x.shape)
    return [
        np.asfortranarray(x),
        every_second,
        np.ascontiguousarray(x[backwards])[backwards],
        np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(7, 1000), (3, 21, 5, 4)])
def test_softmax_does_not_depend_on_memory(shape, dtype, isa, rng):
    x = (rng.standard_normal(shape) * 5).astype(dtype)
    for dim in range(len(shape)):
        for function in (F.softmax, F.log_softmax):
            want = function(x, dim).data
            for same in layouts(x):
                np.testing.assert_array_equal(function(same, dim).data, want)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy_does_not_depend_on_memory(dtype, reduction, rng):
    logits = (rng.standard_normal((5, 33, 6, 7)) * 3).astype(dtype)
    classes = rng.integers(0, 33, (5, 6, 7))
    shares = rng.random((5, 33, 6, 7)).astype(dtype)
    weight = rng.random(33).astype(dtype)
    for target in (classes, shares):
        want = F.cross_entropy(logits, target, weight, reduction=reduction, label_smoothing=0.1).data
        for x in layouts(logits):
            for y in layouts(target):
                got = F.cross_entropy(x, y, weight, reduction=reduction, label_smoothing=0.1)
                np.testing.assert_array_equal(got.data, want)


def test_long_sums_are_exact_in_float32():
    x = np.full((1, 2, 1024, 1024), 0.1, np.float32)
    exact = float(x[0, 0, 0, 0])
    for mean in (
        F.global_avg_pool2d(x),
        F.radix_sum_pool(x, 1),
        F.adaptive_avg_pool2d(x, 1),
        F.avg_pool2d(x, 1024),
        Tensor(x).mean((2, 3)),
        Tensor(x).mean(),
        Tensor(np.asfortranarray(x)).mean(),
        Tensor(x).sum() / x.size,
    ):
        assert abs(mean.data.astype(np.float64) / exact - 1).max() < 1e-6


def test_reductions_of_nothing_are_silent():
    x = lucid.zeros(0, 3)
    assert np.isnan(x.mean(0).data).all()
    assert x.sum(0).tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(lucid.ones(1, 3).var(0).data).all()
    assert x.softmax(1).shape == x.log_softmax(0).shape == (0, 3)
    assert x.max(1).values.shape == (0,)


def test_sums_of_the_largest_numbers_overflow_as_float32_does():
    x = lucid.full((4,), 3e38)
    assert x.sum().item() == np.inf
    assert_close(x.mean(), reference.float64(x.data).mean(), terms=4, products=3e38)
