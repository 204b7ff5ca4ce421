"""Types of PTX in NumPy: registers hold bits, and an instruction says what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]

UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": np.float32, "tf32": np.float32}


def width(kind: str) -> int:
    """Bits of a type."""
    return {"pred": 1, "bf16": 16, "tf32": 32}.get(kind) or int(kind.lstrip("busf"))


def is_float(kind: str) -> bool:
    return kind in FLOATS


def from_bits(bits: Values, kind: str) -> Values:
    """Bits of any width as values of a type; bfloat16 as the float32 that it is the upper half of."""
    size = width(kind)
    bits = bits.astype(UNSIGNED[size])
    if kind == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view(FLOATS.get(kind) or (SIGNED if kind[0] == "s" else UNSIGNED)[size])


def to_bits(values: Values, kind: str) -> Values:
    """Values as bits of a type, rounded to the nearest if they are wider."""
    size = width(kind)
    if kind == "bf16":
        return round_to_bfloat16(values.astype(np.float32))
    if kind == "tf32":
        return values.astype(np.float32).view(np.uint32)
    with np.errstate(all="ignore"):
        if is_float(kind):
            return values.astype(FLOATS[kind]).view(UNSIGNED[size])
    if values.dtype == np.bool_:
        return values.astype(UNSIGNED[size])
    if values.dtype.kind == "i":  # signs go on to the left
        return values.astype(SIGNED[size]).view(UNSIGNED[size])
    return values.astype(UNSIGNED[size])


def round_to_bfloat16(values: Values) -> Values:
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FFF), rounded).astype(np.uint16)


def round_to_tf32(values: Values) -> Values:
    """10 bits of mantissa, ties away from zero."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(values), rounded, bits).view(np.float32)


def rounded(exact: Values, kind: str, mode: str) -> Values:
    """Float64 to a type, to the nearest (``rn``), down (``rm``), up (``rp``) or towards zero (``rz``)."""
    with np.errstate(all="ignore"):
        near = exact.astype(FLOATS[kind])
        wide = near.astype(np.float64)
        if mode in ("rm", "rz"):
            low = (wide > exact) & ((mode == "rm") | (exact > 0))
            near = np.where(low, np.nextafter(near, np.array(-np.inf, near.dtype)), near)
        if mode in ("rp", "rz"):
            high = (wide < exact) & ((mode == "rp") | (exact < 0))
            near = np.where(high, np.nextafter(near, np.array(np.inf, near.dtype)), near)
    return near
