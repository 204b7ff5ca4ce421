"""Operators of lucid on PyTorch's tensors, float32 on the CPU, and every dtype of the kernels on CUDA.

Forward passes are lucid's kernels, which read tensors where they are and whose results are in memory that the
tensor takes over: nothing is copied. Results of images are channels-last. Each operator has a fake
implementation, by which ``torch.compile`` and ``torch.export`` learn its shape, and gradients, which are
written in PyTorch's own operators and so can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from lucid import _core, arguments
from lucid.arguments import Pair
from lucid.torch.tensors import array_of, tensor_of

_CHANNELS_LAST = torch.channels_last


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
) -> Tensor:
    """Grouped 2-D convolution, as ``torch.nn.functional.conv2d``.

    ``input`` is ``(n, in_channels, h, w)``, ``weight`` ``(out_channels, in_channels / groups, kh, kw)``,
    ``bias`` ``(out_channels,)``. The gradients are those of PyTorch's convolution.

    Raises:
        ValueError: Shapes or dtypes do not fit.
        TypeError: An argument is of another type, or a tensor's memory cannot be read.
    """
    result: Tensor = torch.ops.lucid.conv2d(
        input,
        weight,
        bias,
        arguments.pair("conv2d", "stride", stride),
        arguments.pair("conv2d", "padding", padding),
        arguments.pair("conv2d", "dilation", dilation),
        arguments.integer("conv2d", "groups", groups),
    )
    return result


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation of ``(n, c, h, w)`` or ``(n, c)``, as ``torch.nn.functional.batch_norm``.

    In training the statistics are those of the batch, and ``running_mean`` and ``running_var``, where given,
    move towards them by ``momentum`` (the variance by its unbiased estimate). From "Batch Normalization"
    (Ioffe and Szegedy, 2015), https://arxiv.org/abs/1502.03167.

    Raises:
        ValueError: Shapes or dtypes do not fit; there is one value a channel in training, whose variance
            means nothing; or a running statistic is missing outside of training.
    """
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(
                "batch_norm: running_mean and running_var must be given when not training, got None"
            )
        return _normalized(input, weight, bias, running_mean, running_var, eps)
    count = input.numel() // max(1, input.shape[1])
    if count == 1:
        raise ValueError(
            f"batch_norm: training must have more than one value a channel, got input of {tuple(input.shape)}"
        )
    mean, var = batch_norm_statistics(input)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_(var.to(running_var.dtype) * (count / (count - 1)), momentum)
    return _normalized(input, weight, bias, mean, var, eps)


