"""Draw where in an image a network sees a class.

IMAGE is a file. The picture shows what the network sees of it, beside the same with what speaks for the class
in warm colours: the gradient-weighted class-activation map of its last stage, or an earlier one if small.
Without --model and --weights, the shipped resnext_digits reads handwritten digits; it knows nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lucid.cli.classify import in_options, usual_model
from lucid.cli.terminal import UsageError, printable

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid explain"
_SIDE = 224  # pixels, at least; a smaller image would be hard to see
_COLOURS = np.array([(0, 0, 0), (180, 20, 60), (250, 150, 20), (255, 245, 160)], np.float32)  # of 0 to 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid explain``."""
    parser.set_defaults(translate=in_options)
    add = parser.add_argument
    add("image", metavar="IMAGE", help="the file of an image")
    add("--model", metavar="NAME", help="e.g. resnext50_32x4d, or with a tag resnest50d.in1k")
    add("--weights", metavar="SOURCE", help="a file, hub:OWNER/NAME, or a published tag")
    add("--labels", metavar="FILE", help="names of the classes, one a line or JSON")
    add(
        "--class", dest="label", metavar="CLASS", help="name or number of a class (default the most probable)"
    )
    add("--out", metavar="FILE", help="where to write the picture (default IMAGE-explained.png, here)")


def run(options: argparse.Namespace) -> int:
    """Writes the picture, and prints the class and where the picture is."""
    from lucid.classifier import Classifier
    from lucid.models import ResNet, activation_map

    source = Path(options.image)
    target = Path(options.out or f"{source.stem}-explained.png")
    _check_ending(target)
    name = options.model
    if name is None and options.weights is None:
        name = usual_model(_COMMAND)
    classifier = Classifier(name, options.weights, options.labels)
    if not isinstance(classifier.model, ResNet):
        raise UsageError("--model must be a network of lucid's families")
    index = None if options.label is None else _class(options.label, classifier.labels)
    seen = classifier.preprocessing.load(source)
    found = activation_map(classifier.model, seen, index)
    prepared = classifier.preprocessing
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (prepared.mean, prepared.std))
    _picture(seen * std + mean, found.heat).save(target)
    label = printable(classifier.labels[found.index])
    print(f"{label} ({found.probability:.1%}): {printable(str(target))}")
    return 0


def _check_ending(target: Path) -> None:
    from PIL import Image

    if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:
        raise UsageError(f"--out must be a file that Pillow can write, such as .png, got {target}")


def _class(text: str, labels: Sequence[str]) -> int:
    """The number of a class by its name, or by its number where no class has that name."""
    if text in labels:
        return list(labels).index(text)
    if text.isdecimal() and int(text) < len(labels):
        return int(text)
    known = ", ".join(labels[:4])
    raise UsageError(f"--class must be one of the {len(labels)} classes ({known}, ...), got {text}")


def _picture(pixels: NDArray[np.float32], heat: NDArray[np.float32]) -> Image.Image:
    """The image, 0 to 1 in ``(channels, h, w)``, and beside it the heat on its grey values."""
    from PIL import Image

    height, width = pixels.shape[1:]
    factor = max(1, -(-_SIDE // min(height, width)))
    size = width * factor, height * factor
    plain = np.clip(pixels * 255, 0, 255).round().astype(np.uint8).transpose(1, 2, 0)
    left = Image.fromarray(plain.squeeze(), "L" if len(pixels) == 1 else "RGB").convert("RGB")
    left = left.resize(size, Image.Resampling.NEAREST)
    spread = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    grey = np.asarray(left.convert("L"), np.float32)
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(spread, places, channel) for channel in _COLOURS.T], -1)
    share = 0.75 * spread[..., None]
    right = Image.fromarray((grey[..., None] * (1 - share) + colours * share).astype(np.uint8))
    both = Image.new("RGB", (2 * size[0] + 8, size[1]), "white")
    both.paste(left, (0, 0))
    both.paste(right, (size[0] + 8, 0))
    return both
