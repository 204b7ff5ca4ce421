"""Every gradient on DeviceArrays against float64, in each dtype and in row-major and channels-last memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
import reference_gradients as gradients
from device_arrays import Array, assert_near, load, on_device, rounded

from lucid import _core

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load()


@pytest.fixture(params=["C", "channels_last"])
def place(request: pytest.FixtureRequest, dtype: str) -> Any:
    """Brings an array to the device, its images in one order of memory."""
    return lambda x: on_device(x, dtype, request.param if x.ndim == 4 else "C")


def drawn(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Normal numbers that ``dtype`` has."""
    return rounded(rng.standard_normal(shape).astype(np.float32), dtype)


@pytest.mark.parametrize("shape", [(2, 67, 5, 4), (5, 48, 11), (70, 20)], ids=str)
def test_batch_norm(shape: Any, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x, dy = (drawn(rng, dtype, *shape) for _ in range(2))
    weight, y = drawn(rng, dtype, shape[1]), np.maximum(drawn(rng, dtype, *shape), 0)
    mean, var = (part.astype(np.float32) for part in reference.batch_norm_statistics(x))
    vectors = [on_device(part, "float32") for part in (mean, var)]
    pixels, largest = x.size // shape[1], float(np.abs(dy).max() * (1 + np.abs(x).max()))
    for result, factor in ((y, weight), (None, None)):
        given = [None if part is None else place(part) for part in (result, factor)]
        for training in (True, False):
            *got, dresidual = _core.batch_norm_backward(
                place(dy), place(x), *given, *vectors, 1e-5, training, True
            )
            assert_near(dresidual, dy if result is None else np.where(result > 0, dy, 0), 1, 0.0)
            want = gradients.batch_norm(dy, x, mean, var, factor, 1e-5, result, training)
            # Gradients of vectors are float32, whatever x is.
            assert got[1].dtype == got[2].dtype == np.float32
            for one, exact in zip(got, want, strict=True):
                assert_near(one, exact, pixels, largest * 4)


@pytest.mark.parametrize("shape", [(2, 19, 5, 4), (7, 40), (33,)], ids=str)
def test_elementwise(shape: Any, dtype: str, place: Any, rng: np.random.Generator) -> None:
    dy, y = (drawn(rng, dtype, *shape) for _ in range(2))
    y.flat[:3] = np.nan, 0, -0.0
    assert_near(_core.relu_backward(place(dy), place(y)), gradients.relu(dy, y))
    y = rounded(rng.uniform(0, 1, shape).astype(np.float32), dtype)
    assert_near(_core.sigmoid_backward(place(dy), place(y)), gradients.sigmoid(dy, y), 2)


@pytest.mark.parametrize("log", [False, True])
def test_softmax(log: bool, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x, dy = (drawn(rng, dtype, 3, 7, 5) for _ in range(2))
    for dim in (0, 1, -1):
        y = rounded((reference.log_softmax if log else reference.softmax)(x, dim).astype(np.float32), dtype)
        want = (gradients.log_softmax if log else gradients.softmax)(dy, y, dim)
        assert_near(_core.softmax_backward(place(dy), place(y), dim, log), want, 8, float(np.abs(dy).max()))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy(reduction: str, dtype: str, place: Any, rng: np.random.Generator) -> None:
    code = ["none", "sum", "mean"].index(reduction)
    x, weight = drawn(rng, dtype, 3, 70, 2, 5), np.abs(drawn(rng, dtype, 70)) + np.float32(0.5)
    classes = rng.integers(0, 70, (3, 2, 5))
    classes[0, 0, 0] = -1
    for target in (classes, np.abs(drawn(rng, dtype, *x.shape))):
        given = on_device(target, "int64") if target is classes else place(target)
        for factors, smoothing in ((None, 0.0), (weight, 0.1)):
            options: Any = {"ignore_index": -1, "reduction": reduction, "label_smoothing": smoothing}
            vector = on_device(factors)
            got = _core.cross_entropy(place(x), given, vector, -1, smoothing, code)
            want = reference.cross_entropy(x, target, factors, **options)
            largest = float(np.ptp(x) + 5) * (1 if target is classes else 70) * (1 if factors is None else 4)
            assert_near(got, want, 30 if reduction == "sum" else 4, largest)
            dy = drawn(rng, dtype, *want.shape)
            dx = _core.cross_entropy_backward(place(dy), place(x), given, vector, -1, smoothing, code)
            want = gradients.cross_entropy(dy, x, target, factors, **options)
            assert_near(dx, want, 4, largest * float(np.abs(dy).max()))


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools(ceil_mode: bool, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x = drawn(rng, dtype, 2, 19, 8, 7)
    window = ((3, 2), (2, 2), (1, 1, 1, 1))
    y, indices = _core.max_pool2d_with_indices(place(x), *window, (1, 1), ceil_mode)
    dy = drawn(rng, dtype, *y.shape)
    largest = float(np.abs(dy).max())
    dx = _core.max_pool2d_backward(place(dy), indices, 8, 7, *window, (1, 1), ceil_mode)
    assert_near(dx, gradients.max_pool2d(dy, indices.to_host(), (8, 7)), 4, largest)
    options = (ceil_mode, False, 0)
    dx = _core.avg_pool2d_backward(place(dy), 8, 7, *window, *options)
    assert_near(dx, gradients.avg_pool2d(dy, (8, 7), *window, *options), 4, largest)
    dx = _core.adaptive_avg_pool2d_backward(place(dy), 6, 9)
    assert_near(dx, gradients.adaptive_avg_pool2d(dy, (6, 9)), 4, largest)


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (2, 2)])
def test_split_attention(
    radix: int, cardinality: int, dtype: str, place: Any, rng: np.random.Generator
) -> None:
    dy, x, logits = (drawn(rng, dtype, 2, *s) for s in [(18, 5, 4), (radix * 18, 5, 4), (radix * 18,)])
    got = _core.split_attention_backward(place(dy), place(x), place(logits), radix, cardinality)
    largest = float(np.abs(dy).max() * max(1, np.abs(x).max()))
    for one, exact in zip(got, gradients.split_attention(dy, x, logits, radix, cardinality), strict=True):
        assert_near(one, exact, 20 + radix, largest)
    pooled = drawn(rng, dtype, 2, 18)
    dx = _core.radix_sum_pool_backward(place(pooled), radix, 5, 4)
    assert_near(dx, gradients.radix_sum_pool(pooled, radix, (5, 4)), 1, float(np.abs(pooled).max()))


def test_an_empty_batch(dtype: str) -> None:
    x, c = on_device(np.zeros((0, 4, 2, 2), np.float32), dtype), on_device(np.ones(4, np.float32), "float32")
    dx, *sums = _core.batch_norm_backward(x, x, x, c, c, c, 1e-5, True)
    assert dx.shape == (0, 4, 2, 2)
    for result in sums:
        np.testing.assert_array_equal(result.to_host(), np.zeros(4))
    assert _core.adaptive_avg_pool2d_backward(x, 3, 3).shape == (0, 4, 3, 3)


def test_constant_statistics_have_the_gradient_of_any_x() -> None:
    """As on the CPU: dx does not depend on x, and is finite where x is not."""
    x, c = on_device(np.float32([[np.inf, 1], [2, np.nan]])), on_device(np.ones(2, np.float32))
    dy = np.float32([[1, 2], [3, 4]])
    dx, _, _ = _core.batch_norm_backward(on_device(dy), x, None, c, c, c, 0.0, False)
    np.testing.assert_array_equal(dx.to_host(), dy)
