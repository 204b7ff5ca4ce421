"""The operators, one function each, under PyTorch's names and argument orders.

Images are (n, c, h, w), float32, of any strides. Results have memory of their own and are channels-last
(their ``permute(0, 2, 3, 1)`` is contiguous), which is the order that the kernels read fastest, so a chain of
layers never repacks. Arrays of NumPy, and of libraries that lend their memory, are accepted wherever Tensors
are. The functions here normalise their arguments and call a primitive. The kernels check shapes, dtypes and
values, and raise ``ValueError("op: what must hold, what was given")``.
"""

from __future__ import annotations

from typing import Any, Literal, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np

from lucid import arguments, primitives
from lucid.arguments import Padding, Pair
from lucid.communicator import Communicator, part_in_use
from lucid.primitives import Primitive
from lucid.random import generator
from lucid.spread_batch_norm import pooled_statistics
from lucid.tensor import Array, Tensor, as_tensor

Input: TypeAlias = Tensor | Array
Result = TypeVar("Result")


def _named(op: str, primitive: Primitive[Result], *values: Any, **attributes: Any) -> Result:
    """Calls a primitive in the name of ``op``, which its errors then name."""
    try:
        return primitive(*values, **attributes)
    except ValueError as error:
        raise ValueError(f"{op}: {str(error).split(': ', 1)[-1]}") from None


def conv2d(
    input: Input,
    weight: Input,
    bias: Input | None = None,
    stride: Pair = 1,
    padding: Padding | str = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
) -> Tensor:
    """Grouped 2-D convolution (cross-correlation): each group of input channels meets its own filters.

    ``weight`` is ``(out_channels, in_channels / groups, kh, kw)``, ``bias`` ``(out_channels,)``; the result
    is ``(n, out_channels, h', w')`` with ``h' = (h + 2 * padding - dilation * (kh - 1) - 1) // stride + 1``.
    ``padding`` may differ by side, ``((top, bottom), (left, right))``, or be ``"valid"`` (none) or ``"same"``
    (``h' = h``, stride 1 only; the odd row goes below, the odd column to the right).

    Where a gradient is recorded, 3x3 filters with stride 1 and the gradient of ``input`` are computed by
    Winograd's algorithm, as in plans: relative rms error up to 1.2e-6 (https://arxiv.org/abs/1509.09308).
    With AMX (``lucid.runtime.isa() == "amx"``) the matrix unit computes that of ``weight`` from 32 channels
    of a group on, as exactly as sums in float32 are; only an infinity gives NaN there.
    """
    x, filters = as_tensor("conv2d", "input", input), as_tensor("conv2d", "weight", weight)
    steps, spread = arguments.pair("conv2d", "stride", stride), arguments.pair("conv2d", "dilation", dilation)
    if isinstance(padding, str):
        margins = arguments.named_sides("conv2d", padding, filters.shape[2:], steps, spread)
    else:
        margins = arguments.sides("conv2d", "padding", padding)
    return primitives.conv2d(
        x,
        filters,
        None if bias is None else as_tensor("conv2d", "bias", bias),
        stride=steps,
        padding=margins,
        dilation=spread,
        groups=arguments.integer("conv2d", "groups", groups),
    )


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
    residual: Input | None = None,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel of an input ``(n, c, ...)``.

    The statistics are the running ones, or in training those of the batch, which then also move the running
    ones (if given) by ``momentum`` in place: the mean, and the variance with Bessel's correction, as PyTorch
    does. A batch that is spread over processes (``lucid.distributed.batch_part``) counts as a whole.
    ``residual``, of the input's shape, is added to the result, and ``relu=True`` clips it at 0, in the same
    pass over memory.

    Raises:
        ValueError: In training, a channel has only one value, whose variance is 0 and whose output would be
            the bias alone: what batch size 1 does to the batch norm inside split attention.
    """
    x = as_tensor("batch_norm", "input", input)
    scale = None if weight is None else as_tensor("batch_norm", "weight", weight)
    shift = None if bias is None else as_tensor("batch_norm", "bias", bias)
    mean = None if running_mean is None else as_tensor("batch_norm", "running_mean", running_mean)
    var = None if running_var is None else as_tensor("batch_norm", "running_var", running_var)
    addend = None if residual is None else as_tensor("batch_norm", "residual", residual)
    if training:
        part = part_in_use()
        communicator = None if part is None else part.communicator
        used_mean, used_var, count = _statistics_of_batch(x, mean, var, momentum, communicator)
        values = (x, scale, shift, used_mean, used_var, addend)
        options: dict[str, Any] = {"eps": float(eps), "relu": bool(relu), "communicator": communicator}
        y = primitives.batch_norm_training(*values, **options)
        # Last, so that a refused call has changed nothing.
        _move(mean, used_mean.data, momentum)
        _move(var, used_var.data * (count / (count - 1)), momentum)
        return y
    if mean is None or var is None:
        raise ValueError("batch_norm: running_mean and running_var must be given unless training, got None")
    return primitives.batch_norm(x, scale, shift, mean, var, addend, eps=float(eps), relu=bool(relu))


def _statistics_of_batch(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    communicator: Communicator | None,
) -> tuple[Tensor, Tensor, int]:
    """Mean, variance and number of values of each channel; ValueError if the running ones cannot follow."""
    mean, var = _named("batch_norm", primitives.batch_norm_statistics, x)
    count = x.numel() // mean.numel()
    if communicator is not None:
        if x.is_cuda:
            raise NotImplementedError("batch_norm: a batch that is spread over processes must be on the CPU")
        *pooled, count = pooled_statistics(mean.data, var.data, count, communicator)
        mean, var = map(Tensor, pooled)
    if count < 2:
        raise ValueError(
            f"batch_norm: training needs more than one value per channel, got input of shape {x.shape}; "
            "use a larger batch, or eval() to normalise with the running statistics"
        )
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"batch_norm: momentum must be from 0 to 1, got {momentum}")
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if running is None:
            continue
        if running.shape != mean.shape or running.dtype != np.float32:
            raise ValueError(
                f"batch_norm: {name} must be float32 of shape {mean.shape}, "
                f"got {running.dtype} of shape {running.shape}"
            )
        if not running.data.flags.writeable:
            raise ValueError(f"batch_norm: {name} must be writeable in training, got a read-only array")
    return mean, var, count


def _move(running: Tensor | None, statistic: Array, momentum: float) -> None:
    if running is not None:
        running.data[...] += np.float32(momentum) * (statistic.astype(np.float32) - running.data)


@overload
def max_pool2d(
    input: Input,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Tensor: ...
@overload
def max_pool2d(
    input: Input,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def max_pool2d(
    input: Input,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of each window; NaN if the window holds one.

    ``stride`` is ``kernel_size`` unless given. ``ceil_mode`` lets a last window reach over the edge. Padding
    never wins, not even over minus infinity. ``return_indices`` adds the place of each value, counted in
    ``h * w`` over its channel, in int64; of equal values it is the first's.
    """
    x, window = (
        as_tensor("max_pool2d", "input", input),
        arguments.pair("max_pool2d", "kernel_size", kernel_size),
    )
    pool: Any = primitives.max_pool2d_with_indices if return_indices else primitives.max_pool2d
    return pool(  # type: ignore[no-any-return]
        x,
        kernel_size=window,
        stride=window if stride is None else arguments.pair("max_pool2d", "stride", stride),
        padding=arguments.sides("max_pool2d", "padding", padding),
        dilation=arguments.pair("max_pool2d", "dilation", dilation),
        ceil_mode=bool(ceil_mode),
    )


