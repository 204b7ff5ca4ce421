"""Image formats: by which endings files are found, and what reads those that Pillow alone does not."""

from __future__ import annotations

import importlib
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["FOREIGN_EXTENSIONS", "IMAGE_EXTENSIONS", "can_read", "content_of", "explain", "suffix_of"]

IMAGE_EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *(
            "apng",
            "avif",
            "avifs",
            "bmp",
            "dds",
            "dib",
            "gif",
            "ico",
            "j2c",
            "j2k",
            "jfif",
            "jp2",
            "jpc",
            "jpe",
        ),
        *("jpeg", "jpf", "jpg", "jpx", "mpo", "pbm", "pcx", "pfm", "pgm", "png", "pnm", "ppm", "psd", "qoi"),
        *("sgi", "tga", "tif", "tiff", "webp"),
    )
)


@dataclass(frozen=True)
class _Plugin:
    """A package that teaches Pillow a format: by its import, or by a function of its module."""

    package: str
    module: str
    register: str | None = None


_HEIF = _Plugin("pillow-heif", "pillow_heif", "register_heif_opener")
_JPEG_XL = _Plugin("pillow-jxl-plugin", "pillow_jxl")

# Endings of images that Pillow cannot read, and the package that adds the format; None where there is none.
FOREIGN_EXTENSIONS: dict[str, _Plugin | None] = {
    **dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), _HEIF),
    ".jxl": _JPEG_XL,
    **dict.fromkeys((".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw")),
    **dict.fromkeys((".bpg", ".djvu", ".exr", ".flif", ".hdr", ".jxr", ".svg", ".svgz", ".wdp", ".xcf")),
}

# The brand of an ISO media file, bytes 8 to 12, tells HEIC; phones' photos keep it under any name.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JPEG_XL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
# The beginnings, in lower case, of files that are often named like images.
_OTHER_CONTENTS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML document",
    b"%pdf": "a PDF document",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull brings the file)",
}


def can_read(suffix: str) -> bool:
    """Whether Pillow reads files with this ending, if need be with a package that is installed."""
    if suffix in IMAGE_EXTENSIONS:
        return True
    plugin = FOREIGN_EXTENSIONS.get(suffix)
    return _registered(suffix) or (plugin is not None and _install(plugin) and _registered(suffix))


def explain(suffix: str) -> str:
    """The way to read files with an ending that Pillow lacks."""
    plugin = FOREIGN_EXTENSIONS.get(suffix)
    if plugin is None:
        return "Pillow has no reader for this format; export as JPEG or PNG"
    return f"reading this format takes {plugin.package} (pip install {plugin.package})"


def suffix_of(head: bytes) -> str | None:
    """The usual ending of the foreign format that a file's first bytes show, or None."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return ".heic"
    return ".jxl" if head.startswith(_JPEG_XL_STARTS) else None


def content_of(head: bytes) -> str:
    """A name for the contents of a file that is no image, from its first bytes."""
    text = head.lstrip().lower()
    if not head:
        return "an empty file"
    if head[4:12] == b"ftypavif":
        return "an AVIF image, for which this Pillow is not built"
    if head[4:8] == b"ftyp":
        return "a video"
    names = (name for start, name in _OTHER_CONTENTS.items() if text.startswith(start))
    return next(names, "no known image format")


def _registered(suffix: str) -> bool:
    from PIL import Image

    return suffix in Image.EXTENSION


def _install(plugin: _Plugin) -> bool:
    # A plugin that does not fit the installed Pillow may fail in any way, and is as good as none.
    with suppress(Exception):
        module = importlib.import_module(plugin.module)
        if plugin.register is not None:
            getattr(module, plugin.register)()
        return True
    return False
