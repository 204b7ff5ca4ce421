"""Nodes of a graph as nodes of an ONNX model, one function for each kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lucid.inference.graph import Graph, Node
from lucid.inference.pixels import Pixels
from lucid.onnx.package import require_onnx

__all__ = ["to_model", "to_onnx"]

# Old enough for any engine of the last years, and new enough for all operators used here.
_OPSET, _IR_VERSION = 17, 8


def to_onnx(
    graph: Graph, symbolic_batch: bool = False, *, pixels: Mapping[str, Pixels] | None = None
) -> bytes:
    """A serialised ONNX model of ``graph``; inputs, outputs and values have the graph's names.

    Args:
        symbolic_batch: Whether the first dimension of inputs and outputs is the symbol ``batch``, any number.
        pixels: Mean and std of the inputs that are uint8.

    Raises:
        NotImplementedError: A node is of a kind that is not translated, or an input of pixels is an output.
        ImportError: The package onnx is not installed.
        google.protobuf.message.EncodeError: The weights are more than the 2 GiB of a protobuf message;
            ``export`` writes them into a file of their own.
    """
    serialised: bytes = to_model(graph, symbolic_batch, pixels or {}).SerializeToString()
    return serialised


def to_model(graph: Graph, symbolic_batch: bool, pixels: Mapping[str, Pixels]) -> Any:
    """As ``to_onnx``, an ``onnx.ModelProto``, whose weights may have any size."""
    onnx = require_onnx("to_onnx")
    unknown = {node.kind for node in graph.nodes} - TRANSLATE.keys()
    if unknown:
        raise NotImplementedError(
            f"to_onnx: nodes of the kind {', '.join(sorted(unknown))} are not translated"
        )
    if both := pixels.keys() & set(graph.outputs):
        raise NotImplementedError(
            f"to_onnx: an input of pixels must be no output, got {', '.join(sorted(both))}"
        )
    builder = _Builder(graph.shapes)
    normalized = {name: builder.normalize(name, scale) for name, scale in pixels.items()}
    for node in graph.nodes:
        relu = bool(node.attributes.get("relu"))
        result = f"{node.output}.sum" if relu else node.output
        TRANSLATE[node.kind](builder, node, [normalized.get(x, x) for x in node.inputs], result)
        if relu:
            builder.add("Relu", [result], node.output)
    helper: Any = onnx.helper

    def described(names: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> list[Any]:
        kinds = onnx.TensorProto
        first: list[Any] = ["batch"] if symbolic_batch else []
        return [
            helper.make_tensor_value_info(
                name, kinds.UINT8 if name in pixels else kinds.FLOAT, [*first, *shapes[name][len(first) :]]
            )
            for name in names
        ]

    body = helper.make_graph(
        builder.nodes,
        "lucid",
        described(list(graph.inputs), graph.inputs),
        described(graph.outputs, graph.shapes),
        builder.constants,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


class _Builder:
    """Nodes and constants of a model, as they come."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = dict(shapes)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def normalize(self, x: str, scale: Pixels) -> str:
        """``(x / 255 - mean) / std`` of an input of uint8, as plans round it."""
        from onnx import TensorProto

        y = self.add("Cast", [x], f"{x}.cast", to=TensorProto.FLOAT)
        for kind, name, values in (
            ("Div", "white", (255,)),
            ("Sub", "mean", scale.mean),
            ("Div", "std", scale.std),
        ):
            number = self.constant(f"{x}.{name}", np.array(values, np.float32)[:, None, None])
            y = self.add(kind, [y, number], f"{x}.normalized_by_{name}")
        self.shapes[y] = self.shapes[x]
        return y

    def reshape(self, x: str, output: str, *sizes: Any) -> str:
        """A size of 0 keeps that of the input, and -1 is what is left."""
        return self.add("Reshape", [x, self.constant(f"{output}.shape", np.array(sizes, np.int64))], output)

    def sum(self, x: str, output: str, axis: int) -> str:
        axes = self.constant(f"{output}.axes", np.array([axis], np.int64))
        return self.add("ReduceSum", [x, axes], output, keepdims=0)


_WINDOW = {"kernel_size": "kernel_shape", "stride": "strides", "dilation": "dilations", "groups": "group"}


def _window(node: Node, *names: str) -> dict[str, Any]:
    """Attributes of a sliding window, under ONNX's names."""
    values: Mapping[str, Any] = node.attributes
    found: dict[str, Any] = {}
    for name in names:
        value = values[name]
        if name == "padding":
            found["pads"] = list(value)  # top, left, bottom, right, in this order in both
        else:
            found[_WINDOW.get(name, name)] = list(value) if isinstance(value, tuple) else int(value)
    return found


