"""Values of an ONNX graph while it is read: those of the plan, and what will become one.

A reshape or a sum of splits has no step of its own. It is kept as a value that remembers what it is made of,
until the node comes that completes a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from lucid.inference.symbol import Symbol
from lucid.onnx.layout import Layout
from lucid.recording import Array, Shape

__all__ = ["Part", "SplitSum", "Value", "View", "as_view"]


@dataclass(frozen=True)
class View:
    """A value of the plan, reshaped and transposed; and then behind a softmax, if ``softmax`` is an axis.

    Attributes:
        softmax: Size and stride of the axis of ``base`` over which the softmax is.
    """

    base: Symbol
    layout: Layout
    softmax: tuple[int, int] | None = None

    @property
    def shape(self) -> Shape:
        return self.layout.shape

    def reshaped(self, shape: Shape) -> View | None:
        layout = self.layout.reshaped(shape)
        return None if layout is None else replace(self, layout=layout)


@dataclass(frozen=True)
class SplitSum:
    """The sum of the ``radix`` splits of an image, weighted by a softmax of ``logits`` over them if given.

    Before the sum it is the product, with an axis for the splits: ``summed`` is False.
    """

    image: Symbol
    radix: int
    shape: Shape
    summed: bool = True
    logits: Symbol | None = None
    cardinality: int = 1


@dataclass(frozen=True)
class Part:
    """The sum of some of the ``radix`` equal slices of the channels of ``whole``.

    Attributes:
        indices: Which slices.
        weights: The value whose slices of the same numbers they were multiplied with, if any.
    """

    whole: View
    radix: int
    indices: frozenset[int]
    shape: Shape
    weights: View | None = None


Value: TypeAlias = "Symbol | View | SplitSum | Part | Array"


def as_view(value: Value) -> View | None:
    """A value as a view of itself; None for what is not one value of the plan."""
    if isinstance(value, Symbol):
        return View(value, Layout.row_major(value.shape))
    return value if isinstance(value, View) else None
