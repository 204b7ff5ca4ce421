"""Sums, means, products and softmaxes of an ONNX graph, and the split attention that they are parts of."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lucid import recording
from lucid.inference.symbol import Symbol
from lucid.onnx.layout import Layout
from lucid.onnx.reader import Operation, Reader
from lucid.onnx.values import Part, SplitSum, Value, View, as_view
from lucid.recording import Shape

__all__ = ["add", "global_average_pool", "multiply", "reduce_mean", "reduce_sum", "softmax", "split"]


def softmax(reader: Reader, op: Operation) -> Value:
    """A step for (n, c) and (n, c, h, w), else a view that a product may turn into weights."""
    value, log = op.inputs[0], op.kind == "LogSoftmax"
    view = None if value is None else as_view(value)
    if view is None or view.softmax is not None:
        return reader.step("softmax", [reader.symbol(0)], {"dim": 1, "log": log})
    rank = len(view.shape)
    axis = int(op.get("axis", -1 if op.version >= 13 else 1))
    axis += rank if axis < 0 else 0
    if op.version < 13 and math.prod(view.shape[axis + 1 :]) != 1:
        raise reader.refusal(f"a softmax over axes {axis} to {rank - 1} of version {op.version}")
    if isinstance(value, Symbol):
        return reader.step("softmax", [value], {"dim": axis, "log": log})
    factors = view.layout.axes[axis]
    if log or len(factors) != 1:
        raise reader.refusal(f"a softmax over axis {axis} of reshaped values")
    return replace(view, softmax=factors[0])


def split(reader: Reader, op: Operation) -> tuple[Value, ...]:
    """Equal slices of the channels, which only split attention can put together again."""
    value, count = op.inputs[0], len(op.outputs)
    view = None if value is None else as_view(value)
    sizes = reader.integers("split", 1)
    if view is None or len(view.shape) != 4 or int(op.get("axis", 0)) not in (1, -3):
        raise reader.refusal("a split other than of the channels of an image")
    n, channels, h, w = view.shape
    if channels % count or len(set(sizes or ())) > 1:
        raise reader.refusal(f"a split into parts of {sizes or count} channels")
    shape = (n, channels // count, h, w)
    return tuple(Part(view, count, frozenset([index]), shape) for index in range(count))


def add(reader: Reader, op: Operation) -> Value:
    a, b = op.inputs[:2]
    for part, zero in ((a, b), (b, a)):  # with which Python's sum() begins
        if isinstance(part, Part) and isinstance(zero, np.ndarray) and zero.ndim == 0 and not zero:
            return part
    if isinstance(a, Part) and isinstance(b, Part):
        joined = replace(a, indices=a.indices | b.indices)
        if replace(joined, indices=b.indices) == b and not a.indices & b.indices:
            return joined if len(joined.indices) < joined.radix else _whole(reader, joined)
    a, b = (value if isinstance(value, np.ndarray) else reader.symbol(i) for i, value in enumerate((a, b)))
    result: Symbol = recording.add(reader, a, b)
    return result


def _whole(reader: Reader, part: Part) -> Value:
    """The sum of all splits, weighted or not."""
    n, channels, h, w = part.shape
    image = part.whole.reshaped((n, part.radix, channels, h, w))
    base = part.whole.base
    if image is None or part.whole.layout != Layout.row_major(base.shape):
        raise reader.refusal("a split of a transposed image")
    if part.weights is None:
        return SplitSum(base, part.radix, part.shape)
    weights = part.weights.reshaped((n, part.radix, channels, 1, 1))
    product = None if weights is None else _weighted(image, weights)
    if product is None or product.logits is None:
        raise reader.refusal("a sum of weighted splits other than split attention")
    attributes = {"radix": product.radix, "cardinality": product.cardinality}
    result: Symbol = recording.split_attention(reader, base, product.logits, **attributes)
    return result


def multiply(reader: Reader, op: Operation) -> Value:
    a, b = op.inputs[:2]
    if isinstance(a, Part) and isinstance(b, Part):
        return _weighted_part(reader, a, b)
    for image, weights in ((a, b), (b, a)):
        if isinstance(image, (Symbol, View)) and isinstance(weights, View) and weights.softmax is not None:
            product = _weighted(as_view(image), weights)
            if product is not None:
                return product
    if isinstance(a, (Symbol, View)) and isinstance(b, (Symbol, View)):
        single = len(a.shape) == len(b.shape) == 5 and a.shape[1] == b.shape[1] == 1
        if single:  # split attention of one split
            a, b = (reader.reshaped(value, (value.shape[0], *value.shape[2:])) for value in (a, b))
        product = recording.multiply(reader, reader.plain(a), reader.plain(b))
        return reader.reshaped(product, (product.shape[0], 1, *product.shape[1:])) if single else product
    a, b = (value if isinstance(value, np.ndarray) else reader.symbol(i) for i, value in enumerate((a, b)))
    result: Symbol = recording.multiply(reader, a, b)
    return result


def _weighted_part(reader: Reader, a: Part, b: Part) -> Part:
    """A split of an image times the same split of its weights."""
    image, weights = (a, b) if a.whole.softmax is None else (b, a)
    same = image.indices == weights.indices and image.radix == weights.radix
    if not same or weights.whole.softmax is None or image.weights is not None or weights.weights is not None:
        raise reader.refusal("a product of splits outside of split attention")
    return replace(image, weights=weights.whole)


def _weighted(image: View | None, weights: View) -> SplitSum | None:
    """The product of an image's splits with their weights, if it is that of split attention."""
    if image is None or image.softmax is not None or len(image.shape) != 5 or weights.softmax is None:
        return None
    n, radix, channels = image.shape[:3]
    size, stride = weights.softmax
    if (
        image.layout != _splits(image.base, radix)
        or size != radix
        or weights.shape != (n, radix, channels, 1, 1)
    ):
        return None
    # stride is that between splits in the logits, which lie by group, then by split
    cardinality, rest = divmod(channels, stride)
    if rest:
        return None
    by_group = Layout.row_major((n, radix * channels)).reshaped((n, cardinality, radix, stride))
    ordered = by_group and by_group.transposed((0, 2, 1, 3)).reshaped(weights.shape)
    if weights.layout != ordered:
        return None
    return SplitSum(image.base, radix, image.shape, False, weights.base, cardinality)


