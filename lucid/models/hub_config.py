"""``config.json`` as timm and transformers write it beside weights: architecture, classes, preparation."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lucid.data.transforms import Preprocessing
from lucid.models.config import ModelConfig
from lucid.models.metadata import WeightMetadata
from lucid.models.registry import find_preset

__all__ = ["read_hub_config"]

_NAME = "config.json"
_LARGEST = 10_000_000

# Entries by which such a file is told from the configuration of some other program.
_MARKS = ("architecture", "pretrained_cfg", "id2label", "label_names")


def read_hub_config(weights: Path, classes: int | None) -> WeightMetadata:
    """The facts in the ``config.json`` of a weight file's folder; none where there is no such file.

    Args:
        weights: The weight file.
        classes: Number of classes that its tensors have, if known.

    Warns:
        UserWarning: An entry is not understood, or contradicts the tensors, and is left out.
    """
    path = weights.with_name(_NAME)
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return WeightMetadata()
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        _warn(path, "it", error)
        return WeightMetadata()
    if not isinstance(values, dict) or not any(mark in values for mark in _MARKS):
        return WeightMetadata()
    nested = values.get("pretrained_cfg")
    settings = values | (nested if isinstance(nested, dict) else {}) | _given(values, "num_classes")
    model, config = _network(path, values, settings)
    labels = _labels(path, values | settings)
    count = classes or (config.num_classes if config else settings.get("num_classes"))
    if config is not None and classes not in (None, config.num_classes):
        _warn(path, "num_classes", f"{config.num_classes}, where the tensors have {classes}")
        config = dataclasses.replace(cast(Any, config), num_classes=classes)
    if labels is not None and count is not None and len(labels) != count:
        _warn(path, "label_names", f"{len(labels)} for {count} classes")
        labels = None
    license = values.get("license")
    return WeightMetadata(
        model=model,
        config=config,
        labels=labels,
        preprocessing=_preprocessing(path, settings),
        license=license if isinstance(license, str) else None,
    )


def _given(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: values[name]} if name in values else {}


def _warn(path: Path, entry: str, reason: object) -> None:
    warnings.warn(f"{path}: {entry} is not used: {reason}", stacklevel=5)


def _network(
    path: Path, values: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[str | None, ModelConfig | None]:
    """Name and config of the network that the entries describe."""
    name = values.get("architecture", settings.get("architecture"))
    if name is None:
        return None, None
    try:
        preset, _ = find_preset(name)
    except (TypeError, ValueError):
        _warn(path, "architecture", f"{name!r} is not among lucid.models.list_models(aliases=True)")
        return None, None
    arguments = values.get("model_args") or {}
    try:
        changes = {"in_channels": settings.get("input_size", (3,))[0], **_given(settings, "num_classes")}
        for argument, value in arguments.items():
            changes[{"in_chans": "in_channels"}.get(argument, argument)] = value
        config: ModelConfig = dataclasses.replace(cast(Any, preset.config), **changes)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        _warn(path, "num_classes, input_size or model_args", error)
        return preset.name, None
    return preset.name, config


def _labels(path: Path, values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes: timm's list, or transformers' dictionary from number to name."""
    labels = values.get("label_names")
    numbered = values.get("id2label")
    if labels is None and isinstance(numbered, dict):
        try:
            labels = [numbered[key] for key in sorted(numbered, key=int)]
        except ValueError as error:
            _warn(path, "id2label", error)
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        _warn(path, "label_names", "it must be a list of strings")
        return None
    return tuple(labels)


def _preprocessing(path: Path, settings: Mapping[str, Any]) -> Preprocessing | None:
    """Preparation of an image for evaluation, by timm's rules; None where nothing is said about it."""
    if not any(name in settings for name in ("input_size", "mean", "std", "crop_pct", "interpolation")):
        return None
    mode = settings.get("crop_mode") or "center"
    try:
        size = settings.get("test_input_size") or settings.get("input_size", (3, 224, 224))
        crop = float(settings.get("test_crop_pct") or settings.get("crop_pct") or 0.875)
        _, height, width = size
        if height != width or mode != "center":
            _warn(path, "the preparation of images", f"{height}x{width} with crop_mode {mode!r}")
            return None
        values = {name: settings[name] for name in ("interpolation", "mean", "std") if settings.get(name)}
        return Preprocessing(size=width, resize=math.floor(width / crop), **values)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        _warn(path, "the preparation of images", error)
        return None
