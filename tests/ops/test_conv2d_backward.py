"""The gradients of conv2d against float64, for every instruction set of this build."""

from __future__ import annotations

from typing import Any

import instruction_sets
import numpy as np
import pytest
import reference
from conv2d_cases import Array, Case, generated, network_layers
from invariance import assert_layouts_agree, assert_threads_agree
from tolerance import WINOGRAD_RELATIVE_RMS, assert_close

from lucid import _core

# One case on each instruction set before the next case.
on_each_isa = pytest.mark.parametrize("isa", instruction_sets.TESTED, indirect=True)

GENERATED = generated(240)
LAYERS = network_layers()[::3]

# Each path of the kernels, each way to divide the work, with tails.
VARIED = [
    Case(3, 64, 64, (14, 13), (3, 3), (1, 1), (1, 1)),
    Case(2, 128, 128, (15, 15), (3, 3), (1, 1), (1, 1), groups=32),
    Case(2, 64, 64, (15, 16), (3, 3), (2, 2), (1, 1), groups=8),
    Case(2, 32, 32, (15, 16), (3, 3), (2, 2), (1, 1), groups=16),
    Case(2, 64, 128, (9, 11), (3, 3), (1, 1), (1, 1), groups=4),
    Case(1, 48, 48, (5, 6), (3, 3), (1, 1), (1, 1), groups=3),
    Case(3, 80, 40, (9, 10), (3, 3), (2, 1), (1, 2), groups=2),
    Case(3, 64, 256, (14, 14), (1, 1)),
    Case(2, 96, 72, (9, 8), (1, 1), (2, 2)),
    Case(3, 3, 32, (31, 30), (7, 7), (2, 2), (3, 3)),
    Case(2, 20, 30, (8, 9), (3, 2), (1, 2), (2, 1), (2, 3), groups=10),
    Case(3, 24, 24, (7, 7), (5, 5), (1, 1), (2, 2), groups=24),
    Case(2, 20, 20, (6, 7), (3, 3), (1, 1), (1, 1), groups=10),
    Case(2, 16, 16, (11, 12), (4, 5), (3, 2), (2, 1), (2, 2), groups=4),
    Case(2, 5, 6, (9, 9), (3, 3), (3, 3), (0, 0), (3, 3)),
    Case(3, 40, 64, (1, 1), (1, 1), groups=4),
]

# On AMX the matrix unit computes the gradient of these weights: pixels that fill no step, run or chunk, or
# several; odd and even distances between taps; outputs and channels for two tasks.
ON_MATRIX_UNIT = [
    Case(3, 64, 32, (5, 7), (1, 1)),
    Case(1, 64, 96, (7, 7), (1, 1)),
    Case(3, 64, 64, (15, 13), (1, 1), (2, 2)),
    Case(2, 128, 192, (9, 10), (1, 1), groups=2),
    Case(1, 608, 544, (7, 7), (1, 1)),
    Case(2, 64, 32, (7, 7), (3, 3), (1, 1), (1, 1)),
    Case(1, 32, 32, (5, 5), (3, 3), (1, 1), (1, 1)),
    Case(2, 64, 128, (14, 13), (3, 3), (2, 2), (1, 1), groups=2),
    Case(1, 32, 32, (61, 11), (3, 3), (1, 1), (1, 1)),
    Case(1, 32, 64, (19, 24), (5, 4), (2, 1), (2, 1), (1, 2)),
    Case(1, 96, 32, (15, 16), (1, 2)),
]
# But not these: part of a panel, one panel with one, padding, few pixels, short rows, a window that reaches
# far.
OFF_MATRIX_UNIT = [
    Case(2, 72, 64, (14, 14), (1, 1)),
    Case(2, 64, 72, (14, 14), (3, 3), (1, 1), (1, 1)),
    Case(2, 32, 32, (14, 14), (1, 1)),
    Case(2, 32, 32, (14, 14), (3, 3), (2, 2), (1, 1)),
    Case(2, 64, 64, (14, 14), (1, 1), (1, 1), (1, 1)),
    Case(2, 64, 64, (4, 5), (1, 1)),
    Case(2, 64, 64, (4, 4), (3, 3), (1, 1), (1, 1)),
    Case(1, 64, 64, (5, 5), (5, 5), (1, 1), (30, 30), (15, 15)),
]
MATRIX_UNITS = [isa for isa in instruction_sets.TESTED if isa.endswith("amx")]
VARIED += ON_MATRIX_UNIT


