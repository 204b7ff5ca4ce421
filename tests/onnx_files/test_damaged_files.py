"""Files that are no models, or damaged, or ask for what no plan can: each is refused with one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucid

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def model(kind: str = "Conv", opset: int = 17, **changed: Any) -> Any:
    """A model of one convolution, or of another operator with the same inputs."""
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(changed.get("weight", np.ones((4, 3, 3, 3), np.float32)), "weight")
    node = helper.make_node(kind, ["x", "weight"], ["y"], name="first", **changed.get("attributes", {}))
    shape = changed.get("shape", [1, 3, 8, 8])
    inputs = [helper.make_tensor_value_info("x", changed.get("dtype", onnx.TensorProto.FLOAT), shape)]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, list("nchw"))]
    graph = helper.make_graph([node], "graph", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_paths_bytes_and_protos_give_the_same_graph(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    sources = (path, str(path), path.read_bytes(), model())
    assert len({str(lucid.onnx.load(source)) for source in sources}) == 1


def test_names_are_kept() -> None:
    graph = lucid.onnx.load(model())
    assert (list(graph.inputs), graph.outputs, graph.nodes[0].output) == (["x"], ("y",), "y")


@pytest.mark.parametrize("contents", [b"", b"garbage", b"\x08\x07", b"\x80" * 1000, bytes(100)])
def test_garbage_is_no_model(contents: bytes) -> None:
    with pytest.raises(ValueError, match=r"^onnx.load: the file's contents must be an ONNX model"):
        lucid.onnx.load(contents)


def test_a_damaged_file_is_refused_or_computes(rng: np.random.Generator) -> None:
    """Whatever bytes change, nothing but the documented errors comes of it."""
    whole = model().SerializeToString()
    for _ in range(300):
        contents = bytearray(whole)
        for place in rng.integers(0, len(contents), rng.integers(1, 4)):
            contents[place] = rng.integers(0, 256)
        cut = bytes(contents[: rng.integers(1, len(contents))] if rng.integers(2) else contents)
        try:
            lucid.onnx.load(cut)
        except (ValueError, NotImplementedError) as error:
            assert str(error).startswith(("onnx.load: ", "graph: "))  # noqa: PT017


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "Hardmax"}, r"must be a valid model: "),
        ({"weight": np.ones((4, 2, 3, 3), np.float32)}, r"Conv 'first' of 1x3x8x8, 4x2x3x3: conv2d: .*2"),
        ({"attributes": {"group": 2}}, r"Conv 'first' of 1x3x8x8, 4x3x3x3: conv2d: groups"),
        ({"attributes": {"pads": [1, 1]}}, r"Conv 'first' of .*: pads must be four ints, got \(1, 1\)"),
        (
            {"attributes": {"kernel_shape": [5, 5]}},
            r"kernel_shape must be the weight's \(3, 3\), got \(5, 5\)",
        ),
        ({"shape": ["n", 3, 8, 8]}, r"shape must be given, since the input 'x' is \(n, 3, 8, 8\)"),
    ],
)
def test_rejects_what_does_not_fit(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lucid.onnx.load(model(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "Max"}, r"^onnx.load: Max 'first' of 1x3x8x8, 4x3x3x3: the operator has no counterpart"),
        ({"opset": 6}, r"the opset must be 7 to \d+, .*; got 6"),
        ({"opset": 1000}, r"the opset must be 7 to \d+, .*; got 1000"),
        ({"weight": np.ones((4, 3, 3), np.float32), "shape": [1, 3, 8]}, r"'x' must be \(n, c, h, w\) or"),
        ({"weight": np.ones((4, 3, 3, 3)), "dtype": 11}, r"'x' must be a tensor of float32"),
        ({"weight": np.ones((4, 3, 3, 3))}, r"Conv 'first' .*: input 1 of float64 must be float32"),
    ],
)
def test_refuses_what_no_plan_can(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        lucid.onnx.load(model(**changed))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 8, 8), r"shape must be that of the input 'x', \(1, 3, 8, 8\), got \(2, 3, 8, 8\)$"),
        ((1, 3), r"shape must be that of the input 'x', \(1, 3, 8, 8\), got \(1, 3\)$"),
        (((1, 3, 8, 8), (1, 3)), r"shape must be given for each of 1 inputs, got 2$"),
    ],
)
def test_rejects_another_shape(shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lucid.onnx.load(model(), shape)
    with pytest.raises(TypeError, match=r"onnx.load: shape must be a tuple"):
        lucid.onnx.load(model(), "224")


def external(path: Path, location: str) -> None:
    written = model()
    onnx.save(written, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    damaged = onnx.load(path, load_external_data=False)
    for entry in damaged.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(damaged.SerializeToString())


def test_external_data_is_read_from_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    external(path, "weights.bin")
    assert (lucid.onnx.load(path).nodes[0].weights["weight"] == 1).all()
    with pytest.raises(
        ValueError, match=r"must hold all weights, got 'weight' in an external file: give the path"
    ):
        lucid.onnx.load(path.read_bytes())
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"onnx.load: "):
        lucid.onnx.load(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ValueError, match=r"the external data of 'weight' must lie beside .*model.onnx: "):
        lucid.onnx.load(path)


def test_external_data_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    external(folder / "model.onnx", "../weights.bin")
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    with pytest.raises(ValueError, match=r"the external data of 'weight' must lie beside"):
        lucid.onnx.load(folder / "model.onnx")


def test_a_missing_file_and_another_type() -> None:
    with pytest.raises(FileNotFoundError):
        lucid.onnx.load("absent.onnx")
    with pytest.raises(TypeError, match=r"the source must be a path, bytes or a ModelProto, got int$"):
        lucid.onnx.load(5)


def test_a_small_file_cannot_fill_the_memory() -> None:
    helper = onnx.helper
    sizes = onnx.numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "sizes")
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["large"], name="bomb"),
        helper.make_node("Add", ["x", "large"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    ends = [value("x", 1, [1, 3])], [value("y", 1, [1, 3])]
    graph = helper.make_graph(nodes, "graph", *ends, [sizes])
    opset = helper.make_opsetid("", 17)
    with pytest.raises(ValueError, match=r"ConstantOfShape 'bomb' must make at most \d+ values, got \d+$"):
        lucid.onnx.load(helper.make_model(graph, opset_imports=[opset], ir_version=8))
