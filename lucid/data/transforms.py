"""Images from files to the arrays that models take, equal to what published accuracies were measured with.

Every published accuracy of the two families was measured on images that Pillow had decoded and resized.
``Preprocessing`` repeats that path step by step: decode, turn upright, convert to the model's channels,
resize the shorter side with Pillow's antialiasing filter, cut the centre square, scale to 0..1, normalise.
From the resize on, the numbers are bitwise those of torchvision's ``Resize``, ``CenterCrop``, ``ToTensor``
and ``Normalize`` on the same PIL image.

Pillow is imported at the first use.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from os import PathLike, fspath
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Preprocessing",
    "center_crop",
    "convert_channels",
    "load_image",
    "normalize",
    "resize_shorter_side",
    "to_array",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")

# What Pillow's decoders raise for a file that is damaged, foreign, or unreasonably large when unpacked.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)


@dataclass(frozen=True)
class Preprocessing:
    """What turns an image into the input of one weight file; calling it does so.

    Attributes:
        size: Side in pixels of the square that the model sees.
        resize: Length in pixels of the shorter side before the centre crop.
        interpolation: Pillow's name of the resampling filter, in lower case.
        mean: Subtracted from each channel, on the 0..1 scale. Its length is the number of channels: one for
            greyscale, three for RGB.
        std: Divides each channel after that.

    Raises:
        ValueError: A field is out of its range.
    """

    size: int = 224
    resize: int = 256
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("size", "resize"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                raise ValueError(f"preprocessing: {name} must be a positive integer, got {value!r}")
        if self.interpolation not in _INTERPOLATIONS:
            known = ", ".join(_INTERPOLATIONS)
            raise ValueError(
                f"preprocessing: interpolation must be one of {known}, got {self.interpolation!r}"
            )
        object.__setattr__(self, "mean", _floats("mean", self.mean))
        object.__setattr__(self, "std", _floats("std", self.std))
        if len(self.mean) not in (1, 3):
            raise ValueError(
                f"preprocessing: mean must have 1 (greyscale) or 3 (RGB) values, got {len(self.mean)}"
            )
        if len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise ValueError(
                f"preprocessing: std must be {len(self.mean)} positive values like mean, got {self.std}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that ``to_dict`` wrote, e.g. in a weight file; absent keys take defaults.

        Raises:
            ValueError: A key is unknown, or a value is out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"preprocessing: keys must be among {', '.join(sorted(known))}, got {', '.join(unknown)}"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @property
    def channels(self) -> int:
        """Channels of the result: 1 for greyscale, 3 for RGB."""
        return len(self.mean)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """The model's input for one image, ``(channels, size, size)``, float32.

        Raises:
            ValueError: The pixel format has no meaning here, or the image is too long and thin to resize.
        """
        upright = convert_channels(image, self.channels)
        square = center_crop(resize_shorter_side(upright, self.resize, self.interpolation), self.size)
        return normalize(to_array(square), self.mean, self.std)

    def load(self, source: str | PathLike[str] | IO[bytes]) -> NDArray[np.float32]:
        """``load_image`` and then this preprocessing."""
        return self(load_image(source))


def _floats(name: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        result = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise ValueError(f"preprocessing: {name} must be a sequence of numbers, got {values!r}") from None
    if not np.isfinite(result).all():
        raise ValueError(f"preprocessing: {name} must be finite, got {result}")
    return result


def load_image(source: str | PathLike[str] | IO[bytes], *, apply_orientation: bool = True) -> Image.Image:
    """A fully decoded image (the first frame of an animation), the way up that it is meant to be seen.

    Cameras store a photograph as the sensor lies and note the rotation in EXIF. It is applied here, as every
    viewer does: a network trained on upright objects is markedly worse on sideways ones. torchvision and timm
    ignore the note; ``apply_orientation=False`` gives exactly their pixels.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: The file cannot be opened.
        ValueError: The file is not an image that Pillow can decode, is damaged, or is unreasonably large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = fspath(source) if isinstance(source, (str, PathLike)) else "the stream"
    try:
        with Image.open(source) as opened:
            opened.load()
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except UnidentifiedImageError:
        raise ValueError(f"load_image: {name} must be an image, found no known image format") from None
    except (*_DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise ValueError(f"load_image: {name} must be an undamaged image: {error}") from error
    if apply_orientation:
        # A damaged EXIF block says nothing of the pixels, which are whole.
        with suppress(*_DECODE_ERRORS):
            ImageOps.exif_transpose(opened, in_place=True)
    return opened


def convert_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in 8-bit greyscale (``channels=1``) or RGB (``channels=3``).

    Greyscale repeats into the three channels, colour becomes ITU-R 601 luma, palettes are looked up, 16-bit
    grey is scaled to 8 bits. Transparent pixels are laid over white, as viewers show them: what is stored
    under full transparency is arbitrary, often black. CMYK, YCbCr and HSV go through Pillow's own conversion.

    Raises:
        ValueError: ``channels`` is neither 1 nor 3, or the pixels are floats or integers beyond 16 bits,
            whose range is not known.
    """
    if channels not in (1, 3):
        raise ValueError(f"convert_channels: channels must be 1 or 3, got {channels}")
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = _over_white(image)
    if image.mode not in ("1", "L", "P", "RGB"):
        # Pillow converts every other format to RGB, but not every one to L.
        image = image.convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"convert_channels: pixels must be integers of 8 or 16 bits, got mode {image.mode} "
            f"in {values.min()}..{values.max()}"
        )
    # 65535 / 255 = 257 exactly, so black stays 0 and white stays 255.
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def resize_shorter_side(image: Image.Image, size: int, interpolation: str = "bilinear") -> Image.Image:
    """The image scaled so that its shorter side has ``size`` pixels; the longer side is rounded down.

    Raises:
        ValueError: The result would have more pixels than Pillow allows an image to have
            (``PIL.Image.MAX_IMAGE_PIXELS``), as that of a strip a few pixels wide would.
    """
    from PIL import Image

    width, height = image.size
    shorter, longer = min(width, height), max(width, height)
    scaled = int(size * longer / shorter)
    if (width, height) in ((size, scaled), (scaled, size)) and shorter == size:
        return image
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size * scaled > limit:
        raise ValueError(
            f"resize_shorter_side: the result must have at most {limit} pixels, "
            f"got {width}x{height} to be scaled to a shorter side of {size}"
        )
    target = (size, scaled) if width <= height else (scaled, size)
    return image.resize(target, Image.Resampling[interpolation.upper()])


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """The central square of ``size`` pixels; where the image is smaller, black fills the rest.

    The offsets are torchvision's: half the difference, rounded half to even, and for the fill rounded down on
    the left and top.
    """
    from PIL import Image

    width, height = image.size
    if width < size or height < size:
        padded = Image.new(image.mode, (max(width, size), max(height, size)))
        padded.paste(image, (max(0, (size - width) // 2), max(0, (size - height) // 2)))
        image, (width, height) = padded, padded.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def to_array(image: Image.Image) -> NDArray[np.float32]:
    """The pixels of an 8-bit greyscale or RGB image as ``(channels, height, width)``, float32 in 0..1."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise ValueError(f"to_array: image must be 8-bit greyscale or RGB, got mode {image.mode}")
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes, dtype=np.float32) / np.float32(255)


def normalize(array: NDArray[np.float32], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """``(array - mean) / std`` per channel of ``(channels, height, width)``, in float32 throughout.

    Raises:
        ValueError: ``mean`` or ``std`` does not have one value a channel.
    """
    if not len(mean) == len(std) == len(array):
        raise ValueError(
            f"normalize: mean and std must have one value for each of {len(array)} channels, "
            f"got {len(mean)} and {len(std)}"
        )
    shift, scale = np.array(mean, np.float32)[:, None, None], np.array(std, np.float32)[:, None, None]
    result: NDArray[np.float32] = (array - shift) / scale
    return result