# Tiles of 4x4 and of 2x2, that fill the image or do not; groups of whole blocks of channels and of pieces.
WINOGRAD = [
    Case(2, 64, 64, (25, 29), (3, 3), (1, 1), (1, 1)),
    Case(3, 32, 64, (14, 14), (3, 3), (1, 1), (1, 1), groups=2),
    Case(1, 24, 40, (30, 23), (3, 3), (1, 1), (1, 1)),
    Case(2, 48, 36, (13, 12), (3, 3), (1, 1), (0, 0), groups=3),
    Case(2, 48, 48, (27, 32), (3, 3), (1, 1), (2, 0), groups=2),
    Case(3, 256, 256, (7, 7), (3, 3), (1, 1), (1, 1), groups=2),
]


def draw(case: Case, integers: bool = False) -> tuple[Array, Array, Array]:
    """x, weight and dy."""
    rng = np.random.default_rng(case.terms)
    fill = (lambda shape: rng.integers(-4, 5, shape)) if integers else rng.standard_normal
    x, weight, _ = case.fill(fill)
    return x, weight, fill((case.n, case.out_channels, *case.out_size)).astype(np.float32)


def backward_input(dy: Array, weight: Array, case: Case, **params: Any) -> Array:
    return _core.conv2d_backward_input(dy, weight, *case.size, **case.params | {"winograd": False} | params)


def backward_weight(dy: Array, x: Array, case: Case, **params: Any) -> tuple[Array, Array]:
    dweight, dbias = _core.conv2d_backward_weight(dy, x, case.kernel, **case.params | params, bias=True)
    assert dbias is not None
    return dweight, dbias


@on_each_isa
@pytest.mark.parametrize("case", VARIED + GENERATED, ids=str)
def test_input_gradient_matches_reference(case: Case, isa: str) -> None:
    _, weight, dy = draw(case)
    want = reference.conv2d_backward_input(dy, weight, *case.size, **case.params)
    terms = case.out_group * case.kernel[0] * case.kernel[1]
    dx = backward_input(dy, weight, case)
    assert_close(dx, want, terms=terms, products=float(np.abs(dy).max() * np.abs(weight).max()))
    assert dx.dtype == np.float32


@on_each_isa
@pytest.mark.parametrize("padding", [None, (0, 1, 2, 3), (3, 0, 1, 0)], ids=str)
@pytest.mark.parametrize("case", WINOGRAD, ids=str)
def test_winograd_matches_reference(case: Case, padding: tuple[int, int, int, int] | None, isa: str) -> None:
    params = case.params if padding is None else case.params | {"padding": padding}
    x, weight, _ = draw(case)
    shape = reference.conv2d(x, weight, None, **params).shape
    dy = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    want = reference.conv2d_backward_input(dy, weight, *case.size, **params)
    got = backward_input(dy, weight, case, **params, winograd=True)
    assert not np.array_equal(got, backward_input(dy, weight, case, **params)), "it was not used"
    assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) <= WINOGRAD_RELATIVE_RMS
    assert_threads_agree(lambda: backward_input(dy, weight, case, **params, winograd=True))


@pytest.mark.parametrize("case", WINOGRAD, ids=str)
def test_winograd_does_not_depend_on_layout(case: Case, isa: str) -> None:
    _, weight, dy = draw(case)
    assert_layouts_agree(lambda a, b: backward_input(a, b, case, winograd=True), dy, weight)


@pytest.mark.parametrize("case", WINOGRAD, ids=str)
def test_winograd_does_not_depend_on_the_batch(case: Case, isa: str) -> None:
    _, weight, dy = draw(case)
    whole = backward_input(dy, weight, case, winograd=True)
    np.testing.assert_array_equal(backward_input(dy[-1:], weight, case, winograd=True), whole[-1:])


@on_each_isa
@pytest.mark.parametrize("case", VARIED + GENERATED, ids=str)
def test_weight_gradient_matches_reference(case: Case, isa: str) -> None:
    x, _, dy = draw(case)
    dweight, dbias = reference.conv2d_backward_weight(dy, x, case.kernel, **case.params)
    pixels = case.n * case.out_size[0] * case.out_size[1]
    got = backward_weight(dy, x, case)
    assert_close(got[0], dweight, terms=pixels, products=float(np.abs(dy).max() * np.abs(x).max()))
    assert_close(got[1], dbias, terms=pixels, products=float(np.abs(dy).max()))


