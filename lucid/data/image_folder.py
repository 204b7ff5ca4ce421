"""A labelled set of images: a folder with a subfolder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lucid.data.folder import find_images
from lucid.data.image_file import load_image

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFolder"]


class ImageFolder:
    """Images in ``root/class/.../image``, in the order of their paths; an item is an image and its class.

    Args:
        root: The folder.
        classes: Names of the classes, whose places are the labels; those of another set, so that both agree.
            By default the subfolders' names, sorted.

    Attributes:
        root: The folder.
        classes: Names of the classes.
        samples: The path and the label of each image.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has no subfolders, or one of them holds no images, or is none of ``classes``.
    """

    def __init__(self, root: str | PathLike[str], classes: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"ImageFolder: root must be a folder, got {os.fspath(root)!r}")
        found = sorted(each.name for each in self.root.iterdir() if each.is_dir() and each.name[0] != ".")
        if not found:
            raise ValueError(f"ImageFolder: root must hold a folder for each class, got none in {root!s}")
        self.classes = list(found if classes is None else classes)
        unknown = sorted(set(found) - set(self.classes))
        if unknown:
            raise ValueError(f"ImageFolder: folders must be among the classes, got {', '.join(unknown[:8])}")
        labels = {name: label for label, name in enumerate(self.classes)}
        self.samples = [(path, labels[name]) for name in found for path in find_images(self.root / name)]

    @property
    def labels(self) -> list[int]:
        """The label of each image."""
        return [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.samples[index]
        return load_image(path), label

    def __repr__(self) -> str:
        return f"ImageFolder({os.fspath(self.root)!r}): {len(self)} images of {len(self.classes)} classes"
