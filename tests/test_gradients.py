"""The gradient of every primitive: against finite differences, or the gradient of primitives so checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import Tensor, primitives
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
    """The gradient of a weighted sum of the function's result, for each input."""
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


# ---- Of the kernels, which compute in float32


def normalized(x: Tensor, weight: Tensor, bias: Tensor, residual: Any = 0.0) -> Tensor:
    """Batch norm with the statistics of the batch, in primitives of float64, a residual and a ReLU."""
    dims = (0, 2, 3)
    away = x - x.mean(dims, keepdim=True)
    var = (away * away).mean(dims, keepdim=True)
    y = away / (var + 1e-5).sqrt() * weight.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)
    return (y + residual).clamp(min=0.0)


def attended(x: Tensor, logits: Tensor) -> Tensor:
    """Split attention of radix 2 and cardinality 2, in primitives of float64."""
    n, channels, h, w = x.shape
    weights = (
        logits.reshape(n, 2, 2, channels // 4)
        .softmax(2)
        .permute(0, 2, 1, 3)
        .reshape(n, 2, channels // 2, 1, 1)
    )
    return (x.reshape(n, 2, channels // 2, h, w) * weights).sum(1)


MEAN, VAR = numbers(4).astype(np.float32), numbers(4, low=0.5).astype(np.float32)
IMAGES = (2, 4, 5, 6)
# By primitive: functions of float32, the same in float64 or None for finite differences, and their inputs.
# Functions without a counterpart are linear in each input, but for corners that a step does not reach.
IN_FLOAT32: dict[str, list[tuple[Function, Function | None, tuple[Any, ...]]]] = {
    "relu": [(F.relu, None, (distinct(4, 5),))],
    "conv2d": [
        (
            lambda x, w, b: F.conv2d(x, w, b, padding=1),
            None,
            (numbers(*IMAGES), numbers(3, 4, 3, 3), numbers(3)),
        ),
        (lambda x, w: F.conv2d(x, w, stride=2, groups=2), None, (numbers(*IMAGES), numbers(6, 2, 3, 3))),
        (
            lambda x, w: F.conv2d(x, w, padding=((1, 0), (2, 1)), dilation=2),
            None,
            (numbers(*IMAGES), numbers(2, 4, 2, 3)),
        ),
        (lambda x, w: F.conv2d(x, w, stride=(3, 1)), None, (numbers(*IMAGES), numbers(5, 4, 1, 1))),
    ],
    "linear": [
        (F.linear, None, (numbers(3, 5), numbers(4, 5), numbers(4))),
        (F.linear, None, (numbers(2, 3, 5), numbers(4, 5))),
        (F.linear, None, (numbers(5), numbers(4, 5), numbers(4))),
    ],
    "batch_norm": [
        (
            lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b, relu=True),
            lambda x, w, b: (
                (x - MEAN[:, None, None]) * (w.reshape(-1, 1, 1) / (VAR[:, None, None] + 1e-5) ** 0.5)
                + b.reshape(-1, 1, 1)
            ).clamp(min=0.0),
            (numbers(*IMAGES), numbers(4), numbers(4)),
        ),
        (
            lambda x, r: F.batch_norm(x, MEAN, VAR, residual=r),
            lambda x, r: (x - MEAN[:, None, None]) / (VAR[:, None, None] + 1e-5) ** 0.5 + r,
            (numbers(*IMAGES), numbers(*IMAGES)),
        ),
    ],
    "batch_norm_training": [
        (
            lambda x, w, b, r: F.batch_norm(x, None, None, w, b, training=True, relu=True, residual=r),
            normalized,
            (numbers(*IMAGES), numbers(4, low=0.5), numbers(4), numbers(*IMAGES)),
        ),
        (
            lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, relu=True),
            normalized,
            (numbers(*IMAGES), numbers(4, low=0.5), numbers(4)),
        ),
        (
            lambda x: F.batch_norm(x, None, None, training=True),
            lambda x: (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt(),
            (numbers(7, 3),),
        ),
    ],
    "max_pool2d": [(lambda x: F.max_pool2d(x, 3, 2, 1), None, (distinct(*IMAGES),))],
    "max_pool2d_with_indices": [
        (lambda x: F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)[0], None, (distinct(*IMAGES),))
    ],
    "avg_pool2d": [
        (lambda x: F.avg_pool2d(x, 3, 2, 1), None, (numbers(*IMAGES),)),
        (lambda x: F.avg_pool2d(x, 2, 1, 1, count_include_pad=False), None, (numbers(*IMAGES),)),
        (lambda x: F.avg_pool2d(x, 2, ceil_mode=True, divisor_override=3), None, (numbers(*IMAGES),)),
    ],
    "adaptive_avg_pool2d": [(lambda x: F.adaptive_avg_pool2d(x, (3, 2)), None, (numbers(*IMAGES),))],
    "radix_sum_pool": [
        (lambda x: F.radix_sum_pool(x, 2), None, (numbers(*IMAGES),)),
        (F.global_avg_pool2d, None, (numbers(*IMAGES),)),
    ],
    "split_attention": [
        (lambda x, s: F.split_attention(x, s, 2, 2), attended, (numbers(2, 8, 3, 5), numbers(2, 8))),
        (
            lambda x, s: F.split_attention(x, s, 1),
            lambda x, s: x * s.sigmoid().reshape(2, 4, 1, 1),
            (numbers(*IMAGES), numbers(2, 4)),
        ),
    ],
    "dropout": [
        (lambda x: dropped(x), None, (numbers(4, 5),)),
        (lambda x: dropped(x, F.drop_path), None, (numbers(5, 2, 3, 2),)),
    ],
    "sigmoid": [(lambda x: x.sigmoid(), lambda x: x.sigmoid(), (numbers(9),))],
    "softmax": [
        (lambda x: x.softmax(-1), lambda x: x.softmax(-1), (numbers(3, 4),)),
        (lambda x: x.log_softmax(0), lambda x: x.log_softmax(0), (numbers(3, 4),)),
    ],
    "mean": [(lambda x: x.mean((2, 3)), None, (numbers(*IMAGES),))],
    "cross_entropy": [
        (lambda x: F.cross_entropy(x, ROWS), lambda x: F.cross_entropy(x, ROWS), (numbers(3, 4),)),
    ],
}


def dropped(x: Tensor, function: Callable[..., Tensor] = F.dropout) -> Tensor:
    lucid.random.seed(3)
    return function(x, 0.4)


@pytest.mark.parametrize(
    ("name", "place"), [(n, i) for n, cases in IN_FLOAT32.items() for i in range(len(cases))]
)
def test_float32_gradient_is_the_slope(name: str, place: int) -> None:
    function, exact, inputs = IN_FLOAT32[name][place]
    given = [x.astype(np.float32) for x in inputs]
    wide = [x.astype(np.float64) for x in given]
    wanted = differences(function, *given, step=2.0**-4) if exact is None else gradients(exact, *wide)
    # Differences of sums of some hundred rounded values of about 4, divided by the step.
    bound = 2.0**-24 * (2048 if exact is None else 256)
    for got, want in zip(gradients(function, *given), wanted, strict=True):
        assert got.dtype == np.float32
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= bound * max(1.0, np.abs(want).max())


def test_every_gradient_is_tested() -> None:
    rows = {name for name, row in primitives.TABLE.items() if row.backward is not None}
    assert rows - {"move"} == IN_FLOAT64.keys() | IN_FLOAT32.keys()


def test_results_without_gradients_are_those_of_steps() -> None:
    """Comparisons, places and the like: their slope is 0 wherever there is one."""
    assert {name for name, row in primitives.TABLE.items() if row.backward is None} == {
        *("all", "any", "argmax", "argmin", "bitwise_and", "bitwise_or", "invert", "floor_divide", "detach"),
        *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "batch_norm_statistics"),
    }
