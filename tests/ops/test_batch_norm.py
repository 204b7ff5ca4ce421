"""batch_norm and batch_norm_statistics against float64."""

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

# Channels around multiples of 4, 8, 16 and of the blocks of 64; pixels around the blocks of 64.
SHAPES = [
    (2, 64, 7, 7),
    (1, 67, 5, 3),
    (3, 1, 4, 9),
    (1, 15, 1, 6),
    (2, 17, 6, 1),
    (1, 130, 8, 8),
    (1, 33, 13, 5),
    (5, 48, 11),
    (2, 3, 1),
    (4, 20),
    (65, 129),
    (1, 256, 1, 1),
]


class Sample:
    """An input and the parameters of its channels."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        c = shape[1]
        self.x = (rng.standard_normal(shape) * 2 + 1).astype(np.float32)
        self.weight, self.bias, self.mean = (rng.standard_normal(c).astype(np.float32) for _ in range(3))
        self.var = rng.uniform(0.25, 4, c).astype(np.float32)

    def check(self, weight: Array | None, bias: Array | None, relu: bool, residual: Array | None) -> None:
        y = _core.batch_norm(self.x, weight, bias, self.mean, self.var, 1e-5, relu, residual)
        want = reference.batch_norm(self.x, self.mean, self.var, weight, bias)
        # Three terms: the scaled distance from the mean, the bias and the residual.
        terms = [reference.batch_norm(self.x, self.mean, self.var, weight)]
        terms += [part for part in (bias, residual) if part is not None]
        if residual is not None:
            want = want + residual
        products = max(float(np.abs(term).max()) for term in terms)
        assert_close(y, reference.relu(want) if relu else want, terms=len(terms), products=products)
        assert (y.transpose(0, 2, 3, 1) if y.ndim == 4 else y).flags.c_contiguous


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(shape: tuple[int, ...], relu: bool, isa: str, rng: np.random.Generator) -> None:
    s = Sample(rng, shape)
    residual = rng.standard_normal(shape).astype(np.float32)
    for weight, bias in [(s.weight, s.bias), (None, s.bias), (s.weight, None), (None, None)]:
        for addend in (None, residual):
            s.check(weight, bias, relu, addend)


def test_residual_is_added_before_the_relu(isa: str) -> None:
    x, residual = np.array([[1.0], [-3.0]], np.float32), np.array([[-2.0], [4.0]], np.float32)
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    y = _core.batch_norm(x, None, None, zero, one, 0.0, True, residual)
    np.testing.assert_array_equal(y, [[0.0], [1.0]])


def test_eps_is_added_to_the_variance(isa: str) -> None:
    x = np.array([[1.0], [-3.0]], np.float32)
    zero = np.zeros(1, np.float32)
    np.testing.assert_array_equal(_core.batch_norm(x, None, None, zero, zero, 0.25), 2 * x)
    with np.errstate(divide="ignore"):
        want = x / zero
    np.testing.assert_array_equal(_core.batch_norm(x, None, None, zero, zero, 0.0), want)


def test_mean_far_from_zero_costs_no_digits(isa: str, rng: np.random.Generator) -> None:
    """Folded into one scale and one shift, it would be off by the rounding of numbers 10,000 times larger."""
    x = (10000 + rng.integers(-8, 9, (2, 21, 5, 5))).astype(np.float32)
    mean, var = np.full(21, 10000, np.float32), np.full(21, 0.25, np.float32)
    np.testing.assert_array_equal(_core.batch_norm(x, None, None, mean, var, 0.0), (x - 10000) * 2)


def test_scale_is_rounded_once(isa: str, rng: np.random.Generator) -> None:
    """Its error is that of a whole channel. Several roundings on the way miss the nearest in 3 of 10."""
    weight, bias = rng.standard_normal(999).astype(np.float32), np.zeros(999, np.float32)
    var = rng.uniform(0.25, 4, 999).astype(np.float32)
    one, mean = np.ones((1, 999), np.float32), np.zeros(999, np.float32)
    want = weight / np.sqrt(var.astype(np.float64) + 1e-3)
    np.testing.assert_array_equal(
        _core.batch_norm(one, weight, bias, mean, var, 1e-3)[0], want.astype(np.float32)
    )


def test_nan_and_infinity_come_through(isa: str) -> None:
    x = np.zeros((1, 19, 3, 3), np.float32)
    x[0, :, 0, 0] = np.nan
    x[0, :, 1, 1] = np.inf
    x[0, :, 2, 2] = -np.inf
    mean, var = np.ones(19, np.float32), np.ones(19, np.float32)
    for relu in (False, True):
        y = _core.batch_norm(x, None, None, mean, var, 0.0, relu)
        want = np.where(np.isnan(x), x, np.maximum(x - 1, 0) if relu else x - 1)
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (3, 69, 23, 22), (7, 77, 75), (130, 300)], ids=str)
def test_result_depends_on_values_only(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    s = Sample(rng, shape)

    def normalize(
        x: Array,
        residual: Array,
        weight: Array = s.weight,
        bias: Array = s.bias,
        mean: Array = s.mean,
        var: Array = s.var,
    ) -> Array:
        return _core.batch_norm(x, weight, bias, mean, var, 1e-5, True, residual)

    assert_layouts_agree(normalize, s.x, s.x, s.weight, s.bias, s.mean, s.var)
    assert_threads_agree(lambda: normalize(s.x, s.x))
    assert_rows_agree(lambda x: normalize(x, x), s.x)


# ---- statistics --------------------------------------------------------------------------------------------

TERMS = (
    16 + 4
)  # squared deviations, and then sums of 16, are added in float32 before double precision takes over


@pytest.mark.parametrize("offset", [0.0, 100.0, -30000.0])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 70, 33, 31)], ids=str)
def test_statistics_match_reference(
    shape: tuple[int, ...], offset: float, isa: str, rng: np.random.Generator
) -> None:
    """A large mean must not show in the variance, as it would in E[x^2] - E[x]^2."""
    x = (rng.standard_normal(shape) + offset).astype(np.float32)
    mean, var = _core.batch_norm_statistics(x)
    want_mean, want_var = reference.batch_norm_statistics(x)
    deviations = np.abs(x - want_mean.reshape((1, -1) + (1,) * (x.ndim - 2))).max()
    assert_close(mean, want_mean)
    assert_close(var, want_var, terms=TERMS, products=float(deviations**2) / TERMS)
    assert mean.dtype == var.dtype == np.float32


def test_statistics_of_integers_are_exact(isa: str, rng: np.random.Generator) -> None:
    """The mean of every 64 pixels is 5 and all deviations integers: only the last quotient is rounded."""
    half = rng.integers(-20, 21, (3, 37, 4, 8)).astype(np.float32)
    x = np.concatenate([half, -half], axis=2) + 5
    mean, var = _core.batch_norm_statistics(x)
    np.testing.assert_array_equal(mean, np.full(37, 5))
    np.testing.assert_array_equal(var, (half.astype(np.float64) ** 2).mean((0, 2, 3)).astype(np.float32))


@pytest.mark.parametrize("value", [0.1, -1e-15, 12345.678, 3e15])
def test_variance_of_a_constant_is_zero(value: float, isa: str) -> None:
    x = np.full((3, 21, 7, 11), value, np.float32)
    mean, var = _core.batch_norm_statistics(x)
    np.testing.assert_array_equal(mean, x[0, :, 0, 0])
    np.testing.assert_array_equal(var, np.zeros(21))


def test_statistics_of_nan_and_infinity(isa: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 19, 7, 9)).astype(np.float32)
    x[0, 3, 1, 1] = np.nan
    x[1, 4, 6, 6] = np.inf
    x[1, 18, 0, 0] = -np.inf
    mean, var = _core.batch_norm_statistics(x)
    with np.errstate(invalid="ignore"):
        want_mean, want_var = reference.batch_norm_statistics(x)
    assert_close(mean, want_mean)
    np.testing.assert_array_equal(np.isnan(var), np.isnan(want_var))


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (2, 69, 33, 22), (7, 130, 75), (300, 130)], ids=str)
def test_statistics_depend_on_values_only(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    x = (rng.standard_normal(shape) + 3).astype(np.float32)
    assert_layouts_agree(_core.batch_norm_statistics, x)
    assert_threads_agree(lambda: _core.batch_norm_statistics(x))


# ---- what is refused ---------------------------------------------------------------------------------------

X, C = np.ones((2, 6, 3, 4), np.float32), np.ones(6, np.float32)


def call(x: Any = X, weight: Any = C, bias: Any = C, mean: Any = C, var: Any = C, eps: Any = 1e-5) -> Any:
    return _core.batch_norm(x, weight, bias, mean, var, eps)


BAD: dict[str, tuple[Any, str]] = {
    "residual": (
        lambda: _core.batch_norm(X, C, C, C, C, 1e-5, True, X[:1]),
        r"batch_norm: residual must have shape \(2, 6, 3, 4\), got \(1, 6, 3, 4\)",
    ),
    "rank 1": (lambda: call(C), r"batch_norm: x must have 2 to 4 dimensions, got 1"),
    "rank 5": (lambda: call(X[None]), r"batch_norm: x must have 2 to 4 dimensions, got 5"),
    "rank 0": (lambda: call(np.array(1, np.float32)), r"batch_norm: x must have 2 to 4 dimensions, got 0"),
    "dtype": (lambda: call(X.astype(np.int32)), r"batch_norm: x must be float32, got int32"),
    "no channels": (
        lambda: call(X[:, :0]),
        r"batch_norm: sizes of x must be positive, but for the batch, got \(2, 0, 3, 4\)",
    ),
    "empty row": (
        lambda: call(X[:, :, 0, :0]),
        r"batch_norm: sizes of x must be positive, but for the batch, got \(2, 6, 0\)",
    ),
    "weight": (lambda: call(weight=C[:5]), r"batch_norm: weight must have 6 elements, got 5"),
    "bias": (lambda: call(bias=X[0, :, :, 0]), r"batch_norm: bias must have 1 dimensions, got 2"),
    "mean": (lambda: call(mean=C.astype(np.float64)), r"batch_norm: mean must be float32, got float64"),
    "var": (lambda: call(var=np.ones(7, np.float32)), r"batch_norm: var must have 6 elements, got 7"),
    "eps": (lambda: call(eps=-1e-5), r"batch_norm: eps must be finite and not negative, got -1e-05"),
    "nan eps": (
        lambda: call(eps=float("nan")),
        r"batch_norm: eps must be finite and not negative, got -?nan",
    ),
    "infinite eps": (
        lambda: call(eps=float("inf")),
        r"batch_norm: eps must be finite and not negative, got inf",
    ),
    "statistics rank": (
        lambda: _core.batch_norm_statistics(C),
        r"batch_norm_statistics: x must have 2 to 4 dimensions, got 1",
    ),
    "statistics empty": (
        lambda: _core.batch_norm_statistics(X[:, :, :0]),
        r"batch_norm_statistics: sizes of x must be positive, got \(2, 6, 0, 4\)",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()


def test_refuses_other_types() -> None:
    with pytest.raises(TypeError, match=r"batch_norm: mean must be a numpy.ndarray, got NoneType"):
        call(mean=None)
    with pytest.raises(TypeError, match=r"batch_norm: var must be float32 in native byte order"):
        call(var=C.astype(">f4"))
    with pytest.raises(TypeError, match=r"batch_norm_statistics: x must be float32"):
        _core.batch_norm_statistics(X.astype(object))


def test_result_too_large_for_any_memory_is_an_error() -> None:
    huge = np.broadcast_to(np.float32(1), (2**27, 6, 2**27))
    with pytest.raises(
        MemoryError, match=r"batch_norm: no memory for a result of shape \(134217728, 6, 134217728\)"
    ):
        call(huge)
    with pytest.raises(MemoryError, match=r"batch_norm_statistics: no memory for a copy of x"):
        _core.batch_norm_statistics(huge)
