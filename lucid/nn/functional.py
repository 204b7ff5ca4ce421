"""The operators, one function each, under PyTorch's names and argument orders.

Images are (n, c, h, w), float32, of any strides. Results have memory of their own and are channels-last
(their ``permute(0, 2, 3, 1)`` is contiguous), which is the order that the kernels read fastest, so a chain of
layers never repacks. An ndarray is accepted wherever a Tensor is. The kernels check shapes, dtypes and
values, and raise ``ValueError("op: what must hold, what was given")``; only what they cannot see is checked
here.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, arguments
from lucid.arguments import Pair
from lucid.random import generator
from lucid.symbolic import operator
from lucid.tensor import Tensor

Array: TypeAlias = npt.NDArray[Any]
Input: TypeAlias = Tensor | Array


@operator
def conv2d(
    input: Input,
    weight: Input,
    bias: Input | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Grouped 2-D convolution (cross-correlation): each group of input channels meets its own filters.

    ``weight`` is ``(out_channels, in_channels / groups, kh, kw)``, ``bias`` ``(out_channels,)``; the result
    is ``(n, out_channels, h', w')`` with ``h' = (h + 2 * padding - dilation * (kh - 1) - 1) // stride + 1``.
    ``padding`` may be ``"valid"`` (none) or ``"same"`` (``h' = h``, stride 1 only; the odd row goes below,
    the odd column to the right).
    """
    x, filters = _array("conv2d", "input", input), _array("conv2d", "weight", weight)
    steps, spread = arguments.pair("conv2d", "stride", stride), arguments.pair("conv2d", "dilation", dilation)
    if isinstance(padding, str):
        x, margins = _pad_by_name(x, filters, steps, padding, spread)
    else:
        margins = arguments.pair("conv2d", "padding", padding)
    groups = arguments.integer("conv2d", "groups", groups)
    offsets = _array_or_none("conv2d", "bias", bias)
    return Tensor(_core.conv2d(x, filters, offsets, steps, (*margins, *margins), spread, groups))


