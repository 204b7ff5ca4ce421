"""Gradients of functions of one and of two operands, element by element, and of matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, eager
from lucid.autograd.tape import Call, Gradient
from lucid.gradients.fitted import fitted

Array: TypeAlias = npt.NDArray[Any]
Dims: TypeAlias = tuple[int, ...]


def _add(call: Call, dy: Any) -> tuple[Any, ...]:
    return tuple(
        [fitted(dy, x) if asked else None for x, asked in zip(call.values, call.needed, strict=True)]
    )


def _subtract(call: Call, dy: Any) -> tuple[Any, ...]:
    left, right = call.values
    return (
        fitted(dy, left) if call.needed[0] else None,
        fitted(-dy, right) if call.needed[1] else None,
    )


def _multiply(call: Call, dy: Any) -> tuple[Any, ...]:
    left, right = call.values
    return (
        fitted(dy * right, left) if call.needed[0] else None,
        fitted(dy * left, right) if call.needed[1] else None,
    )


def _divide(call: Call, dy: Any) -> tuple[Any, ...]:
    left, right = call.values
    with np.errstate(all="ignore"):
        return (
            fitted(dy / right, left) if call.needed[0] else None,
            fitted(-dy * left / (right * right), right) if call.needed[1] else None,
        )


def _remainder(call: Call, dy: Any) -> tuple[Any, ...]:
    """The slopes of ``left - right * floor(left / right)``, whose floor does not change."""
    left, right = call.values
    with np.errstate(all="ignore"):
        return (
            fitted(dy, left) if call.needed[0] else None,
            fitted(-dy * np.floor_divide(left, right), right) if call.needed[1] else None,
        )


def _power(call: Call, dy: Any) -> tuple[Any, ...]:
    """An exponent of 0 has no gradient at any base, nor a base of 0 for its exponent, as in PyTorch."""
    base, exponent = call.values
    with np.errstate(all="ignore"):
        d_base = d_exponent = None
        if call.needed[0]:
            one = base.dtype.type(1)
            steep = exponent * np.power(base, exponent - one)
            d_base = fitted(dy * np.where(np.equal(exponent, 0), 0 * one, steep), base)
        if call.needed[1]:
            one = exponent.dtype.type(1)
            grown = np.power(base, exponent) * np.log(np.where(np.equal(base, 0), one, base))
            d_exponent = fitted(dy * grown, exponent)
    return d_base, d_exponent


def _matmul(call: Call, dy: Any) -> tuple[Any, ...]:
    """Vectors are matrices of one row or column here, whose dimension the result lacks."""
    left, right = call.values
    if len(left.shape) == 1:
        dy = np.expand_dims(dy, -1 if len(right.shape) == 1 else -2)
    if len(right.shape) == 1:
        dy = np.expand_dims(dy, -1)
    d_left = d_right = None
    if call.needed[0]:
        matrix = right[:, None] if right.ndim == 1 else right
        d_left = dy @ np.swapaxes(matrix, -1, -2)
        d_left = fitted(d_left.reshape(*d_left.shape[:-2], -1) if len(left.shape) == 1 else d_left, left)
    if call.needed[1]:
        matrix = left[None, :] if left.ndim == 1 else left
        d_right = np.swapaxes(matrix, -1, -2) @ dy
        d_right = fitted(d_right[..., 0] if len(right.shape) == 1 else d_right, right)
    return d_left, d_right


_EACH_OTHER = ((1,), (0,))
add = Gradient(_add)
subtract = Gradient(_subtract)
multiply = Gradient(_multiply, _EACH_OTHER)
divide = Gradient(_divide, ((1,), (0, 1)))
remainder = Gradient(_remainder, ((), (0, 1)))
power = Gradient(_power, ((0, 1), (0, 1)))
matmul = Gradient(_matmul, _EACH_OTHER)


def _factor(name: str, factor: Callable[[Any], Any], *, of_result: bool = False) -> Gradient:
    """The gradient of a function of one value: ``dy`` times a function of the value or of the result."""

    def formula(call: Call, dy: Any, **_: Any) -> tuple[Any, ...]:
        with np.errstate(all="ignore"):
            return (dy * factor(call.kept if of_result else call.values[0]),)

    formula.__name__ = name
    return Gradient(formula, () if of_result else ((0,),), keeps=of_result)


def _kernel(name: str, kernel: Callable[[Any, Any], Any], otherwise: Callable[[Any, Any], Any]) -> Gradient:
    """The gradient of a function of one value, from ``dy`` and the result; a kernel's where there is one."""

    def formula(call: Call, dy: Any, **_: Any) -> tuple[Any, ...]:
        y = call.kept
        return (kernel(dy, y) if eager.has_kernel(y) else otherwise(dy, y),)

    formula.__name__ = name
    return Gradient(formula, keeps=True)


def _softmax(call: Call, dy: Any, *, dim: int, log: bool) -> tuple[Any, ...]:
    y = call.kept
    if eager.has_kernel(y) and y.ndim:
        return (_core.softmax_backward(dy, y, dim, log),)
    if log:
        return (dy - np.exp(y) * dy.sum(axis=dim, keepdims=True),)
    return (y * (dy - (dy * y).sum(axis=dim, keepdims=True)),)


def _negative(call: Call, dy: Any) -> tuple[Any, ...]:
    return (-dy,)


def _clamp(call: Call, dy: Any, *, min: float | None, max: float | None) -> tuple[Any, ...]:
    (x,) = call.values
    inside = np.ones(x.shape, bool)
    if min is not None:
        inside &= x >= min
    if max is not None:
        inside &= x <= max
    return (dy * inside,)


def _drawn(
    x: Array, *, p: float, generator: np.random.Generator, inplace: bool, samples: bool = False
) -> tuple[Any, tuple[Any, ...]]:
    survivors = eager.survivors(x, p, generator, samples)
    return eager.masked(x, survivors, p, inplace), (survivors,)


def _dropout(
    call: Call, dy: Any, *, p: float, generator: object, inplace: bool, samples: bool = False
) -> tuple[Any, ...]:
    return (eager.masked(dy, call.kept[0], p, False),)


relu = _kernel("relu", lambda dy, y: _core.relu_backward(dy, y), lambda dy, y: dy * (y > 0))
sigmoid = _kernel("sigmoid", lambda dy, y: _core.sigmoid_backward(dy, y), lambda dy, y: dy * y * (1 - y))
softmax = Gradient(_softmax, keeps=True)
exp = _factor("exp", lambda y: y, of_result=True)
log = _factor("log", lambda x: 1 / x)
sqrt = _factor("sqrt", lambda y: 0.5 / y, of_result=True)
abs = _factor("abs", np.sign)
negative = Gradient(_negative)
clamp = Gradient(_clamp, ((0,),))
dropout = Gradient(_dropout, run=_drawn)
