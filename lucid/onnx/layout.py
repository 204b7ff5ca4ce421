"""Layout: where the elements of a reshaped and transposed value lie in the value itself.

Exporters write split attention with reshapes and transposes that no plan needs to carry out. A layout follows
them without touching data, so that what is done in the end can be recognised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lucid.recording import Shape

__all__ = ["Axis", "Layout"]

# Factors (size, stride) of an axis, outermost first, where the stride counts elements of the value.
Axis: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """An array's axes, each as factors of axes of a row-major array.

    Factors have sizes other than 1, and are merged where they can be: equal layouts are the same arrays.
    """

    axes: tuple[Axis, ...]

    @classmethod
    def row_major(cls, shape: Shape) -> Layout:
        """That of the array itself."""
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return cls(tuple(_merged([pair]) for pair in zip(shape, strides, strict=True)))

    @property
    def shape(self) -> Shape:
        """Size of each axis."""
        return tuple(math.prod(size for size, _ in axis) for axis in self.axes)

    def reshaped(self, shape: Shape) -> Layout | None:
        """The layout after a reshape to as many elements; None if it cuts a factor at no whole number."""
        left = [factor for axis in self.axes for factor in axis]
        axes = []
        for wanted in shape:
            axis: list[tuple[int, int]] = []
            while wanted > 1:
                size, stride = left.pop(0)
                if wanted % size == 0:
                    axis.append((size, stride))
                    wanted //= size
                elif size % wanted == 0:
                    rest = size // wanted
                    axis.append((wanted, stride * rest))
                    left.insert(0, (rest, stride))
                    wanted = 1
                else:
                    return None
            axes.append(_merged(axis))
        return Layout(tuple(axes))

    def transposed(self, order: Sequence[int]) -> Layout:
        """The layout whose axis ``i`` is this one's axis ``order[i]``."""
        return Layout(tuple(self.axes[axis] for axis in order))


def _merged(factors: Sequence[tuple[int, int]]) -> Axis:
    """Factors without those of size 1, and with those in one that lie one after the other."""
    merged: list[tuple[int, int]] = []
    for size, stride in factors:
        if size == 1:
            continue
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    return tuple(merged)
