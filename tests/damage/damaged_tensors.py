"""Damaged files of tensors: plan files, safetensors with and without metadata, PyTorch's checkpoints."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from damage import Damaged, cut, edited, every_way, flipped, overwritten, strange_json

import lucid
from lucid import nn
from lucid.models import ResNeXt, ResNeXtConfig, save_weights

CONFIG = ResNeXtConfig((1, 1, 1, 1), 2, 16, num_classes=3, channels=(4, 4, 4, 4))


def small_model() -> ResNeXt:
    lucid.random.seed(0)
    return ResNeXt(CONFIG).eval()


def small_plan() -> lucid.inference.InferencePlan:
    """With most kinds of steps, and an input of pixels."""
    lucid.random.seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.SplitAttention(4, 4, 3, groups=2),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
        nn.Softmax(1),
    )
    return lucid.compile(model.eval(), (1, 2, 6, 5), pixels=((0.4, 0.5), (0.2, 0.3)))


# ---- safetensors


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def joined(header: str | bytes, data: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw + data


def headers(content: bytes) -> Damaged:
    """A safetensors file with other headers: each value of three entries replaced, and strange JSON."""
    header, data = split(content)
    names = [name for name in header if name != "__metadata__"]
    some = {name: header[name] for name in (names[0], names[len(names) // 2], names[-1])}
    for what, text in edited(some):
        whole = json.dumps({**header, **json.loads(text)})
        yield f"header: {what}", joined(whole, data)
    for what, text in strange_json(json.dumps(header)):
        yield f"header: {what}", joined(text, data)
    for length in (0, 1, 7, len(content), 2**31, 2**32, 2**62, 2**63, 2**64 - 1):
        yield f"header of {length} bytes", length.to_bytes(8, "little") + content[8:]


def weights(folder: Path) -> Damaged:
    path = folder / "whole.safetensors"
    labels = {"labels": ["a", "b", "c"], "license": "MIT", "preprocessing": {"size": 32, "resize": 36}}
    save_weights(small_model(), path, labels)
    content = path.read_bytes()
    yield "whole", content
    yield from every_way(content)
    yield from headers(content)
    header, data = split(content)
    end = len(content) - len(data)
    yield from ((f"header {what}", damaged) for what, damaged in flipped(content, 300, 0, end))
    for name, text in header["__metadata__"].items():
        inside = [json.loads(other) for _, other in edited([json.loads(text)])]
        others = [
            *(json.dumps(value[0]) for value in inside if len(value) == 1),
            *(t for _, t in strange_json(text)),
        ]
        for index, other in enumerate(others):
            texts = {**header["__metadata__"], name: other}
            yield f"{name} {index}: {other[:40]}", joined(json.dumps({**header, "__metadata__": texts}), data)


# ---- Plan files


def plan_with(header: dict[str, Any], data: bytes, graph: str) -> bytes:
    """A plan file of another graph, with the checksum of that graph."""
    raw = graph.encode("utf-8", "surrogatepass")
    metadata = {**header["__metadata__"], "graph": graph, "checksum": f"{zlib.crc32(raw):08x}"}
    return joined(json.dumps({**header, "__metadata__": metadata}), data)


def plans(folder: Path) -> Damaged:
    path = folder / "whole.lucid"
    small_plan().save(path)
    content = path.read_bytes()
    yield "whole", content
    yield from every_way(content)
    yield from headers(content)
    header, data = split(content)
    yield from (
        (f"header {what}", damaged) for what, damaged in flipped(content, 300, 0, len(content) - len(data))
    )
    graph = header["__metadata__"]["graph"]
    for what, text in edited(json.loads(graph)):
        yield f"graph: {what}", plan_with(header, data, text)
    for what, text in strange_json(graph):
        yield f"graph: {what}", plan_with(header, data, text)
    for name in ("format", "version", "checksum", "graph"):
        fewer = {key: value for key, value in header["__metadata__"].items() if key != name}
        yield f"no {name}", joined(json.dumps({**header, "__metadata__": fewer}), data)
    yield from wrong_references(header, data, json.loads(graph))


def wrong_references(header: dict[str, Any], data: bytes, graph: dict[str, Any]) -> Damaged:
    """Graphs whose nodes read themselves, each other in a circle, or what comes later."""
    nodes, names = graph["nodes"], [node["output"] for node in graph["nodes"]]
    for index, node in enumerate(nodes):
        for name in (*names, "nowhere", ""):
            others = [*nodes[:index], {**node, "inputs": [name, *node["inputs"][1:]]}, *nodes[index + 1 :]]
            yield f"{index} reads {name}", plan_with(header, data, json.dumps({**graph, "nodes": others}))
        for kind in ("conv2d", "linear", "add", "split_attention", "unflatten", "flatten", "softmax", "pool"):
            others = [*nodes[:index], {**node, "kind": kind}, *nodes[index + 1 :]]
            yield f"{index} is a {kind}", plan_with(header, data, json.dumps({**graph, "nodes": others}))
    yield "backwards", plan_with(header, data, json.dumps({**graph, "nodes": nodes[::-1]}))
    many = [
        {"kind": "relu", "inputs": ["input"], "output": f"r{i}", "attributes": {}, "weights": {}}
        for i in range(5000)
    ]
    yield "many nodes", plan_with(header, data, json.dumps({**graph, "nodes": [*nodes, *many]}))


# ---- PyTorch's checkpoints


def checkpoints(folder: Path) -> Damaged:
    import torch

    state = {name: torch.from_numpy(t.numpy().copy()) for name, t in small_model().state_dict().items()}
    for legacy in (False, True):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=not legacy)
        content = buffer.getvalue()
        word = "legacy " if legacy else ""
        yield f"{word}whole", content
        for what, damaged in every_way(content):
            yield word + what, damaged
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        pickled = archive.read(name)
    for what, damaged in (*cut(pickled, 10), *flipped(pickled, 200), *overwritten(pickled, 60)):
        yield f"pickle {what}", archive_with(content, name, damaged)
    yield from strange_pickles(content, name)


def archive_with(content: bytes, name: str, replacement: bytes) -> bytes:
    """An archive with another file in the place of one, and its checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as archive:
        for entry in old.infolist():
            archive.writestr(entry.filename, replacement if entry.filename == name else old.read(entry))
    return buffer.getvalue()


