"""convert_channels: every pixel format of files becomes grey or RGB as a viewer shows it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from photographs import photograph, saved
from PIL import Image

from lucid.data import convert_channels, load_image, to_array


def grey(image: Image.Image) -> list[int]:
    """The first row in 8-bit grey."""
    row: list[int] = np.asarray(convert_channels(image, 1))[0].tolist()
    return row


def png(depth: int, kind: int, row: bytes, width: int, transparent: bytes) -> bytes:
    """A file of one row; Pillow cannot write all that it can read."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    parts = {b"IHDR": header, b"tRNS": transparent, b"IDAT": zlib.compress(b"\0" + row), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts.items())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_common_mode_converts(mode: str, channels: int) -> None:
    got = to_array(convert_channels(photograph(9, 5, mode), channels))
    assert got.shape == (channels, 5, 9)
    assert 0 <= got.min() < got.max() <= 1


def test_grey_repeats_into_three_channels() -> None:
    red, green, blue = to_array(convert_channels(photograph(8, 8, "L"), 3))
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_laid_over_white(mode: str, channels: int) -> None:
    image = Image.new(mode, (4, 4), (0,) * len(mode))  # black below, wholly transparent
    image.paste((0,) * (len(mode) - 1) + (255,), (0, 0, 2, 4))
    got = to_array(convert_channels(image, channels))
    assert got[:, :, :2].max() == 0
    assert got[:, :, 2:].min() == 1


def test_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 0), 1)
    decoded = load_image(saved(image, "PNG", transparency=0))
    assert to_array(convert_channels(decoded, 3))[:, 0].T.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_cut(image_format: str) -> None:
    values = np.array([[0, 128, 129, 256, 32896, 65535]], dtype=np.uint16)
    decoded = load_image(saved(Image.fromarray(values), image_format))
    got = np.rint(to_array(convert_channels(decoded, 3)) * 255).astype(int)
    for plane in got:
        assert plane.tolist() == [[0, 0, 1, 1, 128, 255]]


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa", "RGBX"])
@pytest.mark.parametrize("channels", [1, 3])
def test_rare_modes_convert(mode: str, channels: int) -> None:
    assert to_array(convert_channels(Image.new(mode, (3, 2)), channels)).shape == (channels, 2, 3)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_byte_order_of_sixteen_bits_plays_no_part(mode: str) -> None:
    values = np.array([[0, 1000, 32896, 65535]], ">u2" if mode == "I;16B" else "<u2")
    assert grey(Image.frombytes(mode, (4, 1), values.tobytes())) == [0, 4, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 40, 255], [0, 40, 255]),  # 8 bits
        ([0, 40, 200], [0, 40, 200]),
        ([0, 1285, 65535], [0, 5, 255]),  # 16 bits
        ([0, 1024, 4095], [0, 64, 255]),  # 12 bits
        ([0, 2**30, 2**31 - 1], [0, 128, 255]),
        ([-1000, 0, 1000], [0, 128, 255]),
        ([7, 7, 7], [0, 0, 0]),
    ],
)
def test_range_of_wide_integers_is_that_of_their_values(values: list[int], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.int32))
    assert grey(image) == expected
    assert grey(load_image(saved(image, "TIFF"))) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([-0.01, 0.2, 1.02], [0, 51, 255]),  # what a filter leaves of 0..1
        ([0, 0.2, 0.4], [0, 51, 102]),
        ([0, 40, 255], [0, 40, 255]),
        ([0, 1285, 65535], [0, 5, 255]),
        ([0, 1, 2], [0, 128, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([0, 1e38, 2e38], [0, 128, 255]),
        ([float("nan"), 1, float("inf")], [0, 255, 255]),
        ([float("nan"), float("nan"), float("-inf")], [0, 0, 0]),
    ],
)
def test_range_of_floats_is_that_of_their_values(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert grey(image) == expected
    assert grey(load_image(saved(image, "TIFF"))) == expected


@pytest.mark.parametrize(
    ("depth", "kind", "row", "transparent", "expected"),
    [
        (1, 0, bytes([0b01000000]), [0], [255, 255]),
        (2, 0, bytes([0b00010000]), [1], [0, 255]),
        (4, 0, bytes([0x05]), [5], [0, 255]),
        (8, 0, bytes([9, 0]), [0], [9, 255]),
        (16, 0, bytes([1, 1, 0, 0]), [0], [1, 255]),
        (8, 2, bytes([9, 9, 9, 1, 2, 3]), [1, 2, 3], [9, 255]),
        (16, 2, bytes([9, 0] * 3 + [1, 1, 2, 1, 3, 1]), [257, 513, 769], [9, 255]),
    ],
)
def test_transparent_value_of_a_png_is_white(
    depth: int, kind: int, row: bytes, transparent: list[int], expected: list[int]
) -> None:
    contents = png(depth, kind, row, 2, struct.pack(f">{len(transparent)}H", *transparent))
    assert grey(load_image(io.BytesIO(contents))) == expected


def test_conversion_that_pillow_refuses_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cannot build the transform")

    image = Image.new("LAB", (2, 2))
    monkeypatch.setattr(image, "convert", refuse)
    with pytest.raises(ValueError, match=r"^convert_channels: .* to RGB, got mode LAB: cannot build"):
        convert_channels(image, 3)


def test_rejects_other_channels() -> None:
    with pytest.raises(ValueError, match=r"^convert_channels: channels must be 1 or 3, got 4"):
        convert_channels(photograph(2, 2), 4)
