"""The gradient of every operator in float64 NumPy, the obvious way; of the operators in ``reference``.

``dy`` is the gradient of what an operator gave. What an operator was given keeps its name and its order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import reference
from reference import (
    Array,
    Padding,
    Pair,
    as_padding,
    as_pair,
    float64,
    inside,
    split_attention_weights,
    windows,
)


def batch_norm(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    mean: npt.ArrayLike,
    var: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    eps: float = 1e-5,
    y: npt.ArrayLike | None = None,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """``dx``, ``dweight`` and ``dbias``; ``y`` is the output behind a fused ReLU."""
    dy, x = float64(dy), float64(x)
    if y is not None:
        dy = relu(dy, y)
    axes, shape = (0, *range(2, x.ndim)), (1, x.shape[1]) + (1,) * (x.ndim - 2)
    inverse = 1.0 / np.sqrt(float64(var) + eps)
    scale = inverse if weight is None else inverse * float64(weight)
    normalised = (x - float64(mean).reshape(shape)) * inverse.reshape(shape)
    dweight, dbias = (dy * normalised).sum(axis=axes), dy.sum(axis=axes)
    if training:
        n = x.size // x.shape[1]
        dy = dy - dbias.reshape(shape) / n - normalised * dweight.reshape(shape) / n
    return dy * scale.reshape(shape), dweight, dbias


def relu(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Where ``y`` is NaN, ``dy`` stays."""
    return np.where(float64(y) <= 0.0, 0.0, float64(dy))


def sigmoid(dy: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    y = float64(y)
    return float64(dy) * y * (1.0 - y)


def softmax(dy: npt.ArrayLike, y: npt.ArrayLike, dim: int) -> Array:
    dy, y = float64(dy), float64(y)
    return y * (dy - (dy * y).sum(axis=dim, keepdims=True))


def log_softmax(dy: npt.ArrayLike, y: npt.ArrayLike, dim: int) -> Array:
    dy = float64(dy)
    return dy - np.exp(float64(y)) * dy.sum(axis=dim, keepdims=True)


def cross_entropy(
    dy: npt.ArrayLike,
    logits: npt.ArrayLike,
    target: npt.NDArray[Any],
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Row by row: the sum of all factors times the probability of a class, without its own factor."""
    p = np.moveaxis(reference.softmax(logits, 1), 1, -1)
    classes = p.shape[-1]
    class_weight = np.ones(classes) if weight is None else float64(weight)
    indexed = target.dtype.kind == "i"
    wanted = target if indexed else np.moveaxis(target, 1, -1)
    dx, total_weight = np.zeros(p.shape), 0.0
    for row in np.ndindex(p.shape[:-1]):
        if indexed and wanted[row] == ignore_index:
            continue
        shares = np.eye(classes)[wanted[row]] if indexed else float64(wanted[row])
        factors = class_weight * ((1.0 - label_smoothing) * shares + label_smoothing / classes)
        dx[row] = factors.sum() * p[row] - factors
        dx[row] *= float64(dy)[row] if reduction == "none" else float64(dy)
        total_weight += class_weight[wanted[row]] if indexed else 1.0
    return np.moveaxis(dx / total_weight if reduction == "mean" else dx, -1, 1)


def max_pool2d(dy: npt.ArrayLike, indices: npt.NDArray[np.int64], image_size: tuple[int, int]) -> Array:
    dy = float64(dy)
    n, c = dy.shape[:2]
    dx = np.zeros((n, c, image_size[0] * image_size[1]))
    for place in np.ndindex(dy.shape):
        dx[place[0], place[1], indices[place]] += dy[place]
    return dx.reshape(n, c, *image_size)


def avg_pool2d(
    dy: npt.ArrayLike,
    image_size: tuple[int, int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int = 0,
) -> Array:
    dy, kernel, pad, (h, w) = float64(dy), as_pair(kernel_size), as_padding(padding), image_size
    step = kernel if stride is None else as_pair(stride)
    dx = np.zeros((*dy.shape[:2], h, w))
    for i, j, rows, columns in windows(image_size, kernel, step, pad, (1, 1), ceil_mode)[2]:
        covered = np.ix_(inside(rows, h), inside(columns, w))
        padded_rows = [row for row in rows if row < h + pad[0][1]]
        padded_columns = [column for column in columns if column < w + pad[1][1]]
        area = len(padded_rows) * len(padded_columns)
        if not count_include_pad:
            area = covered[0].size * covered[1].size
        dx[:, :, covered[0], covered[1]] += (dy[:, :, i, j] / (divisor_override or area))[:, :, None, None]
    return dx


def adaptive_avg_pool2d(dy: npt.ArrayLike, image_size: tuple[int, int]) -> Array:
    dy, (h, w) = float64(dy), image_size
    oh, ow = dy.shape[2:]
    dx = np.zeros((*dy.shape[:2], h, w))
    for i in range(oh):
        for j in range(ow):
            rows = slice(i * h // oh, -(-(i + 1) * h // oh))
            columns = slice(j * w // ow, -(-(j + 1) * w // ow))
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[:, :, rows, columns] += dy[:, :, i, j, None, None] / area
    return dx


def radix_sum_pool(dy: npt.ArrayLike, radix: int, image_size: tuple[int, int]) -> Array:
    h, w = image_size
    return np.tile(float64(dy)[:, :, None, None] / (h * w), (1, radix, h, w))


def split_attention(
    dy: npt.ArrayLike, x: npt.ArrayLike, logits: npt.ArrayLike, radix: int, cardinality: int = 1
) -> tuple[Array, Array]:
    """``dx`` and ``dlogits``."""
    dy, x = float64(dy), float64(x)
    n, channels, h, w = x.shape
    weights = split_attention_weights(logits, radix, cardinality)
    dx = (weights[:, :, :, None, None] * dy[:, None]).reshape(x.shape)
    dweights = (dy[:, None] * x.reshape(n, radix, channels // radix, h, w)).sum(axis=(3, 4))
    gradient = softmax(dweights, weights, 1) if radix > 1 else sigmoid(dweights, weights)
    width = channels // radix // cardinality
    dlogits = gradient.reshape(n, radix, cardinality, width).transpose(0, 2, 1, 3).reshape(n, channels)
    return dx, dlogits
