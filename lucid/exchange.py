"""Arrays of other libraries, taken over without a copy.

PyTorch, JAX, CuPy and others lend their memory by DLPack (https://dmlc.github.io/dlpack), Numba that of a GPU
by ``__cuda_array_interface__``; pandas and others return an array from ``__array__``. Memory of a GPU becomes
a ``_core.DeviceArray``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, cuda

Array: TypeAlias = npt.NDArray[Any]

_CPU, _CUDA = 1, 2  # DLPack's numbers of devices
_LEGACY_STREAM = 1  # DLPack's number of the default stream, whose pointer is null


def lends_memory(value: object) -> bool:
    """Whether ``value`` is an array of another library. NumPy's scalars and types are none."""
    kind = type(value)
    return (
        (hasattr(kind, "__dlpack__") or hasattr(kind, "__array__") or _has_interface(value))
        and kind is not type
        and not isinstance(value, np.generic)
    )


def array_of(op: str, name: str, value: object) -> Any:
    """The memory of ``value`` as a NumPy array, or as a DeviceArray where a GPU can be used.

    Raises:
        TypeError: ``value`` is no array, is on another device, requires grad, or has a dtype that NumPy
            lacks. The message names its type and the way out.
    """
    if isinstance(value, (np.ndarray, _core.DeviceArray)):
        return value
    if not lends_memory(value):
        raise TypeError(f"{op}: {name} must be a lucid.Tensor or numpy.ndarray, got {type_name(value)}")
    try:
        if _device_kind(value) == _CUDA and cuda.is_available() and not _requires_grad(value):
            return device_array_of(value)
        if _device_kind(value) != _CPU:
            raise _refusal(
                op, name, value, f"on device {_device_name(value)}; move it to the CPU, e.g. by .cpu()"
            )
        if _requires_grad(value):
            raise _refusal(op, name, value, "that requires grad; pass x.detach()")
        return _array(value)
    except (BufferError, RuntimeError, ValueError) as error:
        raise _refusal(op, name, value, f"whose memory NumPy cannot read: {error}") from None
    except TypeError as error:
        if str(error).startswith(f"{op}: "):
            raise
        raise _refusal(op, name, value, f"whose memory NumPy cannot read: {error}") from None


def device_array_of(value: Any) -> _core.DeviceArray:
    """The memory of a GPU that ``value`` lends, once it is safe to read on the current stream."""
    if not hasattr(value, "__dlpack__"):
        return _core.device_from_array_interface(value, cuda.current_device())
    stream = cuda.current_stream(value.__dlpack_device__()[1]).cuda_stream
    return _core.device_from_dlpack(value.__dlpack__(stream=stream or _LEGACY_STREAM))


def is_on_cuda(value: object) -> bool:
    """Whether ``value`` lends memory of a GPU."""
    return _device_kind(value) == _CUDA


def type_name(value: object) -> str:
    """The name of the type, with its package if it is none of Python's own: ``torch.Tensor``, ``list``."""
    kind = type(value)
    package = kind.__module__.split(".")[0]
    return kind.__qualname__ if package == "builtins" else f"{package}.{kind.__qualname__}"


def _array(value: Any) -> Array:
    # __array__ first, where there is one: NumPy takes memory that an old DLPack lends for read-only.
    if hasattr(type(value), "__array__"):
        return np.asarray(value)
    return np.from_dlpack(value)


def _has_interface(value: object) -> bool:
    return hasattr(type(value), "__cuda_array_interface__")


def _device_kind(value: Any) -> int:
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0])
    return _CUDA if _has_interface(value) else _CPU


def _requires_grad(value: object) -> bool:
    return getattr(value, "requires_grad", False) is True


def _device_name(value: Any) -> str:
    return str(value.__dlpack_device__()) if not hasattr(value, "device") else str(value.device)


def _refusal(op: str, name: str, value: object, reason: str) -> TypeError:
    return TypeError(
        f"{op}: {name} must be a lucid.Tensor or an array in the memory of the CPU, "
        f"got a {type_name(value)} {reason}"
    )
