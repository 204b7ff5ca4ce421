"""Ways to fill a parameter in place, from lucid's generator; names and formulas as in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import numpy as np

from lucid.random import generator
from lucid.tensor import Tensor

T = TypeVar("T", bound=Tensor)

_skipping = ContextVar("_skipping", default=False)


@contextmanager
def skip_init() -> Iterator[None]:
    """Within it nothing is drawn, and parameters keep what their memory held: for models about to be loaded.

    Drawing takes half of the time of building a large network. Constants (zeros, ones) are set all the same.
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def skipped() -> bool:
    """Whether ``skip_init`` is in force here."""
    return _skipping.get()


def constant_(tensor: T, val: float) -> T:
    tensor.data.fill(val)
    return tensor


def zeros_(tensor: T) -> T:
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    return constant_(tensor, 1.0)


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0) -> T:
    """Values spread evenly over [a, b)."""
    if skipped():
        return tensor
    draws = generator().random(tensor.shape, dtype=np.float32)
    draws *= b - a
    draws += a
    tensor.data[...] = draws
    return tensor


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    if skipped():
        return tensor
    draws = generator().standard_normal(tensor.shape, dtype=np.float32)
    draws *= std
    draws += mean
    tensor.data[...] = draws
    return tensor


def fans(tensor: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight ``(out, in, ...)``: the products that one output and one input enter."""
    if tensor.ndim < 2:
        raise ValueError(
            f"init: fan-in and fan-out need a weight of rank 2 or more, got shape {tensor.shape}"
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through ``nonlinearity``; ``param`` is the slope of leaky_relu."""
    if nonlinearity in ("linear", "conv2d", "sigmoid"):
        return 1.0
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope**2))
    raise ValueError(
        "calculate_gain: nonlinearity must be linear, conv2d, sigmoid, relu or leaky_relu, "
        f"got {nonlinearity!r}"
    )


def kaiming_uniform_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Even over +-gain * sqrt(3 / fan): "Delving Deep into Rectifiers" (He et al., 2015), arXiv:1502.01852.

    ``mode`` says whether the variance of the forward values (``"fan_in"``) or of the gradients
    (``"fan_out"``) is kept.
    """
    bound = _kaiming_std(tensor, a, mode, nonlinearity) * math.sqrt(3.0)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Normal with deviation gain / sqrt(fan); see ``kaiming_uniform_``."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)
