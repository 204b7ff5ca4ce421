"""The images to train on and those to evaluate on, from folders of classes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

import numpy as np

from lucid.communicator import Communicator, SingleProcess, share
from lucid.data import ImageFolder
from lucid.data.image_file import complaint, load_image

__all__ = ["digest", "labelled_folder", "part_of", "readable", "split"]


def labelled_folder(root: str | PathLike[str], classes: Sequence[str] | None = None) -> ImageFolder:
    """A folder whose images can be told apart: of two classes at least.

    Raises:
        FileNotFoundError, ValueError: As for ``ImageFolder``; or there is one class alone.
    """
    found = ImageFolder(root, classes)
    if len(found.classes) < 2:
        raise ValueError(
            f"labelled_folder: {root} must hold two classes or more, got {found.classes[0]!r} alone"
        )
    return found


def readable(
    dataset: ImageFolder, seen: Callable[[int], None], communicator: Communicator | None = None
) -> tuple[ImageFolder, list[str]]:
    """The images of a data set that can be decoded, and why each of the others cannot.

    A file that is cut off would otherwise end a training after hours. It takes a few milliseconds an image,
    of which a step on a CPU takes a hundred.

    Args:
        dataset: The images.
        seen: Called with the number of images after each step.
        communicator: That of processes that call this with the same images, of which each decodes a part.
    """
    processes = communicator or SingleProcess()

    def reason(sample: tuple[Path, int]) -> str | None:
        try:
            load_image(sample[0])
        except Exception as error:  # whatever a decoder may raise
            return complaint(error)
        return None

    own = dataset.samples[share(len(dataset), processes.rank, processes.size)]
    reasons: list[str | None] = []
    with ThreadPoolExecutor() as pool:  # decoders let go of the interpreter
        for found in pool.map(reason, own):
            reasons.append(found)
            seen(processes.size)
    reasons = [found for part in processes.all_gather(reasons) for found in part]
    whole = np.array([found is None for found in reasons], bool)
    return _part(dataset, whole), [found for found in reasons if found is not None]


def split(dataset: ImageFolder, share: float, seed: int) -> tuple[ImageFolder, ImageFolder]:
    """Two parts of a data set: the rest, and ``share`` of each class, at least an image, drawn by the seed.

    Raises:
        ValueError: ``share`` is not between 0 and 1, or a class has one image alone.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"split: share must be above 0 and below 1, got {share}")
    labels, rng = np.array(dataset.labels), np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label, name in enumerate(dataset.classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise ValueError(
                f"split: each class must have two images, one to evaluate on, got {len(members)} of "
                f"{name!r} in {Path(dataset.root)}"
            )
        chosen[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return _part(dataset, ~chosen), _part(dataset, chosen)


def part_of(dataset: ImageFolder, communicator: Communicator) -> ImageFolder:
    """The images of a data set that this process evaluates on, perhaps none."""
    part = copy.copy(dataset)
    part.samples = dataset.samples[share(len(dataset), communicator.rank, communicator.size)]
    return part


def digest(dataset: ImageFolder) -> str:
    """A number that tells whether a data set has the same files, by name, in the same order and classes."""
    names = [f"{path.relative_to(dataset.root).as_posix()}\0{label}\n" for path, label in dataset.samples]
    return hashlib.sha256("".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def _part(dataset: ImageFolder, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ImageFolder:
    part = copy.copy(dataset)
    part.samples = [sample for sample, is_chosen in zip(dataset.samples, chosen, strict=True) if is_chosen]
    return part
