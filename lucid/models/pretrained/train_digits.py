"""Writes the digits as folders that ``lucid train`` takes, and publishes the weights that it makes of them.

The models that ship with the package come from

    pip install scikit-learn
    python -m lucid.models.pretrained.train_digits write digits
    cd digits
    lucid train train --val held_out --model resnext_digits --epochs 20 --batch-size 64 --out resnext
    lucid train train --val held_out --model resnest_digits --epochs 20 --batch-size 64 --out resnest
    python -m lucid.models.pretrained.train_digits publish resn*t/last.safetensors

in a few minutes on two cores. The held-out third has no part in training: the recipe, ``digits``, has no
early stopping, and the last weights are kept.

The data are few, small and all white on black, and users' drawings are not. So each digit that is trained on
is drawn eight times: shifted, scaled down onto an empty margin, turned, sheared, with strokes from soft to
crisp, dimmed, noisy, and one half dark on light. ``lucid train`` distorts these further.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

import lucid
from lucid.models import create_from_file, read_metadata, save_weights
from lucid.models.pretrained.digits import DATA_LICENSE, PREPROCESSING, as_pixels, held_out

Pixels = NDArray[np.uint8]

EVALUATION = "top-1 on the held-out third (599 images, stratified) of scikit-learn's load_digits"
DRAWINGS = 8  # of each digit that is trained on


def main(arguments: list[str] | None = None) -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    steps = parser.add_subparsers(required=True)
    write = steps.add_parser("write", help="the digits as folders of images, train and held_out")
    write.add_argument("folder", type=Path)
    write.set_defaults(run=lambda options: write_folders(options.folder))
    publish = steps.add_parser("publish", help="weights of lucid train, with accuracy and licence")
    publish.add_argument("weights", type=Path, nargs="+")
    publish.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    publish.set_defaults(run=lambda options: publish_all(options.weights, options.output))
    options = parser.parse_args(arguments)
    options.run(options)


def write_folders(folder: Path) -> None:
    """``train/<digit>/`` and ``held_out/<digit>/`` with PNG files named after their places in the data."""
    digits = load_digits()
    pixels, labels = as_pixels(digits.images), digits.target
    rng = np.random.RandomState(0)  # NumPy promises that its stream never changes
    for index, (image, label, is_held_out) in enumerate(zip(pixels, labels, held_out(labels), strict=True)):
        place = folder / ("held_out" if is_held_out else "train") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        for number, drawing in enumerate([image] if is_held_out else drawings(image, rng)):
            Image.fromarray(drawing).save(place / f"{index:04}-{number}.png")


def drawings(image: Pixels, rng: np.random.RandomState) -> Iterator[Pixels]:
    """Drawings 32x32 as users might have made them of an image 8x8."""
    large = Image.fromarray(image).resize((PREPROCESSING.size, PREPROCESSING.size), Image.Resampling.BILINEAR)
    for _ in range(DRAWINGS):
        ink = strokes(np.asarray(moved(large, rng)) / 255, rng)
        paper = rng.uniform(0, 0.3) * (rng.rand() < 0.5)
        ink = paper + ink * rng.uniform(0.6, 1) * (1 - paper)
        ink = ink + rng.standard_normal(ink.shape) * rng.uniform(0, 0.05)
        ink = ink if rng.rand() < 0.5 else 1 - ink
        yield np.rint(255 * np.clip(ink, 0, 1)).astype(np.uint8)


def moved(image: Image.Image, rng: np.random.RandomState) -> Image.Image:
    """The image scaled by 0.5 to 1.05, stretched, turned and sheared by up to 14 degrees, and shifted."""
    shrink, stretch = np.exp(rng.uniform(math.log(0.95), math.log(1.9))), np.exp(rng.uniform(-0.2, 0.2))
    turn, shear = rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)
    margin = 0.06 + 0.8 * max(1 - 1 / shrink, 0)
    # From a place in the result to one in the image, both from -1 to 1, and then in pixels.
    linear = np.array(
        [
            [np.cos(turn) * shrink * stretch, (shear - np.sin(turn)) * shrink],
            [np.sin(turn) * shrink, np.cos(turn) * shrink / stretch],
        ]
    )
    middle = np.array(image.size) / 2
    offset = middle * (1 + rng.uniform(-1, 1, 2) * margin * shrink) - linear @ middle
    coefficients = np.column_stack([linear, offset]).ravel().tolist()
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def strokes(ink: NDArray[np.float64], rng: np.random.RandomState) -> NDArray[np.float64]:
    """Six in ten images with a steeper edge between ink (1) and paper (0), thinner or thicker."""
    steepness, threshold = rng.uniform(4, 24), rng.uniform(0.3, 0.6)
    low, high = (1 / (1 + np.exp(-steepness * (end - threshold))) for end in (0.0, 1.0))
    crisp = (1 / (1 + np.exp(-steepness * (ink - threshold))) - low) / (high - low)
    return crisp if rng.rand() < 0.6 else ink


def publish_all(weights: list[Path], output: Path) -> None:
    """Copies weight files to ``output``, under their models' names, with what a reader needs to know.

    The sample images go beside them.
    """
    digits = load_digits()
    pixels, test = as_pixels(digits.images), held_out(digits.target)
    inputs = np.stack([PREPROCESSING(Image.fromarray(image)) for image in pixels[test]])
    write_samples(output / "digits", pixels, digits.target)
    for source in weights:
        model, known = create_from_file(source).eval(), read_metadata(source)
        accuracy = float(np.mean(logits(model, inputs).argmax(axis=1) == digits.target[test]))
        facts = {
            "model": known.model,
            "labels": known.labels,
            "preprocessing": known.preprocessing,
            "license": DATA_LICENSE,
            "accuracy": round(accuracy, 4),
            "evaluation": EVALUATION,
        }
        path = output / f"{known.model}.safetensors"
        save_weights(model, path, facts)
        print(f"{path}: {100 * accuracy:.2f} % of {test.sum()} held-out digits, {path.stat().st_size} bytes")


def write_samples(folder: Path, pixels: Pixels, labels: NDArray[np.int64]) -> None:
    """The first held-out image of each digit as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        index = int(np.flatnonzero(held_out(labels) & (labels == digit))[0])
        Image.fromarray(pixels[index]).save(folder / f"{digit}-{index:04}.png")


def logits(model: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs, ``(n, 10)``."""
    return np.concatenate(
        [model(lucid.tensor(inputs[i : i + 64])).numpy() for i in range(0, len(inputs), 64)]
    )


if __name__ == "__main__":
    main()