def _splits(base: Symbol, radix: int) -> Layout | None:
    """The layout (n, radix, c, h, w) of an image, if it has so many splits."""
    if len(base.shape) != 4 or base.shape[1] % radix:
        return None
    n, channels, h, w = base.shape
    return Layout.row_major(base.shape).reshaped((n, radix, channels // radix, h, w))


def reduce_sum(reader: Reader, op: Operation) -> Value:
    value = op.inputs[0]
    axes = _axes(reader, op)
    if value is None or isinstance(value, np.ndarray):
        raise reader.refusal("a sum of constants")
    reduced = _reduced(op, value.shape, axes)
    if all(value.shape[axis] == 1 for axis in axes):
        return reader.reshaped(value, reduced)
    if isinstance(value, SplitSum) and not value.summed and axes == (1,) and value.logits is not None:
        attributes = {"radix": value.radix, "cardinality": value.cardinality}
        summed = recording.split_attention(reader, value.image, value.logits, **attributes)
        return reader.reshaped(summed, reduced)
    if isinstance(value, View) and value.softmax is None and axes == (1,) and len(value.shape) == 5:
        radix = value.shape[1]
        if value.layout == _splits(value.base, radix):
            return SplitSum(value.base, radix, reduced)
    x = reader.symbol(0)
    mean = recording.mean(reader, x, dim=axes, keepdim=bool(op.get("keepdims", 1)))
    result: Symbol = recording.multiply(reader, mean, float(math.prod(x.shape[2:])))
    return result


def reduce_mean(reader: Reader, op: Operation) -> Value:
    return _mean(reader, op, _axes(reader, op), bool(op.get("keepdims", 1)))


def global_average_pool(reader: Reader, op: Operation) -> Value:
    return _mean(reader, op, (2, 3), True)


def _mean(reader: Reader, op: Operation, axes: tuple[int, ...], keepdim: bool) -> Symbol:
    value = op.inputs[0]
    if isinstance(value, SplitSum) and value.summed and len(value.shape) == 4 and axes == (2, 3):
        pooled = reader.step("radix_sum_pool", [value.image], {"radix": value.radix})
        return reader.step("unflatten", [pooled]) if keepdim else pooled
    result: Symbol = recording.mean(reader, reader.symbol(0), dim=axes, keepdim=keepdim)
    return result


def _axes(reader: Reader, op: Operation) -> tuple[int, ...]:
    """Those of a reduction, counted from the front and in order; all if none are given."""
    value = op.inputs[0]
    rank = 0 if value is None else len(value.shape)
    given = reader.integers("axes", 1)
    if not given:
        return () if op.get("noop_with_empty_axes", 0) else tuple(range(rank))
    if not all(-rank <= axis < rank for axis in given):
        raise ValueError(f"axes must be those of {rank} dimensions, got {given}")
    return tuple(sorted(axis % rank for axis in given))


def _reduced(op: Operation, shape: Shape, axes: tuple[int, ...]) -> Shape:
    kept = bool(op.get("keepdims", 1))
    return tuple(
        1 if axis in axes else length for axis, length in enumerate(shape) if kept or axis not in axes
    )
