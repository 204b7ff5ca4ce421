"""Every scheme of parameter names loads into the same model and gives the same logits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import networks
import numpy as np
import pytest

import lucid
from lucid import models
from lucid.models import ResNeStConfig, ResNet, ResNeXtConfig, load_weights
from lucid.models.keymap import rename
from lucid.models.registry import build

NARROW: dict[str, Any] = {"layers": (1, 2, 1, 1), "num_classes": 7, "channels": (8, 16, 16, 24)}
RESNEXT = ResNeXtConfig(cardinality=4, base_width=16, **NARROW)
RESNEXT_DEEP = ResNeXtConfig(
    cardinality=4, base_width=16, stem_type="deep", stem_width=8, avg_down=True, **NARROW
)
RESNEST = ResNeStConfig(stem_width=8, cardinality=2, **NARROW)
RESNEST_STRIDED = ResNeStConfig(stem_width=8, avg_down=False, **NARROW)
RESNEST_RADIX_0 = ResNeStConfig(stem_width=8, radix=0, **NARROW)

Rename = Callable[[str], str]


def substitute(*rules: tuple[str, str]) -> Rename:
    """A function that applies the first rule that fits a name."""

    def apply(name: str) -> str:
        for pattern, replacement in rules:
            renamed = re.sub(pattern, replacement, name)
            if renamed != name:
                return renamed
        return name

    return apply


BLOCK = r"^(layer\d\.\d+)"
# From the names of torchvision and timm to those of the other library.
LUCID_2_BLOCK = (
    (BLOCK + r"\.conv3\.", r"\1.conv3.0."),
    (BLOCK + r"\.bn3\.", r"\1.conv3.1."),
    (BLOCK + r"\.conv([12])\.", r"\1.conv\2.conv."),
    (BLOCK + r"\.bn([12])\.", r"\1.conv\2.bn."),
)
LUCID_2_RESNEXT = substitute((r"^conv1\.", "stem.0."), (r"^bn1\.", "stem.1."), *LUCID_2_BLOCK)
LUCID_2_RESNEXT_DEEP = substitute((r"^conv1\.(\d)\.", r"stem.\1."), *LUCID_2_BLOCK)
LUCID_2_RESNEST = substitute(
    (r"^conv1\.(\d)\.", r"stem.\1."),
    (BLOCK + r"\.conv1\.", r"\1.conv1.conv."),
    (BLOCK + r"\.bn1\.", r"\1.conv1.bn."),
    (BLOCK + r"\.conv2\.fc1\.", r"\1.conv2.fc1.conv."),
    (BLOCK + r"\.conv2\.bn1\.", r"\1.conv2.fc1.bn."),
)
LUCID_2_RADIX_0 = substitute(
    (r"^conv1\.(\d)\.", r"stem.\1."),
    (BLOCK + r"\.conv([12])\.", r"\1.conv\2.conv."),
    (BLOCK + r"\.bn([12])\.", r"\1.conv\2.bn."),
)
LUCID_3 = substitute((r"^conv1\.weight", "stem.0.weight"), (r"^bn1\.", "stem.1."), (r"^fc\.", "classifier."))
LUCID_3_RESNEST = substitute((r"^fc\.", "classifier."))

SCHEMES = {
    "torchvision": (RESNEXT, substitute()),
    "timm 50d": (RESNEXT_DEEP, substitute()),
    "timm resnest": (RESNEST, substitute()),
    "DataParallel": (RESNEST, lambda name: f"module.{name}"),
    "DataParallel twice": (RESNEXT, lambda name: f"module.module.{name}"),
    "torch.compile": (RESNEXT, lambda name: f"_orig_mod.{name}"),
    "model prefix": (RESNEST, lambda name: f"model.{name}"),
    "lucid 2.x ResNeXt": (RESNEXT, LUCID_2_RESNEXT),
    "lucid 2.x ResNeXt, deep stem": (RESNEXT_DEEP, LUCID_2_RESNEXT_DEEP),
    "lucid 2.x ResNeSt": (RESNEST, LUCID_2_RESNEST),
    "lucid 2.x ResNeSt, strided shortcut": (RESNEST_STRIDED, LUCID_2_RESNEST),
    "lucid 2.x ResNeSt, radix 0": (RESNEST_RADIX_0, LUCID_2_RADIX_0),
    "lucid 3.x ResNeXt": (RESNEXT, LUCID_3),
    "lucid 3.x ResNeSt": (RESNEST, LUCID_3_RESNEST),
    "DataParallel of lucid 2.x": (RESNEXT, lambda name: f"module.{LUCID_2_RESNEXT(name)}"),
}


@pytest.fixture
def images(rng: np.random.Generator) -> networks.Array:
    return rng.standard_normal((1, 3, 33, 33), dtype=np.float32)


def trained(config: Any, rng: np.random.Generator) -> ResNet:
    model = build(config).eval()
    networks.randomize(model, rng)
    return model


def state_of(model: ResNet) -> dict[str, networks.Array]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("counters", [True, False], ids=["with counters", "without counters"])
def test_every_scheme_loads(
    rng: np.random.Generator, images: networks.Array, scheme: str, counters: bool
) -> None:
    config, renamed = SCHEMES[scheme]
    source = trained(config, rng)
    state = {
        renamed(name): array
        for name, array in state_of(source).items()
        if counters or not name.endswith("num_batches_tracked")
    }
    if scheme not in ("torchvision", "timm 50d", "timm resnest"):
        assert set(state) != set(source.state_dict()), "the scheme must differ, or nothing is tested"
    model = build(config).eval()
    load_weights(model, state)
    np.testing.assert_array_equal(model(images).numpy(), source(images).numpy())
    tracked = model.bn1.num_batches_tracked.item()
    assert tracked == (source.bn1.num_batches_tracked.item() if counters else 0)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_training_checkpoints_are_unwrapped(
    rng: np.random.Generator, images: networks.Array, wrapper: str
) -> None:
    source = trained(RESNEXT, rng)
    state = {f"module.{name}": array for name, array in state_of(source).items()}
    model = build(RESNEXT).eval()
    load_weights(model, {"epoch": 90, wrapper: state, "optimizer": {"state": {}}})
    np.testing.assert_array_equal(model(images).numpy(), source(images).numpy())


def without_stem_norm(model: ResNet) -> dict[str, networks.Array]:
    """The model's state as lucid 2.x has it: renamed, and nothing after the stem's last convolution."""
    state = {n: a for n, a in state_of(model).items() if not n.startswith("bn1.")}
    return {LUCID_2_RESNEST(name): array for name, array in state.items()}


def test_a_stem_without_its_last_norm_is_refused(rng: np.random.Generator) -> None:
    state = without_stem_norm(trained(RESNEST, rng))
    with pytest.raises(
        ValueError, match=r"must have the batch norm after the stem's last convolution \(bn1\)"
    ):
        load_weights(build(RESNEST), state)


def test_a_stem_without_its_last_norm_loads_as_identity_on_request(
    rng: np.random.Generator, images: networks.Array
) -> None:
    source = trained(RESNEST, rng)
    model = build(RESNEST).eval()
    load_weights(model, without_stem_norm(source), accept_missing_stem_norm=True)
    x = rng.standard_normal((1, 16, 5, 5), dtype=np.float32)
    np.testing.assert_allclose(model.bn1(lucid.tensor(x)).numpy(), x, rtol=1e-6)
    networks_bn1 = {name: tensor.numpy() for name, tensor in model.bn1.state_dict().items()}
    source.bn1.load_state_dict(networks_bn1)
    np.testing.assert_array_equal(model(images).numpy(), source(images).numpy())


def test_two_names_for_one_parameter_are_refused(rng: np.random.Generator) -> None:
    state = state_of(trained(RESNEXT, rng))
    with pytest.raises(ValueError, match=r"'fc.bias' and 'classifier.bias' both stand for 'fc.bias'"):
        load_weights(build(RESNEXT), state | {"classifier.bias": state["fc.bias"]})


def test_unknown_names_stay() -> None:
    assert rename(["module.layer9.weight", "fc.weight"], {"fc.weight"}) == {
        "module.layer9.weight": "layer9.weight",
        "fc.weight": "fc.weight",
    }


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnest50", "resnest50_fast_4s2x40d"])
def test_published_networks_are_covered_name_by_name(name: str) -> None:
    config = models.get_config(name)
    expected = list(build(config, initialize=False).state_dict())
    to_lucid_2 = LUCID_2_RESNEXT if isinstance(config, ResNeXtConfig) else LUCID_2_RESNEST
    for scheme in (to_lucid_2, LUCID_3 if isinstance(config, ResNeXtConfig) else LUCID_3_RESNEST):
        foreign = {scheme(key): key for key in expected}
        assert rename(foreign, set(expected)) == foreign
