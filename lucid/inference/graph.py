"""Graph: the computation of a network, as a list of nodes over named values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy.typing as npt

from lucid.inference.kinds import checked_shape, output_shape
from lucid.recording import Attribute, Shape

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        kind: Which one; ``lucid.inference.kinds`` lists them.
        inputs: Names of the values that it reads.
        output: Name of the value that it computes, and of the node.
        attributes: Strides and the like.
        weights: Constant arrays: ``weight``, ``bias``.
        source: Where the traced program called it, for messages.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)
    source: str = ""

    def weight_shapes(self) -> dict[str, Shape]:
        return {name: array.shape for name, array in self.weights.items()}

    def having(self, **attributes: Attribute) -> Node:
        """The node with some attributes changed."""
        return replace(self, attributes={**self.attributes, **attributes})

    def __str__(self) -> str:
        parts = list(self.inputs)
        parts += [f"{name} {size_text(array.shape)}" for name, array in self.weights.items()]
        for name, value in self.attributes.items():
            if value is True:
                parts.append(name)
            elif value is not False and value != _USUAL.get(name):
                parts.append(f"{name}={_attribute_text(value)}")
        return f"{self.kind}({', '.join(parts)})"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in the order in which they run. It is checked when it is made, and never changes.

    Printed, it has a line for each node.

    Attributes:
        inputs: Shapes of the inputs by name.
        nodes: Each reads inputs of the graph and outputs of nodes before it.
        outputs: Names of the values that are returned.
        as_tuple: They are returned as a tuple, even a single one.

    Raises:
        ValueError: A node reads a value that is not there yet, two values have one name, or a node does not
            have what its kind asks for.
    """

    inputs: Mapping[str, Shape]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    as_tuple: bool = False
    shapes: Mapping[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        shapes = {name: checked_shape(f"graph: {name}", shape) for name, shape in self.inputs.items()}
        if not shapes or not self.outputs:
            raise ValueError(
                f"graph: it must have inputs and outputs, got {len(shapes)} and {len(self.outputs)}"
            )
        for node in self.nodes:
            absent = [name for name in node.inputs if name not in shapes]
            if absent:
                raise ValueError(
                    f"graph: {node.output} must read what is computed before it, got {absent[0]!r}"
                )
            if node.output in shapes:
                raise ValueError(f"graph: each value must be computed once, got {node.output!r} again")
            inputs = [shapes[name] for name in node.inputs]
            try:
                shapes[node.output] = output_shape(node.kind, inputs, node.attributes, node.weight_shapes())
            except ValueError as error:
                raise ValueError(f"graph: {node.output}: {error}") from None
        unknown = [name for name in self.outputs if name not in shapes]
        if unknown:
            raise ValueError(f"graph: an output must be computed, got {unknown[0]!r}")
        object.__setattr__(self, "shapes", shapes)

    def uses(self) -> Counter[str]:
        """How often each value is read, by nodes and as an output."""
        return Counter([name for node in self.nodes for name in node.inputs] + list(self.outputs))

    def macs(self, node: Node) -> int:
        """Multiplications with an addition each, by the definition of convolutions and linear layers.

        An algorithm such as Winograd's needs fewer. Other nodes count as 0.
        """
        if node.kind not in ("conv2d", "linear"):
            return 0
        return math.prod(self.shapes[node.output]) * math.prod(node.weights["weight"].shape[1:])

    def __str__(self) -> str:
        inputs = ", ".join(f"{name} {size_text(shape)}" for name, shape in self.inputs.items())
        names = max((len(node.output) for node in self.nodes), default=0)
        sizes = {node.output: size_text(self.shapes[node.output]) for node in self.nodes}
        width = max(map(len, sizes.values()), default=0)
        lines = [f"  {node.output:<{names}}  {sizes[node.output]:<{width}}  {node}" for node in self.nodes]
        return "\n".join([f"graph({inputs})", *lines, f"  return {', '.join(self.outputs)}"])


# Values of attributes that are not worth printing.
_USUAL: dict[str, Attribute] = {
    "stride": (1, 1),
    "padding": (0, 0, 0, 0),
    "dilation": (1, 1),
    "groups": 1,
    "divisor_override": 0,
    "radix": 1,
    "cardinality": 1,
}


def size_text(shape: Shape) -> str:
    """A shape as 1x64x56x56."""
    return "x".join(map(str, shape))


def _attribute_text(value: Attribute) -> str:
    """Height and width as one number if they are equal; so are two sides of padding that are."""
    if not isinstance(value, tuple):
        return str(value)
    if value[:2] == value[2:]:
        value = value[:2]
    return str(value[0]) if len(set(value)) == 1 else size_text(value)
