"""Configs: fields and defaults as documented, and every wrong value refused with a message that names it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from lucid.models import ResNeStConfig, ResNeXtConfig

FAMILIES = {
    ResNeXtConfig: {"layers": (1, 1, 1, 1), "cardinality": 4, "base_width": 16},
    ResNeStConfig: {"layers": (1, 1, 1, 1)},
}
NOT_INTEGERS: list[Any] = [True, np.bool_(True), 2.0, float("nan"), "2", None, [2], np.float32(2)]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


def make(family: Any, **changes: Any) -> Any:
    return family(**{**FAMILIES[family], **changes})


def test_resnext_fields_and_defaults_are_the_documented_ones() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(ResNeXtConfig)}
    assert list(fields) == [
        "layers", "cardinality", "base_width", "num_classes", "in_channels", "stem_width", "stem_type",
        "avg_down", "channels", "block_args", "drop_path", "dropout",
    ]  # fmt: skip
    config = ResNeXtConfig((3, 4, 6, 3), 32, 4)
    assert dataclasses.asdict(config) == {
        "layers": (3, 4, 6, 3), "cardinality": 32, "base_width": 4, "num_classes": 1000, "in_channels": 3,
        "stem_width": 64, "stem_type": None, "avg_down": False, "channels": (64, 128, 256, 512),
        "block_args": {}, "drop_path": 0.0, "dropout": 0.0,
    }  # fmt: skip


def test_resnest_fields_and_defaults_start_as_the_documented_constructor() -> None:
    config = ResNeStConfig((3, 4, 6, 3))
    assert dataclasses.asdict(config) == {
        "layers": (3, 4, 6, 3), "num_classes": 1000, "base_width": 64, "stem_width": 32, "cardinality": 1,
        "radix": 2, "avd": True, "avd_first": False, "in_channels": 3, "stem_type": "deep", "avg_down": True,
        "channels": (64, 128, 256, 512), "block_args": {}, "drop_path": 0.0, "dropout": 0.0,
    }  # fmt: skip
    assert list(dataclasses.asdict(config))[:8] == [
        "layers", "num_classes", "base_width", "stem_width", "cardinality", "radix", "avd", "avd_first",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["cardinality", "base_width", "num_classes", "in_channels", "stem_width"])
def test_rejects_numbers_that_are_not_positive_integers(family: Any, name: str) -> None:
    for value in (0, -1, -(2**70)):
        with pytest.raises(
            ValueError, match=rf"^{family.__name__}: {name} must be greater than 0, got {value}$"
        ):
            make(family, **{name: value})
    for value in NOT_INTEGERS:
        with pytest.raises(TypeError, match=rf"^{family.__name__}: {name} must be an integer, got "):
            make(family, **{name: value})


@pytest.mark.parametrize(
    ("name", "what"), [("layers", "stage depths"), ("channels", "stage widths")], ids=["layers", "channels"]
)
def test_rejects_anything_but_four_positive_integers(family: Any, name: str, what: str) -> None:
    for value in ((), (64, 64, 64), (64,) * 5):
        with pytest.raises(
            ValueError, match=rf"^{family.__name__}: {name} must contain exactly 4 {what}, got {len(value)}: "
        ):
            make(family, **{name: value})
    for value in ((64, 0, 64, 64), (64, 64, 64, -1)):
        with pytest.raises(
            ValueError, match=rf"^{family.__name__}: {name} must contain positive integers, got "
        ):
            make(family, **{name: value})
    for wrong in NOT_INTEGERS:
        with pytest.raises(TypeError, match=rf"^{family.__name__}: {name}\[2\] must be an integer, got "):
            make(family, **{name: (64, 64, wrong, 64)})
    for wrong in (3, None, "3463", b"3463", float("nan")):
        with pytest.raises(
            TypeError, match=rf"^{family.__name__}: {name} must be a sequence of 4 integers, got "
        ):
            make(family, **{name: wrong})


def test_rejects_other_stems(family: Any) -> None:
    for value in ("", "Deep", "tiered", 0, False, float("nan")):
        with pytest.raises(ValueError, match=rf"^{family.__name__}: stem_type must be None or 'deep', got "):
            make(family, stem_type=value)


def test_rejects_flags_that_are_no_bool(family: Any) -> None:
    names = ["avg_down"] + ["avd", "avd_first"] * (family is ResNeStConfig)
    for name in names:
        for value in (1, 0, None, "yes", float("nan")):
            with pytest.raises(TypeError, match=rf"^{family.__name__}: {name} must be True or False, got "):
                make(family, **{name: value})


@pytest.mark.parametrize("name", ["drop_path", "dropout"])
def test_rejects_what_is_no_probability(family: Any, name: str) -> None:
    for value in (-0.1, 1.0, 2, float("nan")):
        with pytest.raises(ValueError, match=rf"^{family.__name__}: {name} must be at least 0 and below 1"):
            make(family, **{name: value})
    for value in (None, "0.1", True):
        with pytest.raises(TypeError, match=rf"^{family.__name__}: {name} must be a number, got "):
            make(family, **{name: value})


def test_rejects_block_args_that_are_no_dictionary(family: Any) -> None:
    for value in (None, [], (("dilation", 2),), "dilation"):
        with pytest.raises(TypeError, match=rf"^{family.__name__}: block_args must be a dictionary, got "):
            make(family, block_args=value)
    with pytest.raises(TypeError, match=rf"^{family.__name__}: block_args must have names as keys, got 3$"):
        make(family, block_args={3: 4})


def test_rejects_block_args_that_contradict_fields(family: Any) -> None:
    fields = ["cardinality", "base_width"] + ["radix", "avd", "avd_first"] * (family is ResNeStConfig)
    for name in fields:
        with pytest.raises(
            ValueError,
            match=rf"^{family.__name__}: block_args must not contain '{name}': set the config field",
        ):
            make(family, block_args={name: 2})
    for name in ("in_channels", "channels", "stride", "downsample"):
        with pytest.raises(
            ValueError, match=rf"^{family.__name__}: block_args must not contain '{name}': each stage sets it"
        ):
            make(family, block_args={name: 2})


def test_rejects_widths_of_zero(family: Any) -> None:
    message = (
        rf"^{family.__name__}: base_width must give each group at least one channel: .* is 0 for channels 15 "
        "and base_width 4$"
    )
    with pytest.raises(ValueError, match=message):
        make(family, base_width=4, channels=(16, 32, 15, 64))
    assert make(family, base_width=4, channels=(16, 16, 16, 16)).base_width == 4


def test_resnest_rejects_radix_below_zero_and_takes_zero() -> None:
    assert make(ResNeStConfig, radix=0).radix == 0
    with pytest.raises(ValueError, match=r"^ResNeStConfig: radix must not be negative, got -1$"):
        make(ResNeStConfig, radix=-1)
    for value in NOT_INTEGERS:
        with pytest.raises(TypeError, match=r"^ResNeStConfig: radix must be an integer, got "):
            make(ResNeStConfig, radix=value)


def test_normalises_sequences_and_numpy_integers(family: Any) -> None:
    config = make(family, layers=np.array([1, 2, 3, 4]), num_classes=np.int64(7), channels=[64, 64, 64, 64])
    assert config.layers == (1, 2, 3, 4)
    assert config.channels == (64, 64, 64, 64)
    assert type(config.num_classes) is int
    assert all(type(depth) is int for depth in config.layers)


def test_is_frozen_and_keeps_its_own_block_args(family: Any) -> None:
    arguments = {"dilation": 2}
    config = make(family, block_args=arguments)
    arguments["dilation"] = 3
    assert config.block_args == {"dilation": 2}
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.cardinality = 0
    assert hash(config) == hash(make(family, block_args={"dilation": 2}))
    assert config == make(family, block_args={"dilation": 2})


def test_replace_checks_again(family: Any) -> None:
    with pytest.raises(ValueError, match="num_classes must be greater than 0"):
        dataclasses.replace(make(family), num_classes=0)


def test_survives_json(family: Any) -> None:
    config = make(family, num_classes=7, avg_down=True, block_args={"dilation": 2})
    assert family.from_dict(json.loads(json.dumps(config.to_dict()))) == config
