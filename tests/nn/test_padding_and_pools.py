"""Padding that differs by side, pad, and the pools that PyTorch has beyond a window with a stride."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from tolerance import assert_close

import lucid
from lucid.nn import functional as F


def randn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def largest_product(x: np.ndarray, weight: np.ndarray) -> float:
    return float(np.abs(x).max() * np.abs(weight).max())


SIDES = [((1, 0), (0, 2)), ((0, 3), (1, 1)), ((2, 2), (0, 1))]


def flat(sides: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, int, int, int]:
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_may_differ_by_side(sides, stride, isa, rng):
    x, weight = randn(rng, 2, 4, 7, 6), randn(rng, 6, 2, 3, 4)
    got = F.conv2d(x, weight, stride=stride, padding=sides, groups=2)
    want = reference.conv2d(x, weight, stride=stride, padding=flat(sides), groups=2)
    assert_close(got, want, terms=24, products=largest_product(x, weight))
    got = F.max_pool2d(x, (6, 4), stride, sides)
    assert_close(got, reference.max_pool2d(x, (6, 4), stride, flat(sides)), terms=1)
    for counted in (False, True):
        got = F.avg_pool2d(x, (6, 4), stride, sides, True, counted)
        assert_close(got, reference.avg_pool2d(x, (6, 4), stride, flat(sides), True, counted), terms=24)


@pytest.mark.parametrize(
    "padding", [((1, 2),), ((1, 2), 3), ((1, 2), (3,)), ((1, 2), (3, 4, 5)), ((1, 2), (3, 4.0)), (1, 2, 3, 4)]
)
def test_padding_by_side_has_one_form(padding):
    with pytest.raises(TypeError, match="conv2d: padding must be an int"):
        F.conv2d(lucid.zeros(1, 3, 5, 5), lucid.zeros(4, 3, 3, 3), padding=padding)


@pytest.mark.parametrize("pad", [(1, 2), (1, 2, 0, 3), (-1, 0, 2, -2), (0, 1, 1, 0, 2, 0, 0, 1), ()])
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_pad_is_torchs(pad, value, rng):
    torch = pytest.importorskip("torch")
    x = randn(rng, 2, 3, 5, 6)
    want = torch.nn.functional.pad(torch.from_numpy(x), pad, value=value).numpy()
    np.testing.assert_array_equal(F.pad(x, pad, value=value).data, want)


@pytest.mark.parametrize(
    ("pad", "error", "message"),
    [
        ((1,), ValueError, "pad must have two ints for each of up to 4 dimensions"),
        ((0,) * 10, ValueError, "pad must have two ints"),
        ((-4, -3), ValueError, "no dimension may become negative"),
        (1, TypeError, "pad must be a tuple of ints"),
        ((1.0, 2), TypeError, "pad must be a tuple of ints"),
    ],
)
def test_pad_says_what_is_wrong(pad, error, message):
    with pytest.raises(error, match=f"pad: {message}"):
        F.pad(lucid.zeros(1, 2, 5, 6), pad)
    with pytest.raises(NotImplementedError, match="pad: mode must be 'constant', got 'reflect'"):
        F.pad(lucid.zeros(1, 2, 5, 6), (1, 1), mode="reflect")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 5), (7, 9), (10, 1)])
def test_adaptive_pool_to_any_size(size, isa, rng):
    x = randn(rng, 2, 5, 7, 6)
    assert_close(F.adaptive_avg_pool2d(x, size), reference.adaptive_avg_pool2d(x, size), terms=42)


def test_adaptive_pool_keeps_a_side(rng):
    x = randn(rng, 2, 5, 7, 6)
    np.testing.assert_array_equal(
        F.adaptive_avg_pool2d(x, (None, 4)).data, F.adaptive_avg_pool2d(x, (7, 4)).data
    )
    np.testing.assert_array_equal(F.adaptive_avg_pool2d(x, (None, None)).data, x)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_avg_pool_divides_by_what_it_is_given(ceil_mode, isa, rng):
    x = randn(rng, 2, 5, 7, 6)
    got = F.avg_pool2d(x, 3, 2, 1, ceil_mode, divisor_override=5)
    want = reference.avg_pool2d(x, 3, 2, 1, ceil_mode, divisor_override=5)
    assert_close(got, want, terms=9, products=2.0)
    for divisor in (0, -1):
        with pytest.raises(ValueError, match="avg_pool2d: divisor_override must be positive"):
            F.avg_pool2d(x, 3, divisor_override=divisor)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pool_returns_the_place_of_the_first_of_the_largest(ceil_mode, dilation, isa, rng):
    x = rng.integers(0, 4, (2, 5, 9, 8)).astype(np.float32)
    x[0, 0, 2:4, 3] = np.nan
    window = (3, 2, 1, dilation, ceil_mode)
    values, places = F.max_pool2d(x, *window, return_indices=True)
    np.testing.assert_array_equal(places.data, reference.max_pool2d_with_indices(x, *window)[1])
    np.testing.assert_array_equal(values.data, F.max_pool2d(x, *window).data)
    assert places.dtype == np.int64


def test_errors_name_the_function_that_was_called():
    x = lucid.zeros(2, 3)
    for function in (
        F.global_avg_pool2d,
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.radix_sum_pool(x, 1),
    ):
        with pytest.raises(ValueError, match="_pool") as caught:
            function(x)
        named = str(caught.value).split(":")[0]
        assert named in ("global_avg_pool2d", "adaptive_avg_pool2d", "radix_sum_pool")
        assert "_pool" not in str(caught.value).split(":", 1)[1]