def batch_norm_statistics(input: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of ``(n, c, h, w)`` or ``(n, c)``, both ``(c,)``."""
    mean, var = torch.ops.lucid.batch_norm_statistics(input)
    return mean, var


def split_attention(
    x: Tensor, logits: Tensor, radix: SupportsIndex, cardinality: SupportsIndex = 1
) -> Tensor:
    """The sum of the ``radix`` splits of ``x``, weighted by a softmax over the splits: (n, c, h, w).

    ``x`` is radix-major, ``(n, radix * c, h, w)``; ``logits``, ``(n, radix * c)`` or that with two dimensions
    of length 1 behind, cardinality-major. With ``radix=1`` the weight is a sigmoid. From "ResNeSt:
    Split-Attention Networks" (Zhang et al., 2020), https://arxiv.org/abs/2004.08955.

    Raises:
        ValueError: Shapes or dtypes do not fit.
    """
    scores = logits.flatten(1) if logits.ndim == 4 and logits.shape[2:] == (1, 1) else logits
    result: Tensor = torch.ops.lucid.split_attention(
        x,
        scores,
        arguments.integer("split_attention", "radix", radix),
        arguments.integer("split_attention", "cardinality", cardinality),
    )
    return result


def _normalized(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    result: Tensor = torch.ops.lucid.batch_norm(x, weight, bias, mean, var, eps)
    return result


# ---- Forward


def _optional(op: str, name: str, value: Tensor | None) -> Any:
    return None if value is None else array_of(op, name, value)


@torch.library.custom_op("lucid::conv2d", mutates_args=())
def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    (top, left), (sh, sw), (dh, dw) = padding, stride, dilation
    values = array_of("conv2d", "input", x), array_of("conv2d", "weight", weight)
    addend = _optional("conv2d", "bias", bias)
    return tensor_of(_core.conv2d(*values, addend, (sh, sw), (top, left, top, left), (dh, dw), groups))


@torch.library.custom_op("lucid::batch_norm", mutates_args=())
def _batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    op = "batch_norm"
    return tensor_of(
        _core.batch_norm(
            array_of(op, "input", x),
            _optional(op, "weight", weight),
            _optional(op, "bias", bias),
            array_of(op, "mean", mean),
            array_of(op, "var", var),
            eps,
        )
    )


@torch.library.custom_op("lucid::batch_norm_statistics", mutates_args=())
def _batch_norm_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, var = _core.batch_norm_statistics(array_of("batch_norm_statistics", "input", x))
    return tensor_of(mean), tensor_of(var)


@torch.library.custom_op("lucid::split_attention", mutates_args=())
def _split_attention(x: Tensor, logits: Tensor, radix: int, cardinality: int) -> Tensor:
    op = "split_attention"
    return tensor_of(
        _core.split_attention(array_of(op, "x", x), array_of(op, "logits", logits), radix, cardinality)
    )


# ---- Shapes. PyTorch's rules are asked where it has the operator; they know symbolic sizes, as C does not.


@_conv2d.register_fake
def _conv2d_shape(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    like = torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return torch.empty_like(like, memory_format=_CHANNELS_LAST)


@_batch_norm.register_fake
def _batch_norm_shape(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    order = _CHANNELS_LAST if x.ndim == 4 else torch.contiguous_format
    return torch.empty_like(x, memory_format=order)


@_batch_norm_statistics.register_fake
def _batch_norm_statistics_shape(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1], dtype=torch.float32), x.new_empty(x.shape[1], dtype=torch.float32)


@_split_attention.register_fake
def _split_attention_shape(x: Tensor, logits: Tensor, radix: int, cardinality: int) -> Tensor:
    n, channels, h, w = x.shape
    return torch.empty_like(x.new_empty(n, channels // radix, h, w), memory_format=_CHANNELS_LAST)


# ---- Gradients


def _conv2d_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, *ctx.geometry = inputs
    ctx.save_for_backward(x, weight)
    ctx.bias_shape = None if bias is None else list(bias.shape)


def _conv2d_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    stride, padding, dilation, groups = ctx.geometry
    wanted = list(ctx.needs_input_grad[:3])
    not_transposed = (False, [0, 0])
    dx, dweight, dbias = torch.ops.aten.convolution_backward(
        dy, x, weight, ctx.bias_shape, stride, padding, dilation, *not_transposed, groups, wanted
    )
    return dx, dweight, dbias, None, None, None, None


def _by_channel(values: Tensor, like: Tensor) -> Tensor:
    """``(c,)`` as ``(1, c, 1, 1)``, or ``(1, c)`` beside a matrix."""
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


def _channel_sum(values: Tensor) -> Tensor:
    return values.sum(dim=[0, *range(2, values.ndim)])


def _batch_norm_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, mean, var, ctx.eps = inputs
    ctx.save_for_backward(x, weight, mean, var)


def _batch_norm_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of ``weight * (x - mean) / sqrt(var + eps) + bias`` by all five."""
    x, weight, mean, var = ctx.saved_tensors
    for_x, for_weight, for_bias, for_mean, for_var = ctx.needs_input_grad[:5]
    inverse = (var + ctx.eps).rsqrt()
    scale = inverse if weight is None else weight * inverse
    dbias = _channel_sum(dy) if for_bias or for_mean else None
    normalized = (x - _by_channel(mean, x)) * _by_channel(inverse, x)
    dweight = _channel_sum(dy * normalized) if for_weight or for_var else None
    return (
        dy * _by_channel(scale, x) if for_x else None,
        dweight if for_weight else None,
        dbias if for_bias else None,
        None if dbias is None else -scale * dbias,
        None if dweight is None else -0.5 * scale * inverse * dweight,
        None,
    )


def _statistics_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[0])


def _statistics_backward(ctx: Any, dmean: Tensor, dvar: Tensor) -> Tensor:
    x, mean = ctx.saved_tensors
    count = max(1, x.numel() // max(1, x.shape[1]))
    result: Tensor = _by_channel(dmean / count, x) + (x - _by_channel(mean, x)) * _by_channel(
        2 * dvar / count, x
    )
    return result


def _split_attention_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, logits, ctx.radix, ctx.cardinality = inputs
    ctx.save_for_backward(x, logits)


def _split_attention_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, logits = ctx.saved_tensors
    n, _, h, w = x.shape
    by_group = (n, ctx.cardinality, ctx.radix, -1)
    # The splits' weights in the order of x, (n, radix, c).
    scores = logits.reshape(by_group).transpose(1, 2).reshape(n, ctx.radix, -1)
    weights = scores.sigmoid() if ctx.radix == 1 else scores.softmax(dim=1)
    dx = (weights[..., None, None] * dy[:, None]).reshape(x.shape)
    dweights = (x.reshape(n, ctx.radix, -1, h, w) * dy[:, None]).sum(dim=(3, 4))
    if ctx.radix == 1:
        dscores = dweights * weights * (1 - weights)
    else:
        dscores = weights * (dweights - (weights * dweights).sum(dim=1, keepdim=True))
    dlogits = dscores.reshape(n, ctx.radix, ctx.cardinality, -1).transpose(1, 2).reshape(logits.shape)
    return dx, dlogits, None, None


_conv2d.register_autograd(_conv2d_backward, setup_context=_conv2d_save)
_batch_norm.register_autograd(_batch_norm_backward, setup_context=_batch_norm_save)
_batch_norm_statistics.register_autograd(_statistics_backward, setup_context=_statistics_save)
_split_attention.register_autograd(_split_attention_backward, setup_context=_split_attention_save)
