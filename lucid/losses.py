"""Cross entropy from arrays to arrays: the loss, and what its gradient needs."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import eager
from lucid.device_array import DeviceArray, not_yet

Array: TypeAlias = npt.NDArray[Any]


def cross_entropy(
    input: Array, target: Array, weight: Array | None, *, reduction: str, **options: Any
) -> Array:
    """The loss, in the dtype of ``input``; see ``lucid.nn.functional.cross_entropy``."""
    return _reduced(_losses(input, target, weight, reduction=reduction, **options), reduction)


def cross_entropy_to_differentiate(
    input: Array,
    target: Array,
    weight: Array | None,
    *,
    reduction: str,
    label_smoothing: float,
    **options: Any,
) -> tuple[Array, tuple[Array, Array, Any]]:
    """The loss; and ``logp`` (n, ..., classes), the factors of ``-logp`` in its sum, and its divisor."""
    found = _losses(input, target, weight, reduction=reduction, label_smoothing=label_smoothing, **options)
    factors = (1.0 - label_smoothing) * _shares(found) + label_smoothing / found.scale.size
    factors = (factors * found.scale * found.counted[..., None]).astype(found.logp.dtype)
    return _reduced(found, reduction), (found.logp, factors, found.total)


class _Losses(NamedTuple):
    """Losses (n, ...) of ``logp`` (n, ..., classes), and the weight of all."""

    losses: Array
    total: Any
    logp: Array
    labels: Array  # class indices (n, ...), 0 where ignored, or probabilities in the shape of logp
    scale: Array  # a factor for each class
    counted: Array  # of each loss, whether it counts


def _losses(
    input: Array,
    target: Array,
    weight: Array | None,
    *,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> _Losses:
    _check_places(input, target=target, weight=weight)
    # In row-major order, as all that is summed below: the last bit of a sum depends on its order.
    labels = np.asarray(target, order="C")
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"cross_entropy: reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
    if input.ndim == 0 or input.shape[input.ndim > 1] == 0:
        raise ValueError(f"cross_entropy: input must hold logits (n, classes, ...), got shape {input.shape}")
    class_axis = 0 if input.ndim == 1 else 1
    classes = input.shape[class_axis]
    logp = np.moveaxis(eager.softmax(input, dim=class_axis, log=True), class_axis, -1)
    logp = np.asarray(logp, order="C")
    scale = np.ones(classes, logp.dtype) if weight is None else weight
    if scale.shape != (classes,):
        raise ValueError(f"cross_entropy: weight must have shape ({classes},), got {scale.shape}")
    if labels.dtype.kind == "f":
        return _of_probabilities(logp, labels, scale, class_axis, label_smoothing)
    return _of_indices(logp, labels, scale, ignore_index, label_smoothing)


def _check_places(input: Any, **others: Any) -> None:
    """ValueError where arrays are on several devices, NotImplementedError where all are on a GPU."""
    for name, value in others.items():
        if value is not None and _place(value) != _place(input):
            raise ValueError(
                "cross_entropy: all tensors must be on one device, "
                f"got input on {_place(input)} and {name} on {_place(value)}"
            )
    if type(input) is DeviceArray:
        raise not_yet("cross_entropy")


def _place(array: Any) -> str:
    return f"cuda:{array.device_index}" if type(array) is DeviceArray else "the CPU"


def _of_indices(logp: Array, labels: Array, scale: Array, ignore_index: int, smoothing: float) -> _Losses:
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
    losses = np.where(counted, losses, 0).astype(logp.dtype)
    return _Losses(losses, (scale[chosen] * counted).sum(), logp, chosen, scale, counted)


def _of_probabilities(logp: Array, labels: Array, scale: Array, class_axis: int, smoothing: float) -> _Losses:
    shares = np.moveaxis(labels, class_axis, -1) if labels.ndim == logp.ndim else labels
    shares = np.asarray(shares, order="C")
    if shares.shape != logp.shape:
        raise ValueError(
            f"cross_entropy: target must hold probabilities in the input's shape, got shape {labels.shape}"
        )
    smooth = (1.0 - smoothing) * shares + smoothing / scale.size
    losses = -(smooth * scale * logp).sum(-1)
    counted = np.ones(losses.shape, bool)
    return _Losses(losses.astype(logp.dtype), losses.size, logp, shares, scale, counted)


def _shares(found: _Losses) -> Array:
    """The probability of each class that the target asks for."""
    if found.labels.shape == found.logp.shape and found.labels.dtype.kind == "f":
        return found.labels
    shares = np.zeros(found.logp.shape, found.logp.dtype)
    np.put_along_axis(shares, found.labels[..., None], 1, -1)
    return shares


def _reduced(found: _Losses, reduction: str) -> Array:
    if reduction == "none":
        return found.losses
    with np.errstate(invalid="ignore"):  # NaN where every target is ignored
        total = found.losses.sum() / found.total if reduction == "mean" else found.losses.sum()
        return np.asarray(total, found.logp.dtype)
