"""lucid's operators as custom operators of ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from consumer import build

import lucid
from lucid import _core
from lucid.models import create_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, pointers: Callable[[], list[int]]) -> str:
    headers = Path(os.environ.get("ONNXRUNTIME_INCLUDE_DIR", "/usr/include/onnxruntime"))
    if not (headers / "onnxruntime_cxx_api.h").exists():
        pytest.skip("ONNXRUNTIME_INCLUDE_DIR must hold onnxruntime_cxx_api.h, which Python's package lacks")
    folder = build("onnxruntime", tmp_path_factory.mktemp("ort"), f"-DONNXRUNTIME_INCLUDE_DIR={headers}")
    return str(folder / "liblucid_onnxruntime.so")


def session(library: str, op: str, inputs: dict[str, Array], *missing: str, **attributes: Any) -> Any:
    """A network of one node of lucid's domain, whose inputs are the network's but for missing ones."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(op, [*inputs, *missing], ["y"], name="node", domain="lucid", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, floats, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info("y", floats, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("lucid", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well
    options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def drawn(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("with_bias", [False, True])
def test_grouped_conv2d(library: str, rng: np.random.Generator, with_bias: bool) -> None:
    inputs = {"x": drawn(rng, 2, 16, 9, 8), "weight": drawn(rng, 32, 4, 3, 3)}
    bias = drawn(rng, 32) if with_bias else None
    if bias is not None:
        inputs["bias"] = bias
    pads = [1, 0, 2, 1]  # top, left, bottom, right
    geometry = {"group": 4, "strides": [2, 1], "pads": pads, "dilations": [1, 2]}
    (y,) = session(library, "GroupedConv2d", inputs, **geometry).run(None, inputs)
    assert np.array_equal(y, _core.conv2d(inputs["x"], inputs["weight"], bias, (2, 1), (*pads,), (1, 2), 4))


def test_attributes_that_are_left_out_are_those_of_conv(library: str, rng: np.random.Generator) -> None:
    inputs = {"x": drawn(rng, 1, 3, 5, 5), "weight": drawn(rng, 4, 3, 3, 3)}
    wanted = _core.conv2d(*inputs.values(), None, (1, 1), (0, 0, 0, 0), (1, 1), 1)
    for missing in ((), ("",)):
        (y,) = session(library, "GroupedConv2d", inputs, *missing).run(None, inputs)
        assert np.array_equal(y, wanted)


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 2), (2, 1), (4, 2)])
def test_split_attention(library: str, rng: np.random.Generator, radix: int, cardinality: int) -> None:
    inputs = {"x": drawn(rng, 3, radix * 8, 5, 4), "logits": drawn(rng, 3, radix * 8)}
    numbers = {"radix": radix, "cardinality": cardinality}
    (y,) = session(library, "SplitAttention", inputs, **numbers).run(None, inputs)
    assert np.array_equal(y, _core.split_attention(*inputs.values(), radix, cardinality))


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """A plan, and its file."""
    made = lucid.compile(create_model("resnest_digits", weights="pretrained").eval(), (2, 1, 32, 32))
    made.save(tmp_path / "plan.lucid")
    return made, str(tmp_path / "plan.lucid")


def bound(running: Any, inputs: dict[str, Array], y: Array) -> list[int]:
    """Runs a session from and into given memory, and returns where that is."""
    values = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in (inputs | {"y": y}).items()
    }
    binding = running.io_binding()
    for name in inputs:
        binding.bind_ortvalue_input(name, values[name])
    binding.bind_ortvalue_output("y", values["y"])
    running.run_with_iobinding(binding)
    y[...] = values["y"].numpy()
    return [value.data_ptr() for value in values.values()]


def test_plan(library: str, rng: np.random.Generator, pointers: Callable[[], list[int]], plan: Any) -> None:
    made, path = plan
    inputs, y = {"x": drawn(rng, 2, 1, 32, 32)}, np.empty((2, 10), np.float32)
    running = session(library, "Plan", inputs, path=path)
    (x_memory, y_memory) = bound(running, inputs, y)
    assert pointers() == [x_memory, x_memory, y_memory]
    assert np.array_equal(y, made(inputs["x"]))


def test_a_plan_that_does_not_fit_is_refused(library: str, plan: Any, tmp_path: Path) -> None:
    inputs = {"x": np.zeros((1, 1, 32, 32), np.float32)}
    with pytest.raises(Exception, match=r"must have shape \(2, 1, 32, 32\), got \(1, 1, 32, 32\)"):
        session(library, "Plan", inputs, path=plan[1]).run(None, inputs)
    with pytest.raises(Exception, match=r"plan_load: .*absent.lucid: it must be a file"):
        session(library, "Plan", inputs, path=str(tmp_path / "absent.lucid"))


def test_nothing_is_copied(library: str, rng: np.random.Generator, pointers: Callable[[], list[int]]) -> None:
    inputs, y = {"x": drawn(rng, 1, 8, 8, 8), "logits": drawn(rng, 1, 8)}, np.empty((1, 4, 8, 8), np.float32)
    assert bound(session(library, "SplitAttention", inputs), inputs, y) == pointers()
    assert np.array_equal(y, _core.split_attention(*inputs.values(), 2, 1))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"strides": [1, 1, 1]}, "strides must be 2 integers, got 3"),
        ({"strides": [0, 1]}, "conv2d: stride must be positive"),
        ({"group": 3}, "conv2d: "),
        ({"group": "3"}, "group must be an integer"),
        ({"pads": [0.5, 0.5, 0.5, 0.5]}, "pads must be 4 integers"),
    ],
)
def test_what_does_not_fit_is_refused_with_lucids_reason(
    library: str, rng: np.random.Generator, attributes: dict[str, Any], message: str
) -> None:
    inputs = {"x": drawn(rng, 1, 4, 5, 5), "weight": drawn(rng, 4, 4, 3, 3)}
    with pytest.raises(Exception, match=message):
        session(library, "GroupedConv2d", inputs, **attributes).run(None, inputs)
