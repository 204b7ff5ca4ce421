"""Classifier: from images to names, with a model and everything that belongs before and after it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lucid import arguments
from lucid.data import ImageSizeError, Preprocessing, class_labels, find_images, read_labels
from lucid.data.image_file import complaint
from lucid.inference import InferencePlan, compile
from lucid.model_source import find_network, usual_preprocessing
from lucid.nn import Module
from lucid.nn import functional as F
from lucid.onnx import OnnxNetwork
from lucid.tensor import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageSource: TypeAlias = str | PathLike[str] | bytes | IO[bytes] | Image | NDArray[np.uint8]

__all__ = ["Classification", "Classifier", "Prediction"]


class Prediction(NamedTuple):
    """One class that an image may show, with its softmax probability."""

    label: str
    probability: float
    index: int  # type: ignore[assignment]  # the name hides a method of tuple


@dataclass(frozen=True)
class Classification:
    """The result for one image of a stream.

    Attributes:
        source: The image as it was given, or the path of its file.
        predictions: The most probable classes, best first; none where there is an error.
        error: The reason why there are no predictions, else None.
    """

    source: Any
    predictions: list[Prediction]
    error: Exception | None = None


class Classifier:
    """A trained model that names what images show.

    It makes an inference plan for a size of batch when it first needs it: what happens to the model
    afterwards, training included, does not reach the plan. Any number of threads may call it at once, and it
    can be pickled, without its plans.

    Args:
        model: A name as for ``create_model``, a module in eval mode, or the path of an ONNX file, as for
            ``lucid.onnx.load``. A name without ``weights`` takes those that ship with lucid, and a name with
            a tag (``resnest50d.in1k``) the published ones. None takes the network that the weight file
            describes.
        weights: As for ``load_weights``. They are loaded into a module that is given as ``model``.
        labels: One for each class, or the path of a file as for ``read_labels``. None takes those that came
            with the weights, for 1000 classes ImageNet's, and else numbers.
        topk: How many classes to give for an image; all, where the model has fewer.
        preprocessing: The steps before the model, of which ``pixels`` and ``load_pixels`` are called, since
            the plan normalises; None takes those that its weights were evaluated with.
        batch_size: Images that are computed at a time.
        ema: As for ``load_weights``.
        entry: As for ``load_weights``.
        dtype: Of the plan, as for ``compile``.

    Attributes:
        name: Name of the model.
        labels: Name of each class.
        model, preprocessing, topk, batch_size: As given or found.

    Raises:
        ValueError: There are no weights for the name or no name for the weights, they do not fit, the labels
            are not one a class, or the module is in training mode.
        TypeError: An argument is of another type.
        OSError, ImportError: As for ``load_weights`` and ``read_labels``.
    """

    def __init__(
        self,
        model: str | PathLike[str] | Module | None = None,
        weights: str | PathLike[str] | Mapping[str, Any] | None = None,
        labels: Sequence[str] | str | PathLike[str] | None = None,
        *,
        topk: int = 5,
        preprocessing: Preprocessing | None = None,
        batch_size: int = 8,
        ema: bool | None = None,
        entry: str | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.topk = arguments.positive("Classifier", "topk", topk)
        self.batch_size = arguments.positive("Classifier", "batch_size", batch_size)
        names = _names(labels)
        choice = {"ema": ema, "entry": entry}
        try:
            self.model, metadata = find_network(model, weights, choice, len(names) if names else None)
        except (ValueError, FileNotFoundError, ImportError) as error:
            raise _renamed("Classifier", error) from error
        self._fixed_rows = self.model.batch if isinstance(self.model, OnnxNetwork) else None
        named = model if isinstance(model, str) and not isinstance(self.model, OnnxNetwork) else None
        known = named or metadata.model or getattr(self.model, "name", None)
        self.name: str = known or type(self.model).__name__
        self._lock = threading.Lock()
        self._dtype = dtype
        self._plans: dict[int, InferencePlan] = {}
        self.preprocessing = (
            preprocessing or metadata.preprocessing or usual_preprocessing(self.model, self.name)
        )
        self._check_channels()
        self.labels = self._named_classes(names, metadata.labels)

    @overload
    def __call__(self, images: ImageSource, *, topk: int | None = None) -> list[Prediction]: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        topk: int | None = None,
    ) -> list[list[Prediction]]: ...

    def __call__(self, images: Any, *, topk: int | None = None) -> Any:
        """The most probable classes of an image, best first; for several images a list of such lists.

        Args:
            images: The path of a file, the contents of one as bytes, a stream, an image of Pillow, or its
                pixels as an array of uint8, ``(h, w)``, ``(h, w, 3)`` or ``(h, w, 4)``; or any number of
                these.
            topk: Another number of classes than that of the constructor.

        Raises:
            OSError, ValueError: An image cannot be read, or the outputs are not finite; ``stream`` goes on to
                the next image instead.
            TypeError: An image is none of the above.
        """
        count = self.topk if topk is None else arguments.positive("Classifier", "topk", topk)
        several = _is_several(images)
        results: list[list[Prediction]] = []
        for found in self._stream(iter(images if several else [images]), count, self.batch_size):
            if found.error is not None:
                raise found.error
            results.append(found.predictions)
        return results if several else results[0]

    def stream(
        self,
        sources: str | PathLike[str] | Iterable[ImageSource],
        *,
        topk: int | None = None,
        batch_size: int | None = None,
        expand: bool = True,
    ) -> Iterator[Classification]:
        """The result for one image after the other, where an image that cannot be read is one of them.

        Args:
            sources: A folder, a pattern or a file as for ``find_images``, or any number of these and of
                images. An iterator is read a batch at a time, and may be endless.
            topk, batch_size: Other numbers than those of the constructor.
            expand: Whether a folder or a pattern stands for its images; if not, each source has one result.

        Raises:
            OSError, ValueError: ``sources`` is one path, and there is no image.
        """
        count = self.topk if topk is None else arguments.positive("Classifier.stream", "topk", topk)
        size = self.batch_size
        if batch_size is not None:
            size = arguments.positive("Classifier.stream", "batch_size", batch_size)
        if isinstance(sources, (str, PathLike)) and expand:
            return self._stream(iter(_found(sources)), count, size)
        images: Any = sources if _is_several(sources) else [sources]
        return self._stream(_expanded(images) if expand else iter(images), count, size)

    def _stream(self, sources: Iterator[Any], topk: int, size: int) -> Iterator[Classification]:
        # Of the plan in use; the last batch, if smaller, is filled up.
        rows = self._fixed_rows or 0
        size = rows or size
        while batch := list(islice(sources, size)):
            # Powers of two: few images are no reason for a plan of eight, nor each number for one of its own.
            rows = rows or min(size, 1 << (len(batch) - 1).bit_length())
            yield from self._classified(batch, topk, rows)

    def _classified(self, batch: Sequence[Any], topk: int, rows: int) -> list[Classification]:
        """The results for a batch, computed by a plan for ``rows`` images."""
        prepared = [self._prepared(image) for image in batch]
        inputs = [image for image in prepared if not isinstance(image, Exception)]
        found = iter(self._predictions(inputs, topk, rows) if inputs else [])
        results = [image if isinstance(image, Exception) else next(found) for image in prepared]
        sources = [image.source if isinstance(image, Classification) else image for image in batch]
        return [
            Classification(source, [], got) if isinstance(got, Exception) else Classification(source, got)
            for source, got in zip(sources, results, strict=True)
        ]

    def _prepared(self, image: Any) -> NDArray[np.uint8] | Exception:
        """The plan's input for one image, or why there is none."""
        if isinstance(image, Classification):  # of a path that leads to no image
            return cast(Exception, image.error)
        try:
            if isinstance(image, (str, PathLike, bytes)) or hasattr(image, "read"):
                return self.preprocessing.load_pixels(image)
            return self.preprocessing.pixels(image)
        except ImageSizeError as error:
            return ImageSizeError(f"Classifier: {complaint(error)}")
        except ValueError as error:
            return ValueError(f"Classifier: {complaint(error)}")
        except TypeError:
            return TypeError(
                "Classifier: an image must be a path, bytes, a binary stream, a PIL.Image.Image or an array, "
                f"got {type(image).__name__}"
            )
        except Exception as error:  # no image may end a stream
            return error

    def _predictions(
        self, inputs: Sequence[NDArray[np.uint8]], topk: int, rows: int
    ) -> list[list[Prediction] | ValueError]:
        logits = self._logits(inputs, rows)
        probabilities = F.softmax(Tensor(logits), dim=1).numpy()
        # Stable, so that of two equally probable classes the first comes first.
        order = np.argsort(-logits, axis=1, kind="stable")[:, :topk]
        finite = np.logical_and.reduce(np.isfinite(logits), axis=1)
        damaged = (
            f"Classifier: the outputs of {self.name} must be finite, got NaN or infinity; check the weights"
        )
        return [
            [Prediction(self.labels[i], float(row[i]), int(i)) for i in best]
            if whole
            else ValueError(damaged)
            for row, best, whole in zip(probabilities, order, finite, strict=True)
        ]

    def _logits(self, inputs: Sequence[NDArray[np.uint8]], rows: int) -> NDArray[np.float32]:
        """Outputs of the model; a batch smaller than its plan is filled up with black."""
        channels, height, width = inputs[0].shape
        # A pixel's channels side by side, as they come from Pillow.
        batch = np.zeros((rows, height, width, channels), np.uint8).transpose(0, 3, 1, 2)
        for place, image in zip(batch, inputs, strict=False):
            place[...] = image
        logits: NDArray[np.float32] = self._plan(rows)(batch)[: len(inputs)]
        return logits

    def _plan(self, rows: int) -> InferencePlan:
        """The plan for a number of images."""
        with self._lock:
            if rows not in self._plans:
                side = self.preprocessing.size
                model = self.model
                source = model.graph(rows, side, side) if isinstance(model, OnnxNetwork) else model
                shape = (rows, self.preprocessing.channels, side, side)
                plan = compile(source, shape, self._dtype, pixels=self.preprocessing)
                if [len(shape) for shape in plan.output_shapes] != [2]:
                    raise ValueError(
                        f"Classifier: {self.name} must return one tensor of shape (n, classes), "
                        f"got {', '.join(map(str, plan.output_shapes))}"
                    )
                self._plans[rows] = plan
            return self._plans[rows]

    def _check_channels(self) -> None:
        config = getattr(self.model, "config", None)
        wanted = getattr(config, "in_channels", getattr(self.model, "channels", None))
        given = self.preprocessing.channels
        if wanted is not None and wanted != given:
            raise ValueError(
                f"Classifier: {self.name} must take as many channels as its preprocessing gives ({given}), "
                f"got {wanted}"
            )

    def _named_classes(
        self, labels: tuple[str, ...] | None, published: Sequence[str] | None
    ) -> tuple[str, ...]:
        classes = getattr(getattr(self.model, "config", None), "num_classes", None)
        if classes is None:
            classes = self._plan(self._fixed_rows or 1).output_shapes[0][1]
        if labels is None:
            return tuple(class_labels(classes, published))
        if len(labels) != classes:
            raise ValueError(
                f"Classifier: labels must hold one label for each of {classes} classes, got {len(labels)}"
            )
        return labels

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_plans")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _plans={})

    def __repr__(self) -> str:
        return f"Classifier({self.name!r}, {len(self.labels)} classes)"


