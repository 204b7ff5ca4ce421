"""Gradients of reductions, and of what puts elements in order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import eager
from lucid.autograd.tape import Call, Gradient

Array: TypeAlias = npt.NDArray[Any]
Dims: TypeAlias = tuple[int, ...]


def _spread(dy: Any, shape: Dims, dim: Dims, keepdim: bool) -> Any:
    """``dy`` along the dimensions that were reduced, without a copy."""
    if not keepdim:
        dy = dy.reshape([1 if axis in dim else n for axis, n in enumerate(shape)])
    return np.broadcast_to(dy, shape)


def _sum(call: Call, dy: Any, *, dim: Dims, keepdim: bool) -> tuple[Any, ...]:
    return (_spread(dy, call.values[0].shape, dim, keepdim),)


def _mean(call: Call, dy: Any, *, dim: Dims, keepdim: bool) -> tuple[Any, ...]:
    shape = call.values[0].shape
    return (_spread(dy / dy.dtype.type(math.prod(shape[axis] for axis in dim)), shape, dim, keepdim),)


def _var(call: Call, dy: Any, *, dim: Dims, keepdim: bool, correction: int) -> tuple[Any, ...]:
    (x,) = call.values
    count = math.prod(x.shape[axis] for axis in dim)
    with np.errstate(all="ignore"):
        factor = (
            x.dtype.type(2.0 / max(count - correction, 0)) if count > correction else x.dtype.type(np.nan)
        )
        away = x - eager.mean(x, dim=dim, keepdim=True)
        return (_spread(dy, x.shape, dim, keepdim) * (factor * away),)


def _std(call: Call, dy: Any, *, dim: Dims, keepdim: bool, correction: int) -> tuple[Any, ...]:
    """The root's slope times that of the variance."""
    with np.errstate(all="ignore"):
        slope = dy * (dy.dtype.type(0.5) / call.kept)
    return _var(call, slope, dim=dim, keepdim=keepdim, correction=correction)


def _extreme(call: Call, dy: Any, *, dim: int | None, keepdim: bool) -> tuple[Any, ...]:
    """To the element that was found, or in equal parts to all of them; along a dimension, to the first."""
    (x,), y = call.values, call.kept
    if dim is None:
        found = (x == y) | (x != x if np.isnan(y) else False)
        return ((dy / found.sum().astype(x.dtype) * found).astype(x.dtype),)
    whole = y if keepdim else np.expand_dims(y, dim)
    first = np.argmax((x == whole) | ((x != x) & (whole != whole)), axis=dim, keepdims=True)
    dx = np.zeros(x.shape, x.dtype)
    np.put_along_axis(dx, first, dy if keepdim else np.expand_dims(dy, dim), dim)
    return (dx,)


def _ordered(function: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Any, tuple[Any, ...]]]:
    def run(x: Array, **options: Any) -> tuple[Any, tuple[Any, ...]]:
        values, order = function(x, **options)
        return (values, order), (order,)

    return run


def _chosen(call: Call, dy: Any, *, dim: int, **_: Any) -> tuple[Any, ...]:
    (x,), (order,) = call.values, call.kept
    dx = np.zeros(x.shape, x.dtype)
    np.put_along_axis(dx, order, dy, dim)
    return (dx,)


sum = Gradient(_sum)
mean = Gradient(_mean)
var = Gradient(_var, ((0,),))
std = Gradient(_std, ((0,),), keeps=True)
extreme = Gradient(_extreme, ((0,),), keeps=True)
sort = Gradient(_chosen, run=_ordered(eager.sort))
topk = Gradient(_chosen, run=_ordered(eager.topk))
