"""The kinds of nodes, as the kernels' library lists them, and the check of a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from lucid import _core
from lucid.recording import Attribute, Shape

__all__ = ["KINDS", "Attribute", "Shape", "checked_shape", "output_shape"]

Attributes: TypeAlias = Mapping[str, Attribute]
Shapes: TypeAlias = Sequence[Shape]

KINDS = _core.step_kinds()

_MOST_BITS, _MOST_BITS_OF_SIZE = 31, 63  # and a sign

# Length of an attribute, its type, and the words for both.
_TYPES = {
    "int": (1, int, "an int"),
    "bool": (1, bool, "a bool"),
    "pair": (2, int, "a pair of ints"),
    "padding": (4, int, "four ints"),
}


def output_shape(kind: str, inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    """The shape of a node's output, by the rule of its operator.

    Shapes suffice, so a graph can be checked before any of its weights is in memory.

    Raises:
        ValueError: There is no such kind, or the node does not have what its kind asks for.
    """
    types = KINDS[kind]["attributes"] if kind in KINDS else {}
    for name, value in attributes.items():
        if name in types:
            _check_type(f"{kind}: {name}", value, types[name])
    return _core.step_output_shape(kind, list(inputs), dict(attributes), dict(weights))


def checked_shape(name: str, shape: Shape) -> Shape:
    """``shape``, if the library takes it as that of images (n, c, h, w) or of rows (n, c)."""
    if any(length.bit_length() > _MOST_BITS_OF_SIZE for length in shape):
        raise ValueError(f"{name}: sizes must have at most 63 bits, got {shape}")
    try:
        return _core.step_output_shape("relu", [shape], {}, {})
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('relu: ')}") from None


def _check_type(name: str, value: Attribute, expected: str) -> None:
    """ValueError if ``value`` is of another type: bools and ints are the same to a C function."""
    count, wanted, text = _TYPES[expected]
    parts = value if isinstance(value, tuple) else (value,)
    if (
        isinstance(value, tuple) != (count > 1)
        or len(parts) != count
        or any(type(part) is not wanted for part in parts)
    ):
        raise ValueError(f"{name} must be {text}, got {value!r}")
    if any(part.bit_length() > _MOST_BITS for part in parts):
        raise ValueError(f"{name} must be {text} of 32 bits, got {value!r}")
