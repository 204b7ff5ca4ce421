"""find_images: files, folders and patterns to image files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lucid.data import find_images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    names = [
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "sub/c.jpeg",
        "sub/deep/d.webp",
        ".cache/e.png",
        "x[1].png",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def relative(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_folder_is_searched_in_order(photos: Path) -> None:
    assert relative(find_images(photos), photos) == [
        "a.JPG",
        "b.png",
        "sub/c.jpeg",
        "sub/deep/d.webp",
        "x[1].png",
    ]


def test_named_file_needs_no_known_extension(photos: Path) -> None:
    assert find_images(photos / "notes.txt") == [photos / "notes.txt"]


def test_pattern_gives_images_and_folders(photos: Path) -> None:
    assert relative(find_images(f"{photos}/*"), photos) == [
        "a.JPG",
        "b.png",
        "sub/c.jpeg",
        "sub/deep/d.webp",
        "x[1].png",
    ]
    assert relative(find_images(f"{photos}/*.png"), photos) == ["b.png", "x[1].png"]
    assert relative(find_images(f"{photos}/**/*.webp"), photos) == ["sub/deep/d.webp"]


def test_existing_name_is_no_pattern(photos: Path) -> None:
    assert find_images(str(photos / "x[1].png")) == [photos / "x[1].png"]


def test_order_given_is_kept_and_repeats_dropped(photos: Path) -> None:
    got = find_images([photos / "sub", photos / "b.png", f"{photos}/*.png"])
    assert relative(got, photos) == ["sub/c.jpeg", "sub/deep/d.webp", "b.png", "x[1].png"]


def test_unicode_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "Gr\u00fc\u00dfe und \U0001f431" / "ein bild.png"
    path.parent.mkdir()
    path.touch()
    assert find_images(tmp_path) == [path]


def test_link_in_a_circle_ends(photos: Path) -> None:
    os.symlink(photos, photos / "sub" / "up", target_is_directory=True)
    assert len(find_images(photos)) == 5


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("absent.png", FileNotFoundError, "no such file or folder: .*absent.png"),
        ("*.bmp", FileNotFoundError, "no file matches .*bmp"),
        ("*.txt", ValueError, "a pattern must match images, found none in .*txt"),
        ("empty", ValueError, "a folder must hold images, found none in .*empty"),
    ],
)
def test_nothing_found_is_an_error(photos: Path, source: str, error: type[Exception], message: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(error, match=f"find_images: {message}"):
        find_images(str(photos / source))
