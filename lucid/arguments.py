"""Arguments as callers write them, turned into the plain ints and tuples that operators take.

The types are checked here, since a C function cannot see them. What the values must satisfy is checked by the
operator; only layers, which allocate before any operator runs, check that their sizes are positive.
"""

from __future__ import annotations

import operator
import reprlib
from typing import Any, SupportsIndex, TypeAlias

Pair: TypeAlias = SupportsIndex | tuple[SupportsIndex, SupportsIndex]

_INT64_BITS = 63


def integer(op: str, name: str, value: SupportsIndex, expected: str = "an int") -> int:
    """``value`` as an int. A bool or a float is none (TypeError); one beyond 64 bits is a ValueError."""
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
    expected = "an int or a pair of ints"
    if not isinstance(value, (tuple, list)):
        both = integer(op, name, value, expected)
        return both, both
    if len(value) != 2:
        raise TypeError(f"{op}: {name} must be {expected}, got {reprlib.repr(value)}")
    return integer(op, name, value[0], expected), integer(op, name, value[1], expected)


def shape(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape written as ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    return tuple(integer(op, "size", length, "ints") for length in size)
