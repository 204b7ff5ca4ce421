"""load_image: good files upright, and for all others an error that names the file and the reason."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photographs import photograph, saved
from PIL import Image, ImageFile

from lucid.data import ImageSizeError, convert_channels, find_images, load_image, to_array


def refusal(contents: bytes) -> str:
    """The message about a file that is refused; empty if it is an image."""
    try:
        load_image(contents)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_unless_refused(orientation: int) -> None:
    image = Image.new("RGB", (16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = saved(image, "JPEG", exif=exif)
    assert load_image(stream).size == ((16, 8) if orientation < 5 else (8, 16))
    stream.seek(0)
    assert load_image(stream, apply_orientation=False).size == (16, 8)


def test_damaged_orientation_is_ignored() -> None:
    stream = saved(Image.new("RGB", (16, 8)), "JPEG", exif=b"Exif\0\0 no header that TIFF knows")
    assert load_image(stream).size == (16, 8)


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    stream = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(convert_channels(load_image(stream), 1)).max() == 10


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    text, cut, empty = (tmp_path / name for name in ("text.png", "cut.png", "empty.jpg"))
    text.write_text("not an image")
    cut.write_bytes(saved(photograph(64, 64), "PNG").getvalue()[:2000])
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match=r"load_image: .*text\.png must be an image"):
        load_image(text)
    with pytest.raises(ValueError, match=r"load_image: .*cut\.png must be an undamaged image"):
        load_image(cut)
    with pytest.raises(ValueError, match=r"load_image: .*empty\.jpg must be an image"):
        load_image(empty)
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "absent.png")


def test_file_can_be_deleted_after_loading(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    photograph(5, 5).save(path)
    image = load_image(path)
    path.unlink()
    assert to_array(image).shape == (3, 5, 5)


@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "TGA"]
)
def test_damaged_files_raise_value_errors_only(image_format: str) -> None:
    if image_format not in Image.SAVE:
        Image.init()
    if image_format not in Image.SAVE:
        pytest.skip(f"Pillow is built without {image_format}")
    whole = saved(photograph(40, 30), image_format).getvalue()
    rng = np.random.default_rng(0)
    for flips in range(30):
        contents = bytearray(whole)
        for _ in range(1 + flips):
            contents[rng.integers(len(contents))] = rng.integers(256)
        cut = contents[: rng.integers(1, len(contents))] if flips % 2 else contents
        assert re.match("load_image: the bytes must |$", refusal(bytes(cut)))


@pytest.mark.parametrize(
    "error",
    [
        *(
            RuntimeError,
            NotImplementedError,
            SyntaxError,
            OverflowError,
            MemoryError,
            RecursionError,
            OSError,
        ),
        *(EOFError, IndexError, ZeroDivisionError, AttributeError, AssertionError, TypeError, UserWarning),
    ],
)
def test_whatever_a_decoder_raises_is_a_value_error(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(_: object) -> None:
        raise error("broken within")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ValueError, match=r"^load_image: the stream must "):
        load_image(saved(photograph(4, 4), "BMP"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_requests_to_stop_pass(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def stop(_: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", stop)
    with pytest.raises(error):
        load_image(saved(photograph(4, 4), "BMP"))


def test_size_limit_is_said_and_can_be_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = saved(Image.new("L", (60, 40)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageSizeError, match=r"2400 pixels.*raise PIL\.Image\.MAX_IMAGE_PIXELS") as caught:
        load_image(stream)
    assert "undamaged" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    stream.seek(0)
    # Between the limit and its double, Pillow warns, which is an error here.
    assert load_image(stream).size == (60, 40)


def test_named_files_that_are_not_regular_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(ValueError, match=r"load_image: .*fifo\.png must be a regular file, got a FIFO"):
        load_image(tmp_path / "fifo.png")
    with pytest.raises(ValueError, match="load_image: /dev/zero must be a regular file, got a device"):
        load_image("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(ValueError, match="must be a regular file, got a socket"):
            load_image(tmp_path / "s")
    with pytest.raises(IsADirectoryError):
        load_image(tmp_path)
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(OSError, match=r"loop\.png"):
        load_image(tmp_path / "loop.png")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            b"\0\0\0\x18ftypheic" + bytes(50),
            r"found HEIC: reading this format takes pillow-heif \(pip install",
        ),
        (b"\xff\x0a" + bytes(50), "found JXL: reading this format takes pillow-jxl-plugin"),
        (b"\n<!DOCTYPE html><html>", "found an HTML page"),
        (b"<svg xmlns=", "found an SVG drawing"),
        (b"%PDF-1.7", "found a PDF document"),
        (b"version https://git-lfs.github.com/spec/v1", "found a pointer of Git LFS"),
        (b"\0\0\0\x18ftypmp42" + bytes(50), "found a video"),
        (b"", "found an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript is a program"),
    ],
)
def test_other_contents_are_named(monkeypatch: pytest.MonkeyPatch, contents: bytes, message: str) -> None:
    for module in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"^load_image: the bytes must be .*{message}"):
        load_image(contents)


def test_installed_plugin_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class HeifFile(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode, self.tile = (2, 2), "L", [("raw", (0, 0, 2, 2), 12, ("L", 0, 1))]

    def register() -> None:
        monkeypatch.setitem(Image.OPEN, "HEIF", (HeifFile, lambda head: head[4:12] == b"ftypheic"))
        monkeypatch.setattr(Image, "ID", [*Image.ID, "HEIF"])
        monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")

    Image.init()
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes([1, 2, 3, 4]))
    (tmp_path / "b.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes([5, 6, 7, 8]))
    assert np.asarray(load_image(tmp_path / "b.jpg")).tolist() == [[5, 6], [7, 8]]
    assert find_images(tmp_path) == [tmp_path / "a.heic", tmp_path / "b.jpg"]


def test_strict_warnings_do_not_refuse_photographs(tmp_path: Path) -> None:
    Image.new("1", (30000, 3000)).save(tmp_path / "large.png")
    code = "from lucid.data import load_image; print(load_image('large.png').size)"
    line = [sys.executable, "-W", "error", "-c", code]
    package = str(Path(sys.modules["lucid"].__file__ or "").parents[1])
    done = subprocess.run(
        line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": package}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("(30000, 3000)\n", "")


@pytest.mark.parametrize("make", [int, list, lambda: Image.new("L", (1, 1))])
def test_rejects_what_is_no_source(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="load_image: source must be a path, bytes or a binary stream"):
        load_image(make())
