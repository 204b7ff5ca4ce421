"""The shipped models: as accurate as they say on digits that no training saw, and equal to PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import lucid
from lucid.data import load_image
from lucid.models import create_from_file, create_model, preprocessing, read_metadata
from lucid.models.pretrained import list_pretrained, pretrained_path
from lucid.models.pretrained.digits import CONFIGS, LABELS, PREPROCESSING, as_pixels, held_out, sample_images

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
    assert accuracy >= 0.97
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


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_logits_are_those_of_the_network_that_was_trained(
    name: str, held_out_digits: tuple[Array, Array, Array]
) -> None:
    torch = pytest.importorskip("torch", reason="the models were trained with PyTorch")
    pytest.importorskip("timm", reason="the models were trained as timm's networks")
    from safetensors.torch import load_file

    from lucid.models.pretrained.train_digits import build

    images = inputs(held_out_digits[0][:64])
    network = build(CONFIGS[name]).eval()
    network.load_state_dict(load_file(pretrained_path(name)), strict=True)
    with torch.inference_mode():
        want = network(torch.from_numpy(images)).numpy()
    got = create_model(name, weights="pretrained").eval()(lucid.tensor(images)).numpy()
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_training_runs_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("torch", "timm", "sklearn"):
        pytest.importorskip(module, reason="training needs PyTorch, timm and scikit-learn")
    import torch

    from lucid.models.pretrained.train_digits import main

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for layers this small, more only wait for each other
    try:
        main(["--epochs", "1", "--output", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out.count("held-out digits") == 2
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == [
        p.name for p, _ in sample_images()
    ]
    for name, config in CONFIGS.items():
        metadata = read_metadata(tmp_path / f"{name}.safetensors")
        assert (metadata.model, metadata.config) == (name, config)
