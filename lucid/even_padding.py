"""Padding that differs by side, for the convolution kernels, which pad opposite sides alike."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def even_padding(weight: Array, padding: tuple[int, ...], dilation: tuple[int, int]) -> dict[str, Any]:
    """The weight, padding and dilation that compute the same with opposite sides alike.

    Zeros before or behind the filters, which are spread to dilation 1 first, make up for the difference.
    """
    spread, sides = list(dilation), list(padding)
    for axis in (0, 1):
        before, after = padding[axis], padding[axis + 2]
        if before == after or weight.ndim != 4:
            continue
        taps = weight.shape[2 + axis]
        first = max(after - before, 0)
        length = spread[axis] * (taps - 1) + 1 + abs(after - before)
        wide = np.zeros((*weight.shape[: 2 + axis], length, *weight.shape[3 + axis :]), weight.dtype)
        places = first + spread[axis] * np.arange(taps)
        wide[(slice(None),) * (2 + axis) + (places,)] = weight
        weight, spread[axis] = wide, 1
        sides[axis] = sides[axis + 2] = max(before, after)
    return {"weight": weight, "padding": tuple(sides), "dilation": (spread[0], spread[1])}
