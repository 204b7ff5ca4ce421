"""batch_norm_backward against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
import reference_gradients as gradients
from invariance import assert_layouts_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

# Channels around multiples of 4, 8, 16 and of the blocks of 512; pixels around the blocks of 128.
SHAPES = [
    (2, 64, 7, 7),
    (1, 67, 5, 3),
    (3, 1, 4, 9),
    (2, 17, 6, 1),
    (1, 130, 16, 8),
    (3, 33, 13, 5),
    (5, 48, 53),
    (129, 20),
    (2, 3, 1),
    (65, 513),
    (1, 1030, 3, 1),
]

# Quads of products, in pairs, and then 32 of those are added in float32 before double precision takes over.
TERMS = 2 + 32


class Sample:
    """The gradient behind a batch norm, and what that was given."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], offset: float = 0.0) -> None:
        self.x = (rng.standard_normal(shape) * 2 + offset).astype(np.float32)
        self.dy = rng.standard_normal(shape).astype(np.float32)
        self.weight, self.bias = (rng.standard_normal(shape[1]).astype(np.float32) for _ in range(2))
        self.mean, self.var = (s.astype(np.float32) for s in reference.batch_norm_statistics(self.x))
        y = reference.batch_norm(self.x, self.mean, self.var, self.weight, self.bias)
        self.y = reference.relu(y).astype(np.float32)

    def run(self, weight: Array | None, y: Array | None, training: bool) -> tuple[Array, Array, Array]:
        return _core.batch_norm_backward(self.dy, self.x, y, weight, self.mean, self.var, 1e-5, training)

    def check(self, weight: Array | None, y: Array | None, training: bool) -> None:
        dx, dweight, dbias = self.run(weight, y, training)
        want = gradients.batch_norm(self.dy, self.x, self.mean, self.var, weight, 1e-5, y, training)
        channels = (1, -1) + (1,) * (self.x.ndim - 2)
        inverse = 1 / np.sqrt(self.var.astype(np.float64) + 1e-5)
        distance = float(np.abs((self.x - self.mean.reshape(channels)) * inverse.reshape(channels)).max())
        largest, pixels = float(np.abs(self.dy).max()), self.x.size // self.x.shape[1]
        terms = min(pixels, TERMS) + 2
        scale = float(np.abs(inverse * (1 if weight is None else weight)).max())
        # Blocks, whose sums are rounded one by one, add up.
        blocks = -(-pixels // 128)
        assert_close(dbias, want[2], terms=terms * blocks, products=largest)
        assert_close(dweight, want[1], terms=terms * blocks, products=largest * distance)
        # Three terms: g, its mean, and the distance from the mean of x times that of a product.
        products = scale * largest * (max(1.0, distance**2) if training else 1.0)
        assert_close(dx, want[0], terms=3 if training else 1, products=products)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    shape: tuple[int, ...], training: bool, isa: str, rng: np.random.Generator
) -> None:
    s = Sample(rng, shape)
    for weight, y in [(s.weight, s.y), (None, s.y), (s.weight, None), (None, None)]:
        s.check(weight, y, training)


