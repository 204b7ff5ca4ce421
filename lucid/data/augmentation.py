"""Augmentation: another view of an image each time that a network is trained on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.channels import convert_channels
from lucid.data.transforms import Preprocessing, as_image, normalize, to_array

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Augmentation", "rand_augment", "random_resized_crop"]

_ATTEMPTS = 10  # as in torchvision, before a crop of the wanted shape is given up
_MOST_MAGNITUDE = 10


@dataclass(frozen=True)
class Augmentation:
    """A random part of an image, perhaps mirrored and distorted, as a network's input.

    The defaults are those of both families' articles: "Going Deeper with Convolutions" (Szegedy et al., 2015)
    for the crops.

    Attributes:
        preprocessing: What the network wants: the size of the result, its filter, mean and std.
        scale: Part of the image's area that a crop covers at least and at most.
        ratio: Width / height of a crop, at least and at most.
        flip: Probability that the image is mirrored; 0 for digits and text.
        operations: How many operations of RandAugment follow, 0 for none.
        magnitude: How strong they are, from 0 to 10.

    Raises:
        ValueError: A field is out of its range.
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    operations: int = 0
    magnitude: float = 9.0

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            least, most = getattr(self, name)
            if not 0 < least <= most or (name == "scale" and most > 1):
                raise ValueError(
                    f"Augmentation: {name} must be two positive numbers in order, got {least} and {most}"
                )
        if not 0 <= self.flip <= 1:
            raise ValueError(f"Augmentation: flip must be a probability, got {self.flip}")
        if self.operations < 0 or not 0 <= self.magnitude <= _MOST_MAGNITUDE:
            raise ValueError(
                "Augmentation: operations must not be negative and magnitude from 0 to "
                f"{_MOST_MAGNITUDE}, got {self.operations} and {self.magnitude}"
            )

    def __call__(
        self, image: Image.Image | NDArray[np.uint8], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """The input ``(channels, size, size)``, float32; ``rng`` alone decides on the view."""
        from PIL import ImageOps

        wanted = self.preprocessing
        view = convert_channels(as_image(image), wanted.channels)
        view = random_resized_crop(view, wanted.size, rng, self.scale, self.ratio, wanted.interpolation)
        if rng.random() < self.flip:
            view = ImageOps.mirror(view)
        view = rand_augment(view, rng, self.operations, self.magnitude)
        return normalize(to_array(view), wanted.mean, wanted.std)


def random_resized_crop(
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: str = "bilinear",
) -> Image.Image:
    """A square of ``size`` pixels from a random part of the image, as torchvision's ``RandomResizedCrop``.

    Where the image is too narrow for the shapes that were drawn, the largest centre of an allowed shape.
    """
    from PIL import Image

    filter = Image.Resampling[interpolation.upper()]
    width, height = image.size
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return image.resize((size, size), filter, (left, top, left + w, top + h))
    shape = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * shape)), min(height, round(width / shape))
    left, top = (width - w) // 2, (height - h) // 2
    return image.resize((size, size), filter, (left, top, left + max(w, 1), top + max(h, 1)))


# ---- RandAugment: operations of an image and a magnitude from 0 to 1, some of which have a direction


def _enhanced(name: str) -> Callable[[Any, float], Any]:
    def operation(image: Any, strength: float) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, name)(image).enhance(1.0 + 0.9 * strength)

    return operation


def _moved(image: Any, *coefficients: float) -> Any:
    """The image under an affine map from the result's pixels to its own, grey where it has none."""
    from PIL import Image

    affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return image.transform(image.size, affine, coefficients, bilinear, fillcolor=_grey(image))


def _rotated(image: Any, strength: float) -> Any:
    return image.rotate(30 * strength, fillcolor=_grey(image))


def _grey(image: Any) -> Any:
    return 128 if image.mode == "L" else (128,) * len(image.getbands())


def _plain(name: str, *arguments: Callable[[float], int]) -> Callable[[Any, float], Any]:
    def operation(image: Any, strength: float) -> Any:
        from PIL import ImageOps

        return getattr(ImageOps, name)(image, *[argument(abs(strength)) for argument in arguments])

    return operation


_OPERATIONS: tuple[Callable[[Any, float], Any], ...] = (
    lambda image, strength: image,
    _plain("autocontrast"),
    _plain("equalize"),
    _plain("posterize", lambda strength: 8 - round(4 * strength)),
    _plain("solarize", lambda strength: 256 - round(256 * strength)),
    _enhanced("Color"),
    _enhanced("Contrast"),
    _enhanced("Brightness"),
    _enhanced("Sharpness"),
    _rotated,
    lambda image, strength: _moved(image, 1, 0.3 * strength, 0, 0, 1, 0),
    lambda image, strength: _moved(image, 1, 0, 0, 0.3 * strength, 1, 0),
    lambda image, strength: _moved(image, 1, 0, 0.45 * strength * image.width, 0, 1, 0),
    lambda image, strength: _moved(image, 1, 0, 0, 0, 1, 0.45 * strength * image.height),
)


def rand_augment(
    image: Image.Image, rng: np.random.Generator, operations: int = 2, magnitude: float = 9.0
) -> Image.Image:
    """The 8-bit image after that many operations, drawn from 14, all of one magnitude.

    "RandAugment: Practical automated data augmentation with a reduced search space" (Cubuk et al., 2020),
    https://arxiv.org/abs/1909.13719.
    """
    for _ in range(operations):
        operation = _OPERATIONS[int(rng.integers(len(_OPERATIONS)))]
        image = operation(image, (1 if rng.random() < 0.5 else -1) * magnitude / _MOST_MAGNITUDE)
    return image
