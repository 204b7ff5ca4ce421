"""The network that a set of tensors is, told from their names and shapes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Container, Mapping
from typing import Any, cast

from lucid.models.config import STAGES, ModelConfig
from lucid.models.keymap import rename
from lucid.models.registry import build, presets
from lucid.models.resnest import ResNeStConfig
from lucid.models.resnext import ResNeXtConfig

__all__ = ["FREE", "arguments", "differences", "matching_presets", "recognize", "without_counters"]

Shapes = Mapping[str, tuple[int, ...]]

_PUBLISHED = re.compile(
    r"(?:conv1(?:\.\d)?|bn1|fc|layer[1-4]\.\d+\.(?:conv[123]|bn[123]|downsample\.\d|conv2\.(?:conv|bn[01]|fc[12])))"
    r"\.\w+$"
)

# Fields that leave no trace in names or shapes.
_INVISIBLE = ("avd", "avd_first", "block_args", "drop_path", "dropout")
# Fields that users change and that no name stands for.
FREE = frozenset({"num_classes", "in_channels"})


def recognize(shapes: Shapes) -> ModelConfig | None:
    """The config whose network has exactly these tensors, or None; fields that leave no trace are defaults.

    Args:
        shapes: Shapes by name, in the scheme of torchvision and timm but for the head.
    """
    try:
        names = rename(shapes, _Published())
        shapes = {names[name]: shape for name, shape in shapes.items()}
        config = _guess(shapes)
        expected = build(config, initialize=False).state_dict()
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError, MemoryError):
        return None
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    return config if without_counters(wanted) == without_counters(shapes) else None


class _Published(Container[str]):
    """All names that networks of the two families have, in the scheme of torchvision and timm."""

    def __contains__(self, name: object) -> bool:
        return bool(_PUBLISHED.match(str(name)))


def without_counters(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """``shapes`` without the counters of batch norm, which a file may lack."""
    return {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def matching_presets(config: ModelConfig) -> list[str]:
    """Names of the presets whose networks differ from a config's in classes and image channels at most."""
    return [p.name for p in presets() if differences(p.config, config).keys() <= FREE]


def differences(one: ModelConfig, other: ModelConfig) -> dict[str, Any]:
    """The fields of ``other`` that differ from those of ``one``, where names or shapes show it."""
    if type(one) is not type(other):
        return {"config": type(other)}
    skipped = set(_INVISIBLE)
    if one.stem_type is None and other.stem_type is None:
        skipped.add("stem_width")
    fields = [field.name for field in dataclasses.fields(cast(Any, other)) if field.name not in skipped]
    return {name: getattr(other, name) for name in fields if getattr(one, name) != getattr(other, name)}


def arguments(config: ModelConfig) -> str:
    """The arguments that make a config, without those that have their default."""
    default = type(config)(**{name: getattr(config, name) for name in _required(config)})
    given = {name: getattr(config, name) for name in _required(config)} | differences(default, config)
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


def _required(config: ModelConfig) -> list[str]:
    fields = dataclasses.fields(cast(Any, config))
    return [
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]


def _guess(shapes: Shapes) -> ModelConfig:
    deep = "conv1.0.weight" in shapes
    stem = shapes["conv1.0.weight" if deep else "conv1.weight"]
    width = shapes["layer1.0.conv1.weight"][0]
    channels = tuple(shapes[f"layer{stage}.0.conv3.weight"][0] // 4 for stage in range(1, STAGES + 1))
    shared: dict[str, Any] = {
        "layers": tuple(_blocks(shapes, stage) for stage in range(1, STAGES + 1)),
        "num_classes": shapes["fc.weight"][0],
        "in_channels": stem[1],
        "stem_type": "deep" if deep else None,
        "avg_down": "layer2.0.downsample.2.weight" in shapes,
        "channels": channels,
    }
    if deep:
        shared["stem_width"] = stem[0]
    if "layer1.0.conv2.conv.weight" not in shapes:
        group = shapes["layer1.0.conv2.weight"][1]
        return ResNeXtConfig(cardinality=width // group, base_width=group * 64 // channels[0], **shared)
    outputs, group = shapes["layer1.0.conv2.conv.weight"][:2]
    radix = outputs // width
    cardinality = width // (group * radix)
    base_width = width // cardinality * 64 // channels[0]
    return ResNeStConfig(cardinality=cardinality, base_width=base_width, radix=radix, **shared)


def _blocks(shapes: Shapes, stage: int) -> int:
    matches = [re.match(rf"layer{stage}\.(\d+)\.", name) for name in shapes]
    return len({match[1] for match in matches if match})
