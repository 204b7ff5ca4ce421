"""Damaged images, of every format that this Pillow writes, and damaged labels and configs."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from damage import Damaged, cut, edited, every_way, flipped, overwritten, strange_json
from PIL import Image, features

# Formats and modes, and what to save them with.
FORMATS: list[tuple[str, str, dict[str, object]]] = [
    ("PNG", "RGB", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "LA", {}),
    ("PNG", "I;16", {"transparency": 7}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("GIF", "P", {"save_all": True, "append_images": [Image.new("P", (5, 5))]}),
    ("BMP", "RGB", {}),
    ("BMP", "1", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "F", {}),
    ("WEBP", "RGBA", {}),
    ("ICO", "RGBA", {"sizes": [(16, 16)]}),
    ("PPM", "RGB", {}),
    ("TGA", "RGB", {"compression": "tga_rle"}),
    ("DDS", "RGBA", {}),
    ("AVIF", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("PCX", "P", {}),
    ("SGI", "RGB", {}),
    ("MPO", "RGB", {"save_all": True}),
    ("QOI", "RGB", {}),
]
OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


def picture(mode: str) -> Image.Image:
    rng = np.random.default_rng(3)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (17, 23)).astype(np.uint16))
    return Image.fromarray(rng.integers(0, 256, (17, 23, 3)).astype(np.uint8)).convert(mode)


def written(kind: str, mode: str, options: dict[str, object]) -> bytes | None:
    """The picture in a format; None if this Pillow cannot write it."""
    if kind in OPTIONAL and not features.check(OPTIONAL[kind]):
        return None
    buffer = io.BytesIO()
    try:
        picture(mode).save(buffer, kind, **options)
    except (KeyError, ValueError, OSError):  # an older Pillow does not know the format
        return None
    return buffer.getvalue()


def images(folder: Path) -> Damaged:
    for kind, mode, options in FORMATS:
        content = written(kind, mode, options)
        if content is None:
            continue
        yield f"{kind} {mode} whole", content
        for what, damaged in (*cut(content, 25), *flipped(content, 80), *overwritten(content, 30)):
            yield f"{kind} {mode} {what}", damaged
        first = min(len(content), 64)
        for what, damaged in flipped(content, 60, 0, first):
            yield f"{kind} {mode} header {what}", damaged
    yield from png_headers()
    for text in (
        b"",
        b"\0" * 100,
        b"<html><body>404</body></html>",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\0",
    ):
        yield f"only {text[:8]!r}", text


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts += [struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))]
    return b"".join(parts)


def png_headers() -> Damaged:
    """Headers that promise what the data does not hold."""
    data = zlib.compress(bytes(1000))
    bomb = zlib.compress(bytes(50_000_000), 9)
    end = (b"IEND", b"")
    for width, height in (
        (0, 0),
        (1, 0),
        (65535, 65535),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (2**32 - 1, 2**32 - 1),
    ):
        for depth, color in ((8, 2), (16, 6), (1, 0), (8, 3)):
            header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
            yield f"PNG of {width} x {height}, {depth} {color}", png((b"IHDR", header), (b"IDAT", data), end)
    for depth in range(0, 20, 3):
        for color in range(8):
            for interlaced in (0, 1, 9):
                header = struct.pack(">IIBBBBB", 5, 5, depth, color, 0, 0, interlaced)
                name = f"PNG of depth {depth}, colour {color}, interlacing {interlaced}"
                yield name, png((b"IHDR", header), (b"IDAT", data), end)
    header = struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0)
    for name, content in (
        (b"iCCP", b"x\0\0" + bomb),
        (b"zTXt", b"x\0\0" + bomb),
        (b"iTXt", b"x\0\1\0\0\0" + bomb),
        (b"PLTE", b"\0" * 5),
        (b"tRNS", b""),
        (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 40),
        (b"acTL", struct.pack(">II", 2**31 - 1, 0)),
    ):
        yield f"PNG with {name!r}", png((b"IHDR", header), (name, content), (b"IDAT", data), end)
    yield "PNG of much data", png((b"IHDR", header), (b"IDAT", bomb), end)


def labels(folder: Path) -> Damaged:
    for content in (b"cat\ndog\nbird\n", b'["cat", "dog", "bird"]', b'{"0": "cat", "1": "dog", "2": "bird"}'):
        yield f"{content[:1]!r} whole", content
        for what, damaged in every_way(content):
            yield f"{content[:1]!r} {what}", damaged
    for value in (["cat", "dog"], {"0": "cat", "1": "dog"}):
        for what, text in (*edited(value), *strange_json(json.dumps(value))):
            yield what, text.encode("utf-8", "surrogatepass")
    for key in ("-1", "01", "1.0", "1e0", "9" * 5000, "\u0661", " 1", "1_0", ""):
        yield f"a key {key[:9]!r}", json.dumps({"0": "cat", key: "dog"}).encode()
    for what, content in (
        ("no UTF-8", b"cat\xff\n"),
        ("UTF-16", "cat\ndog\n".encode("utf-16")),
        ("zeros", bytes(1000)),
        ("nothing", b""),
        ("lines only", b"\n" * 1000),
        ("a long line", b"a" * 10_000_000),
        ("many lines", b"a\n" * 1_000_000),
        ("every kind of line end", b"a\rb\r\nc\x0bd\x0ce\xc2\x85f\xe2\x80\xa8g"),
    ):
        yield what, content


def configs(folder: Path) -> Damaged:
    """The ``config.json`` of a repository on a hub."""
    value = {
        "architecture": "resnext50_32x4d",
        "num_classes": 3,
        "label_names": ["cat", "dog", "bird"],
        "license": "mit",
        "model_args": {"in_chans": 3, "cardinality": 32},
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "crop_pct": 0.9,
            "crop_mode": "center",
            "interpolation": "bicubic",
        },
    }
    other = {
        "id2label": {"0": "cat", "1": "dog", "2": "bird"},
        "architectures": ["ResNetForImageClassification"],
    }
    for config in (value, other):
        text = json.dumps(config)
        yield "whole", text.encode()
        for what, content in every_way(text.encode()):
            yield what, content
        for what, changed in (*edited(config), *strange_json(text)):
            yield what, changed.encode("utf-8", "surrogatepass")