@pytest.mark.parametrize("offset", [100.0, -30000.0])
def test_mean_far_from_zero_costs_no_digits(offset: float, isa: str, rng: np.random.Generator) -> None:
    s = Sample(rng, (3, 37, 9, 8), offset)
    s.check(s.weight, s.y, True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_of_a_residual_is_what_passes_the_relu(
    shape: tuple[int, ...], training: bool, isa: str, rng: np.random.Generator
) -> None:
    s = Sample(rng, shape)
    for y in (s.y, None):
        *with_it, dresidual = _core.batch_norm_backward(
            s.dy, s.x, y, s.weight, s.mean, s.var, 1e-5, training, True
        )
        np.testing.assert_array_equal(dresidual, s.dy if y is None else np.where(y > 0, s.dy, 0))
        for got, want in zip(with_it, s.run(s.weight, y, training), strict=True):
            np.testing.assert_array_equal(got, want)


def test_sums_of_integers_are_exact(isa: str, rng: np.random.Generator) -> None:
    dy, x = (rng.integers(-8, 9, (3, 37, 13, 11)).astype(np.float32) for _ in range(2))
    mean, var = np.full(37, 2, np.float32), np.full(37, 0.25, np.float32)
    y = rng.integers(0, 2, dy.shape).astype(np.float32)
    for result in (None, y):
        dx, dweight, dbias = _core.batch_norm_backward(dy, x, result, None, mean, var, 0.0, False)
        want = gradients.batch_norm(dy, x, mean, var, None, 0.0, result, False)
        for got, exact in zip((dx, dweight, dbias), want, strict=True):
            np.testing.assert_array_equal(got, exact)


def test_relu_stops_what_it_stopped(isa: str) -> None:
    """A gradient counts where y is positive or NaN, and a NaN of dy not where y is 0."""
    y = np.array([0.0, -0.0, 1e-45, 5.0, np.nan], np.float32).repeat(19).reshape(5, 19)
    dy = np.array([np.nan, 3.0, 4.0, 5.0, 6.0], np.float32).repeat(19).reshape(5, 19)
    one = np.ones(19, np.float32)
    dx, _, dbias = _core.batch_norm_backward(dy, y * 0, y, one, one, one, 0.0, False)
    np.testing.assert_array_equal(dx[:, 18], [0, 0, 4, 5, 6])
    np.testing.assert_array_equal(dbias, np.full(19, 15))


def test_constant_statistics_leave_x_alone(isa: str, rng: np.random.Generator) -> None:
    dy = rng.standard_normal((2, 21, 3, 3)).astype(np.float32)
    x, one = np.full_like(dy, np.nan), np.ones(21, np.float32)
    np.testing.assert_array_equal(_core.batch_norm_backward(dy, x, None, None, one, one, 0.0, False)[0], dy)
    assert np.isnan(_core.batch_norm_backward(dy, x, None, None, one, one, 0.0, True)[0]).all()


def test_nan_stays_in_its_channel(isa: str, rng: np.random.Generator) -> None:
    s = Sample(rng, (2, 19, 7, 9))
    s.dy[1, 3, 2, 2] = np.nan
    for result, axes in zip(s.run(s.weight, None, True), ((0, 2, 3), (), ()), strict=True):
        np.testing.assert_array_equal(np.isnan(result).any(axes), np.arange(19) == 3)


def test_empty_batch(isa: str) -> None:
    x, c = np.empty((0, 5, 3, 3), np.float32), np.ones(5, np.float32)
    dx, dweight, dbias = _core.batch_norm_backward(x, x, x, c, c, c, 1e-5, True)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dweight, np.zeros(5))
    np.testing.assert_array_equal(dbias, np.zeros(5))


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (3, 69, 23, 22), (7, 77, 75), (300, 530)], ids=str)
def test_result_depends_on_values_only(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    s = Sample(rng, shape)

    def run(dy: Array, x: Array, y: Array, weight: Array = s.weight, mean: Array = s.mean) -> Any:
        return _core.batch_norm_backward(dy, x, y, weight, mean, s.var, 1e-5, True, True)

    assert_layouts_agree(run, s.dy, s.x, s.y, s.weight, s.mean)
    assert_threads_agree(lambda: run(s.dy, s.x, s.y))


def test_agrees_with_torch(isa: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    s = Sample(rng, (4, 33, 9, 7))
    for training in (True, False):
        x, weight, bias = (torch.tensor(a, requires_grad=True) for a in (s.x, s.weight, s.bias))
        mean, var = torch.tensor(s.mean), torch.tensor(s.var)
        y = torch.relu(torch.nn.functional.batch_norm(x, mean, var, weight, bias, training))
        y.backward(torch.tensor(s.dy))
        got = s.run(s.weight, y.detach().numpy(), training)
        for ours, theirs in zip(got, (x, weight, bias), strict=True):
            np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-4, atol=1e-4)


X, C = np.ones((2, 6, 3, 4), np.float32), np.ones(6, np.float32)


def call(
    dy: Any = X, x: Any = X, y: Any = X, weight: Any = C, mean: Any = C, var: Any = C, eps: Any = 0.1
) -> Any:
    return _core.batch_norm_backward(dy, x, y, weight, mean, var, eps, True)


BAD: dict[str, tuple[Any, str]] = {
    "rank": (lambda: call(x=C), r"x must have 2 to 4 dimensions, got 1"),
    "no channels": (
        lambda: call(x=X[:, :0]),
        r"sizes of x must be positive, but for the batch, got \(2, 0, 3, 4\)",
    ),
    "dy": (lambda: call(dy=X[:1]), r"dy must have shape \(2, 6, 3, 4\), got \(1, 6, 3, 4\)"),
    "rank of dy": (lambda: call(dy=X[0]), r"dy must have shape \(2, 6, 3, 4\), got \(6, 3, 4\)"),
    "y": (lambda: call(y=X[:, :5]), r"y must have shape \(2, 6, 3, 4\), got \(2, 5, 3, 4\)"),
    "dtype of y": (lambda: call(y=X > 0), r"y must be float32, got bool"),
    "weight": (lambda: call(weight=C[:5]), r"weight must have 6 elements, got 5"),
    "mean": (lambda: call(mean=X), r"mean must have 1 dimensions, got 4"),
    "var": (lambda: call(var=C.astype(np.float64)), r"var must be float32, got float64"),
    "eps": (lambda: call(eps=-1.0), r"eps must be finite and not negative, got -1"),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"batch_norm_backward: {message}"):
        refused()
