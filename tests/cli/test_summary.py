"""lucid summary: its totals are the published ones, and its shapes those of a real forward pass."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from lucid import random
from lucid.cli.summary import trace
from lucid.models import ResNet, create_model, get_config, list_models
from lucid.models.registry import build

Command = Callable[..., "subprocess.CompletedProcess[str]"]

# 10^9 multiply-adds at 224 x 224, counted on torchvision's and timm's models.
PUBLISHED = {
    "resnext50_32x4d": 4.230,
    "resnext50d_32x4d": 4.470,
    "resnext101_32x4d": 7.970,
    "resnext101_32x8d": 16.414,
    "resnext101_32x16d": 36.163,
    "resnext101_32x32d": 87.107,
    "resnext101_32x48d": 153.310,
    "resnext101_64x4d": 15.460,
    "resnext152_32x4d": 11.710,
    "resnext152_64x4d": 22.939,
    "resnext50_2x40d": 4.125,
    "resnext50_4x24d": 4.160,
    "resnext50_8x14d": 4.267,
    "resnest14": 2.749,
    "resnest26": 3.623,
    "resnest50": 5.371,
    "resnest101": 10.201,
    "resnest200": 17.408,
    "resnest269": 22.434,
    "resnest50_fast_1s1x64d": 4.329,
    "resnest50_fast_2s1x64d": 4.331,
    "resnest50_fast_4s1x64d": 4.335,
    "resnest50_fast_1s2x40d": 4.365,
    "resnest50_fast_2s2x40d": 4.366,
    "resnest50_fast_4s2x40d": 4.369,
    "resnest50_fast_1s4x24d": 4.400,
}


def untrained(name: str) -> ResNet:
    return build(get_config(name), initialize=False).eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_totals_are_the_published_ones(name: str) -> None:
    model = untrained(name)
    total = trace(model, (3, 224, 224))[0]
    assert round(total.multiply_adds / 1e9, 3) == PUBLISHED[name]
    assert total.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_every_published_network_is_counted() -> None:
    assert set(PUBLISHED) == {name for name in list_models() if not name.endswith("_digits")}


@pytest.mark.parametrize(("name", "size", "giga"), [("resnest101", 256, 13.321), ("resnest200", 320, 35.520)])
def test_totals_at_other_sizes(name: str, size: int, giga: float) -> None:
    assert round(trace(untrained(name), (3, size, size))[0].multiply_adds / 1e9, 3) == giga


@pytest.mark.parametrize("name", ["resnext_digits", "resnest_digits"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1)])
def test_shapes_are_those_of_a_forward_pass(name: str, size: tuple[int, int]) -> None:
    model = create_model(name).eval()
    image = random.rand(1, 1, *size)
    layers = {layer.name: layer for layer in trace(model, (1, *size))}
    for stage, output in enumerate(model.features(image), start=1):
        assert layers[f"layer{stage}"].output == output.shape
    assert layers[""].output == model(image).shape == (1, 10)


def test_trace_leaves_the_model_as_it_was() -> None:
    model = create_model("resnext_digits", weights="pretrained").eval()
    image = random.rand(2, 1, 32, 32)
    before = model(image).numpy().copy()
    trace(model, (1, 32, 32))
    assert all("forward" not in vars(module) for module in model.modules())
    assert (model(image).numpy() == before).all()


def test_every_layer_is_a_row(command: Command) -> None:
    done = command("summary", "resnest_digits")
    assert done.returncode == 0
    title, head, *rows, total = done.stdout.splitlines()
    assert title == "resnest_digits (ResNeSt) on 1x1x32x32"
    assert head.split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert any(row.split()[:3] == ["layer1.0.conv2.fc1", "Conv2d", "1x32x1x1"] for row in rows)
    parameters = [int(row.split()[3].replace(",", "").replace("-", "0")) for row in rows]
    assert total.split()[:2] == ["total", f"{sum(parameters):,}"]


def test_depth_closes_modules_and_keeps_the_total(command: Command) -> None:
    every = command("summary", "resnest_digits").stdout.splitlines()
    stages = command("summary", "resnest_digits", "--depth", "1").stdout.splitlines()
    assert [row.split()[0] for row in stages[2:]] == [
        "conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc", "total",
    ]  # fmt: skip
    assert stages[-1].split() == every[-1].split()


def test_batch_and_input_size(command: Command) -> None:
    done = command("summary", "resnext50_32x4d", "--batch", "2", "--input-size", "193x225", "--depth", "1")
    lines = done.stdout.splitlines()
    assert lines[0] == "resnext50_32x4d (ResNeXt) on 2x3x193x225"
    one = trace(untrained("resnext50_32x4d"), (3, 193, 225))[0].multiply_adds
    assert lines[-1].endswith(f"{2 * one / 1e9:.3f} G")
