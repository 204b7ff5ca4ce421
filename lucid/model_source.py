"""The network of a classifier: from a name, a module, a file of weights or an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lucid.data import Preprocessing
from lucid.models import (
    WeightMetadata,
    class_count,
    create_from_file,
    create_model,
    get_config,
    load_weights,
    preprocessing,
    read_metadata,
)
from lucid.models.pretrained import list_pretrained, pretrained_path
from lucid.nn import Module
from lucid.onnx import OnnxNetwork, is_onnx_file

__all__ = ["find_network", "usual_preprocessing"]


def find_network(
    model: Any, weights: Any, choice: dict[str, Any], labels: int | None
) -> tuple[Module | OnnxNetwork, WeightMetadata]:
    """The model with its weights, in eval mode, and what is known about them.

    Args:
        model, weights: As for ``Classifier``.
        choice: Its ``ema`` and ``entry``.
        labels: The number of its labels, if they are given.

    Raises: As for ``Classifier``.
    """
    if is_onnx_file(model):
        if weights is not None:
            raise ValueError(f"weights must be None for {model}, which brings its own, got {weights!r}")
        return OnnxNetwork(model), WeightMetadata()
    if isinstance(model, Module):
        if model.training:
            raise ValueError("model must be in eval mode, got one in training mode; call model.eval()")
        return model, load_weights(model, weights, **choice) if weights is not None else WeightMetadata()
    if model is not None and not isinstance(model, str):
        raise TypeError(f"Classifier: model must be a name or a Module, got {type(model).__name__}")
    if weights is None or weights == "pretrained":
        weights = _own_weights(model)
    is_file = not isinstance(weights, Mapping)
    metadata = read_metadata(weights) if is_file else WeightMetadata()
    if model is None and metadata.config is not None:
        return create_from_file(weights).eval(), metadata
    name = model or metadata.model
    if name is None:
        where = weights if is_file else "the state dict"
        raise ValueError(f"{where} does not say which network it is for: give model=NAME")
    if metadata.config is not None:
        sizes = {key: getattr(metadata.config, key) for key in ("num_classes", "in_channels")}
    else:
        sizes = {"num_classes": class_count(weights, **choice) or labels}
    return create_model(name, weights, **sizes, **choice).eval(), metadata


def _own_weights(name: str | None) -> str:
    """The weights that a name alone stands for: those that ship, or the published ones of a tag."""
    if name is None:
        raise ValueError("model or weights must be given")
    get_config(name)
    if name in list_pretrained():
        return str(pretrained_path(name))
    if "." in name:
        return name
    raise ValueError(
        f"{name} ships without weights, and random ones would classify at random: give "
        "weights=FILE.safetensors or weights=hub:OWNER/NAME, or take one of "
        f"{', '.join(list_pretrained())}"
    )


def usual_preprocessing(model: Module | OnnxNetwork, name: str) -> Preprocessing:
    """The preprocessing of a preset's weights; for other networks ImageNet's, and a warning."""
    side = model.height if isinstance(model, OnnxNetwork) else None
    try:
        return _resized(preprocessing(name), side)
    except ValueError:
        usual = _resized(Preprocessing(), side)
    if isinstance(model, OnnxNetwork) and model.channels == 1:
        usual = replace(usual, mean=(0.5,), std=(0.5,))
    warnings.warn(
        f"Classifier: {name} does not say how images must be prepared: taking ImageNet's usual "
        f"{usual.size} from {usual.resize} pixels",
        stacklevel=3,
    )
    return usual


def _resized(usual: Preprocessing, side: int | None) -> Preprocessing:
    """The same steps for another size of input, if there is one, cropping as much."""
    if side is None or side == usual.size:
        return usual
    return replace(usual, size=side, resize=round(side * usual.resize / usual.size))
