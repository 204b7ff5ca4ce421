"""Functions that make tensors."""

from __future__ import annotations

import reprlib
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from lucid import arguments, cuda, device_array, exchange
from lucid.device_array import DeviceArray
from lucid.methods import Methods
from lucid.tensor import Array, Tensor


def tensor(data: Any, dtype: npt.DTypeLike | None = None, device: object = None) -> Tensor:
    """A copy of ``data``: an array, a number, or a nest of lists of numbers.

    It is on the CPU, or where ``data`` is, unless ``device`` is given. Python floats become float32, integers
    int64 and booleans bool; an array (or one of another library) keeps its dtype.

    Raises:
        TypeError: ``data`` holds anything but booleans, integers and floats in native byte order, or it is an
            array on another device.
        ValueError: The lists are ragged.
        RuntimeError: The device cannot be used; the message gives the reason.
    """
    index = cuda.device_index("tensor", device)
    has_dtype = hasattr(data, "dtype")
    if exchange.lends_memory(data) and not isinstance(data, Methods):
        data = exchange.array_of("tensor", "data", data)
    if isinstance(data, Tensor):
        data = data.data
    if isinstance(data, DeviceArray):
        return Tensor(data).to(device=device, dtype=dtype, copy=True)
    if index is None:
        return _copied(data, dtype, has_dtype)
    wanted = None if dtype is None else arguments.dtype("tensor", dtype, on_device=True)
    known = wanted is None or wanted.name != "bfloat16"  # by NumPy
    return _copied(data, wanted if known else None, has_dtype).to(device=device, dtype=wanted)


def _copied(data: Any, dtype: npt.DTypeLike | None, has_dtype: bool) -> Tensor:
    """A tensor on the CPU."""
    try:
        array = np.asarray(data, dtype=None if dtype is None else arguments.dtype("tensor", dtype))
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

    Memory of a GPU stays there; an object without ``__dlpack__`` may lend it by ``__cuda_array_interface__``.
    Work that ``x``'s library has enqueued comes before that of lucid's.

    Raises:
        TypeError: ``x`` speaks neither.
        BufferError: Its memory cannot be shared: on another device, of a dtype that NumPy lacks, ...
        RuntimeError: It is memory of a GPU, and none can be used.
    """
    place = None if device is None else cuda.name_of(cuda.device_index("from_dlpack", device))
    if not hasattr(x, "__dlpack__") and not exchange.is_on_cuda(x):
        raise TypeError(f"from_dlpack: x must have __dlpack__, got {exchange.type_name(x)}")
    array: Any = _memory_of(x)
    result = Tensor(array.copy() if copy else array)
    if place not in (None, result.device):
        raise BufferError(f"from_dlpack: device must be that of the memory, {result.device}, got {place}")
    return result


def empty(
    *size: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    """A tensor of arbitrary values."""
    return _filled("empty", size, None, dtype, device)


def zeros(
    *size: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    return _filled("zeros", size, 0, dtype, device)


def ones(
    *size: SupportsIndex | tuple[SupportsIndex, ...], dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    return _filled("ones", size, 1, dtype, device)


def full(
    size: tuple[SupportsIndex, ...],
    fill_value: float,
    dtype: npt.DTypeLike | None = None,
    device: object = None,
) -> Tensor:
    """A tensor of one value; the dtype is that of ``tensor(fill_value)`` unless given."""
    used = tensor(fill_value).dtype if dtype is None else dtype
    return _filled("full", tuple(size), fill_value, used, device)


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
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ValueError("arange: step must not be 0, got 0")
    if dtype is None:
        whole = all(isinstance(value, (int, np.integer)) for value in (start, end, step))
        dtype = np.int64 if whole else np.float32
    return placed("arange", np.arange(start, end, step, dtype=arguments.dtype("arange", dtype)), device)


def placed(op: str, array: Array, device: object) -> Tensor:
    """A tensor of the array, or of a copy of it on a device that is not the CPU."""
    index = cuda.device_index(op, device)
    return Tensor(array if index is None else device_array.moved(array, device=index))


def _filled(
    op: str, size: tuple[Any, ...], value: float | None, dtype: npt.DTypeLike, device: object
) -> Tensor:
    """A tensor of one value, or of any values for None."""
    index = cuda.device_index(op, device)
    shape = arguments.shape(op, size)
    if any(length < 0 for length in shape):
        raise ValueError(f"{op}: size must not be negative, got {shape}")
    wanted = arguments.dtype(op, dtype, on_device=index is not None)
    if index is not None:
        return Tensor(device_array.full(shape, value, wanted, index))
    try:
        array = np.empty(shape, wanted)
    except (
        ValueError
    ) as error:  # more elements than an address can count, or more dimensions than NumPy allows
        raise ValueError(f"{op}: size must fit into memory, got {shape} ({error})") from None
    if value is not None:
        array.fill(value)
    return Tensor(array)


def _memory_of(x: Any) -> Any:
    """The memory that ``x`` lends, as an array of NumPy or of a device."""
    if not exchange.is_on_cuda(x):
        return np.from_dlpack(x)
    cuda.require("from_dlpack")
    return exchange.device_array_of(x)


def _brief(value: object) -> str:
    return f"{type(value).__name__} {reprlib.repr(value)}"
