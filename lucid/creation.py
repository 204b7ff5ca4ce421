"""Functions that make tensors."""

from __future__ import annotations

import reprlib
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from lucid import arguments, exchange
from lucid.methods import Methods
from lucid.tensor import Array, Tensor


def tensor(data: Any, dtype: npt.DTypeLike | None = None, device: object = None) -> Tensor:
    """A copy of ``data``: an array, a number, or a nest of lists of numbers.

    Python floats become float32, integers int64 and booleans bool; an array (or one of another library) keeps
    its dtype.

    Raises:
        TypeError: ``data`` holds anything but booleans, integers and floats in native byte order, or it is an
            array on another device.
        ValueError: The lists are ragged.
        NotImplementedError: The device is not the CPU.
    """
    arguments.device("tensor", device)
    has_dtype = hasattr(data, "dtype")
    if exchange.lends_memory(data) and not isinstance(data, Methods):
        data = exchange.array_of("tensor", "data", data)
    try:
        array = np.asarray(
            data.data if isinstance(data, Tensor) else data,
            dtype=None if dtype is None else arguments.dtype("tensor", dtype),
        )
    except ValueError as error:
        raise ValueError(
            f"tensor: data must be a number or an even nest of them, got {_brief(data)} ({error})"
        ) from None
    if array.dtype == np.float64 and dtype is None and not has_dtype:
        return Tensor(array.astype(np.float32))
    return Tensor(array.copy(order="K"))  # not np.array above: its copy=True makes torch tensors warn


def from_numpy(array: Array) -> Tensor:
    """A tensor that shares the memory of ``array``; for a read-only array, a read-only tensor."""
    return Tensor(array)


def from_dlpack(x: Any, *, device: object = None, copy: bool | None = None) -> Tensor:
    """A tensor of the memory of ``x``, an object of any library with ``__dlpack__``; no copy unless ``copy``.

    Raises:
        TypeError: ``x`` does not speak DLPack.
        BufferError: Its memory cannot be shared: on another device, of a dtype that NumPy lacks, ...
    """
    arguments.device("from_dlpack", device)
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: x must have __dlpack__, got {exchange.type_name(x)}")
    array = np.from_dlpack(x)
    return Tensor(array.copy() if copy else array)


def empty(
    *size: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    """A tensor of arbitrary values."""
    return Tensor(_allocate("empty", size, dtype, device))


def zeros(
    *size: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    array = _allocate("zeros", size, dtype, device)
    array.fill(0)
    return Tensor(array)


def ones(
    *size: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    array = _allocate("ones", size, dtype, device)
    array.fill(1)
    return Tensor(array)


def full(
    size: tuple[SupportsIndex, ...],
    fill_value: float,
    dtype: npt.DTypeLike | None = None,
    device: object = None,
) -> Tensor:
    """A tensor of one value; the dtype is that of ``tensor(fill_value)`` unless given."""
    array = _allocate("full", tuple(size), tensor(fill_value).dtype if dtype is None else dtype, device)
    array.fill(fill_value)
    return Tensor(array)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    dtype: npt.DTypeLike | None = None,
    device: object = None,
) -> Tensor:
    """``start``, ``start + step``, ... before ``end``; ``arange(n)`` counts from 0.

    int64 if all three are integers, else float32.
    """
    arguments.device("arange", device)
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ValueError("arange: step must not be 0, got 0")
    if dtype is None:
        whole = all(isinstance(value, (int, np.integer)) for value in (start, end, step))
        dtype = np.int64 if whole else np.float32
    return Tensor(np.arange(start, end, step, dtype=arguments.dtype("arange", dtype)))


def _allocate(op: str, size: tuple[Any, ...], dtype: npt.DTypeLike, device: object) -> Array:
    arguments.device(op, device)
    shape = arguments.shape(op, size)
    if any(length < 0 for length in shape):
        raise ValueError(f"{op}: size must not be negative, got {shape}")
    try:
        return np.empty(shape, arguments.dtype(op, dtype))
    except (
        ValueError
    ) as error:  # more elements than an address can count, or more dimensions than NumPy allows
        raise ValueError(f"{op}: size must fit into memory, got {shape} ({error})") from None


def _brief(value: object) -> str:
    return f"{type(value).__name__} {reprlib.repr(value)}"
