"""The handwritten digits that the shipped models know: data, split, preprocessing, architectures.

The images are scikit-learn's ``load_digits``: 1797 digits of 13 writers, 8x8 pixels in 17 levels, which is
the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine
Learning Repository, https://archive.ics.uci.edu/dataset/80), licensed CC BY 4.0. It was preferred to MNIST,
whose CC BY-SA 3.0 would bind whoever redistributes the sample images to share alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid.data import Preprocessing
from lucid.models.registry import Preset, register
from lucid.models.resnest import ResNeStConfig
from lucid.models.resnext import ResNeXtConfig

__all__ = [
    "CONFIGS",
    "DATA_LICENSE",
    "LABELS",
    "PREPROCESSING",
    "as_pixels",
    "held_out",
    "sample_images",
]

DATA_LICENSE = (
    "Weights Apache-2.0. Training data: Optical Recognition of Handwritten Digits, E. Alpaydin and "
    "C. Kaynak, UCI Machine Learning Repository, CC BY 4.0"
)

LABELS = tuple("0123456789")

# 32 pixels: the networks halve the image five times, and 8x8 digits hold no more detail than that.
PREPROCESSING = Preprocessing(size=32, resize=32, interpolation="bilinear", mean=(0.5,), std=(0.5,))

# One block a stage is enough for digits, and keeps each file below 2 MB.
CONFIGS: dict[str, ResNeXtConfig | ResNeStConfig] = {
    "resnext_digits": ResNeXtConfig(
        layers=(1, 1, 1, 1),
        cardinality=8,
        base_width=16,
        num_classes=10,
        in_channels=1,
        channels=(16, 32, 64, 96),
    ),
    "resnest_digits": ResNeStConfig(
        layers=(1, 1, 1, 1),
        num_classes=10,
        in_channels=1,
        stem_width=16,
        channels=(16, 32, 64, 96),
    ),
}

register(*(Preset(name, config, preprocessing=PREPROCESSING) for name, config in CONFIGS.items()))


def as_pixels(images: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The data set's levels 0..16 (ink) as 8-bit pixels 0..255, white ink on black."""
    return np.rint(images * (255 / 16)).astype(np.uint8)


def held_out(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the third of the images that no training saw: a third of each digit, by a fixed seed.

    ``RandomState`` because NumPy promises that its stream never changes.
    """
    random = np.random.RandomState(0)
    mask = np.zeros(len(labels), dtype=np.bool_)
    for digit in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == digit))
        mask[members[: round(len(members) / 3)]] = True
    return mask


def sample_images() -> list[tuple[Path, int]]:
    """Ten digits of the held-out part that ship as 8x8 PNG files, each with its true label.

    They are the first held-out image of each digit, not chosen by how well they are recognised. A file's name
    is its label and its index in the data set: ``7-0042.png``.
    """
    paths = sorted((Path(__file__).parent / "digits").glob("?-????.png"))
    return [(path, int(path.name[0])) for path in paths]
