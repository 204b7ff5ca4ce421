"""Random tensors, and the one generator that initialisation and dropout draw from as well."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np

from lucid import arguments, creation
from lucid.tensor import Tensor

_generator: np.random.Generator | None = None


def generator() -> np.random.Generator:
    """The generator in use; unless ``seed`` was called, it starts from the operating system's entropy."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


def seed(value: SupportsIndex) -> None:
    """Starts the generator over, so that what is drawn next is repeatable; ``value`` must not be negative."""
    global _generator
    number = arguments.integer("seed", "value", value)
    if number < 0:
        raise ValueError(f"seed: value must not be negative, got {number}")
    _generator = np.random.default_rng(number)


def randn(*size: SupportsIndex | tuple[SupportsIndex, ...], device: object = None) -> Tensor:
    """Float32 values from the normal distribution of mean 0 and variance 1, drawn on the CPU."""
    draws = generator().standard_normal(arguments.shape("randn", size), dtype=np.float32)
    return creation.placed("randn", draws, device)


def rand(*size: SupportsIndex | tuple[SupportsIndex, ...], device: object = None) -> Tensor:
    """Float32 values spread evenly over [0, 1), drawn on the CPU."""
    return creation.placed(
        "rand", generator().random(arguments.shape("rand", size), dtype=np.float32), device
    )
