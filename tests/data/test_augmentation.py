"""Augmentation and mixtures: shapes, bounds, what a seed decides, and what labels become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lucid.data import Augmentation, Preprocessing, cutmix, mixup, one_hot, rand_augment, random_resized_crop

SMALL = Preprocessing(size=16, resize=16)


def gradient(width: int, height: int, channels: int = 3) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    planes = np.stack([x, y, 0 * x], -1).astype(np.uint8)
    return Image.fromarray(planes if channels == 3 else planes[..., 0])


def test_a_seed_decides_on_the_view() -> None:
    image, augment = gradient(40, 30), Augmentation(SMALL, operations=2)
    views = [augment(image, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == (3, 16, 16)
    assert views[0].dtype == np.float32
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_without_chances_it_is_a_resize() -> None:
    image = gradient(16, 16)
    view = Augmentation(SMALL, scale=(1, 1), ratio=(1, 1), flip=0)(image, np.random.default_rng(0))
    assert np.array_equal(view, SMALL(image))
    mirrored = Augmentation(SMALL, scale=(1, 1), ratio=(1, 1), flip=1)(image, np.random.default_rng(0))
    assert np.array_equal(mirrored, SMALL(image)[:, :, ::-1])


def test_greyscale_stays_greyscale() -> None:
    grey = Preprocessing(size=8, resize=8, mean=(0.5,), std=(0.5,))
    view = Augmentation(grey, operations=5)(gradient(20, 20), np.random.default_rng(0))
    assert view.shape == (1, 8, 8)
    assert np.abs(view).max() <= 1


def test_crops_keep_their_bounds(rng: np.random.Generator) -> None:
    """The part that a crop covers is read from the colours, which are places."""
    image, areas, middles = gradient(256, 256), [], []
    for _ in range(300):
        crop = np.asarray(random_resized_crop(image, 64, rng, (0.2, 0.5), (0.8, 1.25)), np.float64)
        width, height = (np.ptp(crop[..., axis]) / 255 * 64 / 63 for axis in (0, 1))
        areas.append(width * height)
        assert 0.7 < width / height < 1.4
        middles.append(crop[32, 32, :2])
    assert 0.17 < min(areas) < 0.23
    assert 0.45 < max(areas) < 0.56
    assert np.ptp(middles, axis=0).min() > 90  # from everywhere


@pytest.mark.parametrize("size", [(400, 4), (4, 400), (1, 1)])
def test_strips_give_their_middle(size: tuple[int, int], rng: np.random.Generator) -> None:
    crop = random_resized_crop(gradient(*size), 12, rng, (0.9, 1.0), (0.9, 1.1))
    assert crop.size == (12, 12)
    if size != (1, 1):
        along = 0 if size[0] > size[1] else 1
        assert np.ptp(np.asarray(crop, np.float64)[..., along]) < 10


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_operation_runs_at_every_strength(mode: str) -> None:
    image = gradient(24, 20, 3 if mode == "RGB" else 1)
    changed = 0
    for seed in range(120):
        for magnitude in (0.0, 5.0, 10.0):
            view = rand_augment(image, np.random.default_rng(seed), 1, magnitude)
            assert (view.mode, view.size) == (mode, image.size)
            changed += magnitude > 0 and not np.array_equal(np.asarray(view), np.asarray(image))
    assert changed > 120


def test_wrong_settings_are_refused() -> None:
    options: list[tuple[Any, str]] = [
        ({"scale": (0.5, 0.2)}, "scale must be two positive numbers in order, got 0.5 and 0.2"),
        ({"scale": (0.5, 1.2)}, "scale must be"),
        ({"ratio": (0, 1)}, "ratio must be"),
        ({"flip": 2}, "flip must be a probability, got 2"),
        ({"operations": -1}, "operations must not be negative"),
        ({"magnitude": 11}, "magnitude from 0 to 10, got 0 and 11"),
    ]
    for settings, said in options:
        with pytest.raises(ValueError, match=f"Augmentation: .*{said}"):
            Augmentation(**settings)


# ---- Mixtures


def batch(rng: np.random.Generator) -> tuple[Any, Any]:
    """Images that are one-hot over four channels, as their labels are over the classes."""
    labels = np.array([0, 1, 2, 3, 0, 1])
    images = np.broadcast_to(one_hot(labels, 4)[:, :, None, None], (6, 4, 10, 12)).astype(np.float32)
    return images, one_hot(labels, 4)


def test_one_hot_checks_its_labels() -> None:
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    for labels in ([3], [-1, 0]):
        with pytest.raises(ValueError, match="one_hot: labels must be from 0 to 2"):
            one_hot(np.array(labels), 3)


def test_mixup_adds_labels_as_images(rng: np.random.Generator) -> None:
    parts = []
    for _ in range(40):
        images, labels = mixup(*batch(rng), rng, alpha=1.0)
        assert images.dtype == labels.dtype == np.float32
        np.testing.assert_allclose(images[:, :, 3, 4], labels, atol=1e-6)
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
        parts.append(labels.max())
    assert np.ptp(parts) > 0.3


def test_cutmix_weighs_labels_by_area(rng: np.random.Generator) -> None:
    cut = 0
    for _ in range(40):
        images, labels = cutmix(*batch(rng), rng)
        np.testing.assert_allclose(images.mean((2, 3)), labels, atol=1e-6)
        assert set(np.unique(images)) <= {0, 1}
        cut += bool((images.min((2, 3)) != images.max((2, 3))).any())
    assert cut > 20