@pytest.mark.parametrize("isa", MATRIX_UNITS, indirect=True)
@pytest.mark.parametrize("case", ON_MATRIX_UNIT + OFF_MATRIX_UNIT, ids=str)
def test_matrix_unit_computes_what_it_is_meant_to(case: Case, isa: str) -> None:
    """The matrix unit, and it alone, makes a NaN of an infinity."""
    x, _, dy = (np.ones_like(array) for array in draw(case))
    x[0, 0] = np.inf
    assert np.isnan(backward_weight(dy, x, case)[0]).any() == (case in ON_MATRIX_UNIT)


@on_each_isa
@pytest.mark.parametrize("case", VARIED + GENERATED + LAYERS, ids=str)
def test_gradients_are_exact_for_integers(case: Case, isa: str) -> None:
    """No rounding happens here, so any difference is a wrong index, which a tolerance may hide."""
    check_integers(case, case.params)


@pytest.mark.parametrize("padding", [(0, 1, 2, 3), (3, 0, 1, 0), (1, 2, 0, 0)], ids=str)
@pytest.mark.parametrize("case", VARIED, ids=str)
def test_padding_may_differ_on_each_side(case: Case, padding: tuple[int, int, int, int], isa: str) -> None:
    check_integers(case, case.params | {"padding": padding})


def check_integers(case: Case, params: dict[str, Any]) -> None:
    x, weight, _ = draw(case, integers=True)
    shape = reference.conv2d(x, weight, None, **params).shape
    dy = np.random.default_rng(1).integers(-4, 5, shape).astype(np.float32)
    dx = backward_input(dy, weight, case, **params)
    np.testing.assert_array_equal(dx, reference.conv2d_backward_input(dy, weight, *case.size, **params))
    dweight, dbias = _core.conv2d_backward_weight(dy, x, case.kernel, **params, bias=True)
    want = reference.conv2d_backward_weight(dy, x, case.kernel, **params)
    np.testing.assert_array_equal(dweight, want[0])
    np.testing.assert_array_equal(dbias, want[1])
    assert _core.conv2d_backward_weight(dy, x, case.kernel, **params, bias=False)[1] is None


@pytest.mark.parametrize("case", VARIED, ids=str)
def test_gradients_do_not_depend_on_threads(case: Case, isa: str) -> None:
    x, weight, dy = draw(case)
    assert_threads_agree(lambda: (backward_input(dy, weight, case), *backward_weight(dy, x, case)))


