"""config.json beside a weight file, as timm and transformers write it: used, or warned about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest

from lucid.models import (
    Preprocessing,
    ResNeSt,
    ResNeStConfig,
    create_from_file,
    load_weights,
    preprocessing,
    read_metadata,
    registry,
)
from lucid.models.registry import Preset, build, register

CONFIG = ResNeStConfig((1, 1, 1, 1), num_classes=3, stem_width=8, channels=(8, 8, 8, 8))
NAME = "narrow_resnest"
LABELS = ["cat", "dog", "rabbit"]
TIMM: dict[str, Any] = {
    "architecture": NAME,
    "num_classes": 3,
    "pretrained_cfg": {
        "input_size": [3, 96, 96],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "num_classes": 1000,
        "label_names": LABELS,
    },
}
WANTED = Preprocessing(96, 106, "bicubic", (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(autouse=True)
def _narrow_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more preset, for a test only: the others are large."""
    for table in ("_presets", "_spellings"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    register(Preset(NAME, ResNeStConfig((1, 1, 1, 1), stem_width=8, channels=(8, 8, 8, 8))))


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder as timm's ``save_for_hf`` leaves it: tensors without metadata, and the config."""
    from safetensors.numpy import save_file

    model = ResNeSt(CONFIG)
    state = networks.randomize(model, rng)
    save_file(
        {name: np.ascontiguousarray(array) for name, array in state.items()}, tmp_path / "model.safetensors"
    )
    write(tmp_path, TIMM)
    return tmp_path


def write(folder: Path, values: Any) -> None:
    (folder / "config.json").write_text(json.dumps(values))


def test_everything_is_used(folder: Path) -> None:
    metadata = read_metadata(folder / "model.safetensors")
    assert (metadata.model, metadata.config) == (NAME, CONFIG)
    assert metadata.labels == tuple(LABELS)
    assert metadata.preprocessing == WANTED
    assert preprocessing(NAME, folder / "model.safetensors") == WANTED
    assert load_weights(build(CONFIG), folder / "model.safetensors") == metadata


def test_the_folder_stands_for_its_file(folder: Path) -> None:
    assert create_from_file(folder).config == CONFIG


def test_sizes_of_evaluation_go_first(folder: Path) -> None:
    settings = TIMM["pretrained_cfg"] | {"test_input_size": [3, 128, 128], "test_crop_pct": 1.0}
    write(folder, TIMM | {"pretrained_cfg": settings})
    found = read_metadata(folder).preprocessing
    assert found is not None
    assert (found.size, found.resize) == (128, 128)


def test_flat_configs_and_labels_of_transformers_are_read(folder: Path) -> None:
    numbered = {"id2label": {"2": "rabbit", "0": "cat", "1": "dog"}}
    flat = {"architecture": NAME, **TIMM["pretrained_cfg"], "num_classes": 3, "label_names": None}
    write(folder, flat | numbered)
    metadata = read_metadata(folder)
    assert metadata.labels == tuple(LABELS)
    assert metadata.preprocessing == WANTED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "vit_tiny"}, "architecture is not used: 'vit_tiny' is not among"),
        ({"num_classes": 7}, "num_classes is not used: 7, where the tensors have 3"),
        ({"label_names": ["a"], "pretrained_cfg": {}}, "label_names is not used: 1 for 3 classes"),
        (
            {"label_names": "abc", "pretrained_cfg": {}},
            "label_names is not used: it must be a list of strings",
        ),
        ({"model_args": {"depth": 3}}, "model_args is not used"),
        ({"pretrained_cfg": {"crop_mode": "squash", "crop_pct": 1.0}}, "with crop_mode 'squash'"),
        ({"pretrained_cfg": {"input_size": [3, 96, 64]}}, "the preparation of images is not used: 96x64"),
        ({"pretrained_cfg": {"input_size": 96}}, "is not used"),
        ({"pretrained_cfg": {"interpolation": "cubic"}}, "the preparation of images is not used"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_warned_about(folder: Path, change: dict[str, Any], message: str) -> None:
    write(folder, TIMM | change)
    with pytest.warns(UserWarning, match=message):
        read_metadata(folder / "model.safetensors")


def test_damaged_configs_are_warned_about_and_foreign_ones_ignored(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.warns(UserWarning, match=r"config.json: it is not used: "):
        read_metadata(folder / "model.safetensors")
    for foreign in ({"lr": 0.1}, [1, 2], 3):
        write(folder, foreign)
        assert read_metadata(folder / "model.safetensors").labels is None
