"""Tracing: one forward pass of a module on symbols, recorded as a Graph."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, MappingProxyType
from typing import Any

from lucid.inference.graph import Array, Graph, Node
from lucid.inference.kinds import checked_shape, output_shape
from lucid.inference.symbol import Symbol
from lucid.nn.module import Module
from lucid.recording import NO_COUNTERPART, Attribute, Record, Shape, recorder_in_use

# The code below modules: all of the package but its own models.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_MODELS = os.path.join(_PACKAGE, "models", "")


@dataclass(frozen=True)
class Trace:
    """A forward pass.

    Attributes:
        graph: The steps.
        outputs: Shape of the last output of each module, by the module's name in the model.
        modules: Name of the module that computes a node, by the node's.
    """

    graph: Graph
    outputs: Mapping[str, Shape]
    modules: Mapping[str, str]


def trace(model: Module, *input_shapes: Shape) -> Graph:
    """The graph of ``model.forward`` for inputs of these shapes, one node for each call of an operator.

    The model stays as it is. Values are named after the modules that compute them.

    Raises:
        NotImplementedError: ``forward`` does what no graph can express, or depends on the values of a tensor.
            The message names the line.
        ValueError: The model is in training mode, or its layers do not fit the shapes.
        TypeError: ``forward`` does not return tensors.
    """
    return trace_modules(model, *input_shapes).graph


def trace_modules(model: Module, *input_shapes: Shape) -> Trace:
    """The graph, and which module computed what; see ``trace``."""
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
    if not results or not all(isinstance(value, Symbol) and value.recorder is tracer for value in results):
        given = ", ".join(type(value).__name__ for value in results) or "nothing"
        raise TypeError(
            f"compile: forward must return a tensor or a tuple of tensors made of its input, got {given}"
        )
    outputs = tuple(value.value for value in results)
    graph = Graph(tracer.inputs, tuple(tracer.nodes), outputs, isinstance(result, (tuple, list)))
    return Trace(graph, tracer.outputs, tracer.modules)


class Tracer:
    """Collects the nodes of a graph.

    Attributes:
        inputs: Shapes by name.
        nodes: In the order of the calls.
        outputs: Shape of the last output of each module, by its name.
        modules: Names of modules by the nodes that they compute.
    """

    def __init__(self, model: Module, inputs: Mapping[str, Shape]) -> None:
        self.inputs = {name: checked_shape("compile: input_shape", shape) for name, shape in inputs.items()}
        self.nodes: list[Node] = []
        self.outputs: dict[str, Shape] = {}
        self.modules: dict[str, str] = {}
        self._paths = {id(module): name for name, module in model.named_modules()}
        self._running: list[Module] = []
        self._names = set(inputs)
        self._open = False

    def __enter__(self) -> Tracer:
        self._open = True
        self._token = recorder_in_use.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        recorder_in_use.reset(self._token)
        self._open = False

    def called(self, module: Module, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Calls ``forward``; the nodes recorded meanwhile are named after ``module``."""
        if id(module) not in self._paths:
            return module.forward(*inputs, **options)
        self._running.append(module)
        try:
            result = module.forward(*inputs, **options)
        finally:
            self._running.pop()
        if isinstance(result, Symbol):
            self.outputs[self._paths[id(module)]] = result.shape
        return result

    def record(self, function: Record, values: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
        """Calls a record function. ValueError, with the line of the program, if the values do not fit."""
        try:
            return function(self, *values, **attributes)
        except ValueError as error:
            raise ValueError(f"{error}; {self._location()}") from None

    def step(
        self,
        kind: str,
        inputs: Sequence[Symbol],
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
        weights: Mapping[str, Array] = MappingProxyType({}),
    ) -> Symbol:
        """Records a node and returns a symbol of its output. ValueError if it does not fit its inputs."""
        if not self._open or any(symbol.recorder is not self for symbol in inputs):
            raise RuntimeError(
                f"compile: {kind} must be called on tensors of this forward pass, got one kept from another"
            )
        shapes = {name: array.shape for name, array in weights.items()}
        shape = output_shape(kind, [symbol.shape for symbol in inputs], attributes, shapes)
        path = self._paths[id(self._running[-1])] if self._running else ""
        name = self._unused_name(path, kind)
        values = tuple(symbol.value for symbol in inputs)
        self.nodes.append(Node(kind, values, name, dict(attributes), dict(weights), self._location()))
        self.modules[name] = path
        return Symbol(self, name, shape)

    def refusal(self, what: str, reason: str = NO_COUNTERPART) -> NotImplementedError:
        """The error for what cannot be traced."""
        return NotImplementedError(f"compile: {what} {reason}; {self._location()}")

    def _wanted_name(self, path: str, kind: str) -> str:
        """The module's name in the model; of a module that holds others, with the kind behind it."""
        if path and not any(self._running[-1].children()):
            return path
        return f"{path}.{kind}" if path else kind

    def _unused_name(self, path: str, kind: str) -> str:
        wanted = name = self._wanted_name(path, kind)
        count = 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name

    def _location(self) -> str:
        """The line of the program that called an operator, and the module that is running.

        The line is the innermost one outside of this package's layers; of a model made of these alone, it is
        that of the layer.
        """
        line = layer = inner = ""
        for frame in _frames():
            file = frame.f_code.co_filename
            if not layer and frame.f_code is Tracer.called.__code__:
                layer = inner
            inner = f"{file}:{frame.f_lineno}"
            if not file.startswith(_PACKAGE) or file.startswith(_MODELS):
                line = inner
                break
        where = f"at {line or layer or 'an unknown line'}"
        if not self._running:
            return where
        path, kind = self._paths[id(self._running[-1])], type(self._running[-1]).__name__
        return f"{where}, in {kind} {path!r}" if path else f"{where}, in {kind}"


def _frames() -> Iterator[FrameType]:
    """The calls between an operator and ``trace``, innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not trace_modules.__code__:
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
