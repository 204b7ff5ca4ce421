"""Arguments as callers write them, turned into the plain ints and tuples that operators take.

The types are checked here, since a C function cannot see them. What the values must satisfy is checked by the
operator; only layers, which allocate before any operator runs, check that their sizes are positive.
"""

from __future__ import annotations

import math
import operator
import re
import reprlib
from collections.abc import Mapping
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

Pair: TypeAlias = SupportsIndex | tuple[SupportsIndex, SupportsIndex]
Padding: TypeAlias = Pair | tuple[tuple[SupportsIndex, SupportsIndex], tuple[SupportsIndex, SupportsIndex]]
Sides: TypeAlias = tuple[int, int, int, int]

_INT64_BITS = 63
_LARGEST = 2**_INT64_BITS - 1
_OTHER_PACKAGES = 2  # dtype.isbuiltin of those that others register, such as bfloat16
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hip|xla|meta|vulkan)(:\d+)?")


def integer(op: str, name: str, value: SupportsIndex, expected: str = "an int") -> int:
    """``value`` as an int. A bool or a float is none (TypeError); one beyond 64 bits is a ValueError."""
    if type(value) is int and -_LARGEST <= value <= _LARGEST:
        return value
    if isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be {expected}, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be {expected}, got {reprlib.repr(value)}") from None
    if number.bit_length() > _INT64_BITS:
        raise ValueError(f"{op}: {name} must fit a 64-bit int, got one of {number.bit_length()} bits")
    return number


def positive(op: str, name: str, value: SupportsIndex) -> int:
    """``value`` as an int greater than 0."""
    number = integer(op, name, value)
    if number < 1:
        raise ValueError(f"{op}: {name} must be positive, got {number}")
    return number


def pair(op: str, name: str, value: Pair) -> tuple[int, int]:
    """``value`` as (height, width): one int stands for both, a tuple or list must hold two."""
    if type(value) is int and -_LARGEST <= value <= _LARGEST:  # the two usual cases first: an eager call
        return value, value  # on a small image spends half its time in Python
    if type(value) is tuple and len(value) == 2:
        height, width = value
        if type(height) is int and type(width) is int and abs(height) <= _LARGEST and abs(width) <= _LARGEST:
            return height, width
    expected = "an int or a pair of ints"
    if not isinstance(value, (tuple, list)):
        both = integer(op, name, value, expected)
        return both, both
    if len(value) != 2:
        raise TypeError(f"{op}: {name} must be {expected}, got {reprlib.repr(value)}")
    return integer(op, name, value[0], expected), integer(op, name, value[1], expected)


def sides(op: str, name: str, value: Padding) -> Sides:
    """(top, left, bottom, right), from an int, (height, width) or ((top, bottom), (left, right))."""
    if type(value) is int and 0 <= value <= _LARGEST:
        return value, value, value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        height, width = pair(op, name, value)
        return height, width, height, width
    if isinstance(value, (tuple, list)) and any(isinstance(part, (tuple, list)) for part in value):
        expected = "an int, a pair of ints or ((top, bottom), (left, right))"
        if len(value) != 2 or any(not isinstance(part, (tuple, list)) or len(part) != 2 for part in value):
            raise TypeError(f"{op}: {name} must be {expected}, got {reprlib.repr(value)}")
        (top, bottom), (left, right) = (
            [integer(op, name, length, expected) for length in part]  # type: ignore[union-attr]
            for part in value
        )
        return top, left, bottom, right
    height, width = pair(op, name, value)  # type: ignore[arg-type]
    return height, width, height, width


def padding(op: str, value: Padding) -> Padding:
    """Padding as a layer keeps it: (height, width), or ((top, bottom), (left, right)) where sides differ."""
    top, left, bottom, right = sides(op, "padding", value)
    return (top, left) if (top, left) == (bottom, right) else ((top, bottom), (left, right))


def named_sides(
    op: str, name: str, window: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]
) -> Sides:
    """(top, left, bottom, right) of padding that is given by name.

    "valid" is none, and "same" keeps the size; the odd row then goes below, the odd column to the right.
    A window of other than two sides is left to the operator to refuse.
    """
    if name not in ("same", "valid"):
        raise ValueError(f"{op}: padding must be an int, a pair of ints, 'same' or 'valid', got {name!r}")
    if name == "valid" or len(window) != 2:
        return 0, 0, 0, 0
    if stride != (1, 1):
        raise ValueError(f"{op}: stride must be 1 for padding='same', got {stride}")
    height, width = (max(steps * (taps - 1), 0) for steps, taps in zip(dilation, window, strict=True))
    return height // 2, width // 2, height - height // 2, width - width // 2


