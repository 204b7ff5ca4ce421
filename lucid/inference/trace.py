"""Tracing: one forward pass of a module on symbols, which lists what it computes as a Graph."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lucid.inference.graph import Array, Graph, Node
from lucid.inference.kinds import Attribute, Shape, checked_shape, output_shape
from lucid.inference.symbol import Symbol
from lucid.nn.module import Module

# What modules are made of, but for the package's own models.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_MODELS = os.path.join(_PACKAGE, "models", "")


def trace(model: Module, *input_shapes: Shape) -> Graph:
    """What ``model.forward`` computes for inputs of these shapes, one node for each call of an operator.

    The model stays as it is. Values are named after the modules that compute them.

    Raises:
        NotImplementedError: ``forward`` does what no graph can express, or depends on the values of a tensor.
            The message names the line.
        ValueError: The model is in training mode, or its layers do not fit the shapes.
        TypeError: ``forward`` does not return tensors.
    """
    training = [name for name, module in model.named_modules() if module.training]
    if training:
        what = "it" if model.training else ", ".join(training[:3]) + ", ..." * (len(training) > 3)
        raise ValueError(
            f"compile: the model must be in eval mode, got {what} in training mode; call model.eval()"
        )
    names = ["input"] if len(input_shapes) == 1 else [f"input{i}" for i in range(len(input_shapes))]
    tracer = Tracer(model, dict(zip(names, input_shapes, strict=True)))
    symbols = [Symbol(tracer, name, shape) for name, shape in tracer.inputs.items()]
    with _unchanged(model), tracer:
        result: Any = model(*symbols)  # type: ignore[arg-type]
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    if not results or not all(isinstance(value, Symbol) and value.tracer is tracer for value in results):
        given = ", ".join(type(value).__name__ for value in results) or "nothing"
        raise TypeError(
            f"compile: forward must return a tensor or a tuple of tensors made of its input, got {given}"
        )
    outputs = tuple(value.value for value in results)
    return Graph(tracer.inputs, tuple(tracer.nodes), outputs, isinstance(result, (tuple, list)))


class Tracer:
    """Collects the nodes of a graph.

    Attributes:
        inputs: Shapes by name.
        nodes: In the order of the calls.
    """

    def __init__(self, model: Module, inputs: Mapping[str, Shape]) -> None:
        self.inputs = {name: checked_shape("compile: input_shape", shape) for name, shape in inputs.items()}
        self.nodes: list[Node] = []
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._names = set(inputs)
        self._open = False

    def __enter__(self) -> Tracer:
        self._open = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._open = False

    def add(
        self,
        kind: str,
        inputs: Sequence[Symbol],
        attributes: Mapping[str, Attribute],
        weights: Mapping[str, Array],
    ) -> Symbol:
        """Records a node. ValueError, with the line of the program, if it does not fit its inputs."""
        if not self._open or any(symbol.tracer is not self for symbol in inputs):
            raise RuntimeError(
                f"compile: {kind} must be called on tensors of this forward pass, got one kept from another"
            )
        module, line = self._location()
        shapes = {name: array.shape for name, array in weights.items()}
        try:
            shape = output_shape(kind, [symbol.shape for symbol in inputs], attributes, shapes)
        except ValueError as error:
            raise ValueError(f"{error}; {line}") from None
        name = self._unused_name(module, kind)
        values = tuple(symbol.value for symbol in inputs)
        self.nodes.append(Node(kind, values, name, dict(attributes), dict(weights), line))
        return Symbol(self, name, shape)

    def refusal(self, what: str, reason: str) -> NotImplementedError:
        """The error for what cannot be traced."""
        return NotImplementedError(f"compile: {what} {reason}; {self._location()[1]}")

    def _unused_name(self, module: Module | None, kind: str) -> str:
        """The module's name in the model; of a module that holds others, with the kind behind it."""
        path = "" if module is None else self._modules[id(module)]
        if path and module is not None and not any(module.children()):
            wanted = path
        else:
            wanted = f"{path}.{kind}" if path else kind
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name

    def _location(self) -> tuple[Module | None, str]:
        """The innermost module that is running, and the line of its program that called an operator.

        The line is the innermost one outside of this package's layers; of a model made of these alone, it is
        that of the layer.
        """
        module: Module | None = None
        line = fallback = ""
        for frame in _frames():
            file = frame.f_code.co_filename
            owner = frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else None
            if module is None and isinstance(owner, Module) and id(owner) in self._modules:
                module = owner
                fallback = f"{file}:{frame.f_lineno}"
            if not line and (not file.startswith(_PACKAGE) or file.startswith(_MODELS)):
                line = f"{file}:{frame.f_lineno}"
        if module is None:
            return None, f"at {line or 'an unknown line'}"
        where = self._modules[id(module)]
        role = f"{type(module).__name__} {where!r}" if where else type(module).__name__
        return module, f"at {line or fallback}, in {role}"


def _frames() -> Iterator[FrameType]:
    """The calls between an operator and ``trace``, innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not trace.__code__:
        yield frame
        frame = frame.f_back


@contextmanager
def _unchanged(model: Module) -> Iterator[None]:
    """Undoes assignments to attributes: a forward that keeps a result must not leave a symbol in the model.

    Only what has changed is written, since other threads may run the model meanwhile.
    """
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for attributes, kept in before:
            for name in attributes.keys() - kept.keys():
                del attributes[name]
            for name, value in kept.items():
                if attributes.get(name) is not value:
                    attributes[name] = value