def _conv2d(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    weights = [
        b.constant(f"{node.output}.{name}", node.weights[name])
        for name in ("weight", "bias")
        if name in node.weights
    ]
    result = f"{output}.convolved" if len(inputs) == 2 else output
    window = _window(node, "stride", "padding", "dilation", "groups")
    b.add("Conv", [inputs[0], *weights], result, **window)
    if len(inputs) == 2:
        b.add("Add", [result, inputs[1]], output)


def _linear(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    """A 1x1 convolution where there are groups, else a product of matrices."""
    weight, bias = node.weights["weight"], node.weights.get("bias")
    rest = [] if bias is None else [b.constant(f"{node.output}.bias", bias)]
    if node.attributes["groups"] == 1:
        b.add("Gemm", [inputs[0], b.constant(f"{node.output}.weight", weight), *rest], output, transB=1)
        return
    pixel = b.reshape(inputs[0], f"{output}.pixel", 0, -1, 1, 1)
    filters = b.constant(f"{node.output}.weight", weight[:, :, None, None])
    b.add("Conv", [pixel, filters, *rest], f"{output}.convolved", group=node.attributes["groups"])
    b.add("Flatten", [f"{output}.convolved"], output)


def _radix_sum_pool(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    x, radix = inputs[0], node.attributes["radix"]
    if radix != 1:
        x = b.sum(_splits(b, x, radix, output), f"{output}.sum_of_splits", axis=1)
    b.add("Flatten", [b.add("GlobalAveragePool", [x], f"{output}.pooled")], output)


def _split_attention(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    x, logits = inputs
    radix, cardinality = node.attributes["radix"], node.attributes["cardinality"]
    # (n, cardinality, radix, c / cardinality) to (n, radix, c, 1, 1)
    ordered = b.reshape(logits, f"{output}.by_group", 0, cardinality, radix, -1)
    if cardinality != 1:
        ordered = b.add("Transpose", [ordered], f"{output}.by_split", perm=[0, 2, 1, 3])
    ordered = b.reshape(ordered, f"{output}.logits", 0, radix, -1, 1, 1)
    kind, axis = ("Softmax", {"axis": 1}) if radix != 1 else ("Sigmoid", {})
    weights = b.add(kind, [ordered], f"{output}.weights", **axis)
    weighted = b.add("Mul", [_splits(b, x, radix, output), weights], f"{output}.weighted")
    b.sum(weighted, output, axis=1)


def _splits(b: _Builder, x: str, radix: Any, output: str) -> str:
    channels, h, w = b.shapes[x][1:]
    return b.reshape(x, f"{output}.splits", 0, radix, channels // radix, h, w)


def _pool(kind: str, *names: str) -> Callable[[_Builder, Node, Sequence[str], str], object]:
    return lambda b, node, inputs, output: b.add(kind, inputs, output, **_window(node, *names))


def _avg_pool2d(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    """With a divisor of its own it is the mean with zeros, times the window's area over the divisor."""
    window = _window(node, "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    divisor: Any = node.attributes["divisor_override"]
    if not divisor:
        b.add("AveragePool", inputs, output, **window)
        return
    if window["ceil_mode"]:
        raise NotImplementedError("to_onnx: avg_pool2d with ceil_mode and divisor_override is not translated")
    pooled = b.add("AveragePool", inputs, f"{output}.mean", **{**window, "count_include_pad": 1})
    scale = np.float32(math.prod(window["kernel_shape"]) / divisor)
    b.add("Mul", [pooled, b.constant(f"{output}.scale", scale)], output)


def _adaptive_avg_pool2d(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    """Two products with matrices, whose row i holds 1 / length of window i where it lies."""
    h, w = b.shapes[inputs[0]][2:]
    size: Any = node.attributes["output_size"]
    rows = b.constant(f"{output}.rows", _windows(h, size[0]))
    columns = b.constant(f"{output}.columns", _windows(w, size[1]).T)
    b.add("MatMul", [rows, b.add("MatMul", [inputs[0], columns], f"{output}.narrow")], output)


def _windows(size: int, count: int) -> Any:
    weights = np.zeros((count, size), np.float32)
    for i in range(count):
        first, last = i * size // count, -(-(i + 1) * size // count)
        weights[i, first:last] = 1.0 / (last - first)
    return weights


def _batch_norm(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    ones = (1,) * (len(b.shapes[inputs[0]]) - 2)
    scale, shift = (
        b.constant(f"{node.output}.{name}", node.weights[name].astype(np.float32).reshape(-1, *ones))
        for name in ("weight", "bias")
    )
    b.add("Add", [b.add("Mul", [inputs[0], scale], f"{output}.scaled"), shift], output)


def _softmax(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    kind = "LogSoftmax" if node.attributes["log"] else "Softmax"
    b.add(kind, inputs, output, axis=node.attributes["dim"])


def _mul(b: _Builder, node: Node, inputs: Sequence[str], output: str) -> None:
    factors = b.reshape(inputs[1], f"{output}.factors", 0, 0, 1, 1)
    b.add("Mul", [inputs[0], factors], output)


def _plain(kind: str, **attributes: Any) -> Callable[[_Builder, Node, Sequence[str], str], object]:
    return lambda b, node, inputs, output: b.add(kind, inputs, output, **attributes)


# Every kind of node that an optimized graph can have.
TRANSLATE: Mapping[str, Callable[[_Builder, Node, Sequence[str], str], object]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "max_pool2d": _pool("MaxPool", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "radix_sum_pool": _radix_sum_pool,
    "split_attention": _split_attention,
    "add": _plain("Add"),
    "mul": _mul,
    "relu": _plain("Relu"),
    "sigmoid": _plain("Sigmoid"),
    "softmax": _softmax,
    "flatten": _plain("Flatten"),
    "unflatten": lambda b, node, inputs, output: b.reshape(inputs[0], output, 0, 0, 1, 1),
}
