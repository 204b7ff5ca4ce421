"""Adaptive pooling, indices, divisors, padding by sides and large windows, against float64 and in plans."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
from invariance import assert_layouts_agree, assert_rows_agree, assert_threads_agree
from plan_steps import step
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]


def image(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def planned(kind: str, x: Array, shape: tuple[int, ...], **attributes: Any) -> Array:
    """The output of a plan of one step."""
    return _core.Plan([x.shape, shape], [0], [1], [step(kind, [0], 1, **attributes)]).run([x])[0]


# ---- adaptive_avg_pool2d

ADAPTIVE = [
    ((2, 19, 7, 9), (3, 4)),
    ((1, 67, 5, 6), (5, 6)),
    ((1, 3, 4, 3), (9, 7)),  # more windows than pixels
    ((2, 16, 14, 1), (1, 1)),
    ((1, 33, 31, 29), (2, 1)),  # windows of hundreds of pixels
    ((1, 300, 10, 10), (3, 3)),
]


@pytest.mark.parametrize(("shape", "size"), ADAPTIVE)
def test_adaptive_average_matches_reference(
    shape: tuple[int, ...], size: tuple[int, int], isa: str, rng: np.random.Generator
) -> None:
    x = image(rng, shape)
    want = reference.adaptive_avg_pool2d(x, size)
    y = _core.adaptive_avg_pool2d(x, size)
    assert_close(y, want, terms=2, products=float(np.abs(x).max()))
    np.testing.assert_array_equal(planned("adaptive_avg_pool2d", x, want.shape, output_size=size), y)
    whole = rng.integers(-999, 1000, shape).astype(np.float32)
    exact = reference.adaptive_avg_pool2d(whole, size).astype(np.float32)
    np.testing.assert_array_equal(_core.adaptive_avg_pool2d(whole, size), exact)


def test_adaptive_average_is_that_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for size in range(1, 12):
        x = image(rng, (1, 2, size, 7))
        for out in range(1, 12):
            want = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), (out, 3)).numpy()
            np.testing.assert_allclose(_core.adaptive_avg_pool2d(x, (out, 3)), want, rtol=1e-5, atol=1e-6)


def test_adaptive_average_of_one_window_is_that_of_the_whole_image(
    isa: str, rng: np.random.Generator
) -> None:
    x = image(rng, (2, 70, 13, 9))
    np.testing.assert_array_equal(
        _core.adaptive_avg_pool2d(x, (1, 1))[:, :, 0, 0], _core.radix_sum_pool(x, 1)
    )


# ---- indices of the largest values


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation", "ceil_mode"),
    [
        ((2, 19, 7, 9), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False),
        ((1, 3, 8, 5), (2, 3), (2, 1), (0, 1, 1, 0), (1, 1), True),
        ((1, 33, 9, 9), (3, 2), (1, 1), (1, 0, 0, 1), (2, 3), False),
    ],
)
def test_indices_are_where_the_largest_values_are(
    shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, isa: str, rng: Any
) -> None:
    x = rng.integers(-3, 4, shape).astype(np.float32)  # with ties
    x[rng.random(shape) < 0.02] = np.nan
    arguments = (kernel, stride, padding, dilation, ceil_mode)
    want, where = reference.max_pool2d_with_indices(x, *arguments)
    y, indices = _core.max_pool2d_with_indices(x, *arguments)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(indices, where)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(_core.max_pool2d(x, *arguments), y)


def test_indices_are_those_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = rng.integers(-3, 4, (2, 5, 9, 11)).astype(np.float32)
    x[0, 0, 4, 4:6] = np.nan
    x[1, 1] = -np.inf
    want = torch.nn.functional.max_pool2d(torch.from_numpy(x), 3, 2, 1, return_indices=True)
    got = _core.max_pool2d_with_indices(x, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other.numpy())


# ---- divisors and padding by sides


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 1, 0), (1, 1, 0, 0)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_padding_may_differ_by_side(
    padding: tuple[int, int, int, int], ceil_mode: bool, isa: str, rng: np.random.Generator
) -> None:
    x = image(rng, (2, 35, 8, 7))
    window = {"kernel_size": (3, 2), "stride": (2, 2), "padding": padding, "ceil_mode": ceil_mode}
    want = reference.max_pool2d(x, **window)  # type: ignore[arg-type]
    y = _core.max_pool2d(x, (3, 2), (2, 2), padding, (1, 1), ceil_mode)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(planned("max_pool2d", x, want.shape, **window), y)
    for count in (False, True):
        for divisor in (0, 1, 5):
            options = {**window, "count_include_pad": count, "divisor_override": divisor}
            want = reference.avg_pool2d(x, **options)  # type: ignore[arg-type]
            y = _core.avg_pool2d(x, (3, 2), (2, 2), padding, ceil_mode, count, divisor)
            assert_close(y, want, terms=6, products=float(np.abs(x).max()))
            np.testing.assert_array_equal(planned("avg_pool2d", x, want.shape, **options), y)


def test_a_divisor_is_that_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = rng.integers(-9, 10, (1, 3, 9, 8)).astype(np.float32)
    want = torch.nn.functional.avg_pool2d(torch.from_numpy(x), 3, 2, 1, True, True, 4).numpy()
    np.testing.assert_array_equal(_core.avg_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1), True, True, 4), want)


# ---- large windows


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1.7])
def test_large_windows_are_as_exact_as_their_result(value: float, isa: str, rng: np.random.Generator) -> None:
    x = (rng.random((1, 2, 1024, 1024)) + value).astype(np.float32)
    x[0, 1] = value
    want = x.mean((2, 3), np.float64)
    for y in (
        _core.radix_sum_pool(x, 1),
        _core.adaptive_avg_pool2d(x, (1, 1))[:, :, 0, 0],
        _core.avg_pool2d(x, (1024, 1024), (1, 1), (0, 0, 0, 0), False, True)[:, :, 0, 0],
        planned("radix_sum_pool", x, (1, 2), radix=1),
    ):
        np.testing.assert_allclose(y, want, rtol=3e-7)


# ---- the same numbers, whatever the threads, the memory and the neighbours

FUNCTIONS = {
    "adaptive": lambda x: _core.adaptive_avg_pool2d(x, (3, 5)),
    "large": lambda x: _core.avg_pool2d(x, (5, 6), (1, 1), (2, 0, 1, 3), True, True),
    "indices": lambda x: _core.max_pool2d_with_indices(x, (3, 3), (2, 1), (0, 1, 1, 1), (1, 1), False)[1],
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_result_depends_on_values_only(function: Any, isa: str, rng: np.random.Generator) -> None:
    x = image(rng, (3, 69, 13, 12))
    assert_layouts_agree(function, x)
    assert_threads_agree(lambda: function(x))
    assert_rows_agree(function, x)


X = np.ones((2, 6, 5, 4), np.float32)
REFUSED = {
    "size": (lambda: _core.adaptive_avg_pool2d(X, (0, 1)), "output_size must be positive, got (0, 1)"),
    "huge size": (lambda: _core.adaptive_avg_pool2d(X, (2**40, 2**40)), "y must have at most 2^58 elements"),
    "rank": (lambda: _core.adaptive_avg_pool2d(X[0], (1, 1)), "x must have 4 dimensions, got 3"),
    "divisor": (
        lambda: _core.avg_pool2d(X, (2, 2), (1, 1), (0, 0, 0, 0), False, True, -1),
        "divisor_override must be positive, or 0 for none, got -1",
    ),
    "one side": (
        lambda: _core.max_pool2d(X, (2, 2), (1, 1), (0, 0, 0, 2), (1, 1), False),
        "padding must be between 0 and half of kernel_size (2, 2), got (0, 0, 0, 2)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
