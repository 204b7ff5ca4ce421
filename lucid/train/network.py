"""The network to train: a preset, with weights and a head for the classes at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lucid.data import Preprocessing
from lucid.models import class_count, create_model, preprocessing, read_metadata
from lucid.models.resnet import ResNet
from lucid.train.recipe import Recipe

__all__ = ["network", "network_preprocessing"]


def network(
    name: str, weights: str | None, classes: Sequence[str], recipe: Recipe, in_channels: int | None = None
) -> tuple[ResNet, bool]:
    """A network for these classes with the recipe's dropouts, and whether its head replaces the weights'.

    Without weights the images have ``in_channels``, with them as many as these want. The head stays where the
    weights' own labels are these classes, or where they have none and as many.

    Raises:
        ValueError, OSError, ImportError: As for ``create_model``.
    """
    drops: dict[str, Any] = {"drop_path": recipe.drop_path, "dropout": recipe.dropout}
    if weights is None:
        return create_model(name, None, len(classes), in_channels, **drops), False
    metadata = read_metadata(weights) if weights != "pretrained" else None
    count = class_count(weights) if metadata is not None else None
    channels = metadata.config.in_channels if metadata is not None and metadata.config is not None else None
    model = create_model(name, weights, count, channels, **drops)
    labels = metadata.labels if metadata is not None else None
    fits = model.config.num_classes == len(classes) and (labels is None or list(labels) == list(classes))
    if not fits:
        model.reset_classifier(len(classes))
    return model, not fits


def network_preprocessing(name: str, weights: str | None, image_size: int | None) -> Preprocessing:
    """The preparation of an image for the network; for another size, cropping as large a part."""
    usual = preprocessing(name, weights)
    if image_size is None or image_size == usual.size:
        return usual
    return replace(usual, size=image_size, resize=round(image_size * usual.resize / usual.size))
