"""Passes: functions from graph to graph that keep what is computed and make it cheaper.

None changes the graph that it is given, nor the arrays in it. ``optimize`` runs all of them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from lucid.inference.graph import Array, Graph, Node

__all__ = [
    "fold_batch_norm",
    "fuse_relu",
    "fuse_residual",
    "fuse_split_attention",
    "optimize",
    "own_weights",
    "pointwise_to_linear",
    "remove_identity",
    "remove_unused",
]


def optimize(graph: Graph) -> Graph:
    """The graph that a plan runs: all fused that can be, with weights of its own, in float32."""
    improved = graph
    for improve in (
        remove_unused,
        remove_identity,
        pointwise_to_linear,
        fold_batch_norm,
        fuse_residual,
        fuse_relu,
        fuse_split_attention,
    ):
        improved = improve(improved)
    return own_weights(improved, graph)


# ---- Fusing two nodes into one


def fold_batch_norm(graph: Graph) -> Graph:
    """Scales the weights of a convolution, linear layer or norm instead of its output."""

    def fold(before: Node, node: Node) -> Node | None:
        foldable = before.kind in ("conv2d", "linear", "batch_norm") and len(before.inputs) == 1
        if node.kind != "batch_norm" or not foldable or before.attributes["relu"]:
            return None
        scale, shift = node.weights["weight"], node.weights["bias"]
        weight, bias = before.weights["weight"], before.weights.get("bias", np.zeros(1))
        by_channel = scale.reshape(-1, *(1,) * (weight.ndim - 1))
        with np.errstate(all="ignore"):  # broken weights stay as broken as they are
            weights = {"weight": weight * by_channel, "bias": bias * scale + shift}
            if before.kind != "batch_norm":  # norms stay in float64 until they are folded themselves
                weights = {name: array.astype(np.float32) for name, array in weights.items()}
        return replace(before, weights=weights).having(relu=node.attributes["relu"])

    return _merged(graph, fold)


def fuse_relu(graph: Graph) -> Graph:
    """Lets the node that computes a value clip it at 0 as well."""

    def fuse(before: Node, node: Node) -> Node | None:
        return before.having(relu=True) if node.kind == "relu" and "relu" in before.attributes else None

    return _merged(graph, fuse)


def _merged(graph: Graph, merge: Callable[[Node, Node], Node | None]) -> Graph:
    """Replaces a node and its only reader by the node that ``merge`` makes of both."""
    uses = graph.uses()
    nodes: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        source = renamed.get(node.inputs[0], node.inputs[0])
        single = len(node.inputs) == 1 and uses[source] == 1 and source in nodes
        both = merge(nodes[source], node) if single else None
        if both is None:
            nodes[node.output] = node
        else:
            nodes[source] = both
            renamed[node.output] = source
            uses[source] = uses[node.output]
    return _rebuilt(graph, nodes.values(), renamed)


def fuse_residual(graph: Graph) -> Graph:
    """Lets a convolution add the other operand of a sum to its output, in the place of the sum.

    If both operands are convolutions, the later one adds: the other operand is there by then.
    """
    uses = graph.uses()
    nodes: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        operands = [renamed.get(name, name) for name in node.inputs]
        candidates = [name for name in nodes if name in operands] if node.kind == "add" else []
        free = [name for name in candidates if _takes_residual(nodes[name], uses)]
        chosen = free[-1] if free else None
        if chosen is None:
            nodes[node.output] = node
            continue
        convolution = nodes.pop(chosen)
        other = operands[1 - operands.index(chosen)]
        fused = replace(convolution, inputs=(*convolution.inputs, other))
        nodes[chosen] = fused.having(relu=node.attributes["relu"])
        renamed[node.output] = chosen
        uses[chosen] = uses[node.output]
    return _rebuilt(graph, nodes.values(), renamed)


def _takes_residual(node: Node, uses: Mapping[str, int]) -> bool:
    free = len(node.inputs) == 1 and not node.attributes.get("relu", False)
    return node.kind == "conv2d" and free and uses[node.output] == 1


def fuse_split_attention(graph: Graph) -> Graph:
    """Turns an image times a sigmoid of one number a channel into split attention of one split: the same."""
    givers = {node.output: node for node in graph.nodes}

    def fuse(node: Node) -> Node:
        giver = givers.get(node.inputs[1]) if node.kind == "mul" else None
        if giver is None or giver.kind != "sigmoid":
            return node
        inputs = (node.inputs[0], giver.inputs[0])
        attributes = {"radix": 1, "cardinality": 1}
        return replace(node, kind="split_attention", inputs=inputs, attributes=attributes)

    return remove_unused(replace(graph, nodes=tuple(fuse(node) for node in graph.nodes)))


# ---- Rows instead of images of one pixel


def pointwise_to_linear(graph: Graph) -> Graph:
    """Computes on rows (n, c) what is computed on images (n, c, 1, 1) made of rows.

    Those are the two convolutions of split attention, between a global pooling and a softmax. The image is
    made where something needs it after all.
    """
    nodes: list[Node] = []
    rows: dict[str, str] = {}  # by the name of an image of one pixel, the rows that it is made of
    images: dict[str, str] = {}  # those that had to be made, under their names in the result
    renamed: dict[str, str] = {}

    def read(name: str) -> str:
        """The name in the result of what was ``name``; an image stays an image."""
        if name not in rows:
            return renamed.get(name, name)
        if name not in images:
            images[name] = f"{name}.image" if rows[name] == name else name
            nodes.append(Node("unflatten", (rows[name],), images[name]))
        return images[name]

    for node in graph.nodes:
        small = all(name in rows for name in node.inputs)
        if node.kind == "unflatten":
            rows[node.output] = read(node.inputs[0])
        elif node.kind == "flatten" and small:
            renamed[node.output] = rows[node.inputs[0]]
        elif small and (converted := _on_rows(node)) is not None:
            nodes.append(replace(converted, inputs=tuple(rows[name] for name in node.inputs)))
            rows[node.output] = node.output
        else:
            nodes.append(replace(node, inputs=tuple(read(name) for name in node.inputs)))
    outputs = tuple(read(name) for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _on_rows(node: Node) -> Node | None:
    """The node that does the same with rows, if there is one."""
    if node.kind in ("relu", "sigmoid", "add", "batch_norm"):
        return node
    if node.kind != "conv2d" or len(node.inputs) > 1 or node.attributes["padding"] != (0, 0, 0, 0):
        return None
    weight = node.weights["weight"]
    if weight.shape[2:] != (1, 1):
        return None
    attributes = {name: node.attributes[name] for name in ("groups", "relu")}
    weights = {**node.weights, "weight": weight.reshape(weight.shape[:2])}
    return replace(node, kind="linear", attributes=attributes, weights=weights)


# ---- Leaving out nodes without effect


def remove_identity(graph: Graph) -> Graph:
    """Leaves out pooling over one pixel, a norm by 1 and 0, and a ReLU behind a ReLU."""
    nodes: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        source = renamed.get(node.inputs[0], node.inputs[0])
        if _is_identity(node, nodes.get(source)):
            renamed[node.output] = source
        else:
            nodes[node.output] = node
    return _rebuilt(graph, nodes.values(), renamed)


def _is_identity(node: Node, before: Node | None) -> bool:
    if node.kind in ("max_pool2d", "avg_pool2d"):
        window = [node.attributes[name] for name in ("kernel_size", "stride", "padding")]
        return window == [(1, 1), (1, 1), (0, 0, 0, 0)] and not node.attributes.get("divisor_override")
    if node.kind == "batch_norm" and not node.attributes["relu"]:
        return bool((node.weights["weight"] == 1).all() and (node.weights["bias"] == 0).all())
    if node.kind == "relu" and before is not None:
        return before.kind == "relu" or before.attributes.get("relu") is True
    return False


def remove_unused(graph: Graph) -> Graph:
    """Leaves out nodes that no output depends on."""
    needed = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))


def own_weights(graph: Graph, traced: Graph) -> Graph:
    """Weights as row-major float32 that nobody can change, copied where they are those of ``traced``."""
    foreign = {id(_owner(array)) for node in traced.nodes for array in node.weights.values()}

    def own(array: Array) -> Array:
        copy = np.array if id(_owner(array)) in foreign else np.asarray
        with np.errstate(over="ignore"):
            owned: Array = copy(array, np.float32, order="C")
        owned.flags.writeable = False
        return owned

    def owning(node: Node) -> Node:
        return replace(node, weights={name: own(array) for name, array in node.weights.items()})

    return replace(graph, nodes=tuple(owning(node) for node in graph.nodes))


def _owner(array: Array) -> Array:
    """The array that a view is one of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _rebuilt(graph: Graph, nodes: Iterable[Node], renamed: Mapping[str, str]) -> Graph:
    """The graph of other nodes, which read the values in ``renamed`` under their other names."""
    final = tuple(
        replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs)) for node in nodes
    )
    return replace(graph, nodes=final, outputs=tuple(renamed.get(name, name) for name in graph.outputs))
