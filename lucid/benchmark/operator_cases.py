"""Cases of single operators but convolution, traced from the models before any pass fuses them."""

from __future__ import annotations

import operator as operators
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.operators_float64 import EXPECTED
from lucid.inference import Graph, Node, trace
from lucid.inference.graph import size_text
from lucid.models.registry import build, find_preset
from lucid.nn import functional as F
from lucid.nn.module import Module, Parameter
from lucid.tensor import Tensor

__all__ = ["OPERATORS", "operator_cases"]

# The kinds of nodes that a name on the command line stands for.
OPERATORS: Mapping[str, tuple[str, ...]] = {
    "split_attention": ("split_attention",),
    "add": ("add",),
    "pool2d": ("max_pool2d", "avg_pool2d"),
    "max_pool2d": ("max_pool2d",),
    "avg_pool2d": ("avg_pool2d",),
    "softmax": ("softmax",),
    "batch_norm": ("batch_norm",),
    "linear": ("linear",),
    "relu": ("relu",),
}


def operator_cases(
    operator: str, names: Sequence[str], batch: int = 1, size: tuple[int, int] = (224, 224)
) -> list[Case]:
    """The distinct calls of one operator in some models, without a ReLU that may follow.

    A softmax is that over the logits that a model gives, which is not a part of the model.

    Args:
        operator: One of ``OPERATORS``.
        names, batch, size: As for ``conv2d_cases``.

    Raises:
        ValueError: There is no such model, or the image is too small for it.
    """
    found: dict[str, tuple[Graph, Counter[str]]] = {}
    for name in names:
        preset, _ = find_preset(name)
        model = build(preset.config, initialize=False).eval()
        graph = trace(model, (batch, preset.config.in_channels, *size))
        for node in _nodes(graph):
            if node.kind in OPERATORS[operator]:
                single = _single(node, [graph.shapes[name] for name in node.inputs])
                found.setdefault(single.outputs[0], (single, Counter()))[1][preset.name] += 1
    return [_case(name, graph, dict(counts)) for name, (graph, counts) in found.items()]


def _nodes(graph: Graph) -> Iterator[Node]:
    """Those of a model, and the softmax that makes its logits probabilities."""
    yield from graph.nodes
    yield Node("softmax", graph.outputs[:1], "probabilities", {"dim": 1, "log": False})


def _single(node: Node, shapes: Sequence[tuple[int, ...]]) -> Graph:
    """A graph of one node, named after all that it depends on but the batch."""
    name = "_".join([node.kind, *_details(node), str(shapes[0][1])])
    if node.kind == "linear":
        name += f"to{node.weights['weight'].shape[0]}"
    if shapes[0][2:]:
        name += f"_{size_text(shapes[0][2:])}"
    rng = np.random.default_rng(0)
    weights: dict[str, Array] = {
        key: rng.standard_normal(array.shape, dtype=np.float32) for key, array in node.weights.items()
    }
    attributes = {key: False if key == "relu" else value for key, value in node.attributes.items()}
    inputs = dict(zip(("x", "y"), shapes, strict=False))
    return Graph(inputs, (Node(node.kind, tuple(inputs), name, attributes, weights),), (name,))


def _details(node: Node) -> list[str]:
    """The attributes that tell calls of an operator apart."""
    values: Mapping[str, Any] = node.attributes
    if node.kind == "split_attention":
        return [f"r{values['radix']}c{values['cardinality']}"]
    if node.kind not in OPERATORS["pool2d"]:
        return []
    text = f"{size_text(values['kernel_size'])}s{values['stride'][0]}p{values['padding'][0]}"
    return [text + ("ceil" if values["ceil_mode"] else "")]


def _case(name: str, graph: Graph, counts: dict[str, int]) -> Case:
    [node] = graph.nodes

    def expected(*inputs: Array) -> Array:
        return EXPECTED[node.kind](node, graph.shapes[name], *(x.astype(np.float64) for x in inputs))

    return Case(name, graph, _Operator(node), expected, counts)


class _Operator(Module):
    """A node as a layer; batch norm with the mean 0 and the variance 1."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        arguments: dict[str, Any] = {}
        for name, array in node.weights.items():
            setattr(self, name, Parameter(array))
        if node.kind == "batch_norm":
            ones = np.ones_like(node.weights["weight"])
            arguments = {"running_mean": Tensor(0 * ones), "running_var": Tensor(ones), "eps": 0.0}
        elif node.kind not in ("add", "linear"):
            arguments = {key: value for key, value in node.attributes.items() if key not in ("relu", "log")}
        if "padding" in arguments:
            top, left, bottom, right = arguments["padding"]
            arguments["padding"] = ((top, bottom), (left, right))
        if "divisor_override" in arguments:
            arguments["divisor_override"] = arguments["divisor_override"] or None
        self._function = operators.add if node.kind == "add" else getattr(F, node.kind)
        self._arguments = arguments

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = self._function(*inputs, **dict(self.named_parameters()), **self._arguments)
        return result
