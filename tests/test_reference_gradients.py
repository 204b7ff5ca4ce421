"""The float64 gradients against finite differences of the float64 operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
import reference_gradients as gradients

Array = npt.NDArray[np.float64]


def assert_gradient(function: Callable[[Array], Array], x: Array, dy: Array, dx: Array) -> None:
    """Central differences of ``sum(dy * function(x))`` along every element of ``x``."""
    step, want = 1e-5, np.empty_like(x)
    for place in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            values.append(float((dy * function(moved)).sum()))
        want[place] = (values[0] - values[1]) / (2 * step)
    np.testing.assert_allclose(dx, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(training: bool, relu: bool, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 2, 3, 4, 2))
    mean, var = reference.batch_norm_statistics(x)
    weight, bias = np.array([0.5, -2.0, 1.5]), np.array([0.1, 0.2, -0.3])

    def forward(x: Array, weight: Array = weight, bias: Array = bias) -> Array:
        y = reference.batch_norm(
            x, *(reference.batch_norm_statistics(x) if training else (mean, var)), weight, bias
        )
        return reference.relu(y) if relu else y

    y = forward(x) if relu else None
    dx, dweight, dbias = gradients.batch_norm(dy, x, mean, var, weight, y=y, training=training)
    assert_gradient(forward, x, dy, dx)
    assert_gradient(lambda weight: forward(x, weight), weight, dy, dweight)
    assert_gradient(lambda bias: forward(x, bias=bias), bias, dy, dbias)


def test_elementwise(rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 3, 5))
    assert_gradient(reference.relu, x, dy, gradients.relu(dy, reference.relu(x)))
    assert_gradient(reference.sigmoid, x, dy, gradients.sigmoid(dy, reference.sigmoid(x)))
    np.testing.assert_array_equal(gradients.relu([1.0, 2.0], [np.nan, 0.0]), [1.0, 0.0])


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_softmax(dim: int, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 3, 4, 2))
    for name in ("softmax", "log_softmax"):
        forward: Any = getattr(reference, name)
        dx = getattr(gradients, name)(dy, forward(x, dim), dim)
        assert_gradient(lambda x, forward=forward: forward(x, dim), x, dy, dx)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("indexed", [False, True])
def test_cross_entropy(indexed: bool, reduction: str, rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((3, 4, 2)), rng.uniform(0.5, 2, 4)
    target: Any = np.array([[0, 3], [2, 2], [-1, 1]]) if indexed else rng.random(x.shape)
    options: Any = {"ignore_index": -1, "reduction": reduction, "label_smoothing": 0.3}
    dy = rng.standard_normal(reference.cross_entropy(x, target, weight, **options).shape)
    dx = gradients.cross_entropy(dy, x, target, weight, **options)
    assert_gradient(lambda x: reference.cross_entropy(x, target, weight, **options), x, dy, dx)


def test_max_pool2d(rng: np.random.Generator) -> None:
    x = rng.permutation(2 * 2 * 5 * 6).reshape(2, 2, 5, 6).astype(np.float64)
    window = (3, 2, 1, (1, 2), True)
    y, indices = reference.max_pool2d_with_indices(x, *window)
    dy = rng.standard_normal(y.shape)
    dx = gradients.max_pool2d(dy, indices, (5, 6))
    assert_gradient(lambda x: reference.max_pool2d(x, *window), x, dy, dx)


def test_avg_pool2d(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 2, 5, 6))
    for options in [(True, True, 0), (True, False, 0), (False, True, 5)]:
        window = ((3, 2), 2, 1, *options)
        dy = rng.standard_normal(reference.avg_pool2d(x, *window).shape)
        dx = gradients.avg_pool2d(dy, (5, 6), *window)
        assert_gradient(lambda x, window=window: reference.avg_pool2d(x, *window), x, dy, dx)
    for size in [(1, 1), (3, 4), (7, 6)]:
        dy = rng.standard_normal((1, 2, *size))
        dx = gradients.adaptive_avg_pool2d(dy, (5, 6))
        assert_gradient(lambda x, size=size: reference.adaptive_avg_pool2d(x, size), x, dy, dx)


def test_radix_sum_pool(rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 6, 3, 2)), rng.standard_normal((2, 3))
    dx = gradients.radix_sum_pool(dy, 2, (3, 2))
    assert_gradient(lambda x: reference.radix_sum_pool(x, 2), x, dy, dx)


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_split_attention(radix: int, cardinality: int, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, radix * 4, 2, 3)), rng.standard_normal((2, 4, 2, 3))
    logits = rng.standard_normal((2, radix * 4))
    dx, dlogits = gradients.split_attention(dy, x, logits, radix, cardinality)
    assert_gradient(lambda x: reference.split_attention(x, logits, radix, cardinality), x, dy, dx)
    assert_gradient(
        lambda logits: reference.split_attention(x, logits, radix, cardinality), logits, dy, dlogits
    )
