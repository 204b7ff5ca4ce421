"""Every published variant, written as an ONNX file and loaded: the same plan, and the same logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lucid
from lucid.inference import InferencePlan, optimize, trace
from lucid.models import ResNeSt, ResNeStConfig, ResNeXt, ResNeXtConfig, get_config, list_models
from lucid.nn import BatchNorm2d, Module

pytest.importorskip("onnx", reason="onnx is not installed")

WHOLE = ("resnext50_32x4d", "resnest50")


def variant(name: str, full: bool, rng: np.random.Generator) -> Module:
    """A published network; unless ``full``, of deep ones the blocks that differ: a stage repeats its second.

    Wide groups are made narrower then, which the file's operators do not depend on.
    """
    config = get_config(name)
    if not full:
        blocks = tuple(config.layers) if name in WHOLE else tuple(min(count, 2) for count in config.layers)
        config = replace(config, layers=blocks, num_classes=10)
        if isinstance(config, ResNeXtConfig):
            config = replace(config, base_width=min(config.base_width, 8))
    model = (ResNeSt if isinstance(config, ResNeStConfig) else ResNeXt)(config).eval()
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.running_mean.data[:] = rng.normal(0, 0.2, module.running_mean.shape)
            module.running_var.data[:] = rng.uniform(0.5, 1.5, module.running_var.shape)
    return model


@pytest.mark.parametrize("name", list_models())
def test_a_variant_comes_back(
    name: str, tmp_path: Path, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    model = variant(name, request.config.getoption("--full-parity"), rng)
    shape = (2, get_config(name).in_channels, 32, 32)
    lucid.onnx.export(model, tmp_path / "model.onnx", shape=shape)
    own = optimize(trace(model, shape))
    loaded = optimize(lucid.onnx.load(tmp_path / "model.onnx"))
    assert [node.kind for node in loaded.nodes] == [node.kind for node in own.nodes]
    x = rng.standard_normal(shape, dtype=np.float32)
    want = InferencePlan(own)(x)
    assert np.abs(InferencePlan(loaded)(x) - want).max() <= 1e-5 * np.abs(want).max()
