"""The operators of ONNX, each as the steps of a plan that compute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from lucid import recording
from lucid.inference.symbol import Symbol
from lucid.onnx.attention import add, global_average_pool, multiply, reduce_mean, reduce_sum, softmax, split
from lucid.onnx.reader import Operation, Reader
from lucid.onnx.values import Value, View, as_view
from lucid.onnx.windows import average_pool, conv, global_max_pool, max_pool
from lucid.recording import Array, Shape

__all__ = ["OPERATORS", "Translation"]

# From a node whose inputs are not all constant to its outputs.
Translation: TypeAlias = Callable[[Reader, Operation], "Value | tuple[Value, ...]"]


# ---- Layers


def _batch_norm(reader: Reader, op: Operation) -> Value:
    if op.get("training_mode", 0) or any(op.outputs[1:]):
        raise reader.refusal("the norm of a training pass")
    if not op.get("spatial", 1):
        raise reader.refusal("a norm with spatial=0")
    weight, bias, mean, var = (reader.weight(index) for index in range(1, 5))
    eps = float(op.get("epsilon", 1e-5))
    result: Symbol = recording.batch_norm(
        reader, reader.symbol(0), weight, bias, mean, var, eps=eps, relu=False
    )
    return result


def _gemm(reader: Reader, op: Operation) -> Value:
    weight, bias = reader.weight(1), reader.weight(2)
    if weight is None or op.get("transA", 0):
        raise reader.refusal("a product", "must be of rows and a constant matrix")
    alpha, beta = float(op.get("alpha", 1.0)), float(op.get("beta", 1.0))
    return _linear(reader, weight if op.get("transB", 0) else weight.T, bias, alpha, beta)


def _matmul(reader: Reader, op: Operation) -> Value:
    weight = reader.weight(1)
    if weight is None or weight.ndim != 2:
        raise reader.refusal("a product", "must be of rows and a constant matrix")
    return _linear(reader, weight.T, None)


def _linear(
    reader: Reader, weight: Array, bias: Array | None, alpha: float = 1.0, beta: float = 1.0
) -> Value:
    x = reader.symbol(0)
    if bias is not None:
        if bias.size != 1 and bias.shape not in ((len(weight),), (1, len(weight))):
            raise reader.refusal(f"a bias of shape {bias.shape}", "must have one value for each output")
        bias = np.broadcast_to(np.float32(beta) * bias.reshape(-1), (len(weight),))
    if alpha != 1:
        weight = np.float32(alpha) * weight
    result: Symbol = recording.linear(reader, x, weight, bias)
    return result


def _dropout(reader: Reader, op: Operation) -> Value:
    training = reader.constant(2)
    if any(op.outputs[1:]) or (training is not None and training.any()):
        raise reader.refusal("a dropout", "must be that of inference")
    return _identity(reader, op)


def _identity(reader: Reader, op: Operation) -> Value:
    value = op.inputs[0]
    assert value is not None
    return value


# ---- Arithmetic


def _arithmetic(record: Callable[..., Any]) -> Translation:
    def translate(reader: Reader, op: Operation) -> Value:
        a, b = (
            value if isinstance(value, np.ndarray) else reader.symbol(index)
            for index, value in enumerate(op.inputs)
        )
        result: Symbol = record(reader, a, b)
        return result

    return translate


def _sum(reader: Reader, op: Operation) -> Value:
    total: Any = None
    for index, value in enumerate(op.inputs):
        term = value if isinstance(value, np.ndarray) else reader.symbol(index)
        total = term if total is None else recording.add(reader, total, term)
    return total  # type: ignore[no-any-return]


def _elementwise(kind: str) -> Translation:
    """A view stays one: the operator does not care in which order the values lie."""

    def translate(reader: Reader, op: Operation) -> Value:
        value = op.inputs[0]
        if isinstance(value, View) and value.softmax is None:
            return View(reader.step(kind, [value.base]), value.layout)
        return reader.step(kind, [reader.symbol(0)])

    return translate


def _negative(reader: Reader, op: Operation) -> Value:
    result: Symbol = recording.negative(reader, reader.symbol(0))
    return result


def _clip(reader: Reader, op: Operation) -> Value:
    low: Any = op.get("min", None) if op.version < 11 else reader.constant(1)
    high: Any = op.get("max", None) if op.version < 11 else reader.constant(2)
    unbounded = high is None or float(high) >= float(np.finfo(np.float32).max)
    limits = {"min": None if low is None else float(low), "max": None if unbounded else float(high)}
    result: Symbol = recording.clamp(reader, reader.symbol(0), **limits)
    return result


def _cast(reader: Reader, op: Operation) -> Value:
    if op.get("to", 0) != 1:  # TensorProto.FLOAT
        raise reader.refusal("a cast", "must be to float32")
    return _identity(reader, op)


def _pad(reader: Reader, op: Operation) -> Value:
    x, widths = reader.symbol(0), reader.integers("pads", 1)
    value: Any = op.get("value", 0.0) if op.version < 11 else reader.constant(2)
    if (
        widths is None
        or len(widths) != 2 * len(x.shape)
        or op.given(3)
        or op.get("mode", "constant") != "constant"
    ):
        raise reader.refusal("a padding", "must be by constants on all axes")
    pairs = tuple(zip(widths[: len(x.shape)], widths[len(x.shape) :], strict=True))
    result: Symbol = recording.pad(reader, x, widths=pairs, value=0.0 if value is None else float(value))
    return result


# ---- Shapes


def _shape(reader: Reader, op: Operation) -> Value:
    value = op.inputs[0]
    assert value is not None
    return np.array(value.shape[op.get("start", 0) : op.get("end", None)], np.int64)


def _reshape(reader: Reader, op: Operation) -> Value:
    value, wanted = op.inputs[0], reader.integers("shape", 1)
    assert value is not None
    if wanted is None:
        raise ValueError("a reshape must have a shape, got none")
    if not op.get("allowzero", 0):
        wanted = tuple(
            value.shape[axis] if length == 0 and axis < len(value.shape) else length
            for axis, length in enumerate(wanted)
        )
    if -1 in wanted:
        known = math.prod(length for length in wanted if length != -1)
        count = math.prod(value.shape)
        if wanted.count(-1) > 1 or known <= 0 or count % known:
            raise ValueError(f"a reshape must keep the number of elements, got {value.shape} to {wanted}")
        wanted = tuple(count // known if length == -1 else length for length in wanted)
    return reader.reshaped(value, wanted)


def _flatten(reader: Reader, op: Operation) -> Value:
    value = op.inputs[0]
    assert value is not None
    axis = int(op.get("axis", 1))
    axis += len(value.shape) if axis < 0 else 0
    return reader.reshaped(value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))


def _squeeze(reader: Reader, op: Operation) -> Value:
    value, given = op.inputs[0], reader.integers("axes", 1)
    assert value is not None
    rank = len(value.shape)
    axes = (
        {axis % rank for axis in given}
        if given is not None
        else {axis for axis, length in enumerate(value.shape) if length == 1}
    )
    if any(value.shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes must have size 1, got {sorted(axes)} of {value.shape}")
    return reader.reshaped(value, tuple(n for axis, n in enumerate(value.shape) if axis not in axes))


def _unsqueeze(reader: Reader, op: Operation) -> Value:
    value, given = op.inputs[0], reader.integers("axes", 1) or ()
    assert value is not None
    rank = len(value.shape) + len(given)
    axes = {axis % rank for axis in given}
    lengths = iter(value.shape)
    return reader.reshaped(value, tuple(1 if axis in axes else next(lengths) for axis in range(rank)))


def _transpose(reader: Reader, op: Operation) -> Value:
    value = op.inputs[0]
    view = None if value is None else as_view(value)
    if view is None:
        raise reader.refusal("a transposition of a sum of splits")
    order = tuple(op.get("perm", range(len(view.shape))[::-1]))
    if sorted(order) != list(range(len(view.shape))):
        raise ValueError(f"perm must be an order of {len(view.shape)} axes, got {order}")
    turned = View(view.base, view.layout.transposed(order), view.softmax)
    shape: Shape = turned.shape
    return reader.reshaped(turned, shape)


def _slice(reader: Reader, op: Operation) -> Value:
    """The whole of a value: exporters write such slices."""
    value = op.inputs[0]
    starts, ends, axes, steps = (
        reader.integers(name, index) for index, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if value is None or isinstance(value, np.ndarray) or starts is None or ends is None:
        raise reader.refusal("a slice")
    for number, axis in enumerate(axes if axes is not None else range(len(starts))):
        length = value.shape[axis]
        step = steps[number] if steps is not None else 1
        if range(length)[starts[number] : ends[number] : step] != range(length):
            raise reader.refusal("a slice that leaves something out")
    return value


OPERATORS: Mapping[str, Translation] = {
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Conv": conv,
    "Div": _arithmetic(recording.divide),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "Identity": _identity,
    "LogSoftmax": softmax,
    "MatMul": _matmul,
    "MaxPool": max_pool,
    "Mul": multiply,
    "Neg": _negative,
    "Pad": _pad,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "Relu": _elementwise("relu"),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _elementwise("sigmoid"),
    "Slice": _slice,
    "Softmax": softmax,
    "Split": split,
    "Squeeze": _squeeze,
    "Sub": _arithmetic(recording.subtract),
    "Sum": _sum,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
