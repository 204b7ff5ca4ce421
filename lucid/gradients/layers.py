"""Gradients of layers, which the kernels compute."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy.typing as npt

from lucid import _core, eager, losses, spread_batch_norm
from lucid.autograd.tape import Call, Gradient
from lucid.communicator import Communicator
from lucid.device_array import DeviceArray, full

Array: TypeAlias = npt.NDArray[Any]
Dims: TypeAlias = tuple[int, ...]


def _convolved(x: Any, weight: Any, bias: Any, **window: Any) -> tuple[Any, tuple[Any, ...]]:
    """By Winograd's algorithm where it can: an error of 1e-6 is nothing beside the noise of a batch."""
    return _core.conv2d(x, weight, bias, **window, winograd=True), ()


def _conv2d(
    call: Call,
    dy: Any,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> tuple[Any, ...]:
    x, weight, _ = call.values
    dx = dweight = dbias = None
    if call.needed[0]:
        dx = _core.conv2d_backward_input(
            dy, weight, x.shape[2], x.shape[3], stride, padding, dilation, groups, winograd=True
        )
    if call.needed[1] or call.needed[2]:
        dweight, dbias = _core.conv2d_backward_weight(
            dy, x, weight.shape[2:], stride, padding, dilation, groups, call.needed[2]
        )
    return dx, dweight, dbias


def _linear(call: Call, dy: Any) -> tuple[Any, ...]:
    """Products of matrices, which ``linear`` itself computes."""
    x, weight, _ = call.values
    count = math.prod(dy.shape[:-1])
    rows = dy.reshape(count, dy.shape[-1])
    dx = dweight = dbias = None
    if call.needed[0]:
        dx = _core.linear(rows, _transposed(weight), None).reshape(x.shape)
    if call.needed[1]:
        dweight = _core.linear(_transposed(rows), _transposed(x.reshape(count, x.shape[-1])), None)
    if call.needed[2]:
        dbias = _column_sums(rows)
    return dx, dweight, dbias


def _transposed(matrix: Any) -> Any:
    return matrix.transpose((1, 0))


def _column_sums(rows: Any) -> Any:
    """The sum of all rows; on a GPU, which has no kernel of sums, a product with ones."""
    if type(rows) is not DeviceArray:
        return eager.total(rows, dim=(0,), keepdim=False)
    ones: Any = full((1, rows.shape[0]), 1.0, rows.dtype, rows.device_index)
    return _core.linear(ones, _transposed(rows), None).reshape(rows.shape[1])


def _normalized(*values: Any, relu: bool, **options: Any) -> tuple[Any, tuple[Any, ...]]:
    """Keeps the result for the ReLU alone, of which it tells where it was 0."""
    y = eager.batch_norm(*values, relu=relu, **options)
    return y, (y if relu else None,)


def _batch_norm(call: Call, dy: Any, *, eps: float, relu: bool, training: bool = False) -> tuple[Any, ...]:
    x, weight, _, mean, var, _ = call.values
    behind_relu = relu and call.needed[5]
    dx, dweight, dbias, *dresidual = _core.batch_norm_backward(
        dy, x, call.kept[0], weight, mean, var, eps, training, behind_relu
    )
    return dx, dweight, dbias, None, None, dresidual[0] if behind_relu else dy


def _batch_norm_training(
    call: Call, dy: Any, *, eps: float, relu: bool, communicator: Communicator | None
) -> tuple[Any, ...]:
    dx, dweight, dbias, *rest = _batch_norm(call, dy, eps=eps, relu=relu, training=True)
    if communicator is not None and call.needed[0]:
        x, weight, _, mean, var, _ = call.values
        dx = spread_batch_norm.input_gradient((dx, dweight, dbias), x, weight, mean, var, eps, communicator)
    return dx, dweight, dbias, *rest


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
    x, logits = call.values
    dx, dlogits = _core.split_attention_backward(dy, x, logits, radix, cardinality)
    return dx, dlogits


conv2d = Gradient(_conv2d, ((1,), (0,), (0,)), run=_convolved)
linear = Gradient(_linear, ((1,), (0,), ()))
batch_norm = Gradient(_batch_norm, ((0, 1, 3, 4),) * 3, run=_normalized)
batch_norm_training = Gradient(_batch_norm_training, ((0, 1, 3, 4),) * 3, run=_normalized)
max_pool2d = Gradient(_max_pool2d, run=_pooled)
max_pool2d_with_indices = Gradient(_max_pool2d, run=_pooled_with_indices)
avg_pool2d = Gradient(_avg_pool2d)
adaptive_avg_pool2d = Gradient(_adaptive_avg_pool2d)
radix_sum_pool = Gradient(_radix_sum_pool)
split_attention = Gradient(_split_attention, ((0, 1), (0, 1)))


def _cross_entropy(call: Call, dy: Any, **options: Any) -> tuple[Any, ...]:
    if call.needed[1] or call.needed[2]:
        raise NotImplementedError("cross_entropy: target and weight must not require a gradient")
    return losses.cross_entropy_backward(dy, *call.values, **options), None, None


cross_entropy = Gradient(_cross_entropy, ((0, 1, 2),))
