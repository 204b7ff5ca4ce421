"""Cases of batch norm, linear and ReLU, traced from the models before any pass fuses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lucid.benchmark.cases import Array, Case
from lucid.inference import Graph, Node, trace
from lucid.inference.graph import size_text
from lucid.models.registry import build, find_preset
from lucid.nn import functional as F
from lucid.nn.module import Module
from lucid.tensor import Tensor

__all__ = ["OPERATORS", "operator_cases"]


def _batch_norm(x: Array, weights: Mapping[str, Array]) -> Array:
    scale, shift = (weights[name].astype(np.float64)[:, None, None] for name in ("weight", "bias"))
    return np.asarray(x.astype(np.float64) * scale + shift)


def _linear(x: Array, weights: Mapping[str, Array]) -> Array:
    weight = weights["weight"].astype(np.float64)
    return np.asarray(x.astype(np.float64) @ weight.T + weights["bias"])


def _relu(x: Array, weights: Mapping[str, Array]) -> Array:
    return np.maximum(x, 0)


# What is right, by the kind of a node, in float64.
OPERATORS: Mapping[str, Callable[[Array, Mapping[str, Array]], Array]] = {
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": _relu,
}


def operator_cases(
    operator: str, names: Sequence[str], batch: int = 1, size: tuple[int, int] = (224, 224)
) -> list[Case]:
    """The distinct calls of one operator in some models, without a ReLU that may follow.

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
        for node in graph.nodes:
            if node.kind == operator:
                single = _single(node, graph.shapes[node.inputs[0]])
                found.setdefault(single.outputs[0], (single, Counter()))[1][preset.name] += 1
    return [_case(name, graph, dict(counts)) for name, (graph, counts) in found.items()]


def _single(node: Node, shape: tuple[int, ...]) -> Graph:
    """A graph of one node, named after all that it depends on but the batch."""
    name = f"{node.kind}_{shape[1]}"
    if node.kind == "linear":
        name += f"to{node.weights['weight'].shape[0]}"
    if shape[2:]:
        name += f"_{size_text(shape[2:])}"
    rng = np.random.default_rng(0)
    weights: dict[str, Array] = {
        key: rng.standard_normal(array.shape, dtype=np.float32) for key, array in node.weights.items()
    }
    attributes = {key: False if key == "relu" else value for key, value in node.attributes.items()}
    return Graph({"x": shape}, (Node(node.kind, ("x",), name, attributes, weights),), (name,))


def _case(name: str, graph: Graph, counts: dict[str, int]) -> Case:
    [node] = graph.nodes
    return Case(name, graph, _Operator(node), lambda x: OPERATORS[node.kind](x, node.weights), counts)


class _Operator(Module):
    """A node as a layer; batch norm with the mean 0 and the variance 1."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        arguments: dict[str, Any] = {key: Tensor(array) for key, array in node.weights.items()}
        if node.kind == "batch_norm":
            ones = np.ones_like(node.weights["weight"])
            arguments |= {"running_mean": Tensor(0 * ones), "running_var": Tensor(ones), "eps": 0.0}
        self._function, self._arguments = getattr(F, node.kind), arguments

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self._function(input, **self._arguments)
        return result
