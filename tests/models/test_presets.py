"""The published variants: found under every spelling, with exactly the published numbers of parameters."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest

from lucid import models
from lucid.models import ResNeSt, ResNeStConfig, ResNeXt, ResNeXtConfig
from lucid.models.registry import Preset, build, register

# Parameters and tensors of the state dict, as torchvision, timm and the authors' code have them.
PUBLISHED = {
    "resnext50_32x4d": (25_028_904, 320),
    "resnext50d_32x4d": (25_048_136, 332),
    "resnext50_2x40d": (25_425_000, 320),
    "resnext50_4x24d": (25_292_968, 320),
    "resnext50_8x14d": (25_603_016, 320),
    "resnext101_32x4d": (44_177_704, 626),
    "resnext101_32x8d": (88_791_336, 626),
    "resnext101_32x16d": (194_026_792, 626),
    "resnext101_32x32d": (468_530_472, 626),
    "resnext101_32x48d": (828_411_176, 626),
    "resnext101_64x4d": (83_455_272, 626),
    "resnext152_32x4d": (59_951_400, 932),
    "resnext152_64x4d": (114_971_944, 932),
    "resnest14": (10_611_688, 152),
    "resnest26": (17_069_448, 260),
    "resnest50": (27_483_240, 476),
    "resnest101": (48_275_016, 935),
    "resnest200": (70_201_544, 1826),
    "resnest269": (110_929_480, 2447),
    "resnest50_fast_1s1x64d": (26_217_896, 476),
    "resnest50_fast_2s1x64d": (27_483_240, 476),
    "resnest50_fast_4s1x64d": (31_912_712, 476),
    "resnest50_fast_1s2x40d": (25_946_680, 476),
    "resnest50_fast_2s2x40d": (26_943_792, 476),
    "resnest50_fast_4s2x40d": (30_417_592, 476),
    "resnest50_fast_1s4x24d": (25_677_000, 476),
}
SHIPPED = {"resnext_digits", "resnest_digits"}

SPELLINGS = {
    "resnext50_32x4d": ["resnext_50_32x4d"],
    "resnext101_32x8d": ["resnext_101_32x8d"],
    "resnext101_64x4d": ["resnext_101_64x4d"],
    "resnest14": ["resnest_14", "resnest14d", "resnest14d.gluon_in1k"],
    "resnest50": ["resnest_50", "resnest50d", "resnest50d.in1k", "resnest50.in1k"],
    "resnest101": ["resnest_101", "resnest101e", "resnest101e.in1k"],
    "resnest200": ["resnest_200", "resnest200e"],
    "resnest269": ["resnest_269", "resnest269e"],
    "resnest50_fast_4s2x40d": ["resnest50d_4s2x40d", "resnest50d_4s2x40d.in1k", "resnest_50_4s2x40d"],
    "resnest50_fast_1s4x24d": ["resnest50d_1s4x24d", "resnest_50_1s4x24d"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_has_the_published_parameters(name: str) -> None:
    # Memory that is never touched is never given, so that 828 million parameters cost nothing here.
    model = build(models.get_config(name), initialize=False)
    parameters, tensors = PUBLISHED[name]
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.state_dict()) == tensors


def test_lists_every_variant() -> None:
    assert set(models.list_models()) == set(PUBLISHED) | SHIPPED
    assert models.list_models() == sorted(models.list_models())


def test_lists_by_pattern_in_any_spelling() -> None:
    assert models.list_models("resnext152*") == ["resnext152_32x4d", "resnext152_64x4d"]
    assert models.list_models("101_32x") == [
        "resnext101_32x16d", "resnext101_32x32d", "resnext101_32x48d", "resnext101_32x4d", "resnext101_32x8d",
    ]  # fmt: skip
    assert models.list_models("resnest50d") == models.list_models("resnest50d*")
    assert "resnest50" in models.list_models("resnest50d*")
    assert "resnest50d" in models.list_models("resnest50d*", aliases=True)
    assert models.list_models("vit*") == []


@pytest.mark.parametrize("name", SPELLINGS)
def test_is_found_under_every_spelling(name: str) -> None:
    for spelling in SPELLINGS[name]:
        assert models.get_config(spelling) == models.get_config(name), spelling


def test_every_spelling_is_found_and_listed_once() -> None:
    spellings = models.list_models(aliases=True)
    assert len(spellings) == len(set(spellings))
    for spelling in spellings:
        assert models.get_config(spelling) is not None


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("resnxt50_32x4d", "resnext50_32x4d"),
        ("ResNeXt50_32x4d", "resnext50_32x4d"),
        ("resnext50", "resnext50_32x4d"),
        ("resnest-50", "resnest_50"),
        ("resnest50e", "resnest50"),
        ("resnext101_32x9d", "resnext101_32x"),
    ],
)
def test_unknown_name_lists_close_ones(name: str, suggestion: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^create_model: name must be .*, got '{name}'; did you mean .*{suggestion}"
    ):
        models.create_model(name)


def test_unknown_name_without_close_ones_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 'qqq'$"):
        models.create_model("qqq")
    with pytest.raises(TypeError, match="create_model: name must be a string, got 50"):
        models.create_model(50)


def test_unknown_tag_lists_the_known_ones() -> None:
    message = r"^create_model: the tag of resnest50d must be one of in1k, got 'in22k'$"
    with pytest.raises(ValueError, match=message):
        models.create_model("resnest50d.in22k")
    with pytest.raises(ValueError, match="must be one of none, got 'in1k'"):
        models.create_model("resnext152_32x4d.in1k")


def test_overrides_change_the_config() -> None:
    model = models.create_model(
        "resnest14", num_classes=7, in_channels=1, stem_type=None, channels=[8, 8, 8, 8]
    )
    assert isinstance(model, ResNeSt)
    assert model.name == "resnest14"
    assert model.config == ResNeStConfig(
        (1, 1, 1, 1), num_classes=7, in_channels=1, stem_type=None, channels=(8, 8, 8, 8)
    )
    assert model.fc.weight.shape == (7, 32)
    assert model.conv1.weight.shape == (64, 1, 7, 7)


def test_overrides_of_what_the_name_says_are_refused() -> None:
    message = (
        r"^create_model: resnext_50_32x4d fixes cardinality=32; "
        r"for another network pass ResNeXtConfig to ResNeXt$"
    )
    with pytest.raises(TypeError, match=message):
        models.create_model("resnext_50_32x4d", cardinality=8)
    for name in ("layers", "base_width", "stem_width", "cardinality", "radix", "avd", "avd_first"):
        with pytest.raises(TypeError, match=f"fixes {name}="):
            models.create_model("resnest50", **{name: 1})


def test_unknown_overrides_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^create_model: overrides must be among layers, .*, got 'pretrained'$"
    ):
        models.create_model("resnext50_32x4d", pretrained=True)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be greater than 0, got 0"):
        models.create_model("resnext50_32x4d", num_classes=0)
    with pytest.raises(TypeError, match="in_channels must be an integer, got nan"):
        models.create_model("resnext50_32x4d", in_channels=float("nan"))


def test_a_preset_is_not_changed_by_its_users() -> None:
    models.get_config("resnext50_32x4d").block_args["dilation"] = 2
    assert models.get_config("resnext50_32x4d").block_args == {}


def test_presets_are_functions_too() -> None:
    make: Any = models.resnest_14
    model = make(num_classes=3, channels=(8, 8, 8, 8))
    assert isinstance(model, ResNeSt)
    assert model.config.num_classes == 3
    with pytest.raises(AttributeError, match="resnext51"):
        _ = models.resnext51


def test_registering_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="register: the name must be new, got 'resnest50d' of resnest50"):
        register(Preset("resnest50d", ResNeStConfig((1, 1, 1, 1))))


def test_families_differ_only_where_published() -> None:
    """50d is 50 with ResNet-D's stem and shortcut; a fast network has the mean before its 3x3."""
    plain = models.get_config("resnext50_32x4d")
    assert isinstance(plain, ResNeXtConfig)
    assert models.get_config("resnext50d_32x4d") == dataclasses.replace(
        plain, stem_type="deep", stem_width=32, avg_down=True
    )
    whole = models.get_config("resnest50")
    assert isinstance(whole, ResNeStConfig)
    assert models.get_config("resnest50_fast_2s1x64d") == dataclasses.replace(whole, avd_first=True)
    assert all(
        config.avg_down and config.stem_type == "deep"
        for config in map(models.get_config, PUBLISHED)
        if isinstance(config, ResNeStConfig)
    )


def test_building_for_weights_does_not_draw_numbers() -> None:
    start = time.perf_counter()
    model = build(models.get_config("resnext101_32x48d"), initialize=False)
    assert isinstance(model, ResNeXt)
    # Drawing 828 million numbers takes seconds; a tenth of that is ample for a slow machine.
    assert time.perf_counter() - start < 1.0
    np.testing.assert_array_equal(model.bn1.running_var.numpy(), 1)