def strange_pickles(content: bytes, name: str) -> Damaged:
    """Values that are no tensors, in an archive and as a plain pickle."""
    laughing: Any = "ha"
    for _ in range(60):
        laughing = [laughing, laughing]
    circle: dict[str, Any] = {}
    circle["state_dict"] = circle
    values: dict[str, Any] = {
        "arrays": {"fc.weight": np.zeros((3, 4), np.float32)},
        "objects": {"fc.weight": np.array([None, "x"], object)},
        "a scalar": {"fc.bias": np.float64(1)},
        "numbers": {"fc.weight": 3, 7: "x"},
        "nothing": {},
        "none": None,
        "lists in lists": {"state_dict": laughing},
        "itself": circle,
        "a long number": {"fc.weight": 1 << 100_000},
        "a path": {"fc.weight": Path("x")},
        "keys that are no names": {(1, 2): 3, None: 4},
    }
    for what, value in values.items():
        for protocol in (2, 4):
            raw = pickle.dumps(value, protocol)
            yield f"pickle of {what}, protocol {protocol}", raw
            yield f"archive of {what}, protocol {protocol}", archive_with(content, name, raw)
    deep = b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b"."
    long = b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"x."
    call = b"cos\nsystem\n(S'exit 99'\ntR."
    for what, raw in (("nested lists", deep), ("a string of 2^60 bytes", long), ("a call", call)):
        yield f"pickle of {what}", raw
        yield f"archive of {what}", archive_with(content, name, raw)