def _pad_by_name(
    x: Array, weight: Array, stride: tuple[int, int], padding: str, dilation: tuple[int, int]
) -> tuple[Array, tuple[int, int]]:
    """The input with the odd row and column appended, and what is left to pad symmetrically."""
    if padding == "valid":
        return x, (0, 0)
    if padding != "same":
        raise ValueError(
            f"conv2d: padding must be an int, a pair of ints, 'same' or 'valid', got {padding!r}"
        )
    if stride != (1, 1):
        raise ValueError(f"conv2d: stride must be 1 for padding='same', got {stride}")
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"conv2d: input and weight must have rank 4, got shapes {x.shape} and {weight.shape}"
        )
    total = [dilation[axis] * (weight.shape[2 + axis] - 1) for axis in (0, 1)]
    odd = [rows % 2 for rows in total]
    if any(odd):
        x = np.pad(x, ((0, 0), (0, 0), (0, odd[0]), (0, odd[1])))
    return x, (total[0] // 2, total[1] // 2)


@operator
def batch_norm(
    input: Input,
    running_mean: Input | None,
    running_var: Input | None,
    weight: Input | None = None,
    bias: Input | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel of an input ``(n, c, ...)``.

    The statistics are the running ones, or in training those of the batch, which then also move the running
    ones (if given) by ``momentum`` in place: the mean, and the variance with Bessel's correction, as PyTorch
    does. ``relu=True`` clips the result at 0 in the same pass over memory.

    Raises:
        ValueError: In training, a channel has only one value, whose variance is 0 and whose output would be
            the bias alone: what batch size 1 does to the batch norm inside split attention.
    """
    x = _array("batch_norm", "input", input)
    scale, shift = _array_or_none("batch_norm", "weight", weight), _array_or_none("batch_norm", "bias", bias)
    mean = _array_or_none("batch_norm", "running_mean", running_mean)
    var = _array_or_none("batch_norm", "running_var", running_var)
    if training:
        return _batch_norm_of_batch(x, mean, var, scale, shift, momentum, float(eps), relu)
    if mean is None or var is None:
        raise ValueError("batch_norm: running_mean and running_var must be given unless training, got None")
    return Tensor(_core.batch_norm(x, scale, shift, mean, var, float(eps), relu))


def _batch_norm_of_batch(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    momentum: float,
    eps: float,
    relu: bool,
) -> Tensor:
    mean, var = _core.batch_norm_statistics(x)
    count = x.size // mean.size
    if count < 2:
        raise ValueError(
            f"batch_norm: training needs more than one value per channel, got input of shape {x.shape}; "
            "use a larger batch, or eval() to normalise with the running statistics"
        )
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"batch_norm: momentum must be from 0 to 1, got {momentum}")
    running = [
        ("running_mean", running_mean, mean),
        ("running_var", running_var, var * (count / (count - 1))),
    ]
    for name, array, _ in running:
        if array is not None and (array.shape != mean.shape or array.dtype != np.float32):
            raise ValueError(
                f"batch_norm: {name} must be float32 of shape {mean.shape}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        if array is not None and not array.flags.writeable:
            raise ValueError(f"batch_norm: {name} must be writeable in training, got a read-only array")
    y = _core.batch_norm(x, weight, bias, mean, var, eps, relu)
    for _, array, statistic in running:  # last, so that a refused call has changed nothing
        if array is not None:
            array += np.float32(momentum) * (statistic.astype(np.float32) - array)
    return Tensor(y)


@operator
def max_pool2d(
    input: Input,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window; NaN if the window holds one.

    ``stride`` is ``kernel_size`` unless given. ``ceil_mode`` lets a last window reach over the edge. Padding
    never wins, not even over minus infinity.
    """
    window = arguments.pair("max_pool2d", "kernel_size", kernel_size)
    return Tensor(
        _core.max_pool2d(
            _array("max_pool2d", "input", input),
            window,
            window if stride is None else arguments.pair("max_pool2d", "stride", stride),
            (*arguments.pair("max_pool2d", "padding", padding),) * 2,
            arguments.pair("max_pool2d", "dilation", dilation),
            bool(ceil_mode),
        )
    )


@operator
def avg_pool2d(
    input: Input,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window. ``stride`` is ``kernel_size`` unless given.

    The divisor counts the zeros of the padding unless ``count_include_pad=False``; what a window covers
    beyond the padding (with ``ceil_mode``) never counts.
    """
    window = arguments.pair("avg_pool2d", "kernel_size", kernel_size)
    return Tensor(
        _core.avg_pool2d(
            _array("avg_pool2d", "input", input),
            window,
            window if stride is None else arguments.pair("avg_pool2d", "stride", stride),
            (*arguments.pair("avg_pool2d", "padding", padding),) * 2,
            bool(ceil_mode),
            bool(count_include_pad),
        )
    )


@operator
def adaptive_avg_pool2d(input: Input, output_size: Pair) -> Tensor:
    """Average pooling to a given height and width, which must divide those of the input (as 1 always does).

    Raises:
        NotImplementedError: The sizes do not divide, so that the windows would overlap unevenly.
    """
    x, size = (
        _array("adaptive_avg_pool2d", "input", input),
        arguments.pair("adaptive_avg_pool2d", "output_size", output_size),
    )
    if min(size) < 1:
        raise ValueError(f"adaptive_avg_pool2d: output_size must be positive, got {size}")
    if x.ndim != 4:
        raise ValueError(f"adaptive_avg_pool2d: input must have rank 4, got shape {x.shape}")
    if size == (1, 1):
        return global_avg_pool2d(x).reshape(*x.shape[:2], 1, 1)
    if x.shape[2] % size[0] or x.shape[3] % size[1]:
        raise NotImplementedError(
            f"adaptive_avg_pool2d: output_size must divide the input's height and width, "
            f"got {size} for {x.shape[2:]}"
        )
    return avg_pool2d(x, (x.shape[2] // size[0], x.shape[3] // size[1]))


@operator
def global_avg_pool2d(input: Input) -> Tensor:
    """The mean of each channel over height and width: ``(n, c, h, w)`` to ``(n, c)``."""
    return Tensor(_core.radix_sum_pool(_array("global_avg_pool2d", "input", input), 1))


@operator
def radix_sum_pool(x: Input, radix: int) -> Tensor:
    """Adds the ``radix`` splits of ``x`` and averages over the image: what split attention looks at.

    ``x`` is radix-major, ``(n, radix * c, h, w)``; the result is ``(n, c)``. With ``radix=1`` it is global
    average pooling.
    """
    return Tensor(
        _core.radix_sum_pool(
            _array("radix_sum_pool", "x", x), arguments.integer("radix_sum_pool", "radix", radix)
        )
    )


@operator
def split_attention(x: Input, logits: Input, radix: int, cardinality: int = 1) -> Tensor:
    """The sum of the ``radix`` splits of ``x``, weighted channel by channel by a softmax over the splits.

    ``x`` is radix-major, ``(n, radix * c, h, w)``, the result ``(n, c, h, w)``. ``logits`` is ``(n, radix *
    c)``, or that with two dimensions of length 1 behind, but cardinality-major: ``(cardinality, radix, c /
    cardinality)``, the order in which a convolution with ``groups=cardinality`` gives them. With ``radix=1``
    the weight is a sigmoid. From "ResNeSt: Split-Attention Networks" (Zhang et al., 2020),
    https://arxiv.org/abs/2004.08955.
    """
    scores = _array("split_attention", "logits", logits)
    if scores.ndim == 4 and scores.shape[2:] == (1, 1):
        scores = scores.reshape(scores.shape[:2])
    return Tensor(
        _core.split_attention(
            _array("split_attention", "x", x),
            scores,
            arguments.integer("split_attention", "radix", radix),
            arguments.integer("split_attention", "cardinality", cardinality),
        )
    )


@operator
def linear(input: Input, weight: Input, bias: Input | None = None) -> Tensor:
    """``input @ weight.T + bias``: ``(..., in)`` and ``(out, in)`` to ``(..., out)``."""
    x, matrix = _array("linear", "input", input), _array("linear", "weight", weight)
    offsets = _array_or_none("linear", "bias", bias)
    if x.ndim == 0:
        raise ValueError(f"linear: input must have rank 1 or more, got shape {x.shape}")
    if x.ndim == 2:
        return Tensor(_core.linear(x, matrix, offsets))
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return Tensor(_core.linear(rows, matrix, offsets).reshape(*x.shape[:-1], -1))


@operator
def relu(input: Input, inplace: bool = False) -> Tensor:
    """``max(input, 0)``, NaN staying NaN. With ``inplace`` the result is written over ``input``."""
    return Tensor(_core.relu(_array("relu", "input", input), bool(inplace)))


@operator
def sigmoid(input: Input) -> Tensor:
    """``1 / (1 + exp(-input))``."""
    return _tensor("sigmoid", "input", input).sigmoid()


@operator
def softmax(input: Input, dim: int) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``."""
    return _tensor("softmax", "input", input).softmax(dim)


@operator
def log_softmax(input: Input, dim: int) -> Tensor:
    """The logarithm of ``softmax``."""
    return _tensor("log_softmax", "input", input).log_softmax(dim)


@operator
def dropout(input: Input, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes each value with probability ``p`` and divides the others by ``1 - p``, so that the mean stays.

    Returns ``input`` itself when not training. The draws are those of ``lucid.random.generator``.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}")
    x = _tensor("dropout", "input", input)
    if not training or p == 0.0:
        return x
    if x.dtype.kind != "f":
        raise ValueError(f"dropout: dtype of input must be floating, got {x.dtype}")
    kept = generator().random(x.shape, dtype=np.float32) >= p
    result = x.data if inplace else np.empty_like(x.data)
    np.multiply(x.data, 1.0 / (1.0 - p) if p < 1.0 else 0.0, out=result, where=kept)
    result[~kept] = 0
    return x if inplace else Tensor(result)


@operator
def cross_entropy(
    input: Input,
    target: Input,
    weight: Input | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The loss ``-log softmax(input)[target]`` of logits ``(n, classes, ...)``.

    ``target`` holds class indices, shape ``(n, ...)``, or class probabilities, in the shape of ``input``.
    ``weight`` scales the loss of each class. ``label_smoothing`` takes that much of the target away and
    spreads it evenly over all classes. ``reduction`` is ``"none"``, ``"sum"`` or ``"mean"``; the mean over
    indices is weighted by ``weight`` and leaves out the places where the target is ``ignore_index``. The
    options are keywords only, because PyTorch has two retired arguments between them.
    """
    logits, labels = _tensor("cross_entropy", "input", input), _array("cross_entropy", "target", target)
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"cross_entropy: reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
    if logits.ndim == 0 or logits.numel() == 0:
        raise ValueError(f"cross_entropy: input must hold logits (n, classes, ...), got shape {logits.shape}")
    class_axis = 0 if logits.ndim == 1 else 1
    classes = logits.shape[class_axis]
    logp = np.moveaxis(logits.log_softmax(class_axis).data, class_axis, -1)
    scale = np.ones(classes, logp.dtype) if weight is None else _array("cross_entropy", "weight", weight)
    if scale.shape != (classes,):
        raise ValueError(f"cross_entropy: weight must have shape ({classes},), got {scale.shape}")
    if labels.dtype.kind == "f":
        losses, total = _losses_of_probabilities(logp, labels, scale, class_axis, label_smoothing)
    else:
        losses, total = _losses_of_indices(logp, labels, scale, ignore_index, label_smoothing)
    if reduction == "none":
        return Tensor(losses)
    with np.errstate(invalid="ignore"):  # NaN where every target is ignored
        return Tensor(np.asarray(losses.sum() / total if reduction == "mean" else losses.sum(), logp.dtype))


def _losses_of_indices(
    logp: Array, labels: Array, scale: Array, ignore_index: int, smoothing: float
) -> tuple[Array, Any]:
    """Losses of ``logp`` (..., classes) in the shape of ``labels`` (...), and the weight of them all."""
    classes = scale.size
    if labels.dtype.kind not in "iu" or labels.shape != logp.shape[:-1]:
        raise ValueError(
            f"cross_entropy: target must hold class indices of shape {logp.shape[:-1]} or probabilities "
            f"in the input's shape, got {labels.dtype} of shape {labels.shape}"
        )
    counted = labels != ignore_index
    chosen = np.where(counted, labels, 0)
    outside = chosen[(chosen < 0) | (chosen >= classes)]
    if outside.size:
        raise ValueError(
            f"cross_entropy: target must be from 0 to {classes - 1} or ignore_index ({ignore_index}), "
            f"got {outside[0]}"
        )
    # Picked out rather than multiplied by zeros and a one: a class masked with -inf would make that NaN.
    losses = -np.take_along_axis(logp, chosen[..., None], -1)[..., 0] * scale[chosen]
    if smoothing:
        losses = (1.0 - smoothing) * losses - smoothing / classes * (logp * scale).sum(-1)
    return np.where(counted, losses, 0).astype(logp.dtype), (scale[chosen] * counted).sum()


def _losses_of_probabilities(
    logp: Array, labels: Array, scale: Array, class_axis: int, smoothing: float
) -> tuple[Array, Any]:
    shares = np.moveaxis(labels, class_axis, -1) if labels.ndim == logp.ndim else labels
    if shares.shape != logp.shape:
        raise ValueError(
            f"cross_entropy: target must hold probabilities in the input's shape, got shape {labels.shape}"
        )
    shares = (1.0 - smoothing) * shares + smoothing / scale.size
    losses = -(shares * scale * logp).sum(-1)
    return losses.astype(logp.dtype), losses.size


def _array(op: str, name: str, value: Input) -> Array:
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, np.ndarray):
        return value
    raise TypeError(f"{op}: {name} must be a lucid.Tensor or numpy.ndarray, got {type(value).__name__}")


def _array_or_none(op: str, name: str, value: Input | None) -> Array | None:
    return None if value is None else _array(op, name, value)


def _tensor(op: str, name: str, value: Input) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(_array(op, name, value))
