"""lucid_plan_load: plans that Python saved run as in Python; what Python refuses is refused."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import c_abi
import numpy as np
import pytest
from invented_plans import INVENTED, rewrite
from plan_loading import LoadArgs, LoadedPlan
from plan_structs import Plan, Shape
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from small_networks import most_layers, randomize, small_models, small_networks

import lucid
from lucid import nn
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
def test_a_plan_of_python_gives_the_same_to_the_last_bit(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, shape = NETWORKS[name]
    original, path = lucid.compile(randomize(model, rng), shape), tmp_path / "plan.lucid"
    original.save(path)
    x = rng.standard_normal(shape, dtype=np.float32)
    expected = original(x)
    for source in (path, path.read_bytes()):
        loaded = LoadedPlan(source)
        assert loaded.inputs == list(original.graph.inputs.items())
        names = original.graph.outputs
        assert loaded.outputs == [(name, original.graph.shapes[name]) for name in names]
        assert loaded.library.lucid_plan_step_count(loaded.handle) == len(original.steps)
        for ours, theirs in zip(
            loaded(x), expected if isinstance(expected, tuple) else (expected,), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        loaded.close()


def test_a_buffer_may_lie_anywhere_and_is_not_needed_any_more(
    plan: InferencePlan, file: Path, rng: np.random.Generator
) -> None:
    content, x = file.read_bytes(), rng.standard_normal((1, 2, 4, 4), dtype=np.float32)
    for offset in range(9):
        memory = ctypes.create_string_buffer(b"?" * offset + content)
        handle, library = ctypes.c_void_p(), c_abi.load()
        at = ctypes.c_void_p(ctypes.addressof(memory) + offset)
        size = ctypes.c_size_t(len(content))
        assert library.lucid_plan_load_buffer(at, size, None, ctypes.byref(handle)) == c_abi.OK
        ctypes.memset(memory, 0xFF, len(memory))
        y = np.zeros((1, 3), np.float32)
        given = [(ctypes.POINTER(c_abi.Tensor) * 1)(ctypes.pointer(c_abi.tensor(a))) for a in (x, y)]
        assert library.lucid_plan_run(handle, *given, None) == c_abi.OK
        np.testing.assert_array_equal(y, plan(x))
        library.lucid_plan_destroy(handle)


def test_winograd_is_kept(rng: np.random.Generator, tmp_path: Path) -> None:
    model = randomize(nn.Conv2d(16, 16, 3, padding=1), rng)
    x, library = rng.standard_normal((1, 16, 16, 16), dtype=np.float32), c_abi.load()
    library.lucid_plan_algorithm.restype = ctypes.c_char_p
    for winograd in (True, False):
        original = InferencePlan(lucid.compile(model, x.shape).graph, winograd=winograd)
        original.save(tmp_path / "plan.lucid")
        loaded = LoadedPlan(tmp_path / "plan.lucid")
        assert library.lucid_plan_algorithm(loaded.handle, 0).decode() == original.steps[0].algorithm
        loaded.close()


# ---- What is asked of the caller


def test_device_and_dtype_are_those_of_a_plan(file: Path) -> None:
    """As lucid_plan_create takes them."""
    LoadedPlan(file, LoadArgs(size=0)).close()
    LoadedPlan(file, LoadArgs(device=c_abi.Device(1, 0), dtype=c_abi.DType(2, 32, 1))).close()
    with pytest.raises(RuntimeError, match="dtype must be float32 or bfloat16 on the CPU, got float16"):
        LoadedPlan(file, LoadArgs(dtype=c_abi.DType(2, 16, 1)))
    with pytest.raises(RuntimeError, match="device must be the CPU or cuda, got device type 7"):
        LoadedPlan(file, LoadArgs(device=c_abi.Device(7, 0)))
    with pytest.raises(ValueError, match="size must be that of the struct or 0, got 3"):
        LoadedPlan(file, LoadArgs(size=3))


def test_pointers_must_be_given() -> None:
    library, handle = c_abi.load(), ctypes.c_void_p()
    calls = {
        "plan_load: path must be that of a file, got NULL": (
            library.lucid_plan_load,
            (None, None, ctypes.byref(handle)),
        ),
        "plan_load: the plan must have a place, got NULL": (library.lucid_plan_load, (b"x", None, None)),
        "plan_load: data must be the bytes of a file, got NULL": (
            library.lucid_plan_load_buffer,
            (None, ctypes.c_size_t(0), None, ctypes.byref(handle)),
        ),
    }
    for message, (function, arguments) in calls.items():
        assert function(*arguments) == c_abi.INVALID_ARGUMENT
        assert library.lucid_last_error().decode() == message


@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_description_has_no_names_and_an_index_is_checked(kind: str) -> None:
    made, name, shape = Plan((2, 3)), ctypes.c_char_p(), Shape()
    function: Any = made.library[f"lucid_plan_{kind}"]
    assert function(made.handle, 0, ctypes.byref(name), ctypes.byref(shape)) == c_abi.OK
    assert (name.value, shape.sizes[: shape.ndim]) == (b"", [2, 3])
    assert function(made.handle, 0, None, None) == c_abi.OK
    for index in (-1, 1):
        assert function(made.handle, index, None, None) == c_abi.INVALID_ARGUMENT
        expected = f"plan: the index of an {kind} must be between 0 and 0, got {index}"
        assert made.library.lucid_last_error().decode() == expected
    made.close()


# ---- Files that are no plans


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in (
        (tmp_path / "none.lucid", "a file that can be read, got 'No such file or directory'"),
        (tmp_path, "a file, got a folder, a pipe or a device"),
        (tmp_path / "pipe", "a file, got a folder, a pipe or a device"),
        (Path("/dev/zero"), "a file, got a folder, a pipe or a device"),
    ):
        with pytest.raises(ValueError, match=f"plan_load: .*: it must be {found}"):
            LoadedPlan(path)


def test_a_long_path_leaves_room_for_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 200) / ("b" * 200)
    folder.mkdir(parents=True)
    (folder / "x.lucid").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"plan_load: b+/x\.lucid: it must be a safetensors file") as caught:
        LoadedPlan(folder / "x.lucid")
    assert "that cannot hold a header" in str(caught.value)


@pytest.mark.parametrize("name", INVENTED)
def test_invented_file_is_refused(name: str, file: Path) -> None:
    rewrite(file, INVENTED[name][0])
    with pytest.raises(ValueError, match="plan_load: ") as caught:
        LoadedPlan(file)
    assert str(caught.value).startswith(f"plan_load: {str(file)[-200:]}: ")
    with pytest.raises(ValueError, match="plan_load: the buffer: "):
        LoadedPlan(file.read_bytes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, r"must be a plan \(format lucid-plan\), got format 'onnx'"),
        ({"version": "1"}, "must be of version 2, got '1'; compile the model again"),
        ({"checksum": "00000000"}, "its graph is damaged"),
        ({"graph": "["}, "its graph is damaged"),
        ({"graph": "[" * 100_000}, "nested at most 100 deep"),
        ({"graph": '{"a":' * 100_000}, "nested at most 100 deep"),
        ({"graph": "{"}, "well-formed, got an error before byte 2"),
        ({"graph": "9" * 5000}, "well-formed, got an error"),
        ({"graph": "99999999999999999999"}, "must have an object as 'graph'"),
        ({"graph": "{}\0 {}"}, "begin and end with a value"),
        ({"graph": "\ufeff{}"}, "begin and end with a value"),
        ({"graph": '{"a":1,"a":1}'}, "each name once, got 'a' twice"),
        ({"graph": '"\\ud800"'}, "well-formed"),
        ({"graph": "[" + "0," * 5_000_000 + "0]"}, "at most 4194304 values"),
    ],
)
def test_other_metadata_is_refused(changes: dict[str, str], message: str, file: Path) -> None:
    tensors = load_file(file)
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    text = changes.get("graph", metadata["graph"])
    right = {} if message == "its graph is damaged" else {"checksum": checksum(text.encode())}
    save_file(tensors, file, {**metadata, **right, **changes})
    with pytest.raises(ValueError, match=message):
        LoadedPlan(file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "well-formed"),
        ("[]", "a header that does not begin with {"),
        ("{}", "must end at byte 4 of the data, got 0"),
        ('{"a":1}', "a must be described by an object"),
        ('{"a":{}}', "a must be float32, got no dtype"),
        ('{"a":{"dtype":"F16"}}', "a must be float32, got F16"),
        ('{"a":{"dtype":"F32","shape":[1]}}', "two offsets"),
        ('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', "two offsets"),
        ('{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', "two offsets"),
        ('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', "two offsets"),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}', "two offsets"),
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "as many bytes as its shape says, got 4"),
        (
            '{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}',
            "as many bytes as its shape says",
        ),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "must begin at byte 0 of the data, got 4"),
        ('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', "must end at byte 4 of the data, got 0"),
        (
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}',
            "each name once, got 'a' twice",
        ),
        (
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"format":1}}',
            "__metadata__ must hold texts, got something else as format",
        ),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "must be a plan"),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":null}', "must be a plan"),
    ],
)
def test_a_header_must_describe_the_data(header: str, message: str) -> None:
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(4)
    with pytest.raises(ValueError, match=message):
        LoadedPlan(content)


def test_every_truncation_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for size in range(len(content)):
        with pytest.raises(ValueError, match="plan_load: the buffer: "):
            LoadedPlan(content[:size])


def test_rewriting_alone_changes_nothing(file: Path, plan: InferencePlan, rng: np.random.Generator) -> None:
    rewrite(file, lambda g, t: None)
    x = rng.standard_normal((1, 2, 4, 4), dtype=np.float32)
    (y,) = LoadedPlan(file)(x)
    np.testing.assert_array_equal(y, plan(x))


def test_the_format_in_the_header_is_that_of_the_file(file: Path) -> None:
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    graph = json.loads(metadata["graph"])
    described = c_abi.HEADER.read_text()
    names = {*metadata, *graph, *graph["nodes"][0]}
    assert [name for name in names if f'"{name}"' not in described] == []
