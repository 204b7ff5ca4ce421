"""Plan files: what comes back is what was saved; a damaged or invented file is a ValueError and no crash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_plans import INVENTED, rewrite
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_networks import most_layers, randomize, small_models, small_networks

import lucid
from lucid.inference import InferencePlan
from lucid.inference.plan_file import checksum

NETWORKS = small_models() | small_networks()


@pytest.fixture
def plan(rng: np.random.Generator) -> InferencePlan:
    return lucid.compile(randomize(most_layers(), rng), (1, 2, 4, 4))


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


# ---- Files that somebody made up


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
        ({"graph": '{"a":1,"a":1}', "checksum": checksum(b'{"a":1,"a":1}')}, "'a' stands there twice"),
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
