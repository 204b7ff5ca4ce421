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
import re
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lucid.cli.arguments import positive
from lucid.cli.terminal import Progress, UsageError, one_line, printable, tell

if TYPE_CHECKING:
    from lucid.classifier import Classification, Classifier
    from lucid.data.folder import Search

__all__ = ["add_arguments", "in_options", "run", "usual_model"]

_COMMAND = "lucid classify"
_DEFAULT_MODEL = "resnext_digits"

# Names of the library's parameters in its messages, which are options here.
_PARAMETERS = re.compile(r"\b(model|weights|labels|entry)(?:=| (?=must))")
_EMA = {"ema=True": "--ema", "ema=False": "--no-ema"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid classify``."""
    parser.set_defaults(translate=in_options)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or pattern")
    parser.add_argument(
        "--model", metavar="NAME", help="e.g. resnext50_32x4d, with a tag resnest50d.in1k, or file.onnx"
    )
    parser.add_argument(
        "--weights", metavar="SOURCE", help="a .safetensors or .pth file, hub:OWNER/NAME, or a published tag"
    )
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="take the averaged or the raw weights of a checkpoint with both (default averaged, as timm)",
    )
    parser.add_argument("--entry", metavar="NAME", help="the network in a checkpoint with several")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line or JSON")
    parser.add_argument(
        "--topk", type=positive, default=5, metavar="N", help="classes to show for each image (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="images computed at a time (default 8)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="compute in this (default float32); bfloat16 is faster with AMX",
    )
    parser.add_argument(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="refuse larger images, which could be small files made to fill the memory (default 178956970)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the predictions of every image; 1 where any failed."""
    from lucid.data import read_labels

    name, labels = options.model, read_labels(options.labels) if options.labels else None
    if name is None and options.weights is None:
        name = usual_model(_COMMAND)
    if options.max_pixels:
        from PIL import Image

        # Pillow refuses from twice this number on.
        Image.MAX_IMAGE_PIXELS = (options.max_pixels + 1) // 2
    paths, failed = _find(options.images)
    count = len(paths)
    if paths:
        unread = _classify(_classifier(name, labels, options), paths, options)
        count, failed = count - unread, failed + unread
    if count + failed > 1 and failed:
        tell(_COMMAND, f"{count} images classified, {failed} failed")
    return 1 if failed else 0


def usual_model(command: str) -> str:
    """The model where none is given, which a line on stderr says."""
    tell(
        command, f"no --model given, so {_DEFAULT_MODEL}: it reads handwritten digits and knows nothing else"
    )
    return _DEFAULT_MODEL


def _find(sources: Sequence[str]) -> tuple[list[Path], int]:
    """The image files of all sources, each once, and how many files and sources gave none."""
    found = [_search(source) for source in sources]
    paths = dict.fromkeys(path for search in found if search is not None for path in search.images)
    skipped = sum(count for search in found if search is not None for _, count in search.skipped)
    return list(paths), skipped + found.count(None)


def _search(source: str) -> Search | None:
    """The image files of one source; None, and a line on stderr, where it has none."""
    from lucid.data.folder import search_images
    from lucid.data.image_file import complaint

    try:
        search = search_images(source)
    except (OSError, ValueError) as error:
        tell(_COMMAND, f"skipped: {complaint(error)}")
        return None
    for reason, _ in search.skipped:
        tell(_COMMAND, f"skipped {printable(reason)}")
    return search


def _classifier(name: str | None, labels: list[str] | None, options: argparse.Namespace) -> Classifier:
    from lucid.classifier import Classifier
    from lucid.data.image_file import complaint

    try:
        return Classifier(
            name,
            options.weights,
            labels,
            topk=options.topk,
            batch_size=options.batch_size,
            ema=options.ema,
            entry=options.entry,
            dtype=options.dtype,
        )
    except (ValueError, FileNotFoundError, ImportError) as error:
        text = complaint(error)
        if in_options(text) == text:
            raise ValueError(text) from error
        raise UsageError(in_options(text)) from error


def in_options(message: str) -> str:
    """A message of the library with options in place of its parameters."""
    for argument, option in _EMA.items():
        message = message.replace(argument, option)
    return _PARAMETERS.sub(r"--\1 ", message)


def _classify(classifier: Classifier, paths: Sequence[Path], options: argparse.Namespace) -> int:
    """Prints the predictions batch by batch; returns how many files could not be read."""
    failed = 0
    results = classifier.stream(paths)
    with Progress(_COMMAND, len(paths)) as progress:
        while batch := list(islice(results, options.batch_size)):
            with progress.paused():
                for result in batch:
                    if result.error is not None:
                        tell(_COMMAND, f"skipped {printable(str(result.source))}: {_reason(result)}")
                        failed += 1
                    elif options.json:
                        print(_as_json(classifier.name, result))
                    else:
                        print(_as_text(result))
                sys.stdout.flush()
            progress.update(len(batch))
    return failed


def _reason(result: Classification) -> str:
    """The reason why there are no predictions, without the path, which stands before it."""
    from lucid.data import ImageSizeError
    from lucid.data.image_file import complaint

    if result.error is None:
        return ""
    reason = one_line(complaint(result.error)).removeprefix(f"{one_line(str(result.source))} ")
    return f"{reason}; --max-pixels N does so here" if isinstance(result.error, ImageSizeError) else reason


def _as_json(model: str, result: Classification) -> str:
    classes = [{"class": p.index, "label": p.label, "probability": p.probability} for p in result.predictions]
    return json.dumps({"path": str(result.source), "model": model, "predictions": classes})


def _as_text(result: Classification) -> str:
    lines = [f"{100 * p.probability:8.2f} %  {printable(p.label)}" for p in result.predictions]
    return "\n".join([printable(str(result.source)), *lines])
