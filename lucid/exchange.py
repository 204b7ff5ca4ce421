"""Arrays of other libraries, taken over without a copy.

PyTorch, JAX, CuPy and others lend their memory by DLPack (https://dmlc.github.io/dlpack); pandas and others
return an array from ``__array__``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

_CPU = 1  # DLPack's number of the device


def lends_memory(value: object) -> bool:
    """Whether ``value`` is an array of another library. NumPy's scalars and types are none."""
    kind = type(value)
    return (
        (hasattr(kind, "__dlpack__") or hasattr(kind, "__array__"))
        and kind is not type
        and not isinstance(value, np.generic)
    )


def array_of(op: str, name: str, value: object) -> Array:
    """The memory of ``value`` as a NumPy array.

    Raises:
        TypeError: ``value`` is no array, is on another device, requires grad, or has a dtype that NumPy
            lacks. The message names its type and the way out.
    """
    if isinstance(value, np.ndarray):
        return value
    if not lends_memory(value):
        raise TypeError(f"{op}: {name} must be a lucid.Tensor or numpy.ndarray, got {type_name(value)}")
    try:
        if _on_another_device(value):
            raise _refusal(
                op, name, value, f"on device {_device_name(value)}; move it to the CPU, e.g. by .cpu()"
            )
        if getattr(value, "requires_grad", False) is True:
            raise _refusal(op, name, value, "that requires grad; pass x.detach()")
        return _array(value)
    except (BufferError, RuntimeError, ValueError) as error:
        raise _refusal(op, name, value, f"whose memory NumPy cannot read: {error}") from None
    except TypeError as error:
        if str(error).startswith(f"{op}: "):
            raise
        raise _refusal(op, name, value, f"whose memory NumPy cannot read: {error}") from None


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


def _on_another_device(value: Any) -> bool:
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) != _CPU


def _device_name(value: Any) -> str:
    return str(getattr(value, "device", value.__dlpack_device__()))


def _refusal(op: str, name: str, value: object, reason: str) -> TypeError:
    return TypeError(
        f"{op}: {name} must be a lucid.Tensor or an array in the memory of the CPU, "
        f"got a {type_name(value)} {reason}"
    )
