"""The size of a step's gradients, and a limit to it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from lucid.device_array import on_host
from lucid.tensor import Tensor

__all__ = ["clip_grad_norm_", "grad_norm"]


def grad_norm(parameters: Iterable[Tensor]) -> float:
    """The Euclidean norm of all gradients as one vector, summed in float64; not finite where one is not."""
    return math.sqrt(sum(_squares(parameter.grad) for parameter in parameters if parameter.grad is not None))


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scales all gradients by one factor, so that their norm is ``max_norm`` at most.

    "On the difficulty of training recurrent neural networks" (Pascanu et al., 2013),
    https://arxiv.org/abs/1211.5063.

    Returns:
        The norm before. Where it is not finite, the gradients stay as they are.

    Raises:
        ValueError: ``max_norm`` is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    given = list(parameters)
    norm = grad_norm(given)
    if max_norm < norm < math.inf:
        for parameter in given:
            if parameter.grad is None:
                continue
            parameter.grad = Tensor(parameter.grad.data * np.float32(max_norm / norm))
    return norm


def _squares(gradient: Tensor) -> float:
    values = on_host(gradient.data)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.square(values, dtype=np.float64).sum())
