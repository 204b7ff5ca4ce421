"""Image files from what a user names: files, folders and glob patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

__all__ = ["IMAGE_EXTENSIONS", "find_images"]

IMAGE_EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm"),
        *("pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)


def find_images(sources: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[Path]:
    """The image files that ``sources`` name, in the order given and without repetition.

    * A file is taken whatever its extension: it was named on purpose.
    * A folder gives every file in it and in its subfolders that has a known image extension
      (``IMAGE_EXTENSIONS``, in any case), sorted by path. Names that start with a dot are left out, among
      them the ``._photo.jpg`` that macOS writes beside every photo on foreign disks. Links to folders are
      not followed, so a link cannot lead in circles.
    * A glob pattern (``*``, ``?``, ``[...]``, and ``**`` for any depth) gives its matches, sorted: files with
      a known extension, and folders as above. A path that exists is never taken for a pattern, so
      ``photo[1].jpg`` works.

    Raises:
        FileNotFoundError: A path does not exist, or a pattern matches nothing.
        ValueError: A folder, or what a pattern matches, holds no image; or a path is neither file nor folder.
    """
    if isinstance(sources, (str, PathLike)):
        sources = [sources]
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_expand(os.fspath(source))))
    return list(found)


def _expand(source: str) -> list[Path]:
    path = Path(source)
    if os.path.isdir(source):
        images = _images_under(path)
        if not images:
            raise ValueError(f"find_images: a folder must hold images, found none in {source!r}")
        return images
    if os.path.isfile(source):
        return [path]
    if os.path.exists(source):
        raise ValueError(f"find_images: a path must be a file or a folder, got {source!r}")
    if glob.has_magic(source):
        return _matches(source)
    raise FileNotFoundError(f"find_images: no such file or folder: {source!r}")


def _matches(pattern: str) -> list[Path]:
    matches = sorted(Path(match) for match in glob.iglob(pattern, recursive=True))
    if not matches:
        raise FileNotFoundError(f"find_images: no file matches {pattern!r}")
    images: dict[Path, None] = {}
    for match in matches:
        images.update(dict.fromkeys(_images_under(match) if match.is_dir() else filter(_is_image, [match])))
    if not images:
        raise ValueError(f"find_images: a pattern must match images, found none in {pattern!r}")
    return list(images)


def _images_under(folder: Path) -> list[Path]:
    images = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images += [Path(parent, name) for name in files if _is_image(Path(name))]
    return sorted(images)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".")
