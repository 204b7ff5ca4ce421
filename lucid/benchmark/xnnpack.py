"""XNNPACK, which computes the convolutions of LiteRT's interpreter, as an engine for a single convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lucid.benchmark.cases import Array, Case
from lucid.inference import Node
from lucid.recording import Shape

__all__ = ["xnnpack"]


def xnnpack(case: Case, inputs: Sequence[Array], threads: int) -> Any:
    """A call that leaves the output where it is: the image lies in the interpreter, in its layout, before.

    Raises:
        ImportError: There is no LiteRT (``pip install ai-edge-litert``).
        NotImplementedError: The case is not one convolution, or XNNPACK does not take it.
    """
    from ai_edge_litert.interpreter import Interpreter

    if [node.kind for node in case.graph.nodes] != ["conv2d"]:
        raise NotImplementedError("other than a single convolution is not translated")
    [node], [x] = case.graph.nodes, inputs
    model = _model(node, x.shape, case.graph.shapes[node.output])
    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    if interpreter._get_ops_details()[-1]["op_name"] != "DELEGATE":
        raise NotImplementedError("XNNPACK does not take this convolution")
    interpreter.tensor(interpreter.get_input_details()[0]["index"])()[...] = x.transpose(0, 2, 3, 1)
    result = _Result(interpreter)

    def call() -> _Result:
        interpreter.invoke()
        return result

    return call


class _Result:
    """The interpreter's last output, copied when it is asked for."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        index = self._interpreter.get_output_details()[0]["index"]
        return np.asarray(self._interpreter.get_tensor(index).transpose(0, 3, 1, 2), dtype)


def _model(node: Node, x: Shape, y: Shape) -> bytes:
    """The convolution as a LiteRT file. Its own padding knows zeros only where the image keeps its size."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    attributes: Mapping[str, Any] = node.attributes
    weight = node.weights["weight"]
    top, left, bottom, right = attributes["padding"]
    bias = node.weights.get("bias", np.zeros(weight.shape[:1], np.float32))
    keeps_size = attributes["stride"] == (1, 1) and x[2:] == y[2:] and (top, left) == (bottom, right)
    padded = any(attributes["padding"]) and not keeps_size
    image, operators = 0, []
    # The number of a tensor's buffer is its own and one: the first buffer of a file is empty.
    arrays: list[Array | None] = [None, np.ascontiguousarray(weight.transpose(0, 2, 3, 1)), bias, None]
    shapes = [_channels_last(x), _channels_last(weight.shape), bias.shape, _channels_last(y)]
    if padded:
        arrays += [np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32), None]
        shapes += [(4, 2), (x[0], x[2] + top + bottom, x[3] + left + right, x[1])]
        image = 5
        operators.append(schema.OperatorT(opcodeIndex=1, inputs=[0, 4], outputs=[image]))
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME if keeps_size else schema.Padding.VALID
    options.strideH, options.strideW = attributes["stride"]
    options.dilationHFactor, options.dilationWFactor = attributes["dilation"]
    kind = schema.BuiltinOptions.Conv2DOptions
    operators.append(
        schema.OperatorT(inputs=[image, 1, 2], outputs=[3], builtinOptionsType=kind, builtinOptions=options)
    )
    tensors = [_tensor(shape, number, arrays[number]) for number, shape in enumerate(shapes)]
    model = schema.ModelT(version=3)
    model.buffers = [schema.BufferT(), *(schema.BufferT(data=_bytes(array)) for array in arrays)]
    model.operatorCodes = [_code(schema.BuiltinOperator.CONV_2D), _code(schema.BuiltinOperator.PAD)]
    model.subgraphs = [schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[3], operators=operators)]
    builder = flatbuffers.Builder(weight.nbytes + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _channels_last(shape: Shape) -> Shape:
    return (shape[0], *shape[2:], shape[1])


def _bytes(array: Array | None) -> Any:
    return None if array is None else np.frombuffer(array.tobytes(), np.uint8)


def _tensor(shape: Shape, number: int, array: Array | None) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    integers = array is not None and array.dtype == np.int32
    kind = schema.TensorType.INT32 if integers else schema.TensorType.FLOAT32
    return schema.TensorT(shape=list(shape), buffer=number + 1, type=kind)


def _code(operator: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.OperatorCodeT(builtinCode=operator, deprecatedBuiltinCode=operator)
