"""Gradients of what changes shape, dtype, memory or elements."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import eager
from lucid.autograd.tape import Call, Gradient
from lucid.device_array import DeviceArray, full, moved
from lucid.gradients.fitted import fitted

Array: TypeAlias = npt.NDArray[Any]
Dims: TypeAlias = tuple[int, ...]


def _reshaped(call: Call, dy: Any, **_: Any) -> tuple[Any, ...]:
    return (dy.reshape(call.values[0].shape),)


def _permute(call: Call, dy: Any, *, dims: Dims) -> tuple[Any, ...]:
    return (dy.transpose(tuple(np.argsort(dims))),)


def _zeros(value: Any, dy: Any) -> Any:
    """Zeros in the shape of a value, where ``dy`` is."""
    if type(dy) is DeviceArray:
        return full(value.shape, 0.0, value.dtype, dy.device_index)
    return np.zeros(value.shape, value.dtype)


def _index(call: Call, dy: Any, *, index: tuple[Any, ...]) -> tuple[Any, ...]:
    dx = _zeros(call.values[0], dy)
    if any(isinstance(part, (np.ndarray, list)) for part in index):
        np.add.at(dx, index, dy)  # an element may be named twice
    else:
        dx[index] = dy
    return (dx,)


def _assign(call: Call, dy: Any, *, index: Any) -> tuple[Any, ...]:
    """No gradient for what was written over; for what was written, that of its place."""
    _, value = call.values
    d_target = d_value = None
    if call.needed[0]:
        d_target = dy.copy()
        d_target[index] = 0
    if call.needed[1]:
        d_value = fitted(dy[index], value)
    return d_target, d_value


def _pad(call: Call, dy: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> tuple[Any, ...]:
    return (eager.pad(dy, widths=tuple([(-before, -behind) for before, behind in widths]), value=0.0),)


def _moved(x: Any, *, device: int | None) -> tuple[Any, tuple[Any, ...]]:
    return moved(x, device=device), (x.device_index if type(x) is DeviceArray else None,)


def _move(call: Call, dy: Any, *, device: int | None) -> tuple[Any, ...]:
    return (moved(dy, device=call.kept[0]),)


def _cast(call: Call, dy: Any, *, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    return (dy.astype(call.values[0].dtype),)


def _same(call: Call, dy: Any) -> tuple[Any, ...]:
    return (dy,)


reshape = Gradient(_reshaped, views=True)
permute = Gradient(_permute, views=True)
index = Gradient(_index, views=True)
assign = Gradient(_assign)
pad = Gradient(_pad)
move = Gradient(_move, run=_moved)
cast = Gradient(_cast)
clone = Gradient(_same)
contiguous = Gradient(_same, views=True)