@pytest.mark.parametrize("case", VARIED, ids=str)
def test_gradients_do_not_depend_on_layout(case: Case, isa: str) -> None:
    x, weight, dy = draw(case)
    assert_layouts_agree(lambda a, b: backward_input(a, b, case), dy, weight)
    assert_layouts_agree(lambda a, b: backward_weight(a, b, case), dy, x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", VARIED, ids=str)
def test_nan_and_infinity_reach_what_they_touch_only(case: Case, value: float, isa: str) -> None:
    x, weight, dy = draw(case, integers=True)
    spoilt = dy.copy()
    spoilt[-1, case.out_group - 1, case.out_size[0] // 2, case.out_size[1] // 2] = value
    with np.errstate(invalid="ignore"):
        want = reference.conv2d_backward_input(spoilt, weight, *case.size, **case.params)
        np.testing.assert_array_equal(backward_input(spoilt, weight, case), want)
        dweight, dbias = backward_weight(spoilt, x, case)
        want, bias = reference.conv2d_backward_weight(spoilt, x, case.kernel, **case.params)
        assert_spoilt(dweight, want, case, isa)
        np.testing.assert_array_equal(dbias, bias)
        for row, column in [(0, 0), (case.size[0] // 2, case.size[1] // 2), (-1, -1)]:
            spoilt = x.copy()
            spoilt[0, case.in_group - 1, row, column] = value
            want, _ = reference.conv2d_backward_weight(dy, spoilt, case.kernel, **case.params)
            assert_spoilt(backward_weight(dy, spoilt, case)[0], want, case, isa)


def assert_spoilt(dweight: Array, want: Array, case: Case, isa: str) -> None:
    """The matrix unit makes a NaN of an infinity, and may of all taps of its channel; others stay exact."""
    if case.in_group % 32 == case.out_group % 32 == 0 and isa in MATRIX_UNITS:
        spoilt = ~np.isfinite(want)
        assert np.isnan(dweight[spoilt]).all()
        want = np.where(spoilt.any(axis=(2, 3), keepdims=True), dweight, want)
    np.testing.assert_array_equal(dweight, want)


def test_empty_batch_has_gradients_of_zero(isa: str) -> None:
    case = Case(0, 6, 8, (5, 4), (3, 3), (2, 1), (1, 1), groups=2)
    x, weight, dy = draw(case)
    assert backward_input(dy, weight, case).shape == x.shape
    for got, shape in zip(backward_weight(dy, x, case), (weight.shape, (8,)), strict=True):
        np.testing.assert_array_equal(got, np.zeros(shape))


LONG = [
    Case(4, 8, 8, (56, 56), (3, 3), (1, 1), (1, 1), groups=1),
    Case(4, 8, 8, (56, 56), (3, 3), (1, 1), (1, 1), groups=2),
    Case(4, 64, 32, (56, 56), (1, 1)),
    Case(2, 32, 32, (56, 56), (3, 3), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("case", LONG, ids=str)
def test_error_of_a_long_sum_is_that_of_a_run(case: Case, isa: str) -> None:
    """Terms of one sign; the bound is that of conv2d's own long sums."""
    rng = np.random.default_rng(0)
    x, _, _ = case.fill(rng.random)
    dy = rng.random((case.n, case.out_channels, *case.out_size)).astype(np.float32)
    want = reference.conv2d_backward_weight(dy, x, case.kernel, **case.params)
    for got, exact in zip(backward_weight(dy, x, case), want, strict=True):
        assert np.sqrt(np.mean(((got - exact) / exact) ** 2)) <= 2.3 * np.finfo(np.float32).eps


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "dy of rank 3": ({"dy": np.zeros((4, 6, 5), np.float32)}, "dy must"),
    "dy of float64": ({"dy": np.zeros((2, 4, 6, 5))}, "dy must"),
    "dy of another size": ({"dy": np.zeros((2, 4, 6, 6), np.float32)}, "dy must"),
    "groups 0": ({"groups": 0}, "groups"),
    "groups that do not divide": ({"groups": 3}, ""),
    "stride 0": ({"stride": (0, 1)}, "stride"),
    "dilation 0": ({"dilation": (1, 0)}, "dilation"),
    "padding negative": ({"padding": (0, -1, 0, -1)}, "padding"),
}
BAD_INPUT = BAD | {
    "weight of rank 3": ({"weight": np.zeros((4, 4, 3), np.float32)}, "weight must"),
    "groups 2**62": ({"groups": 2**62}, "groups"),
    "no rows": ({"height": 0}, "0"),
    "negative width": ({"width": -1}, "-1"),
}
BAD_WEIGHT = BAD | {
    "x of rank 3": ({"x": np.zeros((8, 6, 5), np.float32)}, "x must"),
    "x of another batch": ({"x": np.zeros((3, 8, 6, 5), np.float32)}, "dy must"),
    "more groups than channels": ({"groups": 2**62}, "sizes of weight"),
    "empty kernel": ({"kernel_size": (0, 3)}, "0"),
    "negative kernel": ({"kernel_size": (3, -1)}, "-1"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_arguments_of_the_input_gradient(name: str) -> None:
    valid: dict[str, Any] = {
        "dy": np.zeros((2, 4, 6, 5), np.float32),
        "weight": np.zeros((4, 4, 3, 3), np.float32),
        "height": 6,
        "width": 5,
        "stride": (1, 1),
        "padding": (1, 1, 1, 1),
        "dilation": (1, 1),
        "groups": 2,
        "winograd": False,
    }
    _core.conv2d_backward_input(**valid)
    change, words = BAD_INPUT[name]
    with pytest.raises(ValueError, match=f"^conv2d_backward_input: .*{words}"):
        _core.conv2d_backward_input(**valid | change)


@pytest.mark.parametrize("name", BAD_WEIGHT)
def test_bad_arguments_of_the_weight_gradient(name: str) -> None:
    valid: dict[str, Any] = {
        "dy": np.zeros((2, 4, 6, 5), np.float32),
        "x": np.zeros((2, 8, 6, 5), np.float32),
        "kernel_size": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1, 1, 1),
        "dilation": (1, 1),
        "groups": 2,
        "bias": True,
    }
    _core.conv2d_backward_weight(**valid)
    change, words = BAD_WEIGHT[name]
    with pytest.raises(ValueError, match=f"^conv2d_backward_weight: .*{words}"):
        _core.conv2d_backward_weight(**valid | change)
