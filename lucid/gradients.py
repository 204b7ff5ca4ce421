"""The backward column of the primitives: what the gradients of a primitive's values are.

A formula takes the call and the gradient ``dy`` of its result, and returns the gradient of each value. What
the kernels compute is computed by them; the rest is NumPy's. Formulas that are not named are those of any
textbook; ``tests/test_gradients.py`` compares each with finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, eager, losses
from lucid.autograd import Call, Gradient
from lucid.device_array import DeviceArray, full, moved

Array: TypeAlias = npt.NDArray[Any]
Dims: TypeAlias = tuple[int, ...]


def _fitted(dx: Any, value: Any) -> Any:
    """``dx`` in the shape and dtype of a value that was broadcast, and converted, for the operation."""
    if dx.shape != value.shape:
        added = dx.ndim - len(value.shape)
        spread = [
            added + axis for axis, n in enumerate(value.shape) if n == 1 and dx.shape[added + axis] != 1
        ]
        dx = eager.total(dx, dim=(*range(added), *spread), keepdim=True)
        dx = dx.reshape(value.shape)
    return dx if dx.dtype == value.dtype else dx.astype(value.dtype)


# ---- Two operands


def _add(call: Call, dy: Any) -> tuple[Any, ...]:
    return tuple(
        [_fitted(dy, x) if asked else None for x, asked in zip(call.values, call.needed, strict=True)]
    )


def _subtract(call: Call, dy: Any) -> tuple[Any, ...]:
    left, right = call.values
    return (
        _fitted(dy, left) if call.needed[0] else None,
        _fitted(-dy, right) if call.needed[1] else None,
    )


def _multiply(call: Call, dy: Any) -> tuple[Any, ...]:
    left, right = call.values
    return (
        _fitted(dy * right, left) if call.needed[0] else None,
        _fitted(dy * left, right) if call.needed[1] else None,
    )


def _divide(call: Call, dy: Any) -> tuple[Any, ...]:
    left, right = call.values
    with np.errstate(all="ignore"):
        return (
            _fitted(dy / right, left) if call.needed[0] else None,
            _fitted(-dy * left / (right * right), right) if call.needed[1] else None,
        )


def _remainder(call: Call, dy: Any) -> tuple[Any, ...]:
    """Of ``left - right * floor(left / right)``, whose floor does not change."""
    left, right = call.values
    with np.errstate(all="ignore"):
        return (
            _fitted(dy, left) if call.needed[0] else None,
            _fitted(-dy * np.floor_divide(left, right), right) if call.needed[1] else None,
        )


def _power(call: Call, dy: Any) -> tuple[Any, ...]:
    """An exponent of 0 has no gradient at any base, nor a base of 0 for its exponent, as in PyTorch."""
    base, exponent = call.values
    with np.errstate(all="ignore"):
        d_base = d_exponent = None
        if call.needed[0]:
            one = base.dtype.type(1)
            steep = exponent * np.power(base, exponent - one)
            d_base = _fitted(dy * np.where(np.equal(exponent, 0), 0 * one, steep), base)
        if call.needed[1]:
            one = exponent.dtype.type(1)
            grown = np.power(base, exponent) * np.log(np.where(np.equal(base, 0), one, base))
            d_exponent = _fitted(dy * grown, exponent)
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
        d_left = _fitted(d_left.reshape(*d_left.shape[:-2], -1) if len(left.shape) == 1 else d_left, left)
    if call.needed[1]:
        matrix = left[None, :] if left.ndim == 1 else left
        d_right = np.swapaxes(matrix, -1, -2) @ dy
        d_right = _fitted(d_right[..., 0] if len(right.shape) == 1 else d_right, right)
    return d_left, d_right


_EACH_OTHER = ((1,), (0,))
add = Gradient(_add)
subtract = Gradient(_subtract)
multiply = Gradient(_multiply, _EACH_OTHER)
divide = Gradient(_divide, ((1,), (0, 1)))
remainder = Gradient(_remainder, ((), (0, 1)))
power = Gradient(_power, ((0, 1), (0, 1)))
matmul = Gradient(_matmul, _EACH_OTHER)


# ---- Elementwise


def _factor(name: str, factor: Callable[[Any], Any], *, of_result: bool = False) -> Gradient:
    """Of a function of one value: ``dy`` times a function of the value or of the result."""

    def formula(call: Call, dy: Any, **_: Any) -> tuple[Any, ...]:
        with np.errstate(all="ignore"):
            return (dy * factor(call.kept if of_result else call.values[0]),)

    formula.__name__ = name
    return Gradient(formula, () if of_result else ((0,),), keeps=of_result)


def _kernel(name: str, kernel: Callable[[Any, Any], Any], otherwise: Callable[[Any, Any], Any]) -> Gradient:
    """Of a function of one value: computed from ``dy`` and the result, by a kernel where there is one."""

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
    x: Array, *, p: float, generator: np.random.Generator, inplace: bool
) -> tuple[Any, tuple[Any, ...]]:
    survivors = eager.survivors(x, p, generator)
    return eager.masked(x, survivors, p, inplace), (survivors,)


def _dropout(call: Call, dy: Any, *, p: float, generator: object, inplace: bool) -> tuple[Any, ...]:
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


# ---- Layers


def _conv2d(
    call: Call,
    dy: Any,
    *,
    stride: Dims,
    padding: Dims,
    dilation: Dims,
    groups: int,
) -> tuple[Any, ...]:
    x, weight, _ = call.values
    dx = dweight = dbias = None
    if call.needed[0]:
        dx = _core.conv2d_backward_input(dy, weight, *x.shape[2:], stride, padding, dilation, groups)
    if call.needed[1] or call.needed[2]:
        dweight, dbias = _core.conv2d_backward_weight(
            dy, x, weight.shape[2:], stride, padding, dilation, groups, call.needed[2]
        )
    return dx, dweight, dbias


def _linear(call: Call, dy: Any) -> tuple[Any, ...]:
    """Products of matrices, which ``linear`` itself computes."""
    x, weight, _ = call.values
    rows = dy.reshape(-1, dy.shape[-1])
    dx = dweight = dbias = None
    if call.needed[0]:
        dx = _core.linear(rows, weight.T, None).reshape(x.shape)
    if call.needed[1]:
        dweight = _core.linear(rows.T, x.reshape(-1, x.shape[-1]).T, None)
    if call.needed[2]:
        dbias = eager.total(rows, dim=(0,), keepdim=False)
    return dx, dweight, dbias


def _normalized(*values: Any, eps: float, relu: bool) -> tuple[Any, tuple[Any, ...]]:
    """Keeps the result for the ReLU alone, of which it tells where it was 0."""
    y = _core.batch_norm(*values, eps=eps, relu=relu)
    return y, (y if relu else None,)


def _batch_norm(call: Call, dy: Any, *, eps: float, relu: bool, training: bool = False) -> tuple[Any, ...]:
    x, weight, _, mean, var = call.values
    dx, dweight, dbias = _core.batch_norm_backward(dy, x, call.kept[0], weight, mean, var, eps, training)
    return dx, dweight, dbias, None, None


def _batch_norm_training(call: Call, dy: Any, *, eps: float, relu: bool) -> tuple[Any, ...]:
    return _batch_norm(call, dy, eps=eps, relu=relu, training=True)


def _pooled(x: Array, **window: Any) -> tuple[Any, tuple[Any, ...]]:
    y, indices = _core.max_pool2d_with_indices(x, **window)
    return y, (indices,)


def _max_pool2d(call: Call, dy: Any, **window: Any) -> tuple[Any, ...]:
    (x,), (indices,) = call.values, call.kept
    return (_core.max_pool2d_backward(dy, indices, *x.shape[2:], **window),)


def _pooled_with_indices(x: Array, **window: Any) -> tuple[Any, tuple[Any, ...]]:
    y, indices = _core.max_pool2d_with_indices(x, **window)
    return (y, indices), (indices,)


def _avg_pool2d(call: Call, dy: Any, **window: Any) -> tuple[Any, ...]:
    return (_core.avg_pool2d_backward(dy, *call.values[0].shape[2:], **window),)


def _adaptive_avg_pool2d(call: Call, dy: Any, *, output_size: Dims) -> tuple[Any, ...]:
    return (_core.adaptive_avg_pool2d_backward(dy, *call.values[0].shape[2:]),)


def _radix_sum_pool(call: Call, dy: Any, *, radix: int) -> tuple[Any, ...]:
    return (_core.radix_sum_pool_backward(dy, radix, *call.values[0].shape[2:]),)


def _split_attention(call: Call, dy: Any, *, radix: int, cardinality: int) -> tuple[Any, ...]:
    dx, dlogits = _core.split_attention_backward(dy, *call.values, radix, cardinality)
    return dx, dlogits


conv2d = Gradient(_conv2d, ((1,), (0,), (0,)))
linear = Gradient(_linear, ((1,), (0,), ()))
batch_norm = Gradient(_batch_norm, ((0, 1, 3, 4),) * 3, run=_normalized)
batch_norm_training = Gradient(_batch_norm_training, ((0, 1, 3, 4),) * 3, run=_normalized)
max_pool2d = Gradient(_max_pool2d, run=_pooled)
max_pool2d_with_indices = Gradient(_max_pool2d, run=_pooled_with_indices)
avg_pool2d = Gradient(_avg_pool2d)
adaptive_avg_pool2d = Gradient(_adaptive_avg_pool2d)
radix_sum_pool = Gradient(_radix_sum_pool)
split_attention = Gradient(_split_attention, ((0, 1), (0, 1)))


def _cross_entropy(call: Call, dy: Any, *, reduction: str, **_: Any) -> tuple[Any, ...]:
    """A loss is ``-sum(w * log_softmax(x))`` over the classes, whose slope is ``sum(w) * softmax(x) - w``."""
    if call.needed[1] or call.needed[2]:
        raise NotImplementedError("cross_entropy: target and weight must not require a gradient")
    logp, w, total = call.kept
    scale = dy[..., None] if reduction == "none" else dy
    with np.errstate(all="ignore"):
        slope = w.sum(-1, keepdims=True) * np.exp(logp) - w
        dx = slope * (scale / total if reduction == "mean" else scale)
    return (np.moveaxis(dx.astype(logp.dtype), -1, min(1, dx.ndim - 1)), None, None)


cross_entropy = Gradient(_cross_entropy, run=losses.cross_entropy_to_differentiate)


# ---- Shape and memory


def _reshaped(call: Call, dy: Any, **_: Any) -> tuple[Any, ...]:
    return (dy.reshape(call.values[0].shape),)


def _permute(call: Call, dy: Any, *, dims: Dims) -> tuple[Any, ...]:
    return (dy.transpose(tuple(np.argsort(dims))),)


def _zeros(value: Any, dy: Any) -> Any:
    """Zeros in the shape of a value, where ``dy`` is."""
    if type(dy) is DeviceArray:
        return full(value.shape, 0.0, value.dtype, dy.device_index)
    return np.zeros(value.shape, value.dtype)


def _index(call: Call, dy: Any, *, index: tuple[Any, ...]) -> tuple[Any, ...]:
    dx = _zeros(call.values[0], dy)
    if any(isinstance(part, (np.ndarray, list)) for part in index):
        np.add.at(dx, index, dy)  # an element may be named twice
    else:
        dx[index] = dy
    return (dx,)


def _assign(call: Call, dy: Any, *, index: Any) -> tuple[Any, ...]:
    """What was written over has no gradient; what was written, that of its place."""
    _, value = call.values
    d_target = d_value = None
    if call.needed[0]:
        d_target = dy.copy()
        d_target[index] = 0
    if call.needed[1]:
        d_value = _fitted(dy[index], value)
    return d_target, d_value


def _pad(call: Call, dy: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> tuple[Any, ...]:
    return (eager.pad(dy, widths=tuple([(-before, -behind) for before, behind in widths]), value=0.0),)


def _moved(x: Any, *, device: int | None) -> tuple[Any, tuple[Any, ...]]:
    return moved(x, device=device), (x.device_index if type(x) is DeviceArray else None,)


def _move(call: Call, dy: Any, *, device: int | None) -> tuple[Any, ...]:
    return (moved(dy, device=call.kept[0]),)


def _cast(call: Call, dy: Any, *, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    return (dy.astype(call.values[0].dtype),)


def _same(call: Call, dy: Any) -> tuple[Any, ...]:
    return (dy,)


reshape = Gradient(_reshaped, views=True)
permute = Gradient(_permute, views=True)
index = Gradient(_index, views=True)
assign = Gradient(_assign)
pad = Gradient(_pad)
move = Gradient(_move, run=_moved)
cast = Gradient(_cast)
clone = Gradient(_same)
contiguous = Gradient(_same, views=True)


# ---- Reductions


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
