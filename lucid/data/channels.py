"""Pixel formats of image files to the two that networks take: 8-bit greyscale and RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["convert_channels"]

_WHITE_OF_16_BITS = 65535

# Files in which a 32-bit mode of Pillow stands for 16 bits.
_FORMATS_OF_16_BITS = ("PNG", "PPM")


def convert_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in 8-bit greyscale (``channels=1``) or RGB (``channels=3``).

    Greyscale repeats into the three channels, colour becomes ITU-R 601 luma, palettes are looked up.
    Transparent pixels are laid over white, as viewers show them: what is stored under full transparency is
    arbitrary, often black. CMYK, YCbCr, LAB and HSV go through Pillow's own conversion.

    16-bit grey is scaled to 8 bits. Floats and 32-bit integers have no such range of their own: white is the
    smallest of 1 (floats only), 255 and 65535 that no pixel exceeds, if the brightest pixel reaches a
    sixteenth of it; otherwise the image's darkest pixel becomes black and its brightest white. NaN is black.

    Raises:
        ValueError: ``channels`` is neither 1 nor 3, or the pixel format cannot be converted.
    """
    if channels not in (1, 3):
        raise ValueError(f"convert_channels: channels must be 1 or 3, got {channels}")
    mode = "L" if channels == 1 else "RGB"
    try:
        return _converted(image, mode)
    except Exception as error:  # whatever Pillow raises for an image that it decodes only now
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"convert_channels: the image must be convertible to {mode}, got mode {image.mode}: {reason}"
        ) from error


def _converted(image: Image.Image, mode: str) -> Image.Image:
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = _over_white(image)
    if image.mode not in ("1", "L", "P", "RGB"):
        # Pillow converts every other format to RGB, but not every one to L.
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    values: NDArray[Any] = np.asarray(image)
    if not values.size:
        return Image.new("L", image.size)
    black, white = _range(image, values)
    scaled = np.subtract(values, black, dtype=np.float64)
    scaled *= 255 / (white - black)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, 255, out=scaled)
    pixels = scaled.astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = 255
    return Image.fromarray(pixels)


def _range(image: Image.Image, values: NDArray[Any]) -> tuple[float, float]:
    """The values that stand for black and white."""
    if image.mode != "F" and (image.mode != "I" or image.format in _FORMATS_OF_16_BITS):
        return 0, _WHITE_OF_16_BITS
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0, 1
    darkest, brightest = float(finite.min()), float(finite.max())
    # Filters overshoot a little.
    slack = 0.05 if image.mode == "F" else 0.0
    for white in (1, 255, _WHITE_OF_16_BITS) if image.mode == "F" else (255, _WHITE_OF_16_BITS):
        if darkest >= -slack * white and white / 16 <= brightest <= (1 + slack) * white:
            return 0, white
    # An image of one value is black if it is dark by any measure.
    return (darkest, brightest) if brightest > darkest else (darkest, darkest + 1)


def _over_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
