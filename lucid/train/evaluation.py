"""Evaluation: a model's answers against the true classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.autograd import no_grad
from lucid.communicator import Communicator, SingleProcess
from lucid.nn import Module
from lucid.nn import functional as F

__all__ = ["Evaluation", "evaluate"]

_TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model to images whose classes are known.

    Attributes:
        confusion: Images by true class (rows) and answer (columns), int64 ``(classes, classes)``.
        among_five: Images whose class is among the five best answers.
        loss: The mean cross entropy.
    """

    confusion: NDArray[np.int64]
    among_five: int
    loss: float

    @property
    def images(self) -> int:
        """How many there were."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """The share of images whose best answer is right."""
        return float(np.trace(self.confusion)) / max(self.images, 1)

    @property
    def top5(self) -> float:
        """The share of images whose class is among the five best answers."""
        return self.among_five / max(self.images, 1)

    def of_classes(self) -> list[float | None]:
        """The share of right answers for each true class; None for one without images."""
        counts = self.confusion.sum(1)
        right = np.diagonal(self.confusion)
        return [float(r / n) if n else None for r, n in zip(right, counts, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as values that JSON can hold."""
        return {"images": self.images, "loss": self.loss, "top1": self.top1, "top5": self.top5}


def evaluate(
    model: Module,
    batches: Iterable[tuple[Any, Any]],
    on_batch: Callable[[int], None] = lambda images: None,
    communicator: Communicator | None = None,
) -> Evaluation:
    """The answers of a model in eval mode, in which it is meanwhile, to all batches.

    Args:
        model: Gives logits ``(n, classes)``.
        batches: Images and class indices, as of ``lucid.data.Loader``.
        on_batch: Is told the number of images after each batch.
        communicator: That of processes which each have a part of the batches, or none; the result is for all.

    Raises:
        ValueError: No process has a batch, or a label is not below the number of classes.
    """
    training = model.training
    confusion: NDArray[np.int64] | None = None
    among_five, loss = 0, 0.0
    try:
        model.eval()
        for images, labels in batches:
            with no_grad():
                logits = model(images)
                loss += F.cross_entropy(logits, labels, reduction="sum").item()
            scores = logits.numpy()
            if confusion is None:
                confusion = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
            np.add.at(confusion, (labels, scores.argmax(1)), 1)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]
            among_five += int((best == labels[:, None]).any(1).sum())
            on_batch(len(labels))
    finally:
        model.train(training)
    found = (communicator or SingleProcess()).all_gather((confusion, among_five, loss))
    found = [part for part in found if part[0] is not None]
    if not found:
        raise ValueError("evaluate: batches must hold images, got none")
    confusion, among_five, loss = (sum(values[1:], values[0]) for values in zip(*found, strict=True))
    return Evaluation(confusion, among_five, float(loss / confusion.sum()))
