"""Mixtures of two images and their labels, for training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cutmix", "mixup", "one_hot"]

Images = NDArray[np.float32]


def one_hot(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float32]:
    """Probabilities ``(n, num_classes)``: 1 at the label.

    Raises:
        ValueError: A label is negative, or not below ``num_classes``.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"one_hot: labels must be from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}"
        )
    found: NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[labels]
    return found


def mixup(
    images: Images, probabilities: NDArray[np.float32], rng: np.random.Generator, alpha: float = 0.2
) -> tuple[Images, NDArray[np.float32]]:
    """Each image added to another one of the batch, ``part * x + (1 - part) * other``, and so the labels.

    ``part`` is drawn once from Beta(alpha, alpha): with the default, most often near 0 or 1. "mixup: Beyond
    Empirical Risk Minimization" (Zhang et al., 2018), https://arxiv.org/abs/1710.09412.

    Args:
        images: ``(n, ...)``.
        probabilities: ``(n, num_classes)``; see ``one_hot``.
    """
    part, order = np.float32(rng.beta(alpha, alpha)), rng.permutation(len(images))
    rest = np.float32(1) - part
    return part * images + rest * images[order], part * probabilities + rest * probabilities[order]


def cutmix(
    images: Images, probabilities: NDArray[np.float32], rng: np.random.Generator, alpha: float = 1.0
) -> tuple[Images, NDArray[np.float32]]:
    """Each image with a rectangle of another one of the batch in it, and labels by their areas.

    "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (Yun et al.,
    2019), https://arxiv.org/abs/1905.04899.

    Args:
        images: ``(n, channels, h, w)``.
        probabilities: ``(n, num_classes)``; see ``one_hot``.
    """
    order, (height, width) = rng.permutation(len(images)), images.shape[2:]
    side = np.sqrt(1.0 - rng.beta(alpha, alpha))  # of the rectangle, as a part of the image's
    middle, half = rng.random(2) * (height, width), side * np.array([height, width]) / 2
    (top, left), (bottom, right) = (
        np.clip(np.round(middle + sign * half).astype(int), 0, (height, width)) for sign in (-1, 1)
    )
    mixed = images.copy()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    rest = np.float32((bottom - top) * (right - left) / (height * width))
    return mixed, (np.float32(1) - rest) * probabilities + rest * probabilities[order]
