"""lucid.h for ctypes: the functions that tests call without the Python module in between."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lucid import _core

PACKAGE = Path(
    _core.__file__
).parent  # of the compiled module, which an editable installation keeps elsewhere
LIBRARY = PACKAGE / "lib" / "liblucid.so"
HEADER = PACKAGE / "include" / "lucid.h"

OK, INVALID_ARGUMENT, UNSUPPORTED, OUT_OF_MEMORY, DEVICE_ERROR = range(5)


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


CONTEXT_POINTERS = ("parallel_for", "allocate", "deallocate", "host", "stream")


class Context(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in CONTEXT_POINTERS),
        ("tf32", ctypes.c_int32),
        ("threads", ctypes.c_int64),
    ]


class Conv2dArgs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("x", ctypes.POINTER(Tensor)),
        ("weight", ctypes.POINTER(Tensor)),
        ("bias", ctypes.POINTER(Tensor)),
        ("y", ctypes.POINTER(Tensor)),
        ("stride", ctypes.c_int64 * 2),
        ("padding", ctypes.c_int64 * 2),
        ("extra_padding", ctypes.c_int64 * 2),
        ("dilation", ctypes.c_int64 * 2),
        ("groups", ctypes.c_int64),
        ("algorithm", ctypes.c_char_p),
        ("prepared", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    ]


def load() -> ctypes.CDLL:
    """The library that the Python module uses."""
    library = ctypes.CDLL(str(LIBRARY))
    library.lucid_version.restype = ctypes.c_char_p
    library.lucid_last_error.restype = ctypes.c_char_p
    library.lucid_conv2d.argtypes = [ctypes.POINTER(Conv2dArgs)]
    library.lucid_conv2d_weights_destroy.argtypes = [ctypes.c_void_p]
    return library


def tensor(array: npt.NDArray[Any]) -> Tensor:
    """``array``, of floats or integers, as it lies in memory; the array must outlive the result."""
    strides = [stride // array.itemsize for stride in array.strides]
    return Tensor(
        data=array.ctypes.data,
        device=Device(1, 0),
        ndim=array.ndim,
        dtype=DType("iuf".index(array.dtype.kind), 8 * array.itemsize, 1),
        shape=(ctypes.c_int64 * array.ndim)(*array.shape),
        strides=(ctypes.c_int64 * array.ndim)(*strides),
        byte_offset=0,
    )


def conv2d_args(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    y: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str | None,
) -> Any:
    """A pointer to the arguments of lucid_conv2d, which keeps the tensors alive."""
    top, left, bottom, right = padding
    args = Conv2dArgs(
        size=ctypes.sizeof(Conv2dArgs),
        x=ctypes.pointer(x),
        weight=ctypes.pointer(weight),
        bias=None if bias is None else ctypes.pointer(bias),
        y=ctypes.pointer(y),
        stride=(ctypes.c_int64 * 2)(*stride),
        padding=(ctypes.c_int64 * 2)(top, left),
        extra_padding=(ctypes.c_int64 * 2)(bottom - top, right - left),
        dilation=(ctypes.c_int64 * 2)(*dilation),
        groups=groups,
        algorithm=None if algorithm is None else algorithm.encode(),
    )
    return ctypes.pointer(args)
