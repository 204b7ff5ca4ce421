"""Plan files that somebody made up, with checksums that are right: each must be refused.

Readers in Python and in C are tested with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lucid.inference.plan_file import checksum


def rewrite(file: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Changes graph and tensors, and writes the file as ``save`` would."""
    tensors: dict[str, Any] = dict(load_file(file))
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    graph = json.loads(metadata["graph"])
    change(graph, tensors)
    for node in graph.get("nodes", ()) if isinstance(graph, dict) else ():
        if isinstance(node, dict) and isinstance(node.get("weights"), dict):
            update_checksums(node["output"], node["weights"], tensors)
    pixels = graph.get("pixels") if isinstance(graph, dict) else None
    for name, parts in pixels.items() if isinstance(pixels, dict) else ():
        if isinstance(parts, dict):
            update_checksums(name, parts, tensors)
    text = json.dumps(graph)
    save_file(tensors, file, {**metadata, "graph": text, "checksum": checksum(text.encode())})


def update_checksums(owner: str, sums: dict[str, Any], tensors: dict[str, Any]) -> None:
    for name in sums:
        array = tensors.get(f"{owner}.{name}")
        sums[name] = "00000000" if array is None else checksum(array)


def with_pixels(
    mean: Any = (0.5, 0.5), std: Any = (0.5, 0.5), of: str = "input", **more: Any
) -> Callable[[Any, Any], None]:
    """Pixels of an input of two channels."""

    def change(graph: Any, tensors: Any) -> None:
        given = {"mean": mean, "std": std, **more}
        graph["pixels"] = {of: dict.fromkeys(given, "")}
        tensors.update({f"{of}.{name}": np.array(values, np.float32) for name, values in given.items()})

    return change


