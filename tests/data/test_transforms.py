"""Preprocessing: equal to torchvision's on PIL images, and sensible for every pixel format of files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucid.data import Preprocessing, center_crop, convert_channels, load_image, resize_shorter_side, to_array

SIZES = [
    (640, 480),
    (333, 500),
    (224, 224),
    (257, 256),
    (31, 77),
    (100, 99),
    (1, 1),
    (300, 7),
]  # width, height


def photograph(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth colours with noise on top, so that every filter tap and rounding shows."""
    rng = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([127 + 100 * np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)], axis=-1)
    pixels = np.clip(waves + rng.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, image_format: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    ("resize", "size"), [(256, 224), (232, 224), (292, 256), (32, 32), (288, 288), (100, 131)]
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_preprocessing_equals_torchvision(resize: int, size: int, interpolation: str, mode: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if mode == "RGB" else ((0.5,), (0.5,))
    theirs = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    ours = Preprocessing(size, resize, interpolation, mean, std)
    for width, height in SIZES:
        image = photograph(width, height, mode)
        got = ours(image)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, theirs(image).numpy(), err_msg=f"{width}x{height}")


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [((500, 333), 256, (384, 256)), ((333, 500), 232, (232, 348)), ((256, 256), 256, (256, 256))],
)
def test_resize_rounds_the_longer_side_down(
    size: tuple[int, int], resize: int, expected: tuple[int, int]
) -> None:
    assert resize_shorter_side(photograph(*size), resize).size == expected


def test_resize_rejects_a_strip_that_would_fill_the_memory() -> None:
    with pytest.raises(ValueError, match=r"resize_shorter_side: the result must have at most .* got 1x60000"):
        resize_shorter_side(Image.new("L", (1, 60000)), 256)


@pytest.mark.parametrize(("side", "offset"), [(5, 0), (6, 1), (7, 2), (8, 2), (9, 2)])
def test_center_crop_rounds_half_offsets_to_even(side: int, offset: int) -> None:
    pixels = np.arange(side, dtype=np.uint8)[None].repeat(side, axis=0)
    assert np.asarray(center_crop(Image.fromarray(pixels), 4))[0].tolist() == list(range(offset, offset + 4))


def test_center_crop_fills_small_images_with_black() -> None:
    got = np.asarray(center_crop(Image.new("L", (2, 3), 255), 5))
    assert got.sum() == 6 * 255
    assert got[1:4, 1:3].min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
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


def test_float_pixels_are_rejected() -> None:
    with pytest.raises(
        ValueError, match="convert_channels: pixels must be integers of 8 or 16 bits, got mode F"
    ):
        convert_channels(Image.new("F", (2, 2), 0.5), 3)


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


def test_preprocessing_survives_json() -> None:
    original = Preprocessing(32, 36, "bicubic", (0.5,), (0.25,))
    assert Preprocessing.from_dict(original.to_dict()) == original
    assert original.channels == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "size must be a positive integer, got 0"),
        ({"resize": True}, "resize must be a positive integer, got True"),
        ({"interpolation": "cubic"}, "interpolation must be one of nearest"),
        ({"mean": (0.5, 0.5)}, r"mean must have 1 \(greyscale\) or 3 \(RGB\) values, got 2"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean must be finite"),
        ({"mean": 3}, "mean must be a sequence of numbers, got 3"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be 3 positive values"),
        ({"crop": 3}, "keys must be among .*, got crop"),
    ],
)
def test_preprocessing_rejects(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"preprocessing: {message}"):
        Preprocessing.from_dict(values)
