"""Preprocessing: equal to torchvision's on PIL images, and its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import photograph, saved
from PIL import Image

from lucid.data import Preprocessing, center_crop, load_image, normalize, resize_shorter_side

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
    with pytest.raises(ValueError, match=f"Preprocessing[.a-z_]*: {message}"):
        Preprocessing.from_dict(values)


def test_arrays_are_images_too() -> None:
    prepare = Preprocessing(32, 36)
    for mode in ("L", "RGB", "RGBA"):
        image = photograph(40, 50, mode)
        np.testing.assert_array_equal(prepare(np.asarray(image)), prepare(image))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_are_what_is_normalised(mode: str, tmp_path: Path) -> None:
    """To the last bit, by the same formula."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    prepare = Preprocessing(32, 36, mean=(0.4, 0.5, 0.6)[:channels], std=(0.2, 0.3, 0.4)[:channels])
    image, path = photograph(40, 50, mode), tmp_path / "a.png"
    image.save(path)
    got = prepare.pixels(image)
    assert (got.dtype, got.shape) == (np.uint8, (channels, 32, 32))
    scaled = got.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(normalize(scaled, prepare.mean, prepare.std), prepare(image))
    for same in (prepare.pixels(np.asarray(image)), prepare.load_pixels(path)):
        np.testing.assert_array_equal(same, got)


def test_load_takes_paths_bytes_and_streams(tmp_path: Path) -> None:
    stream, path, prepare = saved(photograph(40, 50), "PNG"), tmp_path / "a.png", Preprocessing(32, 36)
    path.write_bytes(stream.getvalue())
    for source in (path, str(path), stream, stream.getvalue()):
        np.testing.assert_array_equal(prepare.load(source), prepare(load_image(path)))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (
            np.zeros((4, 4), np.float32),
            ValueError,
            r"an array must be uint8 .* got float32 of shape \(4, 4\)",
        ),
        (np.zeros((3, 5, 5), np.uint8), ValueError, r"an array must be .* got uint8 of shape \(3, 5, 5\)"),
        (
            "a.png",
            TypeError,
            r"image must be a PIL.Image.Image or an array, got str; load\(path\) reads a file",
        ),
        (Image.new("RGB", (0, 5)), ValueError, "the image must have pixels, got 0x5"),
        (Image.new("RGB", (1, 60000)), ValueError, "the result must have at most"),
    ],
)
def test_call_names_what_it_cannot_prepare(image: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^Preprocessing: {message}"):
        Preprocessing()(image)
    with pytest.raises(error, match=f"^Preprocessing: {message}"):
        Preprocessing().pixels(image)  # type: ignore[arg-type]


def test_load_names_the_file(tmp_path: Path) -> None:
    Image.new("L", (1, 60000)).save(tmp_path / "strip.png")
    with pytest.raises(ValueError, match=r"^Preprocessing\.load: .*strip\.png: the result must have at most"):
        Preprocessing().load(tmp_path / "strip.png")
    with pytest.raises(ValueError, match=r"^Preprocessing\.load_pixels: .*strip\.png: the result must have"):
        Preprocessing().load_pixels(tmp_path / "strip.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(
        ValueError, match=r"^Preprocessing\.load: .*text\.png must be an image, found no known"
    ):
        Preprocessing().load(tmp_path / "text.png")
