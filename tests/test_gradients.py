"""The gradient of every primitive: against finite differences, or the gradient of primitives so checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import Tensor
from lucid.nn import functional as F

Function = Callable[..., Tensor]
STEP = 1e-5


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Any:
    return np.random.default_rng(seed + sum(shape)).uniform(low, high, shape)


def distinct(*shape: int) -> Any:
    """Numbers of which no two are near each other, so that a small step changes no order."""
    count = int(np.prod(shape))
    return (np.random.default_rng(count).permutation(count).reshape(shape) - count / 2 + 0.25) / 4


def gradients(function: Function, *inputs: Any) -> list[Any]:
    """Of a weighted sum of the function's result, for each input."""
    tensors = [lucid.tensor(x).requires_grad_() for x in inputs]
    result = function(*tensors)
    result.backward(weights_of(result).astype(result.dtype))
    return [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in tensors]


def weights_of(result: Tensor) -> Any:
    return np.random.default_rng(7).uniform(0.5, 1.5, result.shape)


def differences(function: Function, *inputs: Any, step: float = STEP) -> list[Any]:
    """The same by central differences."""
    found = []
    for place, x in enumerate(inputs):
        slopes = np.empty(x.shape)
        for at in np.ndindex(x.shape):
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[at] += sign * step
                with lucid.no_grad():
                    y = function(*[lucid.tensor(moved if i == place else z) for i, z in enumerate(inputs)])
                ends.append((y.numpy().astype(np.float64) * weights_of(y)).sum())
            slopes[at] = (ends[0] - ends[1]) / (2 * step)
        found.append(slopes)
    return found


def assigned(x: Tensor, y: Tensor, index: Any) -> Tensor:
    z = x * 1.0
    z[index] = y
    return z


