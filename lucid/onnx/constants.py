"""Constants of an ONNX graph, and the operators whose inputs are all constant, computed while it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lucid.recording import Array

__all__ = ["FOLDED", "fold", "tensor_values"]

# What exporters compute sizes and weights with. None of them runs code of the file.
FOLDED = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "Cast",
        "CastLike",
        "Ceil",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Sign",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)
# Far beyond any constant that is not a weight; without a limit a small file could fill the memory.
_MOST_ELEMENTS = 1 << 26
_GROWING = {"ConstantOfShape": 0, "Expand": 1}


def tensor_values(tensor: Any) -> Array:
    """The array of a TensorProto. ValueError if its data does not fit its shape."""
    from onnx import numpy_helper

    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"onnx.load: the values of {tensor.name!r} must fit its shape: {error}") from None
    return array


def fold(node: Any, inputs: Sequence[Array | None], version: int) -> list[Array]:
    """The outputs of a node of a kind in ``FOLDED``.

    Raises:
        ValueError: The inputs do not fit, or the result would not fit in memory.
    """
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Identity" and inputs[0] is not None:
        return [inputs[0]]
    _check_size(node, inputs)
    evaluator = ReferenceEvaluator(node, opsets={"": version})
    named = {name: array for name, array in zip(node.input, inputs, strict=True) if name}
    try:
        with np.errstate(all="ignore"):
            results = evaluator.run(None, named)
    except Exception as error:
        raise ValueError(
            f"onnx.load: {node.op_type} {node.name!r} must have inputs that fit: {error}"
        ) from None
    return [np.asarray(result) for result in results]


def _check_size(node: Any, inputs: Sequence[Array | None]) -> None:
    sizes = [array.shape for array in inputs if array is not None]
    if node.op_type in _GROWING:
        sizes = [tuple(map(int, np.ravel(inputs[_GROWING[node.op_type]])))]  # type: ignore[arg-type]
    elif node.op_type == "Tile":
        sizes = [(inputs[0].size, *map(int, np.ravel(inputs[1])))]  # type: ignore[union-attr, arg-type]
    # Broadcast, the result has at most the largest size of each axis.
    rank = max(map(len, sizes), default=0)
    most = [max((1, *(shape[axis] for shape in sizes if len(shape) >= -axis))) for axis in range(-rank, 0)]
    if math.prod(most) > _MOST_ELEMENTS and node.op_type not in ("Concat", "MatMul"):
        raise ValueError(
            f"onnx.load: {node.op_type} {node.name!r} must make at most {_MOST_ELEMENTS} values, "
            f"got {math.prod(most)}"
        )
