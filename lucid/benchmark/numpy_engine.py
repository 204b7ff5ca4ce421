"""Plain NumPy as an engine, for the operators that are a call or a line of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lucid.benchmark.cases import Array

__all__ = ["NUMPY"]


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


# By the kind of a node. NumPy computes on one thread, and allocates each result, as eager lucid does.
NUMPY: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "softmax": _softmax,
}
