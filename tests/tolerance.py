"""The one comparison of a float32 result with its float64 reference.

The tolerance is a formula, never a tuned constant: rounding errors of a sum of ``terms`` products grow like
``eps * terms * max|product|`` (each of ``terms`` additions rounds a partial sum, which for products of random
sign stays near ``sqrt(terms) * max|product|`` and leaves as much room again), times a small factor for the
arithmetic around it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The error of Winograd's algorithms that lucid.h promises.
WINOGRAD_RELATIVE_RMS = 1.2e-6


def assert_close(
    got: npt.ArrayLike,
    want: npt.ArrayLike,
    terms: int = 1,
    products: float | None = None,
    factor: float = 2.0,
) -> None:
    """``|got - want| <= factor * eps * terms * products``, with NaN and infinities in the same places.

    ``terms`` is the number of products added into one output value (1 for elementwise operators).
    ``products`` is the largest absolute product, ``max|x| * max|w|`` for a convolution; the default, the
    largest finite ``|want|``, is the stricter choice and right wherever results are not the small difference
    of large terms. ``eps`` is that of ``got``'s dtype. ``factor`` covers what the formula does not count: 2
    for one pass of additions and one rounding at the end.
    """
    got = np.asarray(got)
    want = np.asarray(want, dtype=np.float64)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    finite = np.isfinite(want)
    # Infinities compare equal by sign and NaN by place, before any subtraction could hide them.
    np.testing.assert_array_equal(got[~finite], want[~finite].astype(got.dtype))
    if not finite.any():
        return
    if products is None:
        products = float(np.abs(want[finite]).max())
    tolerance = factor * float(np.finfo(got.dtype).eps) * terms * products
    difference = np.where(finite, np.abs(got.astype(np.float64) - np.where(finite, want, 0.0)), 0.0)
    # A NaN in got alone is an error as well: it compares false with everything.
    if not (difference <= tolerance).all():
        worst = np.unravel_index(int(np.argmax(np.nan_to_num(difference, nan=np.inf))), difference.shape)
        index = tuple(int(i) for i in worst)
        raise AssertionError(
            f"{(~(difference <= tolerance)).sum()} of {difference.size} values differ, shape {got.shape}: "
            f"at {index} got {got[index]!r}, expected {want[index]!r}, "
            f"|difference| {difference[index]:.3g} > {tolerance:.3g} "
            f"= {factor:g} * eps * {terms} terms * {products:.3g}"
        )
