"""A classifier in each actor of a cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid import arguments, classifier, runtime
from lucid.ray.cluster import assigned_cpus

__all__ = ["Classifier"]


class Classifier:
    """A ``lucid.Classifier`` that takes Ray's batches, as arrays by the name of their column.

    An actor holds one plan and computes with as many threads as it has CPUs (``num_cpus`` of
    ``map_batches``). The result of a batch has all columns but that of the images, and

    - ``label``, ``probability``, ``index``: the most probable class;
    - ``labels`` (a list for each image), ``probabilities`` and ``indices``, both ``(n, topk)``: the best
      ones, where ``topk`` is above 1;
    - ``error``: why an image has none of these ("", NaN, -1), else "". No image ends the others' work.

    Args:
        column: Name of the column of images: paths, contents of files, or pixels as uint8, ``(h, w)``,
            ``(h, w, 3)`` or ``(h, w, 4)``, all of one size or each of its own.
        topk: How many classes to give for an image.
        batch_size: Images that are computed at a time; a smaller last batch is filled up.
        **options: The other arguments of ``lucid.Classifier``: ``model``, ``weights``, ``labels``, ...

    Raises:
        ValueError, TypeError, OSError, ImportError: As for ``lucid.Classifier``.
    """

    def __init__(self, *, column: str = "image", topk: int = 1, batch_size: int = 8, **options: Any) -> None:
        threads = assigned_cpus()
        if threads is not None:
            runtime.set_num_threads(threads)
        self.column = column
        self._classifier = classifier.Classifier(topk=topk, batch_size=batch_size, **options)
        self.topk = min(arguments.positive("Classifier", "topk", topk), len(self._classifier.labels))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The batch with its classes in place of its images.

        Raises:
            ValueError: It has no such column.
        """
        if self.column not in batch:
            raise ValueError(
                f"Classifier: the batch must have a column {self.column!r}, got {', '.join(batch) or 'none'}"
            )
        images = list(batch[self.column])
        # Filled up here, so that the last batch needs no plan of its own, with packed weights of its own.
        filling = images[-1:] * (-len(images) % self._classifier.batch_size)
        found = list(self._classifier.stream(images + filling, expand=False))[: len(images)]
        others = {name: values for name, values in batch.items() if name != self.column}
        return others | self._columns(found)

    def _columns(self, found: list[classifier.Classification]) -> dict[str, NDArray[Any]]:
        missing = [classifier.Prediction("", float("nan"), -1)] * self.topk
        rows = [result.predictions or missing for result in found]
        shape = len(rows), self.topk
        probabilities = np.array([[best.probability for best in row] for row in rows], np.float32).reshape(
            shape
        )
        indices = np.array([[best.index for best in row] for row in rows], np.int64).reshape(shape)
        columns = {
            "label": _objects([row[0].label for row in rows]),
            "probability": probabilities[:, 0],
            "index": indices[:, 0],
            "error": _objects(["" if result.error is None else str(result.error) for result in found]),
        }
        if self.topk > 1:
            labels = _objects([[best.label for best in row] for row in rows])
            columns |= {"labels": labels, "probabilities": probabilities, "indices": indices}
        return columns


def _objects(values: list[Any]) -> NDArray[Any]:
    """An array of one dimension, of lists too, from which Arrow makes strings and lists of strings."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
