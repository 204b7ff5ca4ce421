"""Batch norm of a batch that is spread over processes: statistics, and gradients of the input.

A process knows the sums over its own n of the batch's N values of each channel. One exchange of 2 c + 1
float64 numbers in each direction adds the others' to them. "MegDet: A Large Mini-Batch Object Detector" (Peng
et al., 2018), https://arxiv.org/abs/1711.07240, section 3.2.

Statistics: with the mean m and the variance v of the values here,
    M = sum of n * m / N,    V = sum of n * (v + m**2) / N - M**2.
In float64 the difference loses no digit that float32 shows, unless a mean is 10**4 standard deviations.

Gradients: with g = dy (behind a ReLU where y is positive), z = (x - M) / sqrt(V + eps) and all sums over the
whole batch, as of any batch norm,
    dx = scale * (g - sum(g) / N - z * sum(g * z) / N),    scale = weight / sqrt(V + eps).
The kernel computes this with the sums s over the values here. Since both are linear in the sums,
    dx - dx_here = scale * (s(g) / n - sum(g) / N) + scale * (s(g * z) / n - sum(g * z) / N) * z,
which is another batch norm of x. The gradients of weight and bias stay those of the part, and are added up
with those of all other parameters.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core
from lucid.communicator import Communicator

Array: TypeAlias = npt.NDArray[Any]


def pooled_statistics(
    mean: Array, var: Array, count: int, communicator: Communicator
) -> tuple[Array, Array, int]:
    """Mean, variance and number of values of each channel in all processes, from those in this one."""
    own, spread = mean.astype(np.float64), var.astype(np.float64)
    sums = count * np.concatenate([np.ones(1), own, spread + own * own])
    communicator.all_reduce(sums)
    pooled, squares = np.split(sums[1:] / sums[0], 2)
    variance = np.maximum(squares - pooled * pooled, 0.0)  # rounding may go below
    return pooled.astype(mean.dtype), variance.astype(var.dtype), int(sums[0])


def input_gradient(
    here_alone: tuple[Array, Array, Array],
    x: Array,
    weight: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    communicator: Communicator,
) -> Array:
    """The gradient of ``x`` from the three that ``_core.batch_norm_backward`` computes of the values here."""
    dx, dweight, dbias = here_alone
    count = x.size // mean.size
    here = np.concatenate([[count], dbias, dweight]).astype(np.float64)
    everywhere = here.copy()
    communicator.all_reduce(everywhere)
    difference = here[1:] / here[0] - everywhere[1:] / everywhere[0]
    scale = (1.0 if weight is None else weight) / np.sqrt(var.astype(np.float64) + eps)
    shift, slope = ((scale * each).astype(np.float32) for each in np.split(difference, 2))
    return _core.add(dx, _core.batch_norm(x, slope, shift, mean, var, eps))
