"""Plan files: safetensors, with the graph as JSON in the metadata.

``{"format": "lucid-plan", "version": "2", "graph": JSON, "checksum": CRC-32 of that JSON}``. The JSON holds a
CRC-32 of each tensor, so that no damage goes unseen, and the dtype that the plan computes in. Tensors are
float32, named ``NODE.weight`` and ``NODE.bias``; they are the folded weights as NumPy has them, packed for no
machine in particular. Of an input that is uint8, ``INPUT.mean`` and ``INPUT.std`` say what its values mean.

``lucid_plan_load`` reads these files in C, and accepts the same ones; ``lucid.h`` describes the format.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from uuid import uuid4

import numpy as np

from lucid.inference.graph import Array, Graph, Node
from lucid.inference.pixels import Pixels
from lucid.recording import Attribute, Shape
from lucid.tensor_file import TensorFile, without_repeats

FORMAT, VERSION = "lucid-plan", "2"

# The first is that of a file which says none, as the first files of this version do.
DTYPES = ("float32", "float16", "bfloat16")


def write_plan(
    path: Path, graph: Graph, winograd: bool, dtype: str, pixels: Mapping[str, Pixels] | None = None
) -> None:
    """Writes a file, which appears whole or not at all.

    Args:
        path: A file of any ending; one that is there is replaced.
        graph: With weights in float32.
        winograd, dtype, pixels: As the plan was compiled.

    Raises:
        OSError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {f"{node.output}.{name}": array for node in graph.nodes for name, array in node.weights.items()}
    scales = {
        name: {part: np.array(values, np.float32) for part, values in scale._asdict().items()}
        for name, scale in (pixels or {}).items()
    }
    arrays |= {f"{name}.{part}": array for name, parts in scales.items() for part, array in parts.items()}
    text = json.dumps(
        {
            "inputs": {name: list(shape) for name, shape in graph.inputs.items()},
            "outputs": list(graph.outputs),
            "as_tuple": graph.as_tuple,
            "winograd": winograd,
            **({} if dtype == DTYPES[0] else {"dtype": dtype}),
            **({"pixels": {name: _checksums(parts) for name, parts in scales.items()}} if scales else {}),
            "nodes": [_as_json(node) for node in graph.nodes],
        },
        separators=(",", ":"),
    )
    metadata = {"format": FORMAT, "version": VERSION, "graph": text, "checksum": checksum(text.encode())}
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        save_file(arrays, temporary, metadata)
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"save: {path} cannot be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _as_json(node: Node) -> dict[str, Any]:
    return {
        "kind": node.kind,
        "inputs": list(node.inputs),
        "output": node.output,
        "attributes": dict(node.attributes),
        "weights": _checksums(node.weights),
    }


def _checksums(arrays: Mapping[str, Array]) -> dict[str, str]:
    return {name: checksum(array) for name, array in arrays.items()}


def checksum(data: bytes | Array) -> str:
    """CRC-32 in hexadecimal; of an array, that of its elements in row-major order."""
    if isinstance(data, np.ndarray):
        return f"{zlib.crc32(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data):08x}"
    return f"{zlib.crc32(data):08x}"


class SavedPlan(NamedTuple):
    """Contents of a file: the graph, and how the plan was compiled."""

    graph: Graph
    winograd: bool
    dtype: str
    pixels: Mapping[str, Pixels]


def read_plan(path: Path) -> SavedPlan:
    """The plan of a file.

    The header is checked first, down to the shape of each tensor, and the checksum of each tensor as it is
    read.

    Raises:
        ValueError: The file is damaged, or no plan, or one that this version cannot run.
        FileNotFoundError: There is none.
        MemoryError: The memory does not suffice.
    """
    with TensorFile("load_plan", path) as file:
        graph, checksums, winograd, dtype, scales = _parse(path, file.texts, _tensor_shapes(path, file))
        nodes = tuple(
            replace(node, weights=_read(path, file, node.output, checksums[node.output]))
            for node in graph.nodes
        )
        pixels = {
            name: Pixels(*(tuple(array.tolist()) for array in _read(path, file, name, sums).values()))
            for name, sums in scales.items()
        }
    return SavedPlan(replace(graph, nodes=nodes), winograd, dtype, pixels)


def _tensor_shapes(path: Path, file: TensorFile) -> dict[str, Shape]:
    for name, tensor in file.tensors.items():
        if tensor.dtype != "F32":
            _fail(path, f"{name} must be float32, got {tensor.dtype}")
    return {name: tensor.shape for name, tensor in file.tensors.items()}


