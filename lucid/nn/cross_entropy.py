"""Cross entropy, the loss of logits and targets."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from lucid.device_array import not_yet
from lucid.tensor import Array, Tensor, as_tensor

Input: TypeAlias = Tensor | Array


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
    logits: Tensor = as_tensor("cross_entropy", "input", input)
    goal = as_tensor("cross_entropy", "target", target)
    scaling = None if weight is None else as_tensor("cross_entropy", "weight", weight)
    _check_places(logits, target=goal, weight=scaling)
    # In row-major order, as all that is summed below: the last bit of a sum depends on its order.
    labels = np.asarray(goal.data, order="C")
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"cross_entropy: reduction must be 'none', 'sum' or 'mean', got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
    if logits.ndim == 0 or logits.shape[logits.ndim > 1] == 0:
        raise ValueError(f"cross_entropy: input must hold logits (n, classes, ...), got shape {logits.shape}")
    class_axis = 0 if logits.ndim == 1 else 1
    classes = logits.shape[class_axis]
    logp = np.asarray(np.moveaxis(logits.log_softmax(class_axis).data, class_axis, -1), order="C")
    scale = np.ones(classes, logp.dtype) if scaling is None else scaling.data
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


def _check_places(logits: Tensor, **others: Tensor | None) -> None:
    """ValueError where tensors are on several devices, NotImplementedError where all are on a GPU."""
    for name, value in others.items():
        if value is not None and value.device != logits.device:
            first, second = ("the CPU" if x.device == "cpu" else x.device for x in (logits, value))
            raise ValueError(
                "cross_entropy: all tensors must be on one device, "
                f"got input on {first} and {name} on {second}"
            )
    if logits.is_cuda:
        raise not_yet("cross_entropy")


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
    shares = np.asarray(shares, order="C")
    if shares.shape != logp.shape:
        raise ValueError(
            f"cross_entropy: target must hold probabilities in the input's shape, got shape {labels.shape}"
        )
    shares = (1.0 - smoothing) * shares + smoothing / scale.size
    losses = -(shares * scale * logp).sum(-1)
    return losses.astype(logp.dtype), losses.size
