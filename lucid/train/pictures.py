"""Pictures of a training: its curves, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.benchmark.figure import figure

__all__ = ["draw_confusion", "draw_curves"]

_NUMBERED = 20  # classes up to which each cell shows its number
_NAMED = 60  # classes up to which there is room for names


def draw_confusion(path: Path, confusion: NDArray[np.int64], classes: Sequence[str]) -> None:
    """A square for each pair of a true class (row) and an answer (column), as dark as its share of the row.

    Raises:
        ImportError: There is no matplotlib.
        ValueError: The ending of the path is none that matplotlib writes.
        OSError: The file cannot be written.
    """
    count = len(confusion)
    side = min(max(4.0, 0.35 * count + 2.0), 24.0)
    picture = figure(side, side)
    axes = picture.add_subplot()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    if count <= _NAMED:
        axes.set_xticks(range(count), classes, rotation=90)
        axes.set_yticks(range(count), classes)
    if count <= _NUMBERED:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(confusion[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    picture.savefig(path)


def draw_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Loss and accuracy by epoch, in training and in evaluation.

    Args:
        path: The file.
        history: A dictionary for each epoch: ``epoch``, ``train_loss``, ``train_top1``, and where it was
            evaluated ``val_loss``, ``val_top1`` and ``val_top5``.

    Raises:
        ImportError, ValueError, OSError: As for ``draw_confusion``.
    """
    picture = figure(9.0, 4.0)
    left, right = picture.subplots(1, 2)
    for axes, title, names in (
        (left, "loss", ("train_loss", "val_loss")),
        (right, "accuracy", ("train_top1", "val_top1", "val_top5")),
    ):
        for name in names:
            points = [(line["epoch"], line[name]) for line in history if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " "))
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.legend()
    picture.savefig(path)
