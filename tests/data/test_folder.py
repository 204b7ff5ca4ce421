"""find_images: files, folders and patterns to image files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lucid.data import find_images
from lucid.data.folder import search_images


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


def test_pattern_with_links_in_circles_ends(photos: Path) -> None:
    for name in ("one", "two"):
        os.symlink(photos, photos / "sub" / name, target_is_directory=True)
    got = find_images(f"{photos}/**/*.jpeg")
    assert relative(got, photos) == ["sub/c.jpeg"]
    assert relative(find_images(f"{photos}/**"), photos) == relative(find_images(photos), photos)


def test_pattern_below_the_working_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert find_images("**/*.webp") == [Path("sub/deep/d.webp")]
    assert len(find_images("**")) == 5
    assert find_images("./[ab].*") == [Path("a.JPG"), Path("b.png")]


def test_deep_tree_is_searched(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "a.png").touch()
    assert find_images(tmp_path) == [folder / "a.png"]


def test_special_files_are_skipped_with_a_reason(photos: Path) -> None:
    os.mkfifo(photos / "f.jpg")
    with pytest.warns(UserWarning, match=r"find_images: skipped .*f\.jpg: it is a FIFO, not a regular file"):
        assert len(find_images(photos)) == 5
    with pytest.warns(UserWarning, match=r"it is a FIFO"):
        assert relative(find_images(f"{photos}/*.[jJ]*"), photos) == ["a.JPG"]
    with pytest.raises(
        ValueError, match=r"find_images: a path must be a file or a folder, got a FIFO: .*f\.jpg"
    ):
        find_images(photos / "f.jpg")


def test_formats_without_a_reader_are_counted(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("1.HEIC", "sub/2.heic", "3.cr2", ".hidden.heic"):
        (photos / name).touch()
    search = search_images(photos)
    assert len(search.images) == 5
    assert search.skipped == [
        ("1 .cr2 file: Pillow has no reader for this format; export as JPEG or PNG", 1),
        ("2 .heic files: reading this format takes pillow-heif (pip install pillow-heif)", 2),
    ]
    with pytest.raises(
        ValueError, match=r"found none in .*; skipped 1 \.heic file: .*pip install pillow-heif"
    ):
        find_images(f"{photos}/*.HEIC")


def test_folder_that_cannot_be_read_is_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: str = ".") -> object:
        if folder.endswith("deep"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match=r"find_images: skipped the folder .*deep: Permission denied"):
        assert len(find_images(photos)) == 4


def test_broken_link_is_left_to_the_reader(photos: Path) -> None:
    os.symlink("nowhere", photos / "c.png")
    os.symlink("loop.png", photos / "loop.png")
    assert {"c.png", "loop.png"} <= set(relative(find_images(photos), photos))
