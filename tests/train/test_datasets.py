"""Folders of classes: the split into two parts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucid.train.datasets import labelled_folder, readable, split


def write(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (2, 2)).save(root / name / f"{number:03}.png")
    return root


def test_split_takes_a_share_of_each_class(tmp_path: Path) -> None:
    images = labelled_folder(write(tmp_path, a=20, b=7, c=2))
    trained, held_out = split(images, 0.25, seed=3)
    assert np.bincount(held_out.labels).tolist() == [5, 2, 1]
    assert sorted(trained.samples + held_out.samples) == images.samples
    assert split(images, 0.25, seed=3)[1].samples == held_out.samples
    assert split(images, 0.25, seed=4)[1].samples != held_out.samples
    assert np.bincount(split(images, 0.99, seed=3)[0].labels).tolist() == [1, 1, 1]
    assert len(images) == 29


def test_what_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    images = labelled_folder(write(tmp_path, a=3, b=2))
    cut = tmp_path / "a" / "001.png"
    cut.write_bytes(cut.read_bytes()[:45])
    seen: list[int] = []
    whole, reasons = readable(images, seen.append)
    assert whole.samples == [sample for sample in images.samples if sample[0] != cut]
    assert len(seen) == 5
    assert len(reasons) == 1
    assert reasons[0].startswith(str(cut))
    assert len(images) == 5


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    images = labelled_folder(write(tmp_path, a=3, b=1))
    with pytest.raises(ValueError, match=r"split: each class must have two images, .* got 1 of 'b' in "):
        split(images, 0.5, seed=0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="split: share must be above 0 and below 1"):
            split(images, share, seed=0)


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labelled_folder: .* must hold two classes or more, got 'a' alone"):
        labelled_folder(write(tmp_path, a=3))
