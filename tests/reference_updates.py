"""The updates of parameters in float64, the obvious way: arrays in, new arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def sgd_update(
    parameter: npt.ArrayLike,
    gradient: npt.ArrayLike,
    momentum_buffer: npt.ArrayLike | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> tuple[Array, Array | None]:
    """The parameter and its buffer, None before the first step and without momentum."""
    p = np.asarray(parameter, np.float64)
    g = np.asarray(gradient, np.float64)
    if weight_decay:
        g = g + weight_decay * p
    if not momentum:
        return p - lr * g, None
    buffer = g
    if momentum_buffer is not None:
        buffer = momentum * np.asarray(momentum_buffer, np.float64) + (1 - dampening) * g
    return p - lr * (g + momentum * buffer if nesterov else buffer), buffer


def adamw_update(
    parameter: npt.ArrayLike,
    gradient: npt.ArrayLike,
    exp_avg: npt.ArrayLike,
    exp_avg_sq: npt.ArrayLike,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> tuple[Array, Array, Array]:
    """The parameter and both means."""
    p, g, m, v = (np.asarray(x, np.float64) for x in (parameter, gradient, exp_avg, exp_avg_sq))
    first, second = betas
    m = first * m + (1 - first) * g
    v = second * v + (1 - second) * g**2
    p = p * (1 - lr * weight_decay)
    return p - lr * (m / (1 - first**step)) / (np.sqrt(v / (1 - second**step)) + eps), m, v


def average_update(average: npt.ArrayLike, parameter: npt.ArrayLike, decay: float) -> Any:
    return decay * np.asarray(average, np.float64) + (1 - decay) * np.asarray(parameter, np.float64)
