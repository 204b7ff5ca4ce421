"""Gradients in the shape and dtype of what was broadcast and converted."""

from __future__ import annotations

from typing import Any

from lucid import eager


def fitted(dx: Any, value: Any) -> Any:
    """``dx`` in the shape and dtype of a value that was broadcast, and converted, for the operation."""
    if dx.shape != value.shape:
        added = dx.ndim - len(value.shape)
        spread = [
            added + axis for axis, n in enumerate(value.shape) if n == 1 and dx.shape[added + axis] != 1
        ]
        dx = eager.total(dx, dim=(*range(added), *spread), keepdim=True)
        dx = dx.reshape(value.shape)
    return dx if dx.dtype == value.dtype else dx.astype(value.dtype)
