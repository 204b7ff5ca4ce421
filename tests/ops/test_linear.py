"""linear against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
from invariance import assert_layouts_agree, assert_rows_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

# Rows, in, out: around vectors of 4, 8 and 16, tiles of 2 or 4 rows by 4 outputs, blocks of 64 rows.
SHAPES = [
    (1, 1, 1),
    (1, 64, 10),
    (2, 17, 5),
    (3, 15, 4),
    (5, 33, 7),
    (4, 128, 8),
    (63, 31, 3),
    (67, 20, 9),
    (130, 3, 6),
    (1, 2048, 1000),
]


def sample(rng: np.random.Generator, rows: int, inputs: int, outputs: int) -> tuple[Array, Array, Array]:
    shapes = [(rows, inputs), (outputs, inputs), (outputs,)]
    x, weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, weight, bias


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(shape: tuple[int, int, int], isa: str, rng: np.random.Generator) -> None:
    x, weight, bias = sample(rng, *shape)
    for offsets in (bias, None):
        y = _core.linear(x, weight, offsets)
        products = float(np.abs(x).max() * np.abs(weight).max())
        assert_close(y, reference.linear(x, weight, offsets), terms=shape[1] + 1, products=max(products, 4.0))
        assert y.dtype == np.float32
        assert y.flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_integers_are_exact(shape: tuple[int, int, int], isa: str, rng: np.random.Generator) -> None:
    rows, inputs, outputs = shape
    x, weight = (
        rng.integers(-9, 10, size).astype(np.float32) for size in [(rows, inputs), (outputs, inputs)]
    )
    bias = np.arange(outputs, dtype=np.float32)
    np.testing.assert_array_equal(_core.linear(x, weight, bias), reference.linear(x, weight, bias))


def test_error_of_a_long_sum_is_that_of_a_run(isa: str) -> None:
    """Terms of one sign: a lane adds up 256, as in a convolution, whose test derives 2.3 eps.

    Without runs 12,500 to 50,000 terms of a lane leave 4 to 14 eps.
    """
    rng = np.random.default_rng(0)
    x, weight = (rng.random((rows, 200_003), dtype=np.float32) for rows in (2, 13))
    want = reference.linear(x, weight)
    error = np.sqrt(np.mean((_core.linear(x, weight, None) / want - 1) ** 2))
    assert error <= 2.3 * np.finfo(np.float32).eps


def test_nan_stays_in_its_row_and_output(isa: str, rng: np.random.Generator) -> None:
    x, weight, bias = sample(rng, 7, 21, 9)
    x[4, 20] = np.nan
    weight[8, 0] = np.nan
    bias[0] = np.inf
    y = _core.linear(x, weight, bias)
    want = np.zeros((7, 9), bool)
    want[4, :] = want[:, 8] = True
    np.testing.assert_array_equal(np.isnan(y), want)
    np.testing.assert_array_equal(np.isinf(y), np.isinf(bias)[None] & ~want)


@pytest.mark.parametrize("shape", [(3, 6, 5), (11, 131, 77), (70, 40, 130), (2, 500, 303)], ids=str)
def test_result_depends_on_values_only(
    shape: tuple[int, int, int], isa: str, rng: np.random.Generator
) -> None:
    x, weight, bias = sample(rng, *shape)
    assert_layouts_agree(_core.linear, x, weight, bias)
    assert_layouts_agree(lambda weight, x: _core.linear(x, weight, bias), weight, x)
    assert_threads_agree(lambda: _core.linear(x, weight, bias))
    assert_rows_agree(lambda x: _core.linear(x, weight, bias), x)
    # An output alone, or beside others.
    for outputs in (slice(0, 1), slice(1, 4), slice(2, None)):
        np.testing.assert_array_equal(
            _core.linear(x, weight[outputs], bias[outputs]), _core.linear(x, weight, bias)[:, outputs]
        )


X, WEIGHT, BIAS = np.ones((2, 5), np.float32), np.ones((3, 5), np.float32), np.ones(3, np.float32)


def call(x: Any = X, weight: Any = WEIGHT, bias: Any = BIAS) -> Any:
    return _core.linear(x, weight, bias)


BAD: dict[str, tuple[Any, str]] = {
    "x of rank 1": (lambda: call(X[0]), r"linear: x must have 2 dimensions, got 1"),
    "x of rank 3": (lambda: call(X[None]), r"linear: x must have 2 dimensions, got 3"),
    "x of rank 0": (lambda: call(np.array(1, np.float32)), r"linear: x must have 2 dimensions, got 0"),
    "weight of rank 1": (lambda: call(weight=BIAS), r"linear: weight must have 2 dimensions, got 1"),
    "bias of rank 2": (lambda: call(bias=BIAS[:, None]), r"linear: bias must have 1 dimensions, got 2"),
    "x of float64": (lambda: call(X.astype(np.float64)), r"linear: x must be float32, got float64"),
    "weight of float16": (
        lambda: call(weight=WEIGHT.astype(np.float16)),
        r"linear: weight must be float32, got float16",
    ),
    "bias of int64": (lambda: call(bias=BIAS.astype(np.int64)), r"linear: bias must be float32, got int64"),
    "no inputs": (
        lambda: call(X[:, :0], WEIGHT[:, :0]),
        r"linear: sizes of x must be positive, but for the batch, got \(2, 0\)",
    ),
    "no outputs": (
        lambda: call(weight=WEIGHT[:0], bias=BIAS[:0]),
        r"linear: sizes of weight must be positive, got \(0, 5\)",
    ),
    "columns": (lambda: call(X[:, :4]), r"linear: weight must have as many columns as x, 4, got 5"),
    "fewer columns": (
        lambda: call(weight=WEIGHT[:, :4]),
        r"linear: weight must have as many columns as x, 5, got 4",
    ),
    "bias length": (lambda: call(bias=BIAS[:2]), r"linear: bias must have 3 elements, got 2"),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()


def test_refuses_other_types() -> None:
    with pytest.raises(TypeError, match=r"linear: weight must be a numpy.ndarray, got NoneType"):
        call(weight=None)
    with pytest.raises(TypeError, match=r"linear: x must be float32"):
        call(X.astype(">f4"))


def test_result_too_large_for_any_memory_is_an_error() -> None:
    x, weight = np.broadcast_to(np.float32(1), (2**28, 1)), np.broadcast_to(np.float32(1), (2**28, 1))
    with pytest.raises(
        MemoryError, match=r"linear: no memory for a result of shape \(268435456, 268435456\)"
    ):
        call(x, weight, None)
