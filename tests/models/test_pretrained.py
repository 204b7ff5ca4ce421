"""The shipped models: as accurate as they say on digits that no training saw, and equal to timm's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import lucid
from lucid.data import ImageFolder, load_image
from lucid.models import (
    ResNeStConfig,
    ResNeXtConfig,
    create_from_file,
    create_model,
    preprocessing,
    read_metadata,
)
from lucid.models.pretrained import list_pretrained, pretrained_path
from lucid.models.pretrained.digits import (
    CONFIGS,
    DATA_LICENSE,
    LABELS,
    PREPROCESSING,
    as_pixels,
    held_out,
    sample_images,
)

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def held_out_digits() -> tuple[Array, Array, Array]:
    """Pixels, labels and data-set indices of the third that was held out."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    data = datasets.load_digits()
    indices = np.flatnonzero(held_out(data.target))
    return as_pixels(data.images)[indices], data.target[indices], indices


def inputs(pixels: Array) -> Array:
    return np.stack([PREPROCESSING(Image.fromarray(image)) for image in pixels])


def test_what_ships() -> None:
    assert list_pretrained() == sorted(CONFIGS) == ["resnest_digits", "resnext_digits"]
    with pytest.raises(
        ValueError, match="weights ship for resnest_digits, resnext_digits only, got 'resnest50'"
    ):
        pretrained_path("resnest50")


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_file_says_what_it_is(name: str) -> None:
    path = pretrained_path(name)
    metadata = read_metadata(path)
    assert path.stat().st_size < 2_000_000
    assert (metadata.model, metadata.config) == (name, CONFIGS[name])
    assert (metadata.labels, metadata.preprocessing) == (LABELS, PREPROCESSING)
    assert metadata.license is not None
    assert "CC BY 4.0" in metadata.license
    assert preprocessing(name) == PREPROCESSING
    assert create_from_file(path).config == create_model(name, weights="pretrained").config


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_accuracy_on_the_held_out_third(
    isa: str, name: str, held_out_digits: tuple[Array, Array, Array]
) -> None:
    pixels, labels, _ = held_out_digits
    assert len(labels) == 599
    model = create_model(name, weights="pretrained").eval()
    predicted = np.argmax(model(lucid.tensor(inputs(pixels))).numpy(), axis=1)
    accuracy = float(np.mean(predicted == labels))
    assert accuracy >= 0.98
    # Kernels round differently on each machine, which may turn one image on the border.
    assert abs(accuracy - read_metadata(pretrained_path(name)).extra["accuracy"]) < 1.5 / len(labels)


def test_split_is_a_third_of_each_digit(held_out_digits: tuple[Array, Array, Array]) -> None:
    _, labels, indices = held_out_digits
    assert np.bincount(labels).min() >= 58
    assert indices[:5].tolist() == [
        3,
        5,
        7,
        13,
        16,
    ]  # must never change: the other two thirds were trained on


def test_sample_images_are_held_out(held_out_digits: tuple[Array, Array, Array]) -> None:
    pixels, labels, indices = held_out_digits
    assert [truth for _, truth in sample_images()] == list(range(10))
    for path, truth in sample_images():
        position = indices.tolist().index(int(path.stem.split("-")[1]))
        assert labels[position] == truth
        np.testing.assert_array_equal(np.asarray(load_image(path)), pixels[position])


def timms(config: ResNeXtConfig | ResNeStConfig) -> Any:
    """timm's network of the same architecture."""
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import Bottleneck, ResNet

    names = ("layers", "num_classes", "cardinality", "base_width", "stem_width", "avg_down", "channels")
    shared: dict[str, Any] = {name: getattr(config, name) for name in names}
    shared |= {"in_chans": config.in_channels, "stem_type": config.stem_type or ""}
    if isinstance(config, ResNeXtConfig):
        return ResNet(Bottleneck, **shared)
    attention = {name: getattr(config, name) for name in ("radix", "avd", "avd_first")}
    return ResNet(ResNestBottleneck, **shared, block_args=attention)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_logits_are_those_of_timms_network(name: str, held_out_digits: tuple[Array, Array, Array]) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    pytest.importorskip("timm", reason="compares with timm's networks")
    from safetensors.torch import load_file

    images = inputs(held_out_digits[0][:64])
    network = timms(CONFIGS[name]).eval()
    network.load_state_dict(load_file(pretrained_path(name)), strict=True)
    with torch.inference_mode():
        want = network(torch.from_numpy(images)).numpy()
    got = create_model(name, weights="pretrained").eval()(lucid.tensor(images)).numpy()
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_training_runs_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the script says, for an epoch of the fewer images."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    from lucid.cli.main import main as lucid_command
    from lucid.models.pretrained import train_digits

    monkeypatch.setattr(train_digits, "DRAWINGS", 1)
    train_digits.main(["write", str(tmp_path / "data")])
    assert len(ImageFolder(tmp_path / "data" / "train")) == 1198
    options = ["--val", "0", "--epochs", "1", "--batch-size", "64"]
    for name in CONFIGS:
        line = [str(tmp_path / "data" / "held_out"), "--model", name, "--out", str(tmp_path / name)]
        assert lucid_command(["train", *line, *options]) == 0
    weights = [str(tmp_path / name / "last.safetensors") for name in CONFIGS]
    capsys.readouterr()
    train_digits.main(["publish", *weights, "--output", str(tmp_path)])
    assert capsys.readouterr().out.count("of 599 held-out digits") == 2
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == [
        p.name for p, _ in sample_images()
    ]
    for name, config in CONFIGS.items():
        metadata = read_metadata(tmp_path / f"{name}.safetensors")
        assert (metadata.model, metadata.preprocessing) == (name, PREPROCESSING)
        assert (metadata.labels, metadata.license) == (LABELS, DATA_LICENSE)
        assert metadata.config == config
