"""Plan files: what comes back is what was saved; a damaged or invented file is a ValueError and no crash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_networks import randomize, small_models, small_networks

import lucid
from lucid import nn
from lucid.inference import InferencePlan
from lucid.inference.plan_file import checksum

NETWORKS = small_models() | small_networks()


@pytest.fixture
def plan(rng: np.random.Generator) -> InferencePlan:
    """Small, with most kinds of steps."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.SplitAttention(4, 4, 3, groups=2),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    return lucid.compile(randomize(model, rng), (1, 2, 4, 4))


@pytest.fixture
def file(plan: InferencePlan, tmp_path: Path) -> Path:
    path = tmp_path / "plan.lucid"
    plan.save(path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_loaded_plan_gives_the_same_to_the_last_bit(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, shape = NETWORKS[name]
    original = lucid.compile(randomize(model, rng), shape)
    original.save(tmp_path / "plan.lucid")
    loaded = lucid.load_plan(str(tmp_path / "plan.lucid"))
    x = rng.standard_normal(shape, dtype=np.float32)
    expected, got = original(x), loaded(x)
    assert type(expected) is type(got)
    for ours, theirs in zip(*(y if isinstance(y, tuple) else (y,) for y in (got, expected)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert str(loaded.graph) == str(original.graph)
    assert loaded.summary() == original.summary()


def test_file_is_safetensors_that_others_can_read(plan: InferencePlan, file: Path) -> None:
    tensors = load_file(file)
    for node in plan.graph.nodes:
        for name, array in node.weights.items():
            np.testing.assert_array_equal(tensors.pop(f"{node.output}.{name}"), array)
    assert not tensors
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    assert (metadata["format"], metadata["version"]) == ("lucid-plan", "2")
    kinds = [node["kind"] for node in json.loads(metadata["graph"])["nodes"]]
    assert kinds == [node.kind for node in plan.graph.nodes]


def test_winograd_is_kept(plan: InferencePlan, tmp_path: Path) -> None:
    InferencePlan(plan.graph, winograd=False).save(tmp_path / "direct.lucid")
    assert lucid.load_plan(tmp_path / "direct.lucid").winograd is False


def test_save_replaces_a_file_whole(plan: InferencePlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.lucid"
    path.write_bytes(b"something else")
    plan.save(path)
    lucid.load_plan(path)
    with pytest.raises(OSError, match="missing"):
        plan.save(tmp_path / "missing" / "plan.lucid")
    assert os.listdir(tmp_path) == ["plan.lucid"]


def test_loaded_plan_does_not_need_its_file(
    plan: InferencePlan, file: Path, rng: np.random.Generator
) -> None:
    loaded = lucid.load_plan(file)
    file.write_bytes(b"")
    x = rng.standard_normal((1, 2, 4, 4), dtype=np.float32)
    np.testing.assert_array_equal(loaded(x), plan(x))
    loaded.save(file)
    np.testing.assert_array_equal(lucid.load_plan(file)(x), plan(x))


def test_missing_file(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "none.lucid", "none"), (tmp_path, "a folder")):
        with pytest.raises(FileNotFoundError, match=f"must be a file, found {found}"):
            lucid.load_plan(path)


# ---- Damage


def outcome(path: Path, x: Any) -> Any:
    """The output of the plan in a file, or None if the file is refused."""
    try:
        return lucid.load_plan(path)(x)
    except ValueError:
        return None


def test_flipped_bytes_end_in_an_error_or_the_same_result(
    plan: InferencePlan, file: Path, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((1, 2, 4, 4), dtype=np.float32)
    expected, content = plan(x), file.read_bytes()
    accepted = 0
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        result = outcome(file, x)
        if result is not None:
            accepted += 1
            np.testing.assert_array_equal(result, expected)
    assert accepted <= 20  # what pads the header may be any white space


def test_many_flipped_bytes_at_once(plan: InferencePlan, file: Path, rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 2, 4, 4), dtype=np.float32)
    content = np.frombuffer(file.read_bytes(), np.uint8)
    for count in (2, 10, 100, 1000):
        damaged = content.copy()
        damaged[rng.choice(len(content), count, replace=False)] ^= np.uint8(1) << rng.integers(
            0, 8, dtype=np.uint8
        )
        file.write_bytes(damaged.tobytes())
        assert outcome(file, x) is None


def test_every_truncation_is_refused(file: Path) -> None:
    for size in reversed(range(file.stat().st_size)):
        os.truncate(file, size)
        with pytest.raises(ValueError, match="load_plan"):
            lucid.load_plan(file)


def test_appended_bytes_are_refused(file: Path) -> None:
    with open(file, "ab") as opened:
        opened.write(b"\0")
    with pytest.raises(ValueError, match="must be an undamaged safetensors file"):
        lucid.load_plan(file)


# ---- Files that somebody made up, with checksums that are right


def rewrite(file: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Changes graph and tensors, and writes the file as ``save`` would."""
    tensors: dict[str, Any] = dict(load_file(file))
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    graph = json.loads(metadata["graph"])
    change(graph, tensors)
    for node in graph.get("nodes", ()) if isinstance(graph, dict) else ():
        if isinstance(node, dict) and isinstance(node.get("weights"), dict):
            for name in node["weights"]:
                array = tensors.get(f"{node['output']}.{name}")
                node["weights"][name] = "00000000" if array is None else checksum(array)
    text = json.dumps(graph)
    save_file(tensors, file, {**metadata, "graph": text, "checksum": checksum(text.encode())})


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
}


@pytest.mark.parametrize("name", INVENTED)
def test_invented_file_is_refused(name: str, file: Path) -> None:
    change, message = INVENTED[name]
    rewrite(file, change)
    with pytest.raises(ValueError, match=message) as caught:
        lucid.load_plan(file)
    assert str(caught.value).startswith(f"load_plan: {file}")


def test_rewriting_alone_changes_nothing(file: Path, plan: InferencePlan, rng: np.random.Generator) -> None:
    rewrite(file, lambda g, t: None)
    x = rng.standard_normal((1, 2, 4, 4), dtype=np.float32)
    np.testing.assert_array_equal(lucid.load_plan(file)(x), plan(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, "must be a plan"),
        ({"version": "1"}, "must be of version 2, got '1'"),
        ({"checksum": "00000000"}, "its graph is damaged"),
        ({"graph": "{"}, "its graph is damaged"),
        ({"graph": "[" * 100_000, "checksum": checksum(b"[" * 100_000)}, "must have the fields"),
        ({"graph": "{", "checksum": checksum(b"{")}, "load_plan"),
        ({"graph": "9" * 5000, "checksum": checksum(b"9" * 5000)}, "load_plan"),
    ],
)
def test_other_metadata_is_refused(changes: dict[str, str], message: str, file: Path) -> None:
    tensors = load_file(file)
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    save_file(tensors, file, {**metadata, **changes})
    with pytest.raises(ValueError, match=message):
        lucid.load_plan(file)


def test_weight_file_is_no_plan(tmp_path: Path) -> None:
    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="must be a plan"):
        lucid.load_plan(tmp_path / "weights.safetensors")
