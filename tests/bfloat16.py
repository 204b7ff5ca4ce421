"""bfloat16 in NumPy: rounding, and the comparison of what was rounded with its float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def rounded(array: npt.ArrayLike) -> Array:
    """The nearest values of 8 significant bits, of two the even one, as float32."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    nearest: Any = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return nearest.view(np.float32)  # type: ignore[no-any-return]


def assert_close_rounded(
    got: Array, want: npt.NDArray[np.float64], terms: int, products: float, factor: float = 2.0
) -> None:
    """``got`` is a float32 sum, as in ``tolerance.assert_close``, rounded to bfloat16 once.

    That moves it by half of the distance of two values, at most 2^-8 of it.
    """
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    np.testing.assert_array_equal(got, rounded(got), "a value that is no bfloat16")
    of_sum = factor * float(np.finfo(np.float32).eps) * terms * products
    tolerance = of_sum + 2.0**-8 * (np.abs(want) + of_sum)
    difference = np.abs(got - want)
    worst = np.unravel_index(int(np.argmax(difference - tolerance)), got.shape) if got.size else ()
    assert (difference <= tolerance).all(), (
        f"at {worst} got {got[worst]!r}, expected {want[worst]!r} within {tolerance[worst]:.3g}"
    )
