"""softmax, its logarithm, sigmoid and mul against float64, in every memory layout and in plans."""

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

SHAPES = [(7,), (3, 1), (5, 1000), (2, 19, 3, 4), (2, 3, 2, 2, 5)]


def log_softmax(x: Array, dim: int) -> Array:
    shifted = reference.float64(x) - reference.float64(x).max(dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_matches_reference_along_every_dimension(
    shape: tuple[int, ...], isa: str, rng: np.random.Generator
) -> None:
    x = (10 * rng.standard_normal(shape)).astype(np.float32)
    for dim in range(-len(shape), len(shape)):
        # Differences of up to 80 are rounded, and their error is the relative one of an exponential.
        assert_close(_core.softmax(x, dim), reference.softmax(x, dim), factor=80)
        assert_close(_core.softmax(x, dim, True), log_softmax(x, dim), factor=4)


@pytest.mark.parametrize(("shape", "dims"), [((5, 37), (0, 1)), ((2, 19, 3, 4), (0, 1, 2, 3, -3))])
def test_plans_compute_the_same(
    shape: tuple[int, ...], dims: Any, isa: str, rng: np.random.Generator
) -> None:
    x = (10 * rng.standard_normal(shape)).astype(np.float32)
    for dim in dims:
        for log in (False, True):
            plan = _core.Plan([shape, shape], [0], [1], [step("softmax", [0], 1, dim=dim, log=log)])
            np.testing.assert_array_equal(plan.run([x])[0], _core.softmax(x, dim, log))


def test_large_and_infinite_values(isa: str) -> None:
    x = np.array([[1e30, 1e30, 0], [-1e30, 3, 3], [-np.inf, 1, 1], [200, 100, 0]], np.float32)
    want = [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0.5, 0.5], [1, 0, 0]]
    np.testing.assert_array_equal(_core.softmax(x, 1)[:3], np.float32(want[:3]))
    np.testing.assert_allclose(_core.softmax(x, 1)[3], want[3], atol=1e-40)
    assert _core.softmax(x, 1, True)[3, 1] == -100
    for bad in ([np.nan, 1, 2], [1, np.nan, 2], [np.inf, 1, 2], [-np.inf] * 3):
        assert np.isnan(_core.softmax(np.float32([bad]), 1)).all()


@pytest.mark.parametrize("shape", [(3, 7), (3, 70, 5, 4)], ids=str)
def test_result_depends_on_values_only(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    functions: list[Any] = [
        _core.sigmoid,
        lambda x: _core.softmax(x, 1),
        lambda x: _core.softmax(x, -1, True),
    ]
    for function in functions:
        assert_layouts_agree(function, x)
        assert_threads_agree(lambda function=function: function(x))
        assert_rows_agree(function, x)


@pytest.mark.parametrize("shape", [(), (7,), (3, 70, 5, 4)], ids=str)
def test_sigmoid_matches_reference(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    x = np.asarray(10 * rng.standard_normal(shape), np.float32)
    assert_close(_core.sigmoid(x), reference.sigmoid(x), factor=4)
    edges = np.float32([-np.inf, -1000, 0, 1000, np.inf, np.nan])
    np.testing.assert_array_equal(_core.sigmoid(edges), np.float32([0, 0, 0.5, 1, 1, np.nan]))


@pytest.mark.parametrize("shape", [(2, 19, 3, 4), (1, 64, 7, 7), (3, 1, 1, 1)], ids=str)
def test_mul_is_exact(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    a = rng.standard_normal(shape).astype(np.float32)
    b = rng.standard_normal(shape[:2]).astype(np.float32)
    want = a * b[:, :, None, None]
    np.testing.assert_array_equal(_core.mul(a, b), want)
    plan = _core.Plan([shape, shape[:2], shape], [0, 1], [2], [step("mul", [0, 1], 2)])
    np.testing.assert_array_equal(plan.run([a, b])[0], want)
    assert_layouts_agree(lambda a: _core.mul(a, b), a)
    assert_threads_agree(lambda: _core.mul(a, b))


X = np.ones((2, 6, 5, 4), np.float32)
REFUSED = {
    "softmax dim": (lambda: _core.softmax(X, 4), "softmax: dim must be from -4 to 3, got 4"),
    "softmax scalar": (lambda: _core.softmax(X[0, 0, 0, 0, ...], 0), "x must have 1 to 8 dimensions, got 0"),
    "softmax empty": (lambda: _core.softmax(X[:, :0], 0), "sizes of x must be positive, but for the batch"),
    "sigmoid dtype": (lambda: _core.sigmoid(X.astype(np.float64)), "sigmoid: x must be float32, got float64"),
    "mul shape": (lambda: _core.mul(X, X[:, :5, 0, 0]), "mul: b must have shape (2, 6), got (2, 5)"),
    "mul rank": (lambda: _core.mul(X, X), "mul: b must have 2 dimensions, got 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
