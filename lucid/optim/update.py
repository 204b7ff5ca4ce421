"""Updates of arrays in place: by kernels, or by NumPy on the CPU where they do not know the dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lucid import _core
from lucid.eager import has_kernel

__all__ = ["adamw_update", "average_update", "sgd_update"]


def sgd_update(
    parameter: Any,
    gradient: Any,
    momentum_buffer: Any,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    is_first_step: bool,
) -> None:
    """Moves a parameter down its gradient; there is no buffer without momentum, nor is one read at first."""
    if has_kernel(parameter):
        _core.sgd_update(
            parameter,
            gradient,
            momentum_buffer,
            lr,
            momentum,
            dampening,
            weight_decay,
            nesterov,
            is_first_step,
        )
        return
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    if momentum_buffer is not None:
        if is_first_step:
            momentum_buffer[...] = gradient
        else:
            momentum_buffer *= momentum
            momentum_buffer += (1 - dampening) * gradient
        gradient = gradient + momentum * momentum_buffer if nesterov else momentum_buffer
    parameter -= lr * gradient


def adamw_update(
    parameter: Any,
    gradient: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """Moves a parameter by its mean gradient over the root of its mean square; ``step`` counts from 1."""
    first, second = betas
    if has_kernel(parameter):
        _core.adamw_update(
            parameter, gradient, exp_avg, exp_avg_sq, lr, first, second, eps, weight_decay, step
        )
        return
    parameter *= 1 - lr * weight_decay
    exp_avg *= first
    exp_avg += (1 - first) * gradient
    exp_avg_sq *= second
    exp_avg_sq += (1 - second) * (gradient * gradient)
    known_mean, known_square = 1 - first**step, 1 - second**step
    root = np.sqrt(exp_avg_sq) / math.sqrt(known_square)
    parameter -= lr / known_mean * (exp_avg / (root + eps))


def average_update(average: Any, parameter: Any, *, decay: float) -> None:
    """Takes a parameter into its average, of which ``decay`` stays."""
    if parameter.dtype != average.dtype:
        parameter = parameter.astype(average.dtype)
    if has_kernel(average):
        _core.average_update(average, parameter, decay)
        return
    average += (1 - decay) * (parameter - average)
