"""Networks ready to use: by the name of a preset, or from a file that describes itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from os import PathLike
from typing import Any, cast

from lucid.models.checkpoint import Checkpoint, Selection
from lucid.models.config import reported_by
from lucid.models.registry import Preset, build, family_of, find_preset
from lucid.models.resnet import ResNet
from lucid.models.sources import resolve
from lucid.models.weights import WeightSource, load, metadata_of

__all__ = ["create_from_file", "create_model"]


def create_model(
    name: str,
    weights: WeightSource | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    *,
    ema: bool | None = None,
    entry: str | None = None,
    **overrides: Any,
) -> ResNet:
    """A published network, with random weights or with those of ``weights``.

    Args:
        name: Name of a preset in the spelling of this library, torchvision, timm or lucid 2.x
            (``resnext50_32x4d``, ``resnext_50_32x4d``, ``resnest50``, ``resnest50d``); a tag may follow
            (``resnest50d.in1k``) and changes nothing but is checked.
        weights: A source as for ``load_weights``, or ``"pretrained"`` for those that ship with the package.
            The parameters are then not initialised before.
        num_classes: Outputs of the head; None keeps the preset's 1000.
        in_channels: Channels of the images; None keeps the preset's 3.
        ema: As for ``load_weights``.
        entry: As for ``load_weights``.
        overrides: Other fields of the preset's config.

    Raises:
        TypeError: An override is not a field of the config, or is one that the name stands for.
        ValueError: The name is unknown (close ones are listed), a value is out of range, or the weights do
            not fit.
        OSError, ImportError, MemoryError: As for ``load_weights``.
    """
    op = "create_model"
    preset, _ = find_preset(name, op=op)
    changes = _changes(name, preset, num_classes, in_channels, overrides)
    with reported_by(op):
        config = dataclasses.replace(cast(Any, preset.config), **changes)
    if weights is None:
        return _named(build(config), preset.name)
    source = weights if isinstance(weights, Mapping) else resolve(op, weights, preset.name)
    model = _named(build(config, initialize=False), preset.name)
    load(op, model, source, Selection(ema, entry), fresh=True)
    return model


def create_from_file(source: str | PathLike[str]) -> ResNet:
    """The network that a file of ``save_weights``, or the ``config.json`` beside a file, describes.

    Args:
        source: As for ``load_weights``.

    Raises:
        ValueError: The file has no config; ``create_model(name, weights=source)`` loads it if the network is
            known.
        FileNotFoundError, ImportError, MemoryError: As for ``load_weights``.
    """
    op = "create_from_file"
    place = resolve(op, source)
    metadata = metadata_of(op, place)
    if metadata.config is None:
        raise ValueError(
            f"{op}: {source} must have the config that save_weights writes; "
            "use create_model(name, weights=...) for files of other origin"
        )
    path = place.file(op)
    with Checkpoint(op, path) as checkpoint:
        tensors, blocks = len(checkpoint.shapes), sum(metadata.config.layers)
    if blocks > tensors:
        raise ValueError(f"{op}: {path} must have the tensors of {blocks} blocks, got {tensors}")
    model = _named(build(metadata.config, initialize=False), metadata.model)
    load(op, model, dataclasses.replace(place, path=path), Selection(), fresh=True)
    return model


def _named(model: ResNet, name: str | None) -> ResNet:
    model.name = name
    return model


def _changes(
    name: str, preset: Preset, num_classes: int | None, in_channels: int | None, overrides: dict[str, Any]
) -> dict[str, Any]:
    family = family_of(preset.config)
    fields = [field.name for field in dataclasses.fields(cast(Any, preset.config))]
    for field in overrides:
        if field not in fields:
            raise TypeError(f"create_model: overrides must be among {', '.join(fields)}, got {field!r}")
        if field in family.fixed:
            raise TypeError(
                f"create_model: {name} fixes {field}={getattr(preset.config, field)}; for another network "
                f"pass {family.config.__name__} to {family.model.__name__}"
            )
    given = {"num_classes": num_classes, "in_channels": in_channels}
    return overrides | {field: value for field, value in given.items() if value is not None}