def avg_pool2d(
    input: Input,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: SupportsIndex | None = None,
) -> Tensor:
    """The mean of each window. ``stride`` is ``kernel_size`` unless given.

    The divisor counts the zeros of the padding unless ``count_include_pad=False``; what a window covers
    beyond the padding (with ``ceil_mode``) never counts. ``divisor_override`` is the divisor of every window.
    """
    x, window = (
        as_tensor("avg_pool2d", "input", input),
        arguments.pair("avg_pool2d", "kernel_size", kernel_size),
    )
    divisor = 0  # the operator's word for none
    if divisor_override is not None:
        divisor = arguments.positive("avg_pool2d", "divisor_override", divisor_override)
    return primitives.avg_pool2d(
        x,
        kernel_size=window,
        stride=window if stride is None else arguments.pair("avg_pool2d", "stride", stride),
        padding=arguments.sides("avg_pool2d", "padding", padding),
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
        divisor_override=divisor,
    )


def adaptive_avg_pool2d(input: Input, output_size: Pair | tuple[int | None, int | None]) -> Tensor:
    """Average pooling to a given height and width; None keeps that of the input.

    Window i of ``out`` windows over ``size`` pixels begins at ``floor(i * size / out)`` and ends before
    ``ceil((i + 1) * size / out)``.
    """
    x = as_tensor("adaptive_avg_pool2d", "input", input)
    size = arguments.output_size("adaptive_avg_pool2d", output_size, x.shape)
    return primitives.adaptive_avg_pool2d(x, output_size=size)


def global_avg_pool2d(input: Input) -> Tensor:
    """The mean of each channel over height and width: ``(n, c, h, w)`` to ``(n, c)``."""
    x = as_tensor("global_avg_pool2d", "input", input)
    return _named("global_avg_pool2d", primitives.radix_sum_pool, x, radix=1)


def radix_sum_pool(x: Input, radix: SupportsIndex) -> Tensor:
    """Adds the ``radix`` splits of ``x`` and averages over the image: the input of split attention's logits.

    ``x`` is radix-major, ``(n, radix * c, h, w)``; the result is ``(n, c)``. With ``radix=1`` it is global
    average pooling.
    """
    return primitives.radix_sum_pool(
        as_tensor("radix_sum_pool", "x", x), radix=arguments.integer("radix_sum_pool", "radix", radix)
    )


