"""Tensors that gradients are asked of, and those gradients."""

from __future__ import annotations

import numpy as np

import lucid
from lucid import Tensor


def leaf(*values: float) -> Tensor:
    found: Tensor = lucid.tensor(list(values), dtype=np.float32).requires_grad_()
    return found


def gradient_of(tensor: Tensor) -> list[float]:
    assert tensor.grad is not None
    found: list[float] = tensor.grad.tolist()
    return found