def _parse(
    path: Path, metadata: Mapping[str, str], shapes: Mapping[str, Shape]
) -> tuple[Graph, dict[str, dict[str, str]], bool, str, dict[str, dict[str, str]]]:
    """The graph with placeholders for its weights, their checksums by node, ``winograd``, the dtype, and the
    checksums of pixels by input.
    """
    if metadata.get("format") != FORMAT:
        _fail(path, f"it must be a plan (format {FORMAT!r}), got format {metadata.get('format')!r}")
    if metadata.get("version") != VERSION:
        found = metadata.get("version")
        _fail(path, f"it must be of version {VERSION}, got {found!r}; compile the model again")
    text = metadata.get("graph", "")
    if checksum(text.encode()) != metadata.get("checksum"):
        _fail(path, "its graph is damaged: the checksum is another")
    try:
        content = json.loads(
            text, object_pairs_hook=without_repeats, parse_constant=_no_number, parse_float=_no_number
        )
        dtype = _dtype(_typed(content, dict).pop("dtype", DTYPES[0]))
        pixels = content.pop("pixels", {})
        _check_fields(content, {"inputs", "nodes", "outputs", "as_tuple", "winograd"})
        described = [_described(entry, shapes) for entry in _typed(content["nodes"], list)]
        graph = Graph(
            {_typed(name, str): _sizes(shape) for name, shape in _typed(content["inputs"], dict).items()},
            tuple(node for node, _ in described),
            tuple(_typed(name, str) for name in _typed(content["outputs"], list)),
            _typed(content["as_tuple"], bool),
        )
        winograd = _typed(content["winograd"], bool)
        scales = _scales(pixels, graph.inputs, shapes)
    except (KeyError, TypeError, RecursionError) as error:
        _fail(path, f"its graph must have the fields of version {VERSION}, got {error!r}")
    except ValueError as error:
        _fail(path, str(error))
    checksums = {node.output: sums for node, sums in described}
    named = {f"{owner}.{name}" for owner, sums in (*checksums.items(), *scales.items()) for name in sums}
    if named != shapes.keys():
        _fail(path, f"it must hold the tensors of its graph only, got {min(shapes.keys() - named)}")
    return graph, checksums, winograd, dtype, scales


def _described(entry: Any, shapes: Mapping[str, Shape]) -> tuple[Node, dict[str, str]]:
    """A node from its JSON, and the checksums of its weights.

    Its weights have their shapes and take no memory.
    """
    _check_fields(entry, {"kind", "inputs", "output", "attributes", "weights"})
    output = _typed(entry["output"], str)
    checksums = {name: _typed(text, str) for name, text in _typed(entry["weights"], dict).items()}
    for name in checksums:
        _check_held(f"{output}.{name}", shapes)
    node = Node(
        _typed(entry["kind"], str),
        tuple(_typed(name, str) for name in _typed(entry["inputs"], list)),
        output,
        {_typed(name, str): _attribute(value) for name, value in _typed(entry["attributes"], dict).items()},
        {name: np.broadcast_to(np.float32(0), shapes[f"{output}.{name}"]) for name in checksums},
    )
    return node, checksums


def _read(path: Path, file: TensorFile, owner: str, checksums: Mapping[str, str]) -> dict[str, Array]:
    """The tensors of a node or an input."""
    arrays = {name: file.read(f"{owner}.{name}") for name in checksums}
    for name, array in arrays.items():
        if checksum(array) != checksums[name]:
            _fail(path, f"{owner}.{name} is damaged: the checksum is another")
    return arrays


def _scales(
    value: Any, inputs: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> dict[str, dict[str, str]]:
    """The checksums of mean and std, in this order, of each input that is uint8."""
    scales = {}
    for name, entry in _typed(value, dict).items():
        if name not in inputs:
            raise ValueError(f"its pixels must be of its inputs, got {name!r:.80}")
        if len(inputs[name]) != 4:
            raise ValueError(f"its pixels must be of images (n, c, h, w), got {name} of shape {inputs[name]}")
        _check_fields(entry, set(Pixels._fields))
        scales[name] = {part: _typed(entry[part], str) for part in Pixels._fields}
        for part in Pixels._fields:
            _check_held(f"{name}.{part}", shapes)
            if shapes[f"{name}.{part}"] != inputs[name][1:2]:
                raise ValueError(
                    f"{name}.{part} must be one number for each of {inputs[name][1]} channels, "
                    f"got shape {shapes[f'{name}.{part}']}"
                )
    return scales


def _check_held(name: str, shapes: Mapping[str, Shape]) -> None:
    if name not in shapes:
        raise ValueError(f"it must hold the tensors of its graph, got none named {name}")


def _check_fields(value: Any, names: set[str]) -> None:
    if _typed(value, dict).keys() != names:
        raise KeyError(*sorted(value.keys() ^ names))


def _typed(value: Any, expected: type) -> Any:
    if type(value) is not expected:
        raise TypeError(f"{value!r:.80} where there must be a {expected.__name__}")
    if isinstance(value, str) and "\0" in value:  # which would end a name in C
        raise TypeError(f"{value!r:.80} where there must be a text without zeros")
    return value


def _dtype(value: Any) -> str:
    name: str = _typed(value, str)
    if name not in DTYPES:
        raise ValueError(f"its dtype must be one of {', '.join(DTYPES)}, got {name!r:.80}")
    return name


def _sizes(value: Any) -> Shape:
    return tuple(_typed(length, int) for length in _typed(value, list))


def _attribute(value: Any) -> Attribute:
    """A number or a bool, or numbers, which JSON has as a list; the graph checks which it must be."""
    if type(value) is not list:
        return value  # type: ignore[no-any-return]
    if len(value) not in (2, 4):
        raise TypeError(f"{value!r} where there must be a pair, or the padding of four sides")
    return tuple(value)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"a graph must have integers only, got {text}")


def _fail(path: Path, reason: str) -> NoReturn:
    raise ValueError(f"load_plan: {path}: {reason}")
