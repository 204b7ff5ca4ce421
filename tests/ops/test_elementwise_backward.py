"""Gradients of relu, sigmoid, softmax and its logarithm against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference_gradients as gradients
from invariance import assert_layouts_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

SHAPES: list[tuple[int, ...]] = [(7,), (3, 19), (2, 33, 5, 3), (1, 64, 4, 4), (2, 3, 2, 3, 2), ()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    dy = np.asarray(rng.standard_normal(shape), np.float32)
    y = _core.relu(np.asarray(rng.standard_normal(shape), np.float32))
    np.testing.assert_array_equal(_core.relu_backward(dy, y), gradients.relu(dy, y))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sigmoid(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    dy = np.asarray(rng.standard_normal(shape), np.float32)
    y = _core.sigmoid(np.asarray(rng.standard_normal(shape) * 9, np.float32))
    assert_close(_core.sigmoid_backward(dy, y), gradients.sigmoid(dy, y), terms=2)


@pytest.mark.parametrize("step", [1, 2])
def test_nan_and_infinity(step: int, isa: str) -> None:
    """As in PyTorch, a NaN that a ReLU gave lets the gradient through, and one in dy does not pass a 0."""
    y = np.array([0, -0.0, np.nan, np.inf, 1e-45, 0, 3], np.float32).repeat(9)
    dy = np.array([np.nan, np.inf, 2, 3, 4, 5, np.nan], np.float32).repeat(9)
    want = np.array([0, 0, 2, 3, 4, 0, np.nan], np.float32).repeat(9)[::step]
    np.testing.assert_array_equal(_core.relu_backward(dy[::step], y[::step]), want)
    assert np.isnan(_core.sigmoid_backward(dy[:1], y[3:4])).all()
    np.testing.assert_array_equal(_core.sigmoid_backward(dy[27:36], np.ones(9, np.float32)), np.zeros(9))


def test_relu_agrees_with_torch(isa: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([np.nan, 0, -0.0, np.inf, -np.inf, 1, -1] * 5, np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    theirs = torch.tensor(x, requires_grad=True)
    torch.relu(theirs).backward(torch.tensor(dy))
    np.testing.assert_array_equal(_core.relu_backward(dy, _core.relu(x)), theirs.grad.numpy())


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 1000), 1), ((5, 7), 0), ((2, 3, 4, 5), -3), ((9,), 0), ((4, 1), 1)]
)
def test_softmax(shape: tuple[int, ...], dim: int, log: bool, isa: str, rng: np.random.Generator) -> None:
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    y = _core.softmax(x, dim, log)
    want = (gradients.log_softmax if log else gradients.softmax)(dy, y, dim)
    # The sum is double; an exponential, a product and a difference are rounded.
    largest = float(np.abs(dy).max()) * (1 + (shape[dim] ** 0.5 if log else 0))
    assert_close(_core.softmax_backward(dy, y, dim, log), want, terms=2, products=largest)

    torch = pytest.importorskip("torch")
    theirs = torch.tensor(x, requires_grad=True)
    functional = torch.nn.functional
    (functional.log_softmax if log else functional.softmax)(theirs, dim).backward(torch.tensor(dy))
    np.testing.assert_allclose(
        _core.softmax_backward(dy, y, dim, log), theirs.grad.numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (3, 69, 23, 22), (130, 300), (40000,)], ids=str)
def test_result_depends_on_values_only(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    dy, y = (np.abs(rng.standard_normal(shape)).astype(np.float32) for _ in range(2))
    functions: list[Any] = [
        _core.relu_backward,
        _core.sigmoid_backward,
        lambda dy, y: _core.softmax_backward(dy, y, -1, False),
        lambda dy, y: _core.softmax_backward(dy, y, 0, True),
    ]
    for function in functions:
        if len(shape) > 1:
            assert_layouts_agree(function, dy, y)
        assert_threads_agree(lambda function=function: function(dy, y))


def test_empty(isa: str) -> None:
    x = np.empty((0, 3), np.float32)
    for result in (
        _core.relu_backward(x, x),
        _core.sigmoid_backward(x, x),
        _core.softmax_backward(x, x, 1, False),
    ):
        assert result.shape == (0, 3)


X = np.ones((2, 3), np.float32)
BAD: dict[str, tuple[Any, str]] = {
    "relu": (
        lambda: _core.relu_backward(X, X[:1]),
        r"relu_backward: y must have shape \(2, 3\), got \(1, 3\)",
    ),
    "relu dtype": (lambda: _core.relu_backward(X, X > 0), r"relu_backward: y must be float32, got bool"),
    "sigmoid": (lambda: _core.sigmoid_backward(X > 0, X), r"sigmoid_backward: dy must be float32, got bool"),
    "softmax": (
        lambda: _core.softmax_backward(X, X.T, 0, False),
        r"softmax_backward: y must have shape \(2, 3\), got \(3, 2\)",
    ),
    "dim": (
        lambda: _core.softmax_backward(X, X, 2, False),
        r"softmax_backward: dim must be from -2 to 1, got 2",
    ),
    "rank": (
        lambda: _core.softmax_backward(np.array(1, np.float32), X, 0, False),
        r"softmax_backward: dy must have 1 to 8 dimensions, got 0",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        refused()
