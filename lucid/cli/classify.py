"""Name what images show.

IMAGE is a file, a folder (searched with its subfolders), or a pattern in quotes ('photos/*.jpg').
Without --model and --weights, the shipped resnext_digits reads handwritten digits; it knows nothing else.
With --json, each image is one JSON object on a line of its own, written as soon as it is known:
  {"path": ..., "model": ..., "predictions": [{"class": 3, "label": "3", "probability": 0.99}, ...]}
An image that cannot be read is skipped with the reason on stderr; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lucid.cli.arguments import positive
from lucid.cli.terminal import one_line, progress_bar, tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lucid.cli.classifier import Classifier, Prediction

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid classify"
_DEFAULT_MODEL = "resnext_digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid classify``."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or pattern")
    parser.add_argument("--model", metavar="NAME", help="e.g. resnext50_32x4d, or with a tag resnest50d.in1k")
    parser.add_argument(
        "--weights", metavar="SOURCE", help="a .safetensors or .pth file, hub:OWNER/NAME, or a published tag"
    )
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line or JSON")
    parser.add_argument(
        "--topk", type=positive, default=5, metavar="N", help="classes to show for each image (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="images computed at a time (default 8)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the predictions of every image; 1 where any failed."""
    from lucid.cli.classifier import Classifier
    from lucid.data import read_labels

    name, labels = options.model, read_labels(options.labels) if options.labels else None
    if name is None and options.weights is None:
        name = _DEFAULT_MODEL
        tell(_COMMAND, f"no --model given, so {name}: it reads handwritten digits and knows nothing else")
    paths, unfound = _find(options.images)
    unread = 0
    if paths:
        classifier = Classifier.open(name, options.weights, labels)
        unread = _classify(classifier, paths, options)
    if len(paths) + unfound > 1 and unfound + unread:
        tell(_COMMAND, f"{len(paths) - unread} images classified, {unfound + unread} failed")
    return 1 if unfound + unread else 0


def _find(sources: Sequence[str]) -> tuple[list[Path], int]:
    """The image files of all sources, each once, and how many sources gave none."""
    found = [_expand(source) for source in sources]
    paths = dict.fromkeys(path for images in found for path in images)
    return list(paths), sum(not images for images in found)


def _expand(source: str) -> list[Path]:
    """The image files of one source; none, and a line on stderr, where it has none."""
    from lucid.data import find_images

    try:
        return find_images(source)
    except (OSError, ValueError) as error:
        tell(_COMMAND, f"skipped: {one_line(error)}")
        return []


def _classify(classifier: Classifier, paths: Sequence[Path], options: argparse.Namespace) -> int:
    """Prints the predictions batch by batch; returns how many files could not be read."""
    failed = 0
    with progress_bar(len(paths)) as bar:
        for start in range(0, len(paths), options.batch_size):
            batch = paths[start : start + options.batch_size]
            lines, problems = _describe(classifier, batch, options)
            # On a terminal, the bar must not share a line with what is written.
            with bar.external_write_mode():
                for problem in problems:
                    tell(_COMMAND, f"skipped {problem}")
                for line in lines:
                    print(line)
                sys.stdout.flush()
            failed += len(problems)
            bar.update(len(batch))
    return failed


def _describe(
    classifier: Classifier, batch: Sequence[Path], options: argparse.Namespace
) -> tuple[list[str], list[str]]:
    """What to print for each image of a batch, and for each file that is none the reason."""
    import numpy as np

    prepared = {path: _prepare(classifier, path) for path in batch}
    images = {path: image for path, image in prepared.items() if not isinstance(image, str)}
    problems = [f"{path}: {reason}" for path, reason in prepared.items() if isinstance(reason, str)]
    if not images:
        return [], problems
    predictions = classifier.top(np.stack(list(images.values())), options.topk)
    found = zip(images, predictions, strict=True)
    if options.json:
        return [_as_json(classifier.name, path, best) for path, best in found], problems
    return [_as_text(path, best) for path, best in found], problems


def _prepare(classifier: Classifier, path: Path) -> NDArray[np.float32] | str:
    """The model's input for one file, or why there is none."""
    try:
        return classifier.prepare(path)
    except (OSError, ValueError) as error:
        return one_line(error)


def _as_json(model: str, path: Path, predictions: Sequence[Prediction]) -> str:
    classes = [{"class": p.index, "label": p.label, "probability": p.probability} for p in predictions]
    return json.dumps({"path": str(path), "model": model, "predictions": classes})


def _as_text(path: Path, predictions: Sequence[Prediction]) -> str:
    return "\n".join([str(path), *(f"{100 * p.probability:8.2f} %  {p.label}" for p in predictions)])
