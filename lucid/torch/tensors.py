"""Tensors of PyTorch as arrays of the kernels, and back, in the same memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from lucid import _core, exchange

__all__ = ["array_of", "tensor_of"]


def array_of(op: str, name: str, value: Tensor) -> Any:
    """The memory of a tensor, whose gradients are not followed.

    Raises:
        TypeError: It cannot be read; the message names ``op`` and ``name``.
    """
    return exchange.array_of(op, name, value.detach())


def tensor_of(array: Any) -> Tensor:
    """A tensor that takes over the memory of a kernel's result."""
    result: Tensor = from_dlpack(array) if isinstance(array, _core.DeviceArray) else torch.from_numpy(array)
    return result
