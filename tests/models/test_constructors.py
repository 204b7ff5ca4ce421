"""Both forms of each network's constructor, and what the networks then show of themselves."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import models, nn
from lucid.models import (
    Bottleneck,
    ResNeSt,
    ResNeStBottleneck,
    ResNeStConfig,
    ResNet,
    ResNeXt,
    ResNeXtConfig,
)

TINY = {"layers": (1, 2, 1, 1), "num_classes": 5, "channels": (8, 16, 24, 32)}
RESNEXT = ResNeXtConfig(cardinality=4, base_width=16, **TINY)
RESNEST = ResNeStConfig(cardinality=2, stem_width=8, **TINY)

Build = Callable[[], ResNet]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    "build",
    [
        lambda: ResNeXt(config=RESNEXT),
        lambda: ResNeXt(Bottleneck, (1, 2, 1, 1), 4, 16, 5, channels=(8, 16, 24, 32)),
        lambda: ResNeXt("bottleneck", [1, 2, 1, 1], 4, 16, num_classes=5, channels=[8, 16, 24, 32]),
        lambda: ResNeXt(block="_Bottleneck", base_width=16, cardinality=4, **TINY),
    ],
    ids=["config keyword", "positional", "block name", "keywords"],
)
def test_resnext_forms_agree(build: Build) -> None:
    model = build()
    assert isinstance(model, ResNet)
    assert model.config == RESNEXT
    assert shapes(model) == shapes(ResNeXt(RESNEXT))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ResNeSt(config=RESNEST),
        lambda: ResNeSt(ResNeStBottleneck, (1, 2, 1, 1), 5, 64, 8, 2, 2, True, channels=(8, 16, 24, 32)),
        lambda: ResNeSt("ResNeStBottleneck", [1, 2, 1, 1], 5, 64, 8, cardinality=2, channels=[8, 16, 24, 32]),
        lambda: ResNeSt(block="bottleneck", cardinality=2, stem_width=8, **TINY),
    ],
    ids=["config keyword", "positional", "block name", "keywords"],
)
def test_resnest_forms_agree(build: Build) -> None:
    model = build()
    assert isinstance(model, ResNet)
    assert model.config == RESNEST
    assert shapes(model) == shapes(ResNeSt(RESNEST))


def test_documented_defaults_of_the_positional_forms() -> None:
    with nn.init.skip_init():
        resnext = ResNeXt(Bottleneck, [3, 4, 6, 3], 32, 4)
        resnest = ResNeSt(ResNeStBottleneck, [3, 4, 6, 3])
    assert resnext.config == models.get_config("resnext50_32x4d")
    assert resnest.config == models.get_config("resnest50")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNeXt(), r"^ResNeXt: a ResNeXtConfig, or block and its arguments, must be given$"),
        (lambda: ResNeXt(RESNEXT, 10), r"^ResNeXt: a config stands alone, got 1 more arguments"),
        (lambda: ResNeXt(RESNEXT, num_classes=10), r"^ResNeXt: a config stands alone"),
        (lambda: ResNeXt(config=RESNEXT, block=Bottleneck), r"^ResNeXt: a config stands alone"),
        (lambda: ResNeXt(Bottleneck, config=RESNEXT), r"^ResNeXt: a config stands alone"),
        (lambda: ResNeXt(RESNEXT, config=RESNEXT), r"^ResNeXt: a config stands alone"),
        (lambda: ResNeXt(RESNEST), r"^ResNeXt: config must be a ResNeXtConfig, got ResNeStConfig$"),
        (lambda: ResNeSt(RESNEXT), r"^ResNeSt: config must be a ResNeStConfig, got ResNeXtConfig$"),
        (lambda: ResNeXt(config=None), r"^ResNeXt: config must be a ResNeXtConfig, got NoneType$"),
        (lambda: ResNeXt(Bottleneck, (1, 1, 1, 1), 4), r"^ResNeXt: missing 1 .*'base_width'"),
        (lambda: ResNeXt(Bottleneck, (1, 1, 1, 1), 4, 4, 10, 3), r"^ResNeXt: at most 5 positional"),
        (lambda: ResNeXt(Bottleneck, (1, 1, 1, 1), 4, 4, layers=(1, 1, 1, 1)), r"layers given twice"),
        (lambda: ResNeXt(Bottleneck, (1, 1, 1, 1), 4, 4, radix=2), r"^ResNeXt: .*'radix'"),
        (lambda: ResNeXt(layers=(1, 1, 1, 1), cardinality=4, base_width=4), r"block and its arguments"),
        (lambda: ResNeXt(Bottleneck, (1, 1, 1, 1), True, 4), r"^ResNeXt: cardinality must be an integer"),
        (
            lambda: ResNeXt(3, (1, 1, 1, 1), 4, 4),
            r"^ResNeXt: block must be a Module class or its name, got 3",
        ),
        (lambda: ResNeXt(int, (1, 1, 1, 1), 4, 4), r"^ResNeXt: block must be a Module class"),
        (lambda: ResNeXt(nn.ReLU(), (1, 1, 1, 1), 4, 4), r"^ResNeXt: block must be a Module class"),
        (lambda: ResNeXt(nn.ReLU, (1, 1, 1, 1), 4, 4, channels=(16,) * 4), r"attribute expansion, got ReLU"),
        (lambda: ResNeXt(ResNeXtConfig(**TINY, cardinality=4, base_width=16, block_args={"se": 1})), r"'se'"),
    ],
    ids=str,
)
def test_rejects_mixed_missing_and_wrong_arguments(build: Build, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        build()


def test_rejects_an_unknown_block_name() -> None:
    with pytest.raises(
        ValueError, match=r"^ResNeXt: block must be 'bottleneck' or a Module class, got 'basic'$"
    ):
        ResNeXt("basic", (1, 1, 1, 1), 4, 16)


def test_rejects_a_cardinality_that_does_not_divide_the_attention() -> None:
    with pytest.raises(
        ValueError, match=r"groups \(3\) must divide in_channels \(24\) and out_channels \(32\)"
    ):
        ResNeSt(ResNeStConfig((1, 1, 1, 1), cardinality=3, channels=(8, 8, 8, 8)))


@pytest.mark.parametrize("model", [ResNeXt(RESNEXT), ResNeSt(RESNEST)], ids=["resnext", "resnest"])
class TestAttributes:
    def test_shows_stages_and_widths(self, model: ResNet) -> None:
        assert isinstance(model.layers, list)
        assert model.layers == [model.layer1, model.layer2, model.layer3, model.layer4]
        assert [len(list(stage.children())) for stage in model.layers] == [1, 2, 1, 1]
        assert model.cardinality == model.config.cardinality
        assert model.base_width == model.config.base_width
        assert model.config.layers == (1, 2, 1, 1)

    def test_gives_logits_and_the_features_of_each_stage(self, model: ResNet) -> None:
        model.eval()
        images = lucid.random.randn(2, 3, 65, 70)
        logits = model(images)
        assert logits.shape == (2, 5)
        assert isinstance(logits.shape, tuple)
        features = model.features(images)
        assert [f.shape for f in features] == [
            (2, 32, 17, 18), (2, 64, 9, 9), (2, 96, 5, 5), (2, 128, 3, 3),
        ]  # fmt: skip
        last = model.forward_features(images).numpy()
        np.testing.assert_array_equal(last, features[3].numpy())
        head = nn.functional.linear(last.mean(axis=(2, 3)), model.fc.weight, model.fc.bias)
        np.testing.assert_allclose(head.numpy(), logits.numpy(), rtol=1e-4, atol=1e-5)

    def test_replaces_its_head(self, model: ResNet) -> None:
        other = copy.deepcopy(model).eval()
        other.reset_classifier(3)
        assert other.config.num_classes == 3
        assert other(lucid.random.randn(1, 3, 33, 33)).shape == (1, 3)
        assert model.config.num_classes == 5
        with pytest.raises(ValueError, match="num_classes must be greater than 0"):
            other.reset_classifier(0)

    def test_survives_pickle(self, model: ResNet) -> None:
        model.eval()
        images = lucid.random.randn(1, 3, 33, 33)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again(images).numpy(), model(images).numpy())


def test_images_with_other_channels_are_refused() -> None:
    model = ResNeXt(RESNEXT).eval()
    with pytest.raises(ValueError, match="conv2d"):
        model(lucid.random.randn(1, 4, 33, 33))


def test_documented_names_are_the_same_objects() -> None:
    assert models._Bottleneck is models.Bottleneck
    assert models._ResNeStBottleneck is models.ResNeStBottleneck
    assert nn.ResNeXt is models.ResNeXt
    assert nn.ResNeXtConfig is models.ResNeXtConfig
    assert nn.ResNeSt is models.ResNeSt
    assert nn.ResNeStConfig is models.ResNeStConfig
    assert issubclass(ResNeXt, ResNet)
    assert issubclass(ResNeSt, ResNet)


def test_block_args_reach_every_block() -> None:
    model = ResNeXt(ResNeXtConfig(cardinality=4, base_width=16, block_args={"dilation": 2}, **TINY))
    convs = [block.conv2 for stage in model.layers for block in stage.children()]
    assert {conv.dilation for conv in convs} == {(2, 2)}
    assert model.eval()(lucid.random.randn(1, 3, 64, 64)).shape == (1, 5)


class Plain(nn.Module):
    """A block of a user's own, with another expansion and an argument of its own."""

    expansion = 2

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        downsample: nn.Module | None,
        cardinality: int,
        base_width: int,
        scale: float,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 2 * channels, 1, stride=stride, groups=cardinality)
        self.downsample = downsample
        self.scale = scale

    def forward(self, x: lucid.Tensor) -> lucid.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.conv(x) * self.scale + shortcut


def test_takes_a_block_of_the_users_own() -> None:
    model = ResNeXt(Plain, (1, 2, 1, 1), 4, 16, 5, channels=(8, 16, 24, 32), block_args={"scale": 0.5})
    assert model.block is Plain
    assert model.fc.in_features == 64
    assert model.eval()(lucid.random.randn(1, 3, 32, 32)).shape == (1, 5)


def test_a_fresh_network_keeps_the_scale_of_its_values(rng: np.random.Generator) -> None:
    """Every convolution starts with the variance 2 / fan_out, with which deep networks begin to learn."""
    lucid.random.seed(1)
    model = ResNeXt(RESNEXT)
    weight = model.layer4[0].conv3.weight.numpy()
    np.testing.assert_allclose(weight.var(), 2 / weight.shape[0], rtol=0.1)
    np.testing.assert_array_equal(model.bn1.weight.numpy(), 1)


def test_seed_decides_the_random_weights() -> None:
    def draw(seed: int) -> Any:
        lucid.random.seed(seed)
        return ResNeSt(RESNEST).layer2[0].conv2.fc1.weight.numpy()

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
