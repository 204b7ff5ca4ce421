"""A model with what belongs before and after it: preprocessing and labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lucid.cli.terminal import UsageError
from lucid.data import Preprocessing, class_labels

if TYPE_CHECKING:
    from lucid.inference import InferencePlan
    from lucid.models import ResNet
    from lucid.models.metadata import WeightMetadata

__all__ = ["Classifier", "Prediction"]


@dataclass(frozen=True)
class Prediction:
    """One class that an image may show, with its softmax probability."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Classifier:
    """From image files to labels.

    Attributes:
        name: What the model is called.
        model: In eval mode.
        preprocessing: What its weights were evaluated with.
        labels: One for each class.
    """

    name: str
    model: ResNet
    preprocessing: Preprocessing
    labels: Sequence[str]
    _plans: dict[tuple[int, ...], InferencePlan] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(
        cls, name: str | None = None, weights: str | None = None, labels: Sequence[str] | None = None
    ) -> Classifier:
        """A trained model by its name, by its weights, or by both.

        Args:
            name: As for ``create_model``. Without ``weights``, a model that ships with lucid uses the shipped
                ones, and a name with a tag (``resnest50d.in1k``) the published ones. None takes the network
                that the weight file describes.
            weights: As for ``load_weights``.
            labels: Replace those of the weights; as many as the model has classes.

        Raises:
            UsageError: There are no weights for the name, no name for the weights, or not one label a class.
            ValueError, OSError, ImportError: As for ``load_weights``.
        """
        from lucid.models import read_metadata

        if weights is None or weights == "pretrained":
            weights = _own_weights(name)
        metadata = read_metadata(weights)
        model = _load(name, weights, metadata, labels)
        preset = name or metadata.model
        called = preset or type(model).__name__
        prepare = metadata.preprocessing or _usual_preprocessing(preset, weights)
        if prepare.channels != model.config.in_channels:
            raise ValueError(
                f"{called}: the model must take as many channels as its preprocessing gives "
                f"({prepare.channels}), got {model.config.in_channels}"
            )
        classes = model.config.num_classes
        if labels is not None and len(labels) != classes:
            raise UsageError(f"--labels must hold one label for each of {classes} classes, got {len(labels)}")
        return cls(called, model.eval(), prepare, labels or class_labels(classes, metadata.labels))

    def prepare(self, path: str | PathLike[str]) -> NDArray[np.float32]:
        """The model's input for one image file, ``(channels, size, size)``.

        Raises:
            OSError, ValueError: The file cannot be read, or is not an image.
        """
        return self.preprocessing.load(path)

    def top(self, inputs: NDArray[np.float32], k: int) -> list[list[Prediction]]:
        """The ``k`` most probable classes of each of ``(n, channels, size, size)`` inputs, best first.

        Raises:
            ValueError: The model's outputs are not finite, so its weights are damaged.
        """
        logits = self._logits(inputs).astype(np.float64)
        if not np.isfinite(logits).all():
            raise ValueError(
                f"{self.name}: the outputs must be finite, got NaN or infinity; check the weights"
            )
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        # Stable, so that of two equally probable classes the first comes first.
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return [
            [Prediction(int(i), self.labels[i], float(row[i])) for i in best]
            for row, best in zip(probabilities, order, strict=True)
        ]

    def _logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model gives, from a plan for the largest batch so far.

        A smaller one, as the last often is, is filled up: that is cheaper than a plan of its own.
        """
        from lucid.inference import compile

        count, image = inputs.shape[0], inputs.shape[1:]
        plan = self._plans.get(image)
        if plan is None or plan.input_shapes[0][0] < count:
            plan = self._plans[image] = compile(self.model, inputs.shape)
        missing = plan.input_shapes[0][0] - count
        batch = np.concatenate([inputs, np.zeros((missing, *image), np.float32)]) if missing else inputs
        logits: NDArray[np.float32] = plan(batch)[:count]
        return logits


def _own_weights(name: str | None) -> str:
    """The weights that a name alone stands for: those that ship, or the published ones of a tag."""
    from lucid.models.pretrained import list_pretrained, pretrained_path
    from lucid.models.registry import find_preset

    if name is None:
        raise UsageError("a model or weights must be given")
    preset, tag = find_preset(name)
    if preset.name in list_pretrained():
        return str(pretrained_path(preset.name))
    if tag is not None:
        return name
    raise UsageError(
        f"{name} ships without weights, and random ones would classify at random: give --weights "
        f"FILE.safetensors or --weights hub:OWNER/NAME, or take one of {', '.join(list_pretrained())}"
    )


def _usual_preprocessing(preset: str | None, weights: str) -> Preprocessing:
    """What a preset's weights are evaluated with; for a network without a name ImageNet's, and a warning."""
    from lucid.models import preprocessing

    if preset is not None:
        return preprocessing(preset)
    usual = Preprocessing()
    warnings.warn(
        f"{weights} does not say how images must be prepared: taking ImageNet's usual "
        f"{usual.size} from {usual.resize} pixels",
        stacklevel=2,
    )
    return usual


def _load(name: str | None, weights: str, metadata: WeightMetadata, labels: Sequence[str] | None) -> ResNet:
    from lucid.models import create_from_file, create_model

    config = metadata.config
    if name is None and config is not None:
        return create_from_file(weights)
    name = name or metadata.model
    if name is None:
        raise UsageError(f"{weights} does not say which network it is for: give --model NAME")
    if config is not None:
        return create_model(name, weights, num_classes=config.num_classes, in_channels=config.in_channels)
    return create_model(name, weights, num_classes=len(labels) if labels else None)