def split_attention(x: Input, logits: Input, radix: SupportsIndex, cardinality: SupportsIndex = 1) -> Tensor:
    """The sum of the ``radix`` splits of ``x``, weighted channel by channel by a softmax over the splits.

    ``x`` is radix-major, ``(n, radix * c, h, w)``, the result ``(n, c, h, w)``. ``logits`` is ``(n, radix *
    c)``, or that with two dimensions of length 1 behind, but cardinality-major: ``(cardinality, radix, c /
    cardinality)``, the order in which a convolution with ``groups=cardinality`` gives them. With ``radix=1``
    the weight is a sigmoid. From "ResNeSt: Split-Attention Networks" (Zhang et al., 2020),
    https://arxiv.org/abs/2004.08955.
    """
    scores = as_tensor("split_attention", "logits", logits)
    if scores.ndim == 4 and scores.shape[2:] == (1, 1):
        scores = scores.flatten(1)
    return primitives.split_attention(
        as_tensor("split_attention", "x", x),
        scores,
        radix=arguments.integer("split_attention", "radix", radix),
        cardinality=arguments.integer("split_attention", "cardinality", cardinality),
    )


def linear(input: Input, weight: Input, bias: Input | None = None) -> Tensor:
    """``input @ weight.T + bias``: ``(..., in)`` and ``(out, in)`` to ``(..., out)``."""
    x, matrix = as_tensor("linear", "input", input), as_tensor("linear", "weight", weight)
    return primitives.linear(x, matrix, None if bias is None else as_tensor("linear", "bias", bias))


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

    On a GPU all tensors are, and stay, there. Nothing waits for the target, so that an index of no class
    makes the loss NaN instead of an error.

    Raises:
        ValueError: On the CPU, a target is neither a class nor ``ignore_index``.
    """
    return primitives.cross_entropy(
        as_tensor("cross_entropy", "input", input),
        as_tensor("cross_entropy", "target", target),
        None if weight is None else as_tensor("cross_entropy", "weight", weight),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def pad(input: Input, pad: tuple[SupportsIndex, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """``input`` with ``value`` added around it.

    ``pad`` is in PyTorch's order, the last dimension first: ``(left, right, top, bottom)``. A negative number
    cuts off instead.

    Raises:
        NotImplementedError: ``mode`` is not ``"constant"``.
    """
    x = as_tensor("pad", "input", input)
    if mode != "constant":
        raise NotImplementedError(f"pad: mode must be 'constant', got {mode!r}")
    return primitives.pad(x, widths=arguments.widths("pad", pad, x.shape), value=float(value))


def relu(input: Input, inplace: bool = False) -> Tensor:
    """``max(input, 0)``, NaN staying NaN. With ``inplace`` the result is written over ``input``."""
    return primitives.relu(as_tensor("relu", "input", input), inplace=bool(inplace))


def sigmoid(input: Input) -> Tensor:
    """``1 / (1 + exp(-input))``."""
    return primitives.sigmoid(as_tensor("sigmoid", "input", input))


def softmax(input: Input, dim: int) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``."""
    x: Tensor = as_tensor("softmax", "input", input)
    return x.softmax(dim)


def log_softmax(input: Input, dim: int) -> Tensor:
    """The logarithm of ``softmax``."""
    x: Tensor = as_tensor("log_softmax", "input", input)
    return x.log_softmax(dim)


def dropout(input: Input, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes each value with probability ``p`` and divides the others by ``1 - p``, so that the mean stays.

    Returns ``input`` itself when not training. The draws are those of ``lucid.random.generator``.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}")
    x: Tensor = as_tensor("dropout", "input", input)
    if not training or p == 0.0:
        return x
    y = primitives.dropout(x, p=p, generator=generator(), inplace=bool(inplace))
    return x if inplace else y


def drop_path(input: Input, p: float = 0.5, training: bool = True) -> Tensor:
    """Zeroes each entry of the first dimension, so each image, as a whole with probability ``p``.

    The others are divided by ``1 - p``, so that the mean stays. Before a residual addition, a block then
    passes on its shortcut alone: "Deep Networks with Stochastic Depth" (Huang et al., 2016),
    https://arxiv.org/abs/1603.09382. Returns ``input`` itself when not training. The draws, one for each
    image, are those of ``lucid.random.generator``.

    Raises:
        ValueError: ``p`` is out of its range, or the input has no dimensions.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"drop_path: p must be from 0 to 1, got {p}")
    x: Tensor = as_tensor("drop_path", "input", input)
    if x.ndim == 0:
        raise ValueError("drop_path: input must have a dimension of samples, got shape ()")
    if not training or p == 0.0:
        return x
    return primitives.dropout(x, p=p, generator=generator(), inplace=False, samples=True)
