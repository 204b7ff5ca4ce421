"""ONNX export: a model of another engine computes what the graph does, for every kind of node."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_reference import evaluate
from small_networks import randomize, small_models, small_networks

import lucid
from lucid import Tensor, nn
from lucid.inference import Graph, optimize, to_onnx, trace
from lucid.inference.kinds import KINDS
from lucid.nn import functional as F
from lucid.onnx.nodes import TRANSLATE

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")


def run(model: bytes, graph: Graph, *inputs: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(list(graph.outputs), dict(zip(graph.inputs, inputs, strict=True)))
    return results


def assert_same(graph: Graph, rng: np.random.Generator) -> None:
    inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in graph.inputs.values()]
    for got, want in zip(run(to_onnx(graph), graph, *inputs), evaluate(graph, *inputs), strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_every_kind_is_translated() -> None:
    assert TRANSLATE.keys() == KINDS.keys()


@pytest.mark.parametrize("name", small_models() | small_networks())
def test_networks(name: str, rng: np.random.Generator) -> None:
    model, shape = (small_models() | small_networks())[name]
    traced = trace(randomize(model, rng), shape)
    assert_same(traced, rng)
    assert_same(optimize(traced), rng)


SINGLE: dict[str, Callable[[Any], Any]] = {
    "padding by side": lambda x: F.conv2d(x, np.ones((2, 4, 2, 2), np.float32), padding=((1, 0), (0, 2))),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "max_pool2d by side": lambda x: F.max_pool2d(x, 3, 2, ((1, 0), (0, 1))),
    "avg_pool2d by side": lambda x: F.avg_pool2d(x, 3, 2, ((1, 0), (0, 1)), count_include_pad=False),
    "divisor": lambda x: F.avg_pool2d(x, 2, 1, 1, divisor_override=3),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive that divides": lambda x: F.adaptive_avg_pool2d(x, (7, 2)),
    "factors": lambda x: x * F.adaptive_avg_pool2d(x, 1),
}


class Calling(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


@pytest.mark.parametrize("name", SINGLE)
def test_nodes_that_the_networks_lack(name: str, rng: np.random.Generator) -> None:
    assert_same(trace(Calling(SINGLE[name]), (2, 4, 7, 6)), rng)


def test_a_plan_writes_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    model = randomize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), rng)
    plan = lucid.compile(model, (1, 3, 6, 6))
    plan.export_onnx(tmp_path / "model.onnx")
    x = rng.standard_normal((1, 3, 6, 6), dtype=np.float32)
    [got] = run((tmp_path / "model.onnx").read_bytes(), plan.graph, x)
    np.testing.assert_allclose(got, plan(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", small_models())
def test_a_symbolic_batch_takes_any_number_of_images(
    name: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, shape = small_models()[name]
    model, path = randomize(model, rng), tmp_path / "model.onnx"
    lucid.onnx.export(model, path, shape=shape, symbolic_batch=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for images in (1, 3):
        x = rng.standard_normal((images, *shape[1:]), dtype=np.float32)
        [got] = session.run(None, {"input": x})
        want = lucid.compile(model, x.shape)(x)
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_weights_that_no_message_can_hold_get_a_file_of_their_own(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["lucid.onnx.export"], "_MOST_BYTES", 1000)
    model, shape = small_models()["resnest"]
    plan = lucid.compile(randomize(model, rng), shape)
    path = tmp_path / "model.onnx"
    for _ in range(2):  # the second time over the first
        lucid.onnx.export(plan, path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    x = rng.standard_normal(shape, dtype=np.float32)
    assert np.array_equal(lucid.compile(path)(x), plan(x))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {next(iter(plan.graph.inputs)): x})
    assert np.abs(got - plan(x)).max() <= 1e-4 * np.abs(plan(x)).max()


def test_plans_graphs_and_modules_give_the_same_file(tmp_path: Path, rng: np.random.Generator) -> None:
    model = randomize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), rng)
    plan = lucid.compile(model, (1, 3, 6, 6))
    lucid.onnx.export(model, tmp_path / "module.onnx", shape=(1, 3, 6, 6))
    lucid.onnx.export(plan, tmp_path / "plan.onnx")
    lucid.onnx.export(plan.graph, tmp_path / "graph.onnx")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_rejects_what_is_no_model(tmp_path: Path) -> None:
    model, path = nn.Sequential(nn.ReLU()).eval(), tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"onnx.export: shape must be given for a module, got none$"):
        lucid.onnx.export(model, path)
    with pytest.raises(
        ValueError, match=r"onnx.export: shape must be given for a module only, got \(1, 3\)$"
    ):
        lucid.onnx.export(trace(model, (1, 3)), path, shape=(1, 3))
    with pytest.raises(TypeError, match=r"onnx.export: model must be a Module, .*, got str$"):
        lucid.onnx.export("resnext50_32x4d", path)  # type: ignore[arg-type]
    assert not path.exists()
