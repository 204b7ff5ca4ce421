"""Image files from what a user names: files, folders and glob patterns."""

from __future__ import annotations

import glob
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from lucid.data.formats import FOREIGN_EXTENSIONS, IMAGE_EXTENSIONS, can_read, explain

__all__ = ["IMAGE_EXTENSIONS", "Search", "file_kind", "find_images", "search_images"]

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass
class Search:
    """Image files, and those that look like images and cannot be read.

    Attributes:
        images: Paths, each once, in the order found.
        skipped: Reasons, each with the number of files it stands for.
    """

    images: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, int]] = field(default_factory=list)


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

    HEIC and JPEG XL are found where pillow-heif and pillow-jxl-plugin are installed.

    Raises:
        FileNotFoundError: A path does not exist, or a pattern matches nothing.
        PermissionError: A path cannot be looked at.
        ValueError: A folder, or what a pattern matches, holds no image; or a path is neither file nor folder.

    Warns:
        UserWarning: Images were left out: no installed package reads their format, they are no regular
            files, or their folder cannot be read.
    """
    if isinstance(sources, (str, PathLike)):
        sources = [sources]
    found: dict[Path, None] = {}
    for source in sources:
        search = search_images(source)
        found.update(dict.fromkeys(search.images))
        for reason, _ in search.skipped:
            warnings.warn(f"find_images: skipped {reason}", stacklevel=2)
    return list(found)


def search_images(source: str | PathLike[str]) -> Search:
    """``find_images`` for one source, with what was skipped as a value instead of warnings.

    Raises:
        OSError, ValueError: As for ``find_images``.
    """
    text = os.fspath(source)
    try:
        mode = os.stat(text).st_mode
    except OSError as error:
        if glob.has_magic(text):
            return _search_pattern(text)
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise FileNotFoundError(f"find_images: no such file or folder: {text!r}") from None
        raise
    if stat.S_ISREG(mode):
        return Search([Path(text)])
    if stat.S_ISDIR(mode):
        os.listdir(text)  # a folder that cannot be read is an error where it is named
        return _found(_below(text), f"a folder must hold images, found none in {text!r}")
    raise ValueError(f"find_images: a path must be a file or a folder, got {file_kind(mode)}: {text!r}")


def file_kind(mode: int) -> str | None:
    """``"a FIFO"`` and the like for the mode of a file that is neither regular nor a folder; else None."""
    return next((name for test, name in _KINDS if test(mode)), None)


def _search_pattern(pattern: str) -> Search:
    matches = sorted(set(_matches(pattern)))
    if not matches:
        raise FileNotFoundError(f"find_images: no file matches {pattern!r}")
    files: list[str | OSError] = []
    for match in matches:
        files += _below(match) if os.path.isdir(match) else [match]
    return _found(files, f"a pattern must match images, found none in {pattern!r}")


def _matches(pattern: str) -> Iterator[str]:
    """``glob.iglob``, but ``**`` does not follow links, which may lead in circles."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    first = parts.index("**")
    start, rest = os.sep.join([*parts[:first], ""]), os.sep.join(parts[first + 1 :])
    for top in glob.iglob(start) if start else [""]:
        if not rest:
            yield top or os.curdir
            continue
        for folder in _folders(top):
            yield from _matches(os.path.join(glob.escape(folder), rest))


def _folders(top: str) -> Iterator[str]:
    """``top`` and the folders below it."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        yield folder
        entries = _entries(folder)
        if not isinstance(entries, OSError):
            waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _entries(folder: str) -> list[os.DirEntry[str]] | OSError:
    """The entries of a folder whose names do not start with a dot, or why it cannot be read."""
    try:
        with os.scandir(folder) if folder else os.scandir() as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        return error


def _below(top: str) -> list[str | OSError]:
    """The files in a folder and its subfolders, sorted, and an error for each folder that cannot be read.

    The walk is a loop: a tree can be deeper than Python's stack.
    """
    files: list[str] = []
    errors: list[str | OSError] = []
    waiting = [top]
    while waiting:
        entries = _entries(waiting.pop())
        if isinstance(entries, OSError):
            errors.append(entries)
            continue
        for entry in entries:
            (waiting if entry.is_dir(follow_symlinks=False) else files).append(entry.path)
    return [*sorted(files, key=Path), *errors]


def _found(files: list[str | OSError], complaint: str) -> Search:
    """The images among files and folders' errors; ValueError with ``complaint`` where there are none."""
    images: dict[Path, None] = {}
    skipped: list[tuple[str, int]] = []
    foreign: Counter[str] = Counter()
    for file in files:
        if isinstance(file, OSError):
            skipped.append((f"the folder {file.filename}: {file.strerror}", 1))
            continue
        path = Path(file)
        suffix = path.suffix.lower()
        if path.name.startswith(".") or suffix not in IMAGE_EXTENSIONS | FOREIGN_EXTENSIONS.keys():
            continue
        kind, is_folder = _special(file)
        if kind is not None:
            skipped.append((f"{path}: it is {kind}, not a regular file", 1))
        elif not is_folder and can_read(suffix):
            images[path] = None
        elif not is_folder:
            foreign[suffix] += 1
    skipped += [
        (f"{count} {suffix} {'file' if count == 1 else 'files'}: {explain(suffix)}", count)
        for suffix, count in sorted(foreign.items())
    ]
    if not images:
        reasons = "".join(f"; skipped {reason}" for reason, _ in skipped)
        raise ValueError(f"find_images: {complaint}{reasons}")
    return Search(list(images), skipped)


def _special(file: str) -> tuple[str | None, bool]:
    """The kind of a file that is not regular, and whether it is a folder; a broken link is neither."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return None, False
    return file_kind(mode), stat.S_ISDIR(mode)
