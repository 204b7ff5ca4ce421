"""A Graph computed in float64, each node by the reference of its operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import reference

from lucid.inference import Graph, Node

Array = npt.NDArray[Any]


def evaluate(graph: Graph, *inputs: Array) -> list[Array]:
    """The outputs of ``graph``, one after the other."""
    values: dict[str, Array] = dict(zip(graph.inputs, map(reference.float64, inputs), strict=True))
    for node in graph.nodes:
        y = COMPUTE[node.kind](node, [values[name] for name in node.inputs])
        values[node.output] = reference.relu(y) if node.attributes.get("relu") else y
        assert values[node.output].shape == graph.shapes[node.output], node.output
    return [values[name] for name in graph.outputs]


def _conv2d(node: Node, inputs: Sequence[Array]) -> Array:
    stride, padding, dilation, groups = (
        node.attributes[name] for name in ("stride", "padding", "dilation", "groups")
    )
    weight, bias = node.weights["weight"], node.weights.get("bias")
    y: Any = reference.conv2d(inputs[0], weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]
    return y + sum(inputs[1:])  # type: ignore[no-any-return]


def _linear(node: Node, inputs: Sequence[Array]) -> Array:
    groups = node.attributes["groups"]
    assert isinstance(groups, int)
    image, weight = inputs[0][:, :, None, None], node.weights["weight"][:, :, None, None]
    return reference.conv2d(image, weight, node.weights.get("bias"), groups=groups)[:, :, 0, 0]


def _batch_norm(node: Node, inputs: Sequence[Array]) -> Array:
    shape = (-1, *(1,) * (inputs[0].ndim - 2))
    return inputs[0] * node.weights["weight"].reshape(shape) + node.weights["bias"].reshape(shape)


def _max_pool2d(node: Node, inputs: Sequence[Array]) -> Array:
    window: dict[str, Any] = dict(node.attributes)
    return reference.max_pool2d(inputs[0], window.pop("kernel_size"), **window)


def _avg_pool2d(node: Node, inputs: Sequence[Array]) -> Array:
    window: dict[str, Any] = dict(node.attributes)
    return reference.avg_pool2d(inputs[0], window.pop("kernel_size"), **window)


def _adaptive_avg_pool2d(node: Node, inputs: Sequence[Array]) -> Array:
    arguments: dict[str, Any] = dict(node.attributes)
    return reference.adaptive_avg_pool2d(inputs[0], **arguments)


def _split_attention(node: Node, inputs: Sequence[Array]) -> Array:
    arguments: dict[str, Any] = dict(node.attributes)
    return reference.split_attention(*inputs, **arguments)


def _softmax(node: Node, inputs: Sequence[Array]) -> Array:
    dim: Any = node.attributes["dim"]
    return (reference.log_softmax if node.attributes["log"] else reference.softmax)(inputs[0], dim)


def _radix_sum_pool(node: Node, inputs: Sequence[Array]) -> Array:
    arguments: dict[str, Any] = dict(node.attributes)
    return reference.radix_sum_pool(inputs[0], **arguments)


COMPUTE: dict[str, Callable[[Node, Sequence[Array]], Array]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "radix_sum_pool": _radix_sum_pool,
    "split_attention": _split_attention,
    "add": lambda node, inputs: inputs[0] + inputs[1],
    "mul": lambda node, inputs: inputs[0] * inputs[1][:, :, None, None],
    "relu": lambda node, inputs: reference.relu(inputs[0]),
    "sigmoid": lambda node, inputs: reference.sigmoid(inputs[0]),
    "softmax": _softmax,
    "flatten": lambda node, inputs: np.ascontiguousarray(inputs[0]).reshape(len(inputs[0]), -1),
    "unflatten": lambda node, inputs: inputs[0][:, :, None, None],
}
