"""Images for tests: pixels with structure, and files of them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


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
