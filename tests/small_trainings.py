"""A small training: coloured noise in two classes, and a network of both dropouts."""

from __future__ import annotations

from typing import Any

import numpy as np

import lucid
from lucid.communicator import Communicator, SingleProcess
from lucid.data import Loader
from lucid.models import ResNeSt, ResNeStConfig
from lucid.train import Recipe, Training


def items(count: int, classes: int = 2) -> list[tuple[Any, int]]:
    """Images (3, 33, 33) whose class is the channel that is brightest."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(count):
        image = rng.standard_normal((3, 33, 33)).astype(np.float32)
        image[number % classes] += 1.0
        found.append((image, number % classes))
    return found


def shaken(image: Any, rng: np.random.Generator) -> Any:
    return image + 0.1 * rng.standard_normal(image.shape).astype(np.float32)


RECIPE = Recipe(
    lr=0.05,
    reference_batch=0,
    schedule="cosine",
    warm_up=0.5,
    decay_vectors=False,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=1.0,
    average=0.9,
    clip_norm=2.0,
    accumulate=2,
)


def training(
    recipe: Recipe = RECIPE,
    count: int = 22,
    epochs: int = 2,
    batch_size: int = 4,
    communicator: Communicator | None = None,
) -> Training:
    """The same one each time: 6 batches of 4 (the last of 2), 3 steps an epoch."""
    processes = communicator or SingleProcess()
    lucid.random.seed(0)
    config = ResNeStConfig(
        (1, 1, 1, 1), num_classes=2, stem_width=8, channels=(8, 8, 8, 16), drop_path=0.2, dropout=0.2
    )
    loader = Loader(
        items(count),
        batch_size,
        shaken,
        shuffle=True,
        seed=3,
        num_replicas=processes.size,
        rank=processes.rank,
    )
    return Training(ResNeSt(config), loader, recipe, epochs, communicator)
