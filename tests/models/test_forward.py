"""Forward passes of small networks of every kind against the float64 definition, on every instruction set."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import networks
import numpy as np
import pytest

import lucid
from lucid.models import ResNeStConfig, ResNet, ResNeXtConfig
from lucid.models.registry import build

# The bar that published weights need to give the published logits: max|got - want| / max|want|.
RELATIVE_ERROR = 1e-4

NARROW: dict[str, Any] = {"layers": (1, 2, 1, 1), "num_classes": 7, "channels": (8, 16, 16, 24)}
CONFIGS: dict[str, ResNeXtConfig | ResNeStConfig] = {
    "resnext": ResNeXtConfig(cardinality=4, base_width=16, **NARROW),
    "resnext deep stem": ResNeXtConfig(
        cardinality=4, base_width=16, stem_type="deep", stem_width=8, avg_down=True, **NARROW
    ),
    "resnext one group": ResNeXtConfig(cardinality=1, base_width=64, in_channels=1, **NARROW),
    "resnext odd width": ResNeXtConfig(cardinality=2, base_width=40, **NARROW),
    "resnest": ResNeStConfig(stem_width=8, **NARROW),
    "resnest plain stem": ResNeStConfig(stem_type=None, **NARROW),
    "resnest strided shortcut": ResNeStConfig(stem_width=8, avg_down=False, **NARROW),
    "resnest without avd": ResNeStConfig(stem_width=8, avd=False, **NARROW),
    "resnest avd_first without avd": ResNeStConfig(stem_width=8, avd=False, avd_first=True, **NARROW),
    "resnest 2 groups": ResNeStConfig(stem_width=8, cardinality=2, **NARROW),
    "resnest fast 4s2x40d": ResNeStConfig(
        (1, 2, 1, 1), 7, 40, 8, 2, radix=4, avd_first=True, channels=(32, 32, 32, 64)
    ),
    "resnest fast 1s4x24d": ResNeStConfig(
        stem_width=8, cardinality=4, base_width=24, radix=1, avd_first=True, **NARROW
    ),
    "resnest radix 1": ResNeStConfig(stem_width=8, radix=1, **NARROW),
    "resnest radix 3": ResNeStConfig((1, 1, 1, 1), 7, 64, 8, 2, radix=3, channels=(24, 24, 24, 24)),
    "resnest radix 0": ResNeStConfig(stem_width=8, radix=0, cardinality=2, **NARROW),
}


def relative_error(got: networks.Array, want: networks.Array) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@lru_cache
def case(name: str, size: tuple[int, int]) -> tuple[ResNet, networks.Array, networks.Array]:
    """Network, images and float64 logits; kept, as they take longer than all instruction sets together."""
    rng = np.random.default_rng(20170411)
    config = CONFIGS[name]
    model = build(config).eval()
    state = networks.randomize(model, rng)
    images = rng.standard_normal((2, config.in_channels, *size), dtype=np.float32)
    return model, images, networks.logits(config, state, images)


@pytest.mark.parametrize("size", [(33, 49), (7, 70)], ids=["33x49", "7x70"])
@pytest.mark.parametrize("name", CONFIGS)
def test_matches_the_definition(isa: str, name: str, size: tuple[int, int]) -> None:
    model, images, want = case(name, size)
    got = model(lucid.tensor(images)).numpy()
    assert np.abs(want).max() > 0.1
    assert relative_error(got, want) <= RELATIVE_ERROR


@pytest.mark.parametrize("name", ["resnext deep stem", "resnest fast 4s2x40d"])
def test_does_not_depend_on_the_batch(rng: np.random.Generator, name: str) -> None:
    """An image's logits are the same bits alone and among others."""
    config = CONFIGS[name]
    model = build(config).eval()
    networks.randomize(model, rng)
    images = rng.standard_normal((3, config.in_channels, 33, 40), dtype=np.float32)
    together = model(images).numpy()
    for i in range(3):
        np.testing.assert_array_equal(model(images[i : i + 1]).numpy(), together[i : i + 1])


@pytest.mark.parametrize("name", ["resnext", "resnest 2 groups"])
def test_leaves_its_input_alone(rng: np.random.Generator, name: str) -> None:
    config = CONFIGS[name]
    model = build(config).eval()
    images = rng.standard_normal((1, config.in_channels, 32, 32), dtype=np.float32)
    images.flags.writeable = False
    before = images.copy()
    model(images)
    np.testing.assert_array_equal(images, before)


def test_training_with_one_image_names_the_cure() -> None:
    """The norm inside split attention sees one value per channel and image."""
    model = build(CONFIGS["resnest"])
    with pytest.raises(ValueError, match="larger batch, or eval"):
        model.train()(lucid.random.randn(1, 3, 64, 64))
    assert model(lucid.random.randn(2, 3, 64, 64)).shape == (2, 7)
