"""ONNX files as graphs, which ``lucid.compile`` makes plans of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lucid import arguments
from lucid.inference.graph import Graph
from lucid.inference.passes import remove_unused
from lucid.inference.symbol import Symbol
from lucid.onnx.constants import FOLDED, fold, tensor_values
from lucid.onnx.model_file import Source, read_model
from lucid.onnx.operators import OPERATORS
from lucid.onnx.reader import Operation, Reader
from lucid.onnx.values import Value, View
from lucid.recording import Shape

__all__ = ["input_sizes", "load"]


def load(source: Source, shape: Any = None) -> Graph:
    """The graph of an ONNX model, with its names and weights.

    Known are the operators of convolutional networks, as PyTorch's exporters write them; split attention is
    recognised. What depends on constants alone is computed at once. The file is checked, and nothing in it
    runs as code.

    Args:
        source: The path of a file, its contents as bytes, or an ``onnx.ModelProto``.
        shape: Of the input, ``(n, c, h, w)`` or ``(n, c)``; for several inputs, a sequence of shapes. None
            takes what the model says, which must be numbers then.

    Raises:
        ImportError: The package onnx is not installed.
        NotImplementedError: A node does what no plan can, or the operators are too old or too new. The
            message names the node, its operator and the shapes of its inputs.
        ValueError: The file is damaged or incomplete, or ``shape`` is missing or does not fit.
        FileNotFoundError: There is no such file.
        TypeError: ``source`` or ``shape`` is of another type.
    """
    model, version = read_model(source)
    graph = model.graph
    if graph.sparse_initializer:
        raise NotImplementedError("onnx.load: sparse weights have no counterpart in a plan")
    weights = {tensor.name: tensor for tensor in graph.initializer}
    inputs = _input_shapes([value for value in graph.input if value.name not in weights], shape)
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    reader = Reader(inputs, sorted(names))
    values: dict[str, Value] = {name: Symbol(reader, name, size) for name, size in reader.inputs.items()}
    values.update({name: tensor_values(tensor) for name, tensor in weights.items()})
    with reader:
        for node in graph.node:
            _read_node(reader, node, values, version)
        outputs = [_output(reader, value.name, values) for value in graph.output]
    found = Graph(reader.inputs, tuple(reader.nodes), tuple(outputs), len(outputs) > 1)
    return remove_unused(found)


def input_sizes(source: Source) -> list[tuple[int | None, ...]]:
    """The sizes of each input of an ONNX model; None where they are left open.

    Raises: As for ``load``.
    """
    model, _ = read_model(source)
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = [value.type.tensor_type.shape for value in model.graph.input if value.name not in weights]
    return [
        tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim) for shape in shapes
    ]


def _read_node(reader: Reader, node: Any, values: dict[str, Value], version: int) -> None:
    """Adds the outputs of ``node`` to ``values``."""
    inputs = [values[name] if name else None for name in node.input]
    reader.running = op = Operation(node, inputs, version)
    if node.domain not in ("", "ai.onnx"):
        raise reader.refusal(f"an operator of the domain {node.domain!r}")
    arrays = [value for value in inputs if value is None or isinstance(value, np.ndarray)]
    results: Sequence[Value]
    if op.kind == "Constant":
        results = [_constant(reader, op)]
    elif len(arrays) == len(inputs) and op.kind in FOLDED:
        results = fold(node, arrays, version)
    elif op.kind not in OPERATORS:
        raise reader.refusal("the operator")
    else:
        start = len(reader.nodes)
        try:
            translated = OPERATORS[op.kind](reader, op)
        except ValueError as error:
            raise ValueError(f"onnx.load: {op}: {error}") from None
        results = translated if isinstance(translated, tuple) else (translated,)
        _name_after(reader, op, start, results)
    values.update({name: value for name, value in zip(op.outputs, results, strict=False) if name})


def _name_after(reader: Reader, op: Operation, start: int, results: Sequence[Value]) -> None:
    """Gives the value that ``op`` computes the name of its output."""
    made = {node.output for node in reader.nodes[start:]}
    value = results[0]
    base = value.base if isinstance(value, View) else value
    if isinstance(base, Symbol) and base.value in made and op.outputs[0]:
        reader.rename(base, op.outputs[0], start)


def _constant(reader: Reader, op: Operation) -> Value:
    [(name, value)] = op.attributes.items()
    if name == "value":
        return tensor_values(value)
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if name not in kinds:
        raise reader.refusal(f"a constant by {name}")
    return np.array(value, kinds[name])


def _output(reader: Reader, name: str, values: Mapping[str, Value]) -> str:
    """The value behind an output, which gets its name unless it has another role."""
    value = values[name]
    if isinstance(value, np.ndarray):
        raise NotImplementedError(f"onnx.load: the output {name!r} must depend on the input, got a constant")
    symbol = value if isinstance(value, Symbol) else reader.plain(value)
    taken = {*reader.inputs, *values}
    if symbol.value not in taken:
        reader.rename(symbol, name)
    return symbol.value


def _input_shapes(inputs: Sequence[Any], given: Any) -> dict[str, Shape]:
    """The shape of each input, where those of the model and the user's agree."""
    if given is None:
        shapes: list[Shape | None] = [None] * len(inputs)
    else:
        if not isinstance(given, (tuple, list)) or not given:
            raise TypeError(f"onnx.load: shape must be a tuple of ints, or one of shapes, got {given!r}")
        several = given if isinstance(given[0], (tuple, list)) else [given]
        shapes = [arguments.shape("onnx.load", (shape,)) for shape in several]
    if not inputs or len(shapes) != len(inputs):
        raise ValueError(
            f"onnx.load: shape must be given for each of {len(inputs)} inputs, got {len(shapes)}"
        )
    return {value.name: _input_shape(value, shape) for value, shape in zip(inputs, shapes, strict=True)}


def _input_shape(value: Any, given: Shape | None) -> Shape:
    kind = value.type.tensor_type
    if kind.elem_type != 1:  # TensorProto.FLOAT
        raise NotImplementedError(f"onnx.load: the input {value.name!r} must be a tensor of float32")
    dims: list[int | str] = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim
    ]
    text = f"({', '.join(map(str, dims))})" if kind.HasField("shape") else "any shape"
    if given is None:
        if not all(isinstance(length, int) for length in dims) or not dims:
            raise ValueError(f"onnx.load: shape must be given, since the input {value.name!r} is {text}")
        given = tuple(int(length) for length in dims)
    fits = len(dims) == len(given) and all(
        isinstance(length, str) or length == wanted for length, wanted in zip(dims, given, strict=True)
    )
    if kind.HasField("shape") and not fits:
        raise ValueError(f"onnx.load: shape must be that of the input {value.name!r}, {text}, got {given}")
    if len(given) not in (2, 4):
        raise NotImplementedError(
            f"onnx.load: the input {value.name!r} must be (n, c, h, w) or (n, c), got {given}"
        )
    return given