def output_size(op: str, value: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width asked for, with those of an image (n, c, h, w) in the place of None."""
    given = value if isinstance(value, (tuple, list)) else (value, value)
    own = shape[2:] if len(shape) == 4 else (1, 1)  # other ranks are left to the operator to refuse
    if len(given) != 2 or value is None:
        raise TypeError(f"{op}: output_size must be an int or a pair of ints, got {reprlib.repr(value)}")
    height, width = (old if new is None else new for new, old in zip(given, own, strict=True))
    return pair(op, "output_size", (height, width))


def widths(op: str, value: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(before, after) of each dimension, from PyTorch's flat tuple, which begins with the last."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{op}: pad must be a tuple of ints, got {reprlib.repr(value)}")
    flat = [integer(op, "pad", length, "a tuple of ints") for length in value]
    if len(flat) % 2 or len(flat) > 2 * len(shape):
        raise ValueError(
            f"{op}: pad must have two ints for each of up to {len(shape)} dimensions, got {value}"
        )
    found = [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]
    whole = (*[(0, 0)] * (len(shape) - len(found)), *reversed(found))
    if any(before + length + after < 0 for (before, after), length in zip(whole, shape, strict=True)):
        raise ValueError(f"{op}: no dimension may become negative, got {value} for shape {shape}")
    return whole


def dim(op: str, value: SupportsIndex, ndim: int) -> int:
    """A dimension counted from the front. IndexError and ValueError in one if there are only ``ndim``."""
    number = integer(op, "dim", value)
    if not -ndim <= number < ndim:
        raise np.exceptions.AxisError(f"{op}: dim must be from {-ndim} to {ndim - 1}, got {number}")
    return number % ndim


def dims(op: str, value: SupportsIndex | tuple[SupportsIndex, ...] | None, ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front, in ascending order; None stands for all."""
    if value is None:
        return tuple(range(ndim))
    several = value if isinstance(value, (tuple, list)) else (value,)
    found = sorted(dim(op, each, ndim) for each in several)
    if len(set(found)) != len(found):
        raise ValueError(f"{op}: each dim must be given once, got {tuple(several)}")
    return tuple(found)


def device(op: str, value: object) -> tuple[str, int | None]:
    """``("cpu", None)`` or ``("cuda", index)``, the index None where none is given. None is the CPU.

    Raises:
        NotImplementedError: It is a device on which lucid does not compute.
        ValueError: It is no device.
    """
    text = "cpu" if value is None else str(value)
    if text in ("cpu", "cpu:0"):
        return "cpu", None
    if not is_device(text):
        raise ValueError(
            f"{op}: device must be 'cpu', 'cuda' or one of several such as 'cuda:1', got {value!r}"
        )
    kind, _, index = text.partition(":")
    if kind != "cuda":
        raise NotImplementedError(
            f"{op}: device must be 'cpu' or 'cuda', those that lucid computes on, got {text!r}"
        )
    return kind, int(index) if index else None


def is_device(value: object) -> bool:
    """Whether ``value`` is the name of a device, or a device of another library."""
    return (isinstance(value, str) or type(value).__name__ == "device") and bool(
        _DEVICE.fullmatch(str(value))
    )


def transfer_options(op: str, options: Mapping[str, object]) -> None:
    """Checks the names of PyTorch's options of ``to``, most of which mean nothing here."""
    unknown = options.keys() - {"non_blocking", "copy", "memory_format"}
    if unknown:
        raise TypeError(f"{op}: it has no argument {min(unknown)!r}")


def dtype(op: str, value: Any, *, on_device: bool = False) -> np.dtype[Any]:
    """A NumPy dtype from all that names one, a dtype of PyTorch's included.

    ``on_device`` admits bfloat16, which NumPy lacks and kernels of a GPU have.
    """
    named = str(value).removeprefix("torch.") if type(value).__module__ == "torch" else value
    if on_device and "bfloat16" in (named, getattr(named, "__name__", None), getattr(named, "name", None)):
        return _bfloat16(op)
    try:
        found = np.dtype(named)
    except TypeError:
        found = None
    if found is None or found.isbuiltin == _OTHER_PACKAGES:
        raise TypeError(f"{op}: dtype must be one of NumPy's, got {value!r}")
    return found


def dtype_target(op: str, value: Any) -> Any:
    """``value``, which ``to`` was given for a dtype; TypeError for a text or a number that is none."""
    if isinstance(value, (str, bytes, int, float)) and value != "bfloat16":
        try:
            np.dtype(value)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(
                f"{op}: a target must be a dtype, a device such as 'cuda:1', or a tensor, got {value!r}"
            ) from None
    return value


def _bfloat16(op: str) -> np.dtype[Any]:
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        raise TypeError(
            f"{op}: bfloat16 must be known to NumPy, which needs the package ml_dtypes, got none: "
            "pip install ml_dtypes"
        ) from None
    found: np.dtype[Any] = np.dtype(bfloat16)
    return found


def full_shape(op: str, old: tuple[int, ...], size: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape written as ``f(2, -1)`` or ``f((2, -1))``, with what is left in place of -1.

    Raises:
        ValueError: It does not hold the elements of ``old``.
    """
    asked = shape(op, size)
    if math.prod(asked) == math.prod(old) and min(asked, default=0) >= 0:
        return asked
    count, known = math.prod(old), math.prod(length for length in asked if length != -1)
    full = tuple(count // known if length == -1 and known > 0 else length for length in asked)
    if asked.count(-1) > 1 or min(full, default=0) < 0 or math.prod(full) != count:
        raise ValueError(f"{op}: the shape must hold the {count} elements of {old}, got {asked}")
    return full


def shape(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape written as ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    return tuple([integer(op, "size", length, "ints") for length in size])