def _is_several(images: Any) -> bool:
    """Whether an argument is a collection of images rather than one."""
    if isinstance(images, np.ndarray):
        return images.ndim == 4
    if isinstance(images, (str, bytes, PathLike)) or hasattr(images, "read"):
        return False
    return isinstance(images, Iterable)


def _expanded(sources: Iterable[Any]) -> Iterator[Any]:
    """Images, the files in folders, and for a path that leads to none its result."""
    for source in sources:
        if not isinstance(source, (str, PathLike)):
            yield source
            continue
        try:
            yield from _found(source)
        except (OSError, ValueError) as error:
            yield Classification(source, [], error)


def _found(source: str | PathLike[str]) -> list[Path]:
    try:
        return find_images(source)
    except (FileNotFoundError, ValueError) as error:
        raise _renamed("Classifier.stream", error) from None


def _names(labels: Any) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if isinstance(labels, (str, PathLike)):
        return tuple(read_labels(labels))
    names = tuple(labels) if isinstance(labels, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"Classifier: labels must be strings or the path of a file, got {labels!r}")
    return names


def _renamed(call: str, error: Exception) -> Exception:
    """An error of another function as one of the call that the user made."""
    kinds = (FileNotFoundError, ImportError, ValueError)
    kind = next(kind for kind in kinds if isinstance(error, kind))
    return kind(f"{call}: {complaint(error)}")
