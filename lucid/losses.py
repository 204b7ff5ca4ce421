"""Cross entropy and its gradient, from arrays to arrays: the kernels', and NumPy's for other dtypes."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, eager

Array: TypeAlias = npt.NDArray[Any]

_REDUCTIONS = ("none", "sum", "mean")  # in the order of lucid_reduction
_FLOAT32 = np.dtype(np.float32)


def cross_entropy(
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """The loss, in the dtype of ``x``; see ``lucid.nn.functional.cross_entropy``."""
    code = _code(reduction)
    if eager.has_kernel(x):
        return _core.cross_entropy(x, *_taken(x, target, weight), ignore_index, label_smoothing, code)
    wanted = _wanted(x, target, weight, ignore_index, label_smoothing)
    terms = np.multiply(
        wanted.factors, wanted.logp, where=wanted.factors != 0, out=np.zeros_like(wanted.logp)
    )
    losses: Array = -terms.sum(-1)
    if reduction == "none":
        return losses.astype(x.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where every target is ignored
        return np.asarray(losses.sum() / (wanted.total if reduction == "mean" else 1.0), x.dtype)


def cross_entropy_backward(
    dy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """The gradient of ``x``, from that of the loss.

    A loss is ``-sum(f * log_softmax(x))`` over the classes, whose slope is ``sum(f) * softmax(x) - f``.
    """
    code = _code(reduction)
    if isinstance(x, np.ndarray):
        dy = np.asarray(dy)  # arithmetic makes scalars of NumPy's arrays without dimensions
    if eager.has_kernel(x):
        return _core.cross_entropy_backward(
            dy, x, *_taken(x, target, weight), ignore_index, label_smoothing, code
        )
    wanted = _wanted(x, target, weight, ignore_index, label_smoothing)
    scale = dy[..., None] if reduction == "none" else dy
    with np.errstate(all="ignore"):
        slope = wanted.factors.sum(-1, keepdims=True) * np.exp(wanted.logp) - wanted.factors
        dx = slope * (scale / wanted.total if reduction == "mean" else scale)
    dx[~wanted.counted] = 0
    return np.moveaxis(dx.astype(x.dtype), -1, min(1, dx.ndim - 1))


def _code(reduction: str) -> int:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    return _REDUCTIONS.index(reduction)


def _taken(x: Array, target: Array, weight: Array | None) -> tuple[Array, Array | None]:
    """Target and weight in dtypes that the kernels take: class indices in one, the rest in that of ``x``."""
    if target.dtype.kind in "iu":
        target = target if target.dtype == np.int64 else target.astype(np.int64)
    elif target.dtype.kind == "f" and target.dtype not in (x.dtype, _FLOAT32):
        target = target.astype(_FLOAT32)
    if weight is not None and weight.dtype not in (x.dtype, _FLOAT32):
        weight = weight.astype(_FLOAT32)
    return target, weight


class _Wanted(NamedTuple):
    """Targets and probabilities of all rows, in float64 and in row-major order, which sums are formed in."""

    logp: Array  # (n, ..., classes)
    factors: Array  # of -logp in a loss: the smoothed target times the weights
    counted: Array  # (n, ...), whether a row has a loss
    total: Any  # by what the mean divides


def _wanted(x: Array, target: Any, weight: Any, ignore_index: int, label_smoothing: float) -> _Wanted:
    """For other floats than float32, on the CPU."""
    eager.floating("cross_entropy", x)
    class_axis = min(1, x.ndim - 1)
    if x.ndim == 0 or x.shape[class_axis] == 0:
        raise ValueError(f"cross_entropy: x must hold logits (n, classes, ...), got shape {x.shape}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing:g}")
    logp = np.moveaxis(eager.softmax(x.astype(np.float64), dim=class_axis, log=True), class_axis, -1)
    logp = np.asarray(logp, order="C")
    classes = logp.shape[-1]
    scale = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    if scale.shape != (classes,):
        raise ValueError(f"cross_entropy: weight must have {classes} elements, got shape {scale.shape}")
    labels = np.asarray(target)
    if labels.dtype.kind == "f":
        if labels.shape != x.shape:
            raise ValueError(
                "cross_entropy: target must hold probabilities in the input's shape, "
                f"got shape {labels.shape}"
            )
        shares = np.moveaxis(labels.astype(np.float64), class_axis, -1)
        counted = np.ones(logp.shape[:-1], bool)
        total: Any = float(counted.size)
    else:
        chosen, counted = _chosen(labels, logp.shape, ignore_index)
        shares = np.zeros(logp.shape)
        np.put_along_axis(shares, chosen[..., None], 1.0, -1)
        total = (scale[chosen] * counted).sum()
    factors = ((1.0 - label_smoothing) * shares + label_smoothing / classes) * scale
    return _Wanted(logp, np.asarray(factors * counted[..., None], order="C"), counted, total)


def _chosen(labels: Array, shape: tuple[int, ...], ignore_index: int) -> tuple[Array, Array]:
    """The class of each row, 0 where it is ignored, and whether it counts."""
    if labels.dtype.kind not in "iu" or labels.shape != shape[:-1]:
        raise ValueError(
            f"cross_entropy: target must hold class indices of shape {shape[:-1]} or probabilities "
            f"in the input's shape, got {labels.dtype} of shape {labels.shape}"
        )
    counted = labels != ignore_index
    chosen = np.where(counted, np.asarray(labels, np.int64, order="C"), 0)
    outside = chosen[(chosen < 0) | (chosen >= shape[-1])]
    if outside.size:
        raise ValueError(
            f"cross_entropy: target must be from 0 to {shape[-1] - 1} or ignore_index ({ignore_index}), "
            f"got {outside[0]}"
        )
    return chosen, counted