def node(graph: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(entry for entry in graph["nodes"] if entry["kind"] == kind)


def renamed(tensors: dict[str, Any], old: str, new: str) -> None:
    tensors[new] = tensors.pop(old)


INVENTED: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "unknown step": (
        lambda g, t: node(g, "linear").update(kind="system"),
        "kind of a step must be one of .* got 'system'",
    ),
    "a cycle": (
        lambda g, t: node(g, "conv2d").update(inputs=[g["outputs"][0]]),
        "must read what is computed before it",
    ),
    "a step that reads itself": (
        lambda g, t: node(g, "max_pool2d").update(inputs=[node(g, "max_pool2d")["output"]]),
        "must read what is computed before it",
    ),
    "unknown dtype": (
        lambda g, t: g.update(dtype="float64"),
        "its dtype must be one of float32, float16, bfloat16, got 'float64'",
    ),
    "a dtype of another type": (lambda g, t: g.update(dtype=16), "where there must be a str"),
    "two steps of one name": (lambda g, t: g["nodes"].append(g["nodes"][0]), "computed once"),
    "unknown output": (lambda g, t: g.update(outputs=["nothing"]), "an output must be computed"),
    "no output": (lambda g, t: g.update(outputs=[]), "must have inputs and outputs"),
    "no field": (lambda g, t: g.pop("outputs"), "must have the fields of version 2"),
    "no attributes": (lambda g, t: node(g, "conv2d").pop("attributes"), "must have the fields of version 2"),
    "another attribute": (lambda g, t: node(g, "conv2d")["attributes"].update(scale=1), "attributes must be"),
    "missing attribute": (lambda g, t: node(g, "conv2d")["attributes"].pop("stride"), "attributes must be"),
    "text for a number": (lambda g, t: node(g, "conv2d")["attributes"].update(groups="1"), "must be an int"),
    "list of lists": (lambda g, t: node(g, "conv2d")["attributes"].update(stride=[[1], [1]]), "pair of ints"),
    "three strides": (lambda g, t: node(g, "conv2d")["attributes"].update(stride=[1, 1, 1]), "a pair"),
    "fraction": (lambda g, t: node(g, "conv2d")["attributes"].update(stride=[1.5, 1]), "integers only"),
    "not a number": (lambda g, t: g.update(as_tuple=float("nan")), "integers only"),
    "two sides": (lambda g, t: node(g, "conv2d")["attributes"].update(padding=[1, 0]), "must be four ints"),
    "negative padding": (
        lambda g, t: node(g, "conv2d")["attributes"].update(padding=[-1, 0, -1, 0]),
        "padding must",
    ),
    "endless stride": (
        lambda g, t: node(g, "conv2d")["attributes"].update(stride=[1 << 80, 1]),
        "of 32 bits",
    ),
    "stride 0": (lambda g, t: node(g, "max_pool2d")["attributes"].update(stride=[0, 2]), "must be positive"),
    "groups that do not divide": (
        lambda g, t: node(g, "conv2d")["attributes"].update(groups=3),
        r"groups \(3\) must divide in_channels \(2\)",
    ),
    "radix": (
        lambda g, t: node(g, "split_attention")["attributes"].update(radix=3),
        "must divide the channels",
    ),
    "overflowing input": (lambda g, t: g.update(inputs={"input": [1, 2, 1 << 40, 1 << 40]}), "at most"),
    "endless input": (lambda g, t: g.update(inputs={"input": [1, 2, 1 << 400, 4]}), "at most"),
    "empty input": (lambda g, t: g.update(inputs={"input": [1, 2, 0, 4]}), "positive"),
    "input of rank 3": (lambda g, t: g.update(inputs={"input": [2, 4, 4]}), r"\(n, c, h, w\) or \(n, c\)"),
    "other channels": (lambda g, t: g.update(inputs={"input": [1, 3, 4, 4]}), "weight must have"),
    "input that is a list": (lambda g, t: g.update(inputs=[1, 2, 4, 4]), "must have the fields"),
    "graph that is a list": (lambda g, t: g.clear(), "must have the fields"),
    "nodes that are numbers": (lambda g, t: g.update(nodes=[1, 2]), "must have the fields"),
    "name that is a number": (lambda g, t: node(g, "linear").update(output=7), "must have the fields"),
    "missing tensor": (lambda g, t: t.pop("5.weight"), "got none named 5.weight"),
    "missing bias": (lambda g, t: t.pop("5.bias"), "got none named 5.bias"),
    "extra tensor": (
        lambda g, t: t.update(extra=np.zeros(3, np.float32)),
        "tensors of its graph only, got extra",
    ),
    "renamed tensor": (lambda g, t: renamed(t, "5.weight", "6.weight"), "got none named 5.weight"),
    "tensor of another shape": (
        lambda g, t: t.update({"5.weight": np.zeros((3, 5), np.float32)}),
        "weight must have as many columns",
    ),
    "tensor of another rank": (
        lambda g, t: t.update({"5.weight": np.zeros(12, np.float32)}),
        "weight must have 2 dimensions",
    ),
    "empty tensor": (lambda g, t: t.update({"0.weight": np.zeros((0, 2, 3, 3), np.float32)}), "positive"),
    "tensor of another dtype": (
        lambda g, t: t.update({"5.weight": t["5.weight"].astype(np.float64)}),
        "5.weight must be float32, got F64",
    ),
    "bias of another length": (
        lambda g, t: t.update({"5.bias": np.zeros(4, np.float32)}),
        "bias must have 3 elements",
    ),
    "weights of a step without": (
        lambda g, t: (
            node(g, "max_pool2d").update(weights={"weight": ""}),
            t.update({f"{node(g, 'max_pool2d')['output']}.weight": np.zeros(2, np.float32)}),
        ),
        "weights must be none, got weight",
    ),
    "winograd that is a number": (lambda g, t: g.update(winograd=1), "must have the fields"),
    "unknown field": (lambda g, t: g.update(note="x"), "must have the fields of version 2"),
    "unknown field of a node": (
        lambda g, t: node(g, "linear").update(note="x"),
        "must have the fields of version 2",
    ),
    "pixels of another length": (
        with_pixels([0.5] * 3),
        "input.mean must be one number for each of 2 channels",
    ),
    "pixels of one number": (with_pixels(std=0.5), "input.std must be one number for each of 2 channels"),
    "pixels of two dimensions": (with_pixels([[0.5, 0.5]]), "input.mean must be one number for each of 2"),
    "std of 0": (with_pixels(std=(0.5, 0)), "the std of input 0 must be positive and finite, got 0"),
    "std below 0": (with_pixels(std=(0.5, -1)), "the std of input 0 must be positive and finite, got -1"),
    "mean that is no number": (with_pixels((0.5, np.nan)), "the mean of input 0 must be finite, got nan"),
    "std that is infinite": (with_pixels(std=(np.inf, 1)), "the std of input 0 must be positive and finite"),
    "pixels of no input": (with_pixels(of="image"), "its pixels must be of its inputs, got 'image'"),
    "pixels of a step": (with_pixels(of="0"), "its pixels must be of its inputs, got '0'"),
    "pixels with more": (with_pixels(scale=(1, 1)), "must have the fields"),
    "pixels without std": (
        lambda g, t: (with_pixels()(g, t), g["pixels"]["input"].pop("std"), t.pop("input.std")),
        "must have the fields",
    ),
    "pixels without a tensor": (
        lambda g, t: (with_pixels()(g, t), t.pop("input.std")),
        "got none named input.std",
    ),
    "pixels of rows": (
        lambda g, t: (with_pixels()(g, t), g["inputs"].update(row=[1, 2]), with_pixels(of="row")(g, t)),
        "tensors of its graph only|must be of images",
    ),
    "pixels that are a list": (lambda g, t: g.update(pixels=[]), "must have the fields"),
    "pixels of a text": (lambda g, t: g.update(pixels={"input": "x"}), "must have the fields"),
    "zero in a kind": (lambda g, t: node(g, "linear").update(kind="linear\0"), "must have the fields"),
    "zero in an attribute": (
        lambda g, t: node(g, "linear").update(attributes={"groups\0": 1}),
        "must have the fields",
    ),
    "zero in an input": (
        lambda g, t: (
            g.update(inputs={"in\0put": g["inputs"]["input"]}),
            node(g, "conv2d").update(inputs=["in\0put"]),
        ),
        "must have the fields",
    ),
    "half a character": (
        lambda g, t: (node(g, "linear").update(output="\ud800"), g.update(outputs=["\ud800"])),
        "surrogates not allowed",
    ),
    "bool for an int": (lambda g, t: node(g, "conv2d")["attributes"].update(groups=True), "must be an int"),
    "int for a bool": (lambda g, t: node(g, "conv2d")["attributes"].update(relu=0), "must be a bool"),
    "bools for a pair": (
        lambda g, t: node(g, "conv2d")["attributes"].update(stride=[True, True]),
        "must be a pair of ints",
    ),
}
