"""Measure a network on a folder of images whose classes are known.

FOLDER holds a folder of images for each class, named as the weights' labels are; where these are of other
names and as many, the folders stand in the order of the classes.
With --json, the numbers are one JSON object on stdout:
  {"model": ..., "images": 599, "loss": 0.08, "top1": 0.98, "top5": 1.0, "classes": {"cat": 0.97, ...}}
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lucid.cli.arguments import positive
from lucid.cli.classify import in_options
from lucid.cli.terminal import Progress, UsageError, printable, tell

if TYPE_CHECKING:
    from lucid.train import Evaluation

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid eval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid eval``."""
    parser.set_defaults(translate=in_options)
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="a folder with a folder of images for each class")
    add("--model", metavar="NAME", help="e.g. resnext50_32x4d; not needed where the weights say it")
    add("--weights", metavar="SOURCE", help="a file, hub:OWNER/NAME, or a published tag")
    add("--labels", metavar="FILE", help="names of the classes, one a line or JSON")
    add("--json", action="store_true", help="the numbers as JSON")
    add("--confusion", metavar="FILE", help="draw which classes are taken for which; needs matplotlib")
    add("--batch-size", type=positive, default=32, metavar="N", help="images at a time (default 32)")
    add("--threads", type=positive, metavar="N", help="processors to use (default: all)")


def run(options: argparse.Namespace) -> int:
    """Prints the accuracy on all images of a folder."""
    import lucid
    from lucid import nn
    from lucid.benchmark.figure import formats
    from lucid.classifier import Classifier
    from lucid.data import Loader
    from lucid.train import evaluate
    from lucid.train.datasets import labelled_folder
    from lucid.train.pictures import draw_confusion

    if options.model is None and options.weights is None:
        raise UsageError("--model or --weights must be given")
    if options.confusion and Path(options.confusion).suffix[1:].lower() not in formats():
        raise UsageError(f"--confusion must be a file that matplotlib can write, got {options.confusion}")
    if options.threads:
        lucid.set_num_threads(options.threads)
    images = labelled_folder(options.folder)
    classifier = Classifier(options.model, options.weights, options.labels)
    model, labels = classifier.model, classifier.labels
    if not isinstance(model, nn.Module):
        raise UsageError("--model must be a network of lucid's, got an ONNX file")
    images = labelled_folder(options.folder, _order(images.classes, labels))
    loader = Loader(images, options.batch_size, lambda image, _: classifier.preprocessing(image))
    with Progress(_COMMAND, len(images)) as progress:
        found = evaluate(model, loader, progress.update)
    if options.confusion:
        draw_confusion(Path(options.confusion), found.confusion, labels)
    print(_as_json(classifier.name, found, labels) if options.json else _as_text(found))
    return 0


def _order(folders: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The folders' names in the order of the model's classes."""
    if set(folders) <= set(labels):
        return list(labels)
    if len(folders) == len(labels):
        tell(_COMMAND, "the folders have other names than the model's classes: taken in their order")
        return list(folders)
    unknown = sorted(set(folders) - set(labels))
    raise ValueError(
        f"the folders must be named as the model's {len(labels)} classes ({', '.join(labels[:4])}, ...), "
        f"got {', '.join(unknown[:4])}"
    )


def _as_text(found: Evaluation) -> str:
    return f"{found.images} images: top-1 {found.top1:.2%}, top-5 {found.top5:.2%}, loss {found.loss:.4f}"


def _as_json(name: str, found: Evaluation, labels: Sequence[str]) -> str:
    classes = {printable(label): share for label, share in zip(labels, found.of_classes(), strict=True)}
    return json.dumps({"model": name, **found.to_dict(), "classes": classes})
