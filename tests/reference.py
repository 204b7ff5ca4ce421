"""Every operator in float64 NumPy, the obvious way: what the kernels are compared with.

Written to be read and never optimised. Inputs may have any dtype and strides and are widened to float64
first, so the only error in a comparison is the kernel's own. Shapes and argument names are those of
``lucid.nn.functional``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Pair = int | tuple[int, int]
Padding = Pair | tuple[int, int, int, int]


def float64(x: npt.ArrayLike) -> Array:
    return np.asarray(x, dtype=np.float64)


def as_pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def as_padding(value: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """(top, bottom) and (left, right), of a pair or of (top, left, bottom, right)."""
    if isinstance(value, tuple) and len(value) == 4:
        return (value[0], value[2]), (value[1], value[3])
    height, width = as_pair(value)  # type: ignore[arg-type]
    return (height, height), (width, width)


def output_size(
    size: int,
    kernel: int,
    stride: int,
    padding: int | tuple[int, int],
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Number of windows along one axis; PyTorch's rule, which convolution and pooling share.

    With ``ceil_mode`` a last window may reach beyond the padded input, but it must not start in the right
    padding. ``padding`` is what both sides have, or (before, behind).
    """
    before, behind = (padding, padding) if isinstance(padding, int) else padding
    span = size + before + behind - dilation * (kernel - 1) - 1
    windows = (-(-span // stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (windows - 1) * stride >= size + before:
        windows -= 1
    return windows


def conv2d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """``x`` (n, c, h, w), ``weight`` (out, c / groups, kh, kw), ``bias`` (out,)."""
    x, weight = float64(x), float64(weight)
    (sh, sw), (ph, pw), (dh, dw) = as_pair(stride), as_padding(padding), as_pair(dilation)
    n, _, h, w = x.shape
    out_channels, group_in, kh, kw = weight.shape
    group_out = out_channels // groups
    oh, ow = output_size(h, kh, sh, ph, dh), output_size(w, kw, sw, pw, dw)
    padded = np.pad(x, ((0, 0), (0, 0), ph, pw))
    y = np.zeros((n, out_channels, oh, ow))
    for group in range(groups):
        inputs = slice(group * group_in, (group + 1) * group_in)
        outputs = slice(group * group_out, (group + 1) * group_out)
        for i in range(kh):
            for j in range(kw):
                top, left = i * dh, j * dw
                tap = padded[
                    :, inputs, top : top + (oh - 1) * sh + 1 : sh, left : left + (ow - 1) * sw + 1 : sw
                ]
                y[:, outputs] += np.einsum("nchw,oc->nohw", tap, weight[outputs, :, i, j])
    return y if bias is None else y + float64(bias)[None, :, None, None]


def conv2d_backward_input(
    dy: npt.ArrayLike,
    weight: npt.ArrayLike,
    height: int,
    width: int,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """The gradient of a sum over ``conv2d(x) * dy`` with respect to ``x`` (n, c, height, width)."""
    dy, weight = float64(dy), float64(weight)
    (sh, sw), (ph, pw), (dh, dw) = as_pair(stride), as_padding(padding), as_pair(dilation)
    n, out_channels, oh, ow = dy.shape
    _, group_in, kh, kw = weight.shape
    group_out = out_channels // groups
    padded = np.zeros((n, groups * group_in, height + sum(ph), width + sum(pw)))
    for group in range(groups):
        inputs = slice(group * group_in, (group + 1) * group_in)
        outputs = slice(group * group_out, (group + 1) * group_out)
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
                columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
                padded[:, inputs, rows, columns] += np.einsum(
                    "nohw,oc->nchw", dy[:, outputs], weight[outputs, :, i, j]
                )
    return padded[:, :, ph[0] : ph[0] + height, pw[0] : pw[0] + width]


def conv2d_backward_weight(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    kernel_size: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array]:
    """The gradients of a sum over ``conv2d(x) * dy`` with respect to the weight and to the bias."""
    dy, x = float64(dy), float64(x)
    (sh, sw), (ph, pw), (dh, dw) = as_pair(stride), as_padding(padding), as_pair(dilation)
    (kh, kw), (_, out_channels, oh, ow), group_in = kernel_size, dy.shape, x.shape[1] // groups
    group_out = out_channels // groups
    padded = np.pad(x, ((0, 0), (0, 0), ph, pw))
    dweight = np.zeros((out_channels, group_in, kh, kw))
    for group in range(groups):
        inputs = slice(group * group_in, (group + 1) * group_in)
        outputs = slice(group * group_out, (group + 1) * group_out)
        for i in range(kh):
            for j in range(kw):
                rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
                columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
                dweight[outputs, :, i, j] = np.einsum(
                    "nohw,nchw->oc", dy[:, outputs], padded[:, inputs, rows, columns]
                )
    return dweight, dy.sum((0, 2, 3))


def windows(
    shape: tuple[int, int],
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
    ceil_mode: bool,
) -> tuple[int, int, Iterator[tuple[int, int, range, range]]]:
    """Output height and width; for each output pixel the rows and columns of its window, padding included."""
    sizes = [
        output_size(shape[a], kernel_size[a], stride[a], padding[a], dilation[a], ceil_mode) for a in (0, 1)
    ]

    def reach(axis: int, index: int) -> range:
        start = index * stride[axis] - padding[axis][0]
        return range(start, start + dilation[axis] * (kernel_size[axis] - 1) + 1, dilation[axis])

    pixels = ((i, j, reach(0, i), reach(1, j)) for i in range(sizes[0]) for j in range(sizes[1]))
    return sizes[0], sizes[1], pixels


def inside(indices: range, size: int) -> list[int]:
    return [index for index in indices if 0 <= index < size]


def max_pool2d(
    x: npt.ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Array:
    """Padding counts as minus infinity; a NaN in the window gives NaN."""
    return max_pool2d_with_indices(x, kernel_size, stride, padding, dilation, ceil_mode)[0]


def max_pool2d_with_indices(
    x: npt.ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, npt.NDArray[np.int64]]:
    """And where the largest values are: ``row * w + column`` of the first, or of the last NaN."""
    x, kernel = float64(x), as_pair(kernel_size)
    step = kernel if stride is None else as_pair(stride)
    n, c, h, w = x.shape
    oh, ow, pixels = windows((h, w), kernel, step, as_padding(padding), as_pair(dilation), ceil_mode)
    y, indices = np.empty((n, c, oh, ow)), np.empty((n, c, oh, ow), np.int64)
    for i, j, rows, columns in pixels:
        taps = np.array([row * w + column for row in inside(rows, h) for column in inside(columns, w)])
        window = x.reshape(n, c, h * w)[:, :, taps]
        missing = np.isnan(window)
        last = len(taps) - 1 - missing[:, :, ::-1].argmax(2)
        chosen = np.where(missing.any(2), last, np.where(missing, -np.inf, window).argmax(2))
        y[:, :, i, j] = np.take_along_axis(window, chosen[..., None], 2)[..., 0]
        indices[:, :, i, j] = taps[chosen]
    return y, indices


def avg_pool2d(
    x: npt.ArrayLike,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int = 0,
) -> Array:
    """The divisor counts the padding if ``count_include_pad``, but never what ``ceil_mode`` adds."""
    x, kernel, pad = float64(x), as_pair(kernel_size), as_padding(padding)
    step = kernel if stride is None else as_pair(stride)
    n, c, h, w = x.shape
    oh, ow, pixels = windows((h, w), kernel, step, pad, (1, 1), ceil_mode)
    y = np.empty((n, c, oh, ow))
    for i, j, rows, columns in pixels:
        window = x[:, :, inside(rows, h)][:, :, :, inside(columns, w)]
        padded_rows = [row for row in rows if row < h + pad[0][1]]
        padded_columns = [column for column in columns if column < w + pad[1][1]]
        padded_area = len(padded_rows) * len(padded_columns)
        area = padded_area if count_include_pad else window.shape[2] * window.shape[3]
        y[:, :, i, j] = window.sum(axis=(2, 3)) / (divisor_override or area)
    return y


def adaptive_avg_pool2d(x: npt.ArrayLike, output_size: Pair) -> Array:
    """Window i reaches from floor(i * h / oh) to ceil((i + 1) * h / oh)."""
    x, (oh, ow) = float64(x), as_pair(output_size)
    n, c, h, w = x.shape
    y = np.empty((n, c, oh, ow))
    for i in range(oh):
        for j in range(ow):
            rows = slice(i * h // oh, -(-(i + 1) * h // oh))
            columns = slice(j * w // ow, -(-(j + 1) * w // ow))
            y[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return y


def global_avg_pool2d(x: npt.ArrayLike) -> Array:
    """(n, c, h, w) to (n, c)."""
    return float64(x).mean(axis=(2, 3))


def radix_sum_pool(x: npt.ArrayLike, radix: int) -> Array:
    """``x`` (n, radix * c, h, w), radix-major: the splits added, then averaged over the image, (n, c)."""
    x = float64(x)
    n, channels, h, w = x.shape
    return x.reshape(n, radix, channels // radix, h, w).sum(axis=1).mean(axis=(2, 3))


def batch_norm(
    x: npt.ArrayLike,
    mean: npt.ArrayLike,
    var: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    bias: npt.ArrayLike | None = None,
    eps: float = 1e-5,
) -> Array:
    """``x`` (n, c, ...), normalised with the given statistics of each channel."""
    x = float64(x)
    shape = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    scale = 1.0 / np.sqrt(float64(var) + eps)
    if weight is not None:
        scale = scale * float64(weight)
    y = (x - float64(mean).reshape(shape)) * scale.reshape(shape)
    return y if bias is None else y + float64(bias).reshape(shape)


def batch_norm_statistics(x: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean and biased variance of each channel."""
    x = float64(x)
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes), x.var(axis=axes)


def split_attention_weights(logits: npt.ArrayLike, radix: int, cardinality: int) -> Array:
    """``logits`` (n, radix * c) in the order (cardinality, radix, c / cardinality), to weights (n, radix, c).

    The softmax runs over radix; with ``radix == 1`` it would be constant, and the weight is a sigmoid
    instead.
    """
    logits = float64(logits)
    logits = logits.reshape(logits.shape[0], cardinality, radix, -1)
    weights = softmax(logits, 2) if radix > 1 else sigmoid(logits)
    return weights.transpose(0, 2, 1, 3).reshape(logits.shape[0], radix, -1)


def split_attention(x: npt.ArrayLike, logits: npt.ArrayLike, radix: int, cardinality: int = 1) -> Array:
    """``x`` (n, radix * c, h, w), radix-major: the sum over splits of weight times split, (n, c, h, w)."""
    x = float64(x)
    n, channels, h, w = x.shape
    splits = x.reshape(n, radix, channels // radix, h, w)
    weights = split_attention_weights(logits, radix, cardinality)
    return (splits * weights[:, :, :, None, None]).sum(axis=1)


def linear(x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Array:
    """``x`` (..., in), ``weight`` (out, in), ``bias`` (out,)."""
    y = float64(x) @ float64(weight).T
    return y if bias is None else y + float64(bias)


def relu(x: npt.ArrayLike) -> Array:
    """NaN stays NaN."""
    return np.maximum(float64(x), 0.0)


def sigmoid(x: npt.ArrayLike) -> Array:
    with np.errstate(
        over="ignore"
    ):  # exp overflows to infinity for very negative x, and the quotient is exactly 0
        return 1.0 / (1.0 + np.exp(-float64(x)))


def softmax(x: npt.ArrayLike, dim: int) -> Array:
    x = float64(x)
    powers = np.exp(x - x.max(axis=dim, keepdims=True))
    return powers / powers.sum(axis=dim, keepdims=True)


def log_softmax(x: npt.ArrayLike, dim: int) -> Array:
    x = float64(x)
    shifted = x - x.max(axis=dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def cross_entropy(
    logits: npt.ArrayLike,
    target: npt.NDArray[Any],
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """``logits`` (n, classes, ...), ``target`` (n, ...) of class indices, or of probabilities as the logits.

    A row's loss is the class weight times ``-log p[target]``, mixed with the weighted average of ``-log p``
    over all classes by ``label_smoothing``; the mean is a weighted one, over the rows whose target is not
    ``ignore_index``, or over all rows of probabilities.
    """
    logp = np.moveaxis(log_softmax(logits, 1), 1, -1)
    classes = logp.shape[-1]
    class_weight = np.ones(classes) if weight is None else float64(weight)
    losses, total_weight = np.zeros(logp.shape[:-1]), 0.0
    indexed = target.dtype.kind == "i"
    wanted = target if indexed else np.moveaxis(target, 1, -1)
    for row in np.ndindex(losses.shape):
        if indexed and wanted[row] == ignore_index:
            continue
        hard = -(np.eye(classes)[wanted[row]] if indexed else float64(wanted[row])) * class_weight
        smooth = -class_weight / classes
        # A class that nothing asks for may be masked by -inf.
        mixed = (1.0 - label_smoothing) * hard + label_smoothing * smooth
        losses[row] = (mixed[mixed != 0] * logp[row][mixed != 0]).sum()
        total_weight += class_weight[wanted[row]] if indexed else 1.0
    if reduction == "none":
        return losses
    if reduction == "sum":
        return np.asarray(losses.sum())
    return np.asarray(losses.sum() / np.float64(total_weight))
