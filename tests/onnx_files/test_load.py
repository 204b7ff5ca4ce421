"""ONNX files of other frameworks: what PyTorch's two exporters write is loaded, and computes the same."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucid
from lucid.inference import InferencePlan, optimize, trace
from lucid.models import create_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")


def exported(model: Any, x: Any, path: Path, dynamo: bool, **options: Any) -> None:
    """Writes ``model`` with one of PyTorch's exporters, and keeps its warnings and messages to ourselves."""
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), path, dynamo=dynamo, **options)


def randomized(model: Any) -> Any:
    """A model in eval mode whose norms do something."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            for array in (module.running_var, module.weight):
                torch.nn.init.uniform_(array, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def torchvision_model(name: str) -> Any:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    return getattr(models, name)(num_classes=10)


def timm_model(name: str) -> Any:
    return pytest.importorskip("timm", reason="timm is not installed").create_model(name, num_classes=10)


MODELS: dict[str, Callable[[str], Any]] = {
    "resnet18": torchvision_model,
    "resnext50_32x4d": torchvision_model,
    "mnasnet0_5": torchvision_model,
    "resnest14d": timm_model,
    "resnest50d_1s4x24d": timm_model,
    "resnest50d_4s2x40d": timm_model,
    "seresnext26d_32x4d": timm_model,
}


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_another_framework(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = randomized(MODELS[name](name)), torch.randn(1, 3, 64, 64)
    exported(model, x, tmp_path / "model.onnx", dynamo)
    graph = lucid.onnx.load(tmp_path / "model.onnx")
    plan = InferencePlan(optimize(graph))
    want = model(x).detach().numpy()
    assert np.abs(plan(x.numpy()) - want).max() <= 1e-5 * np.abs(want).max()
    if name in lucid.models.list_models():  # as good a plan as that of lucid's own model
        own = optimize(trace(create_model(name, num_classes=10).eval(), (1, 3, 64, 64)))
        assert Counter(node.kind for node in plan.graph.nodes) == Counter(node.kind for node in own.nodes)


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_symbolic_batch_takes_the_shape_that_is_asked_for(dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = randomized(timm_model("resnest14d")), torch.randn(2, 3, 64, 64)
    axes: dict[str, Any] = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
        if dynamo
        else {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    )
    exported(model, x, tmp_path / "model.onnx", dynamo, **axes)
    with pytest.raises(
        ValueError, match=r"shape must be given, since the input 'x' is \(batch, 3, 64, 64\)$"
    ):
        lucid.onnx.load(tmp_path / "model.onnx")
    images = torch.randn(3, 3, 64, 64)
    plan = InferencePlan(optimize(lucid.onnx.load(tmp_path / "model.onnx", (3, 3, 64, 64))))
    want = model(images).detach().numpy()
    assert np.abs(plan(images.numpy()) - want).max() <= 1e-5 * np.abs(want).max()


def test_compile_takes_a_file_and_a_graph(tmp_path: Path, rng: np.random.Generator) -> None:
    model = create_model("resnext_digits").eval()
    path = tmp_path / "model.onnx"
    lucid.onnx.export(model, path, shape=(1, 1, 32, 32), symbolic_batch=True)
    x = rng.standard_normal((2, 1, 32, 32), dtype=np.float32)
    want = lucid.compile(model, x.shape)(x)
    graph = lucid.onnx.load(path, x.shape)
    for plan in (lucid.compile(path, x.shape), lucid.compile(str(path), x.shape), lucid.compile(graph)):
        assert np.abs(plan(x) - want).max() <= 1e-5 * np.abs(want).max()
    with pytest.raises(ValueError, match=r"input_shape must be that of the graph, .*, got \(1, 1, 32, 32\)$"):
        lucid.compile(graph, (1, 1, 32, 32))