ROWS = np.array([2, 0, 2])
# By primitive: functions of float64, which NumPy computes, and their inputs.
IN_FLOAT64: dict[str, list[tuple[Function, tuple[Any, ...]]]] = {
    "add": [
        (lambda x, y: x + y, (numbers(3, 4), numbers(1, 4))),
        (lambda x: 2 + x, (numbers(2, 3),)),
        (lambda x, y: (x + y) + x, (numbers(4), numbers(2, 1, 4))),
    ],
    "subtract": [(lambda x, y: x - y, (numbers(3, 1), numbers(4))), (lambda x: 1 - x, (numbers(3),))],
    "multiply": [(lambda x, y: x * y, (numbers(2, 3), numbers(3))), (lambda x: x * x * 3, (numbers(4),))],
    "divide": [
        (lambda x, y: x / y, (numbers(2, 3), numbers(2, 1, low=0.5))),
        (lambda x: 1 / x, (numbers(3, low=1),)),
    ],
    "remainder": [(lambda x, y: x % y, (numbers(6, low=0.3, high=5.9), numbers(1, low=1.1, high=1.2)))],
    "power": [(lambda x, y: x**y, (numbers(5, low=0.5), numbers(5))), (lambda x: x**3, (numbers(5),))],
    "matmul": [
        (lambda x, y: x @ y, (numbers(2, 3), numbers(3, 4))),
        (lambda x, y: x @ y, (numbers(5, 2, 3), numbers(3, 4))),
        (lambda x, y: x @ y, (numbers(3), numbers(3, 4))),
        (lambda x, y: x @ y, (numbers(2, 2, 3), numbers(3))),
        (lambda x, y: x @ y, (numbers(3), numbers(3, seed=1))),
    ],
    "exp": [(lambda x: x.exp(), (numbers(4),))],
    "log": [(lambda x: x.log(), (numbers(4, low=0.3),))],
    "sqrt": [(lambda x: x.sqrt(), (numbers(4, low=0.3),))],
    "abs": [(abs, (distinct(5),))],
    "negative": [(lambda x: -x, (numbers(3),))],
    "clamp": [
        (lambda x: x.clamp(-0.9, 0.8), (distinct(11),)),
        (lambda x: x.clamp(max=0.1), (distinct(11),)),
    ],
    "sigmoid": [(lambda x: x.sigmoid(), (numbers(4),))],
    "softmax": [
        (lambda x: x.softmax(1), (numbers(3, 4),)),
        (lambda x: x.log_softmax(0), (numbers(3, 4),)),
    ],
    "reshape": [(lambda x: x.reshape(4, 3) * numbers(4, 3), (numbers(3, 4),))],
    "flatten": [(lambda x: x.flatten(1), (numbers(2, 3, 2),))],
    "squeeze": [(lambda x: x.squeeze(1), (numbers(2, 1, 2),))],
    "unsqueeze": [(lambda x: x.unsqueeze(0), (numbers(2, 2),))],
    "view": [(lambda x: x.view(6), (numbers(2, 3),))],
    "permute": [
        (lambda x: x.permute(2, 0, 1) * numbers(4, 2, 3), (numbers(2, 3, 4),)),
        (lambda x: x.T, (numbers(2, 3),)),
    ],
    "index": [
        (lambda x: x[1], (numbers(3, 2),)),
        (lambda x: x[:, ::-2], (numbers(3, 5),)),
        (lambda x: x[ROWS], (numbers(3, 2),)),
        (lambda x: x[np.array([True, False, True])], (numbers(3, 2),)),
        (lambda x: x[ROWS, 1], (numbers(3, 2),)),
        (lambda x: x[None, ..., 0], (numbers(3, 2),)),
    ],
    "assign": [
        (lambda x, y: assigned(x, y, 1), (numbers(3, 2), numbers(2))),
        (lambda x, y: assigned(x, y, (slice(None), 0)), (numbers(3, 2), numbers(1))),
        (lambda x, y: (x * 2).copy_(y), (numbers(3, 2), numbers(2))),
        (lambda x: (x * 2).zero_() + x, (numbers(3, 2),)),
    ],
    "pad": [(lambda x: F.pad(x, (1, 2, -1, 1), value=3.0), (numbers(3, 4),))],
    "cast": [(lambda x: x.float().double(), (numbers(3).astype(np.float32).astype(np.float64),))],
    "clone": [(lambda x: x.clone(), (numbers(3),))],
    "contiguous": [(lambda x: x.T.contiguous(), (numbers(3, 2),))],
    "sum": [
        (lambda x: x.sum(), (numbers(3, 2),)),
        (lambda x: x.sum(1), (numbers(3, 2),)),
        (lambda x: x.sum((0, 2), keepdim=True), (numbers(3, 2, 2),)),
    ],
    "mean": [(lambda x: x.mean(), (numbers(3, 2),)), (lambda x: x.mean(0, keepdim=True), (numbers(3, 2),))],
    "var": [(lambda x: x.var(), (numbers(5),)), (lambda x: x.var(1, correction=0), (numbers(3, 4),))],
    "std": [(lambda x: x.std(), (numbers(5),)), (lambda x: x.std(0, keepdim=True), (numbers(3, 4),))],
    "max": [(lambda x: x.max(), (distinct(3, 4),)), (lambda x: x.max(1).values, (distinct(3, 4),))],
    "min": [
        (lambda x: x.min(), (distinct(3, 4),)),
        (lambda x: x.min(0, keepdim=True).values, (distinct(3, 4),)),
    ],
    "sort": [
        (lambda x: x.sort(0).values, (distinct(4, 3),)),
        (lambda x: x.sort(descending=True).values, (distinct(4, 3),)),
    ],
    "topk": [
        (lambda x: x.topk(2, 0).values, (distinct(4, 3),)),
        (lambda x: x.topk(2, largest=False).values, (distinct(4, 3),)),
    ],
    "cross_entropy": [
        (lambda x: F.cross_entropy(x, ROWS), (numbers(3, 4),)),
        (lambda x: F.cross_entropy(x, ROWS, label_smoothing=0.3, reduction="sum"), (numbers(3, 4),)),
        (lambda x: F.cross_entropy(x, ROWS, numbers(4, low=0.5), ignore_index=2), (numbers(3, 4),)),
        (lambda x: F.cross_entropy(x, ROWS, numbers(4, low=0.5), label_smoothing=0.1), (numbers(3, 4),)),
        (lambda x: F.cross_entropy(x, numbers(3, 4, low=0.0), reduction="none"), (numbers(3, 4),)),
        (lambda x: F.cross_entropy(x, np.array([[1, 0], [2, 2]])), (numbers(2, 3, 2),)),
        (lambda x: F.cross_entropy(x, np.array(1)), (numbers(4),)),
    ],
}


@pytest.mark.parametrize(
    ("name", "place"), [(n, i) for n, cases in IN_FLOAT64.items() for i in range(len(cases))]
)
def test_float64_gradient_is_the_slope(name: str, place: int) -> None:
    function, inputs = IN_FLOAT64[name][place]
    # A central difference is off by the square of the step, and by the rounding of values divided by it.
    bound = 1e-16 / STEP * 100 + STEP**2 * 100 if name != "cast" else 2e-2
    for got, want in zip(gradients(function, *inputs), differences(function, *inputs), strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= bound * max(1.0, np.abs(want).max())
