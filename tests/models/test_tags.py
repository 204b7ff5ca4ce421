"""The table of published weights: what each tag is evaluated with, and its licence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lucid import models
from lucid.models import Preprocessing, list_tags, preprocessing, save_weights
from lucid.models.tags import TAGS, identify

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Size, resize and interpolation at evaluation.
EVALUATION = {
    "resnext50_32x4d.tv_in1k": (224, 256, "bilinear"),
    "resnext101_32x8d.tv_in1k": (224, 256, "bilinear"),
    "resnext50_32x4d.tv2_in1k": (224, 232, "bilinear"),
    "resnext101_32x8d.tv2_in1k": (224, 232, "bilinear"),
    "resnext101_64x4d.tv_in1k": (224, 232, "bilinear"),
    "resnext50_32x4d.a1_in1k": (288, 288, "bicubic"),
    "resnext50_32x4d.a1h_in1k": (288, 288, "bicubic"),
    "resnext50_32x4d.a2_in1k": (288, 288, "bicubic"),
    "resnext101_64x4d.c1_in1k": (288, 288, "bicubic"),
    "resnext50_32x4d.a3_in1k": (224, 235, "bicubic"),
    "resnext50_32x4d.ra_in1k": (288, 303, "bicubic"),
    "resnext50d_32x4d.bt_in1k": (288, 303, "bicubic"),
    "resnext50_32x4d.gluon_in1k": (224, 256, "bicubic"),
    "resnext101_32x4d.gluon_in1k": (224, 256, "bicubic"),
    "resnext101_64x4d.gluon_in1k": (224, 256, "bicubic"),
    "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k": (224, 256, "bilinear"),
    "resnext101_32x16d.fb_swsl_ig1b_ft_in1k": (224, 256, "bilinear"),
    "resnext101_32x48d.fb_wsl_ig1b_ft_in1k": (224, 256, "bilinear"),
    "resnest14d.gluon_in1k": (224, 256, "bilinear"),
    "resnest26d.gluon_in1k": (224, 256, "bilinear"),
    "resnest50d.in1k": (224, 256, "bilinear"),
    "resnest101e.in1k": (256, 292, "bilinear"),
    "resnest200e.in1k": (320, 352, "bicubic"),
    "resnest269e.in1k": (416, 448, "bicubic"),
    "resnest50d_4s2x40d.in1k": (224, 256, "bicubic"),
    "resnest50d_1s4x24d.in1k": (224, 256, "bicubic"),
    "resnest50_fast_2s1x64d.in1k": (224, 256, "bicubic"),
}


@pytest.mark.parametrize("name", EVALUATION)
def test_preprocessing_of_a_tag(name: str) -> None:
    size, resize, interpolation = EVALUATION[name]
    assert preprocessing(name) == Preprocessing(size, resize, interpolation, MEAN, STD)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("resnext50_32x4d", "resnext50_32x4d.tv_in1k"),
        ("resnext101_32x4d", "resnext101_32x4d.gluon_in1k"),
        ("resnext101_64x4d", "resnext101_64x4d.tv_in1k"),
        ("resnext152_32x4d", "resnext50_32x4d.tv_in1k"),
        ("resnest101", "resnest101e.in1k"),
        ("resnest_269", "resnest269e.in1k"),
    ],
)
def test_preprocessing_of_a_name_is_that_of_its_first_tag(name: str, like: str) -> None:
    assert preprocessing(name) == preprocessing(like)


def test_preprocessing_of_the_shipped_models() -> None:
    shipped = preprocessing("resnext_digits", weights="pretrained")
    assert shipped == preprocessing("resnext_digits")
    assert shipped.channels == 1


def test_weights_decide_over_the_name(tmp_path: Path) -> None:
    assert preprocessing("resnext50_32x4d.tv_in1k", "hub:timm/resnext50_32x4d.a1_in1k").size == 288
    assert preprocessing("resnext50_32x4d", "resnext50_32x4d.a3_in1k").resize == 235
    model = models.create_model("resnest14", channels=(8, 8, 8, 8))
    own = Preprocessing(64, 64, "nearest")
    save_weights(model, tmp_path / "own.safetensors", {"preprocessing": own})
    assert preprocessing("resnest14", tmp_path / "own.safetensors") == own
    save_weights(model, tmp_path / "silent.safetensors")
    assert preprocessing("resnest14", tmp_path / "silent.safetensors") == preprocessing("resnest14")


def test_every_preset_has_a_preprocessing_for_its_channels() -> None:
    for name in models.list_models():
        assert preprocessing(name).channels == models.get_config(name).in_channels


def test_tags_lead_to_presets_and_differ() -> None:
    names = models.list_models()
    assert {entry.model for entry in TAGS} <= set(names)
    assert len({(entry.model, entry.tag) for entry in TAGS}) == len(TAGS)
    for known in ("hub", "origin"):
        values = [getattr(entry, known) for entry in TAGS if getattr(entry, known) is not None]
        assert len(set(values)) == len(values)
    assert all(entry.hub or entry.origin for entry in TAGS)


def test_licences() -> None:
    licenses = {entry.tag: entry.license for entry in list_tags("resnext101_32x8d")}
    assert licenses == {
        "tv_in1k": "BSD-3-Clause",
        "tv2_in1k": "BSD-3-Clause",
        "fb_swsl_ig1b_ft_in1k": "CC-BY-NC-4.0",
        "fb_ssl_yfcc100m_ft_in1k": "CC-BY-NC-4.0",
        "fb_wsl_ig1b_ft_in1k": "CC-BY-NC-4.0",
    }
    assert {entry.license for entry in TAGS if entry.tag.startswith("fb_")} == {"CC-BY-NC-4.0"}
    assert {entry.license for entry in TAGS if entry.model.startswith("resnest")} == {"Apache-2.0"}
    assert list_tags("resnext152_64x4d") == []


@pytest.mark.parametrize(
    ("source", "tag"),
    [
        ("hub:timm/resnest50d.in1k", "in1k"),
        ("hub:timm/resnest50d.in1k@main/model.safetensors", "in1k"),
        ("weights/resnext50_32x4d-7cdf4587.pth", "tv_in1k"),
        ("ig_resnext101_32x8-c38310e5.pth", "fb_wsl_ig1b_ft_in1k"),
        ("semi_weakly_supervised_resnext50_32x4-72679e44.pth", "fb_swsl_ig1b_ft_in1k"),
        ("semi_supervised_resnext101_32x16-15fffa57.pth", "fb_ssl_yfcc100m_ft_in1k"),
        ("resnest50_fast_1s4x24d-d4a4f76f.pth", "in1k"),
        ("resnext50_32x4d.a1_in1k.safetensors", "a1_in1k"),
        ("models--timm--resnext50_32x4d.a1_in1k/snapshots/0/model.safetensors", "a1_in1k"),
        ("hub:someone/resnest50d.in1k", None),
        ("model.safetensors", None),
    ],
)
def test_files_are_known_by_their_names(source: str, tag: str | None) -> None:
    found = identify(source)
    assert (found.tag if found else None) == tag


def test_agrees_with_timm() -> None:
    """Wherever timm has the tag: repository, licence, sizes (timm rounds down) and interpolation."""
    timm = pytest.importorskip("timm", reason="the comparison needs timm")
    for entry in TAGS:
        if entry.hub is None:
            continue
        name = entry.hub.removeprefix("timm/")
        config = timm.get_pretrained_cfg(name)
        if config is None:  # weights of a network that timm does not build
            assert entry.model == "resnext101_32x48d"
            continue
        assert config.license.lower() == entry.license.lower(), name
        size = (config.test_input_size or config.input_size)[1]
        prepare = entry.preprocessing
        assert (prepare.size, prepare.interpolation) == (size, config.interpolation), name
        np.testing.assert_allclose([prepare.mean, prepare.std], [config.mean, config.std])
        if name == "resnext101_64x4d.tv_in1k":
            continue  # torchvision, whose weights they are, resizes to 232; timm says 256
        assert prepare.resize == math.floor(size / (config.test_crop_pct or config.crop_pct)), name
        if config.url:
            assert entry.origin is not None
            assert entry.origin.rpartition("/")[2] == config.url.rpartition("/")[2], name


def test_agrees_with_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    tags = {"IMAGENET1K_V1": "tv_in1k", "IMAGENET1K_V2": "tv2_in1k"}
    for name in ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"):
        for weights in torchvision.models.get_model_weights(name):
            transform = weights.transforms()
            prepare = preprocessing(f"{name}.{tags[weights.name]}")
            assert [prepare.size] == transform.crop_size
            assert [prepare.resize] == transform.resize_size
            assert prepare.interpolation == transform.interpolation.value
            entry = next(e for e in list_tags(name) if e.tag == tags[weights.name])
            assert entry.origin == weights.url
