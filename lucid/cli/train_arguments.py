"""The arguments of ``lucid train``, and the settings that a checkpoint keeps of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lucid.cli.arguments import positive
from lucid.cli.terminal import UsageError

__all__ = ["FIXED", "Settings", "add_arguments"]

# Options that decide on the result; a training that goes on has them from its checkpoint.
FIXED = (
    "model",
    "weights",
    "val",
    "epochs",
    "batch_size",
    "lr",
    "recipe",
    "image_size",
    "seed",
    "freeze",
    "accumulate",
    "clip",
    "average",
)

_EPOCHS, _BATCH, _VAL = 10, 32, "0.1"


@dataclass(frozen=True)
class Settings:
    """All that decides on the result of a training; ``recipe`` as ``Recipe.to_dict`` gives it."""

    folder: str
    model: str
    weights: str | None
    val: str
    epochs: int
    batch_size: int
    recipe: dict[str, Any]
    image_size: int | None
    seed: int
    freeze: int

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The settings that ``to_dict`` gave."""
        return cls(**values)

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Settings:
        """Those of a command line that begins a training.

        Raises:
            UsageError: FOLDER or --model is absent, or the recipe with these changes is none.
        """
        from lucid.train import RECIPES

        for name, value in (("FOLDER", options.folder), ("--model", options.model)):
            if value is None:
                raise UsageError(f"{name} must be given, unless --resume goes on with a training")
        name = options.recipe or ("fine_tune" if options.weights else _recipe_of(options.model))
        changes = {"accumulate": options.accumulate, "clip_norm": options.clip, "average": options.average}
        if options.lr is not None:
            changes |= {"lr": options.lr, "reference_batch": 0}  # the rate that was asked for, for any batch
        try:
            recipe = replace(RECIPES[name], **{k: v for k, v in changes.items() if v is not None})
        except ValueError as error:
            raise UsageError(str(error).removeprefix("Recipe: ")) from None
        return cls(
            folder=options.folder,
            model=options.model,
            weights=options.weights,
            val=_VAL if options.val is None else options.val,
            epochs=options.epochs or _EPOCHS,
            batch_size=options.batch_size or _BATCH,
            recipe=recipe.to_dict(),
            image_size=options.image_size,
            seed=options.seed or 0,
            freeze=options.freeze or 0,
        )


def _recipe_of(model: str) -> str:
    return "digits" if "digits" in model else "resnest" if "resnest" in model.lower() else "resnext"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid train``."""
    add = parser.add_argument
    add("folder", nargs="?", metavar="FOLDER", help="a folder with a folder of images for each class")
    add("--out", required=True, metavar="DIR", help="where everything is written; it is made if absent")
    add("--resume", action="store_true", help="go on with the training in --out, bit for bit")
    add("--model", metavar="NAME", help="e.g. resnext50_32x4d")
    add("--weights", metavar="SOURCE", help="to begin with: a file, hub:OWNER/NAME, a tag, or 'pretrained'")
    add(
        "--val",
        metavar="WHERE",
        help=f"to evaluate on: a folder, or a share of FOLDER (default {_VAL}, 0 none)",
    )
    add("--epochs", type=positive, metavar="N", help=f"times that each image is seen (default {_EPOCHS})")
    add("--batch-size", type=positive, metavar="N", help=f"images at a time (default {_BATCH})")
    add("--lr", type=_number, metavar="RATE", help="the largest learning rate (default: the recipe's)")
    add(
        "--recipe",
        choices=("resnext", "resnest", "fine_tune", "digits"),
        help="default: fine_tune with --weights, else that of the model's article",
    )
    add("--image-size", type=positive, metavar="N", help="side of images in pixels (default: the model's)")
    add(
        "--freeze",
        type=_count,
        metavar="N",
        help="keep the stem and the first N stages as they are",
    )
    add("--accumulate", type=positive, metavar="N", help="batches to a step (default 1)")
    add("--clip", type=_number, metavar="NORM", help="the largest norm of a step's gradients, 0 for any")
    add("--average", type=_number, metavar="DECAY", help="keep an average of the weights, e.g. 0.9998")
    add("--seed", type=_count, metavar="N", help="decides on weights, order and views (default 0)")
    add("--threads", type=positive, metavar="N", help="processors to use (default: all)")
    add("--workers", type=_count, default=2, metavar="N", help="threads that load images (default 2)")
    add(
        "--save-minutes", type=_number, default=10.0, metavar="N", help="save within epochs, too (default 10)"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number that is not negative, got {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer that is not negative, got {text!r}")
    return int(text)
