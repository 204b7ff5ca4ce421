"""Image files to pixels: whatever a file holds, it ends in an image or in an error that names it.

Pillow is imported at the first use.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from typing import IO, TYPE_CHECKING, Any

from lucid.data.folder import file_kind
from lucid.data.formats import can_read, content_of, explain, suffix_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageSizeError", "complaint", "load_image", "name_of"]

# Enough for the signature of every format.
_HEAD = 64

# Raw modes of PNG in which Pillow scales the pixels but not the transparent value, and that value's factor.
_TRANSPARENT_SCALES = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}

# warnings.catch_warnings changes the state of the process.
_QUIET = threading.Lock()


class ImageSizeError(ValueError):
    """An image has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` allows."""


def load_image(
    source: str | PathLike[str] | bytes | IO[bytes], *, apply_orientation: bool = True
) -> Image.Image:
    """A fully decoded image (the first frame of an animation), the way up that it is meant to be seen.

    Cameras store a photograph as the sensor lies and note the rotation in EXIF. It is applied here, as every
    viewer does: a network trained on upright objects is markedly worse on sideways ones. torchvision and timm
    ignore the note; ``apply_orientation=False`` gives exactly their pixels.

    Args:
        source: A path, the contents of a file, or a stream.
        apply_orientation: Whether to turn the image as EXIF says.

    Raises:
        OSError: The file cannot be opened: FileNotFoundError, IsADirectoryError, PermissionError and others.
        ValueError: The file is not an image that Pillow can decode, is damaged, or is not a regular file.
        ImageSizeError: A ValueError: the image has more pixels than Pillow's limit, which the message tells
            how to lift.
        TypeError: ``source`` is none of the above.
    """
    name = name_of(source)
    with _opened(source, name) as file:
        image = _decoded(file, name)
    if apply_orientation:
        from PIL import ImageOps

        # A damaged EXIF block says nothing of the pixels, which are whole.
        with suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
    return image


def complaint(error: Exception) -> str:
    """The message of an error without the name of the call, for an outer call to put its own there."""
    call, colon, rest = str(error).partition(": ")
    return rest if colon and call.replace(".", "").isidentifier() else str(error)


def name_of(source: Any) -> str:
    """The name of an image's source in messages."""
    if isinstance(source, (str, PathLike)):
        return fspath(source)
    return "the bytes" if isinstance(source, bytes) else "the stream"


@contextmanager
def _opened(source: Any, name: str) -> Iterator[IO[bytes]]:
    """A stream to read from; that of the caller is left open."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif hasattr(source, "read"):
        yield source
    elif isinstance(source, (str, PathLike)):
        mode = os.stat(source).st_mode
        # Opening a FIFO waits for a writer, reading a device for ever.
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"load_image: {name} must be a regular file, got {file_kind(mode)}")
        # Given a path instead, Pillow maps some files into memory, and ends in SIGBUS where one is cut short.
        with open(source, "rb") as file:
            yield file
    else:
        raise TypeError(
            f"load_image: source must be a path, bytes or a binary stream, got {type(source).__name__}"
        )


def _decoded(file: IO[bytes], name: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        try:
            return _decode(file)
        except Warning:  # raised by `python -W error`, which is not meant for photos
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file.seek(0)
                return _decode(file)
    except UnidentifiedImageError:
        return _decoded_by_plugin(file, name)
    except Image.DecompressionBombError as error:
        raise ImageSizeError(_too_large(name, error)) from None
    except NotImplementedError as error:
        raise ValueError(
            f"load_image: {name} must be of a kind that Pillow decodes: {_reason(error)}"
        ) from error
    except MemoryError as error:
        raise ValueError(f"load_image: {name} must fit into memory when it is unpacked") from error
    except Exception as error:  # a decoder may raise anything
        raise ValueError(f"load_image: {name} must be an undamaged image: {_reason(error)}") from error


def _decode(file: IO[bytes]) -> Image.Image:
    from PIL import Image

    with Image.open(file) as image:
        if image.format == "EPS":
            raise NotImplementedError("PostScript is a program, which is not run here")
        scale = _TRANSPARENT_SCALES.get(_raw_mode(image), 1.0)
        image.load()
    if 0 in image.size:
        raise ValueError(f"it must have pixels, got {image.width}x{image.height}")
    transparent = image.info.get("transparency")
    if scale != 1.0 and isinstance(transparent, int):
        image.info["transparency"] = int(transparent * scale)
    elif scale != 1.0 and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(int(value * scale) for value in transparent)
    return image


def _raw_mode(image: Any) -> Any:
    """The name of the way in which a PNG file packs its pixels; None for other formats."""
    if image.format != "PNG" or not image.tile:
        return None
    return image.tile[0][3]


def _decoded_by_plugin(file: IO[bytes], name: str) -> Image.Image:
    """The image of a format that Pillow itself lacks; ValueError where no installed package has it."""
    with suppress(OSError, ValueError):
        file.seek(0)
    head = file.read(_HEAD)
    suffix = suffix_of(head)
    if suffix is None:
        raise ValueError(f"load_image: {name} must be an image, found {content_of(head)}") from None
    if not can_read(suffix):
        raise ValueError(
            f"load_image: {name} must be an image that can be read, found {suffix[1:].upper()}: "
            f"{explain(suffix)}"
        ) from None
    try:
        file.seek(0)
        return _decode(file)
    except Exception as error:
        raise ValueError(f"load_image: {name} must be an undamaged image: {_reason(error)}") from error


def _too_large(name: str, error: Exception) -> str:
    found = str(error).partition(",")[0]
    return (
        f"load_image: {name} must have at most as many pixels as Pillow allows: {found}; to read a file that "
        "you trust, raise PIL.Image.MAX_IMAGE_PIXELS, or set it to None for no limit"
    )


def _reason(error: Exception) -> str:
    text = str(error)
    speaks = isinstance(error, (OSError, ValueError, SyntaxError, RuntimeError))
    return text if text and speaks else f"{type(error).__name__}: {text}".removesuffix(": ")
