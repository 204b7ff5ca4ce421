"""Reader: a tracer whose program is an ONNX graph, and the view that an operator's function has of a node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lucid import recording
from lucid.inference.graph import size_text
from lucid.inference.symbol import Symbol
from lucid.inference.trace import Tracer
from lucid.nn.module import Module
from lucid.onnx.layout import Layout
from lucid.onnx.values import Part, SplitSum, Value, as_view
from lucid.recording import NO_COUNTERPART, Array, Shape

__all__ = ["Operation", "Reader"]


class Operation:
    """A node of an ONNX graph with the values that it reads.

    Attributes:
        kind: The operator's name.
        outputs: Names of the outputs, empty for one that is left out.
        inputs: The values; None for one that is left out.
        attributes: By name; strings are str.
        version: Of the operators.
    """

    def __init__(self, node: Any, inputs: Sequence[Value | None], version: int) -> None:
        from onnx import helper

        self.kind: str = node.op_type
        self.name: str = node.name or next(filter(None, node.output), "")
        self.outputs: tuple[str, ...] = tuple(node.output)
        self.inputs = tuple(inputs)
        self.version = version
        values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        self.attributes: Mapping[str, Any] = {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for name, value in values.items()
        }

    def given(self, index: int) -> bool:
        """Whether there is an input of that index."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def __str__(self) -> str:
        shapes = ["none" if value is None else size_text(value.shape) or "()" for value in self.inputs]
        return f"{self.kind} {self.name!r} of {', '.join(shapes) or 'nothing'}"


class Reader(Tracer):
    """Collects the nodes of a graph, named after those of the ONNX graph.

    Attributes:
        running: The operation that is being read.
    """

    def __init__(self, inputs: Mapping[str, Shape], names: Sequence[str]) -> None:
        super().__init__(Module(), inputs)
        self._names.update(names)
        self.running: Operation | None = None

    def refusal(self, what: str, reason: str = NO_COUNTERPART) -> NotImplementedError:
        """The error for what no plan can express, with the node."""
        return NotImplementedError(f"onnx.load: {self.running}: {what} {reason}")

    def rename(self, symbol: Symbol, name: str, start: int = 0) -> None:
        """Calls a value, and the node that computes it, ``name``; nodes before ``start`` do not read it."""
        before = symbol.value
        self.nodes[start:] = [
            replace(
                node,
                output=name if node.output == before else node.output,
                inputs=tuple(name if value == before else value for value in node.inputs),
            )
            for node in self.nodes[start:]
        ]
        symbol.value = name

    def symbol(self, index: int) -> Symbol:
        """An input as a value of the plan."""
        assert self.running is not None
        value = self.running.inputs[index] if self.running.given(index) else None
        if value is None or isinstance(value, np.ndarray):
            raise self.refusal(f"input {index}", "must be computed from the graph's input")
        return self.plain(value)

    def plain(self, value: Value) -> Symbol:
        """``value`` as a value of the plan, by the steps that make it one."""
        if isinstance(value, Symbol):
            return value
        view = as_view(value)
        if view is None or isinstance(value, (SplitSum, Part)):
            raise self.refusal("a split, or a sum of splits, outside of split attention")
        base = view.base
        if view.softmax is not None:
            axes = [axis for axis, factors in enumerate(Layout.row_major(base.shape).axes) if factors]
            factors = {Layout.row_major(base.shape).axes[axis]: axis for axis in axes}
            if (view.softmax,) not in factors:
                raise self.refusal("a softmax of reshaped values outside of split attention")
            base = self.step("softmax", [base], {"dim": factors[(view.softmax,)], "log": False})
        if view.layout != Layout.row_major(base.shape).reshaped(view.shape):
            raise self.refusal("a transposition outside of split attention")
        result: Symbol = recording.reshaped("reshape")(self, base, shape=view.shape)
        return result

    def constant(self, index: int) -> Array | None:
        """An input that must be constant; None if it is left out."""
        assert self.running is not None
        value = self.running.inputs[index] if self.running.given(index) else None
        if value is not None and not isinstance(value, np.ndarray):
            raise self.refusal(
                f"input {index}", "must be a constant in a plan, not something that is computed"
            )
        return value

    def weight(self, index: int) -> Array | None:
        """A constant of float32; None if it is left out."""
        value = self.constant(index)
        if value is not None and value.dtype != np.float32:
            raise self.refusal(f"input {index} of {value.dtype}", "must be float32")
        return value

    def integers(self, name: str, index: int) -> tuple[int, ...] | None:
        """Axes or sizes, which an attribute gives in older versions and an input in newer ones."""
        assert self.running is not None
        given = self.running.get(name, None)
        if given is None and index > 0:
            given = self.constant(index)
        return None if given is None else tuple(int(value) for value in np.ravel(given))

    def reshaped(self, value: Value, shape: Shape) -> Value:
        """``value`` in another shape: a step where a plan has one, else a view."""
        if isinstance(value, np.ndarray):
            return value.reshape(shape)
        if math.prod(shape) != math.prod(value.shape):
            raise ValueError(f"a reshape must keep the number of elements, got {value.shape} to {shape}")
        if isinstance(value, SplitSum):
            squeezed = [length for length in value.shape if length != 1]
            if squeezed == [length for length in shape if length != 1]:
                return replace(value, shape=shape)
        view = as_view(value)
        changed = None if view is None else view.reshaped(shape)
        if changed is None:
            raise self.refusal(f"a reshape from {value.shape} to {shape}")
        base = changed.base.shape
        in_order = changed.softmax is None and changed.layout == Layout.row_major(base).reshaped(shape)
        flat = len(base) == 4 and shape == (base[0], math.prod(base[1:]))
        if in_order and (shape == base or flat or shape == (*base, 1, 1)):
            return self.plain(changed)
        return changed

    def _wanted_name(self, path: str, kind: str) -> str:
        assert self.running is not None
        return f"{self.running.outputs[0]}.{kind}"

    def _location(self) -> str:
        return str(self.running)
