"""Images from files to the arrays that models take, equal to what published accuracies were measured with.

Every published accuracy of the two families was measured on images that Pillow had decoded and resized.
``Preprocessing`` repeats that path step by step: decode, turn upright, convert to the model's channels,
resize the shorter side with Pillow's antialiasing filter, cut the centre square, scale to 0..1, normalise.
From the resize on, the numbers are bitwise those of torchvision's ``Resize``, ``CenterCrop``, ``ToTensor``
and ``Normalize`` on the same PIL image.

Pillow is imported at the first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lucid.data.channels import convert_channels
from lucid.data.image_file import ImageSizeError, complaint, load_image, name_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Preprocessing",
    "center_crop",
    "normalize",
    "resize_shorter_side",
    "to_array",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# 0.4 GB in RGB. Only a long strip a few pixels wide comes near it.
_MOST_PIXELS = 1 << 27

_Result = TypeVar("_Result")

_INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """The steps from an image to a network's input, as one weight file wants it; calling it takes them.

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
                raise ValueError(f"Preprocessing: {name} must be a positive integer, got {value!r}")
        if self.interpolation not in _INTERPOLATIONS:
            known = ", ".join(_INTERPOLATIONS)
            raise ValueError(
                f"Preprocessing: interpolation must be one of {known}, got {self.interpolation!r}"
            )
        object.__setattr__(self, "mean", _floats("mean", self.mean))
        object.__setattr__(self, "std", _floats("std", self.std))
        if len(self.mean) not in (1, 3):
            raise ValueError(
                f"Preprocessing: mean must have 1 (greyscale) or 3 (RGB) values, got {len(self.mean)}"
            )
        if len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise ValueError(
                f"Preprocessing: std must be {len(self.mean)} positive values like mean, got {self.std}"
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
                f"Preprocessing.from_dict: keys must be among {', '.join(sorted(known))}, "
                f"got {', '.join(unknown)}"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @property
    def channels(self) -> int:
        """Channels of the result: 1 for greyscale, 3 for RGB."""
        return len(self.mean)

    def __call__(self, image: Image.Image | NDArray[np.uint8]) -> NDArray[np.float32]:
        """The model's input for one image, ``(channels, size, size)``, float32.

        Args:
            image: An image of Pillow, or its pixels: ``(h, w)``, ``(h, w, 3)`` or ``(h, w, 4)``, uint8.

        Raises:
            ValueError: The pixel format cannot be converted, or the image is empty, or too long and thin to
                resize.
            TypeError: ``image`` is neither.
        """
        return self._of_image(image, self._normalized)

    def pixels(self, image: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The same before it is scaled and normalised, ``(channels, size, size)``, uint8.

        That is the input of a plan that was compiled with this preprocessing as its ``pixels``. A pixel's
        channels lie side by side in memory.

        Raises:
            ValueError, TypeError: As for a call.
        """
        return self._of_image(image, _planes)

    def load(self, source: str | PathLike[str] | bytes | IO[bytes]) -> NDArray[np.float32]:
        """``load_image`` and then this preprocessing.

        Raises:
            OSError, ValueError, TypeError: As for ``load_image`` and for a call; messages name the file.
        """
        return self._of_source("load", source, self._normalized)

    def load_pixels(self, source: str | PathLike[str] | bytes | IO[bytes]) -> NDArray[np.uint8]:
        """``load_image`` and then ``pixels``.

        Raises:
            OSError, ValueError, TypeError: As for ``load``.
        """
        return self._of_source("load_pixels", source, _planes)

    def _of_image(self, image: Any, finish: Callable[[Image.Image], _Result]) -> _Result:
        pillow = as_image(image)
        try:
            return finish(self._square(pillow))
        except ValueError as error:
            raise ValueError(f"Preprocessing: {complaint(error)}") from error

    def _of_source(self, call: str, source: Any, finish: Callable[[Image.Image], _Result]) -> _Result:
        try:
            image = load_image(source)
        except ValueError as error:
            kind = ImageSizeError if isinstance(error, ImageSizeError) else ValueError
            raise kind(f"Preprocessing.{call}: {complaint(error)}") from error
        try:
            return finish(self._square(image))
        except (ValueError, MemoryError) as error:
            reason = complaint(error) or "there is not enough memory"
            raise ValueError(f"Preprocessing.{call}: {name_of(source)}: {reason}") from error

    def _square(self, image: Image.Image) -> Image.Image:
        upright = convert_channels(image, self.channels)
        return center_crop(resize_shorter_side(upright, self.resize, self.interpolation), self.size)

    def _normalized(self, square: Image.Image) -> NDArray[np.float32]:
        return normalize(to_array(square), self.mean, self.std)


def as_image(image: Any) -> Image.Image:
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"Preprocessing: image must be a PIL.Image.Image or an array, got {type(image).__name__}; "
            "load(path) reads a file"
        )
    is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    if image.dtype != np.uint8 or not is_image:
        raise ValueError(
            "Preprocessing: an array must be uint8 of shape (h, w), (h, w, 3) or (h, w, 4), "
            f"got {image.dtype} of shape {image.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(image))


def _floats(name: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        result = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise ValueError(f"Preprocessing: {name} must be a sequence of numbers, got {values!r}") from None
    if not np.isfinite(result).all():
        raise ValueError(f"Preprocessing: {name} must be finite, got {result}")
    return result


def resize_shorter_side(image: Image.Image, size: int, interpolation: str = "bilinear") -> Image.Image:
    """The image scaled so that its shorter side has ``size`` pixels; the longer side is rounded down.

    Raises:
        ValueError: The image has no pixels, or the result would have more than 2**27, as that of a strip a
            few pixels wide would.
    """
    from PIL import Image

    width, height = image.size
    shorter, longer = min(width, height), max(width, height)
    if shorter == 0:
        raise ValueError(f"resize_shorter_side: the image must have pixels, got {width}x{height}")
    scaled = int(size * longer / shorter)
    if (width, height) in ((size, scaled), (scaled, size)) and shorter == size:
        return image
    if size * scaled > _MOST_PIXELS:
        raise ValueError(
            f"resize_shorter_side: the result must have at most {_MOST_PIXELS} pixels, "
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
    return np.ascontiguousarray(_planes(image), dtype=np.float32) / np.float32(255)


def _planes(image: Image.Image) -> NDArray[np.uint8]:
    """The same in 0..255, in the image's own memory where Pillow gives access."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise ValueError(f"to_array: image must be 8-bit greyscale or RGB, got mode {image.mode}")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


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
