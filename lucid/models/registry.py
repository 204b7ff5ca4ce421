"""The families and their published variants: presets are data, and a name in any spelling leads to one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, cast

from lucid.data.transforms import Preprocessing
from lucid.models.config import ModelConfig
from lucid.models.resnet import ResNet
from lucid.models.tags import WeightTag, find_tag, tags_of
from lucid.nn import Module, init

__all__ = [
    "Family",
    "Preset",
    "build",
    "families",
    "family_of",
    "find_preset",
    "find_weights",
    "get_config",
    "list_models",
    "list_tags",
    "presets",
    "register",
    "register_family",
]


@dataclass(frozen=True)
class Preset:
    """A published variant: its name, what it is built from, and how else it is spelled."""

    name: str
    config: ModelConfig
    aliases: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None  # None is that of its published weights


@dataclass(frozen=True)
class Family:
    """A network class, its config and block, and the config fields that a preset's name stands for."""

    model: type[ResNet]
    config: type[ModelConfig]
    block: type[Module]
    fixed: tuple[str, ...]


_families: dict[str, Family] = {}
_presets: dict[str, Preset] = {}
_spellings: dict[str, str] = {}


def register_family(
    model: type[ResNet], config: type[ModelConfig], block: type[Module], *, fixed: Sequence[str]
) -> None:
    """Adds a network class.

    Args:
        model: The class that ``config`` builds, of blocks of the class ``block``.
        fixed: Config fields that no override may change, because the names of the presets state them.
    """
    _families[model.__name__] = Family(model, config, block, tuple(fixed))


def register(*presets: Preset) -> None:
    """Adds presets of a registered family.

    Raises:
        ValueError: A name is taken.
    """
    for preset in presets:
        for spelling in (preset.name, *preset.aliases):
            if spelling in _spellings:
                raise ValueError(
                    f"register: the name must be new, got {spelling!r} of {_spellings[spelling]}"
                )
            _spellings[spelling] = preset.name
        _presets[preset.name] = preset


def families() -> dict[str, Family]:
    """The registered families by the name of their class."""
    return dict(_families)


def family_of(config: ModelConfig) -> Family:
    """The family whose config this is."""
    return next(family for family in _families.values() if isinstance(config, family.config))


def presets() -> list[Preset]:
    """All registered presets, in the order of their registration."""
    return list(_presets.values())


def list_models(filter: str | None = None, *, aliases: bool = False) -> list[str]:
    """Names of the presets, sorted.

    Args:
        filter: A pattern with ``*`` and ``?``, or without them a part of the name. A preset matches under any
            of its spellings: ``"resnest50d*"`` gives ``resnest50`` and its fast relatives.
        aliases: Lists every spelling that matches, not only the first name of each preset.
    """
    pattern = "*" if filter is None else filter
    if not any(mark in pattern for mark in "*?["):
        pattern = f"*{pattern}*"
    found = [spelling for spelling in _spellings if fnmatchcase(spelling, pattern)]
    return sorted(found if aliases else {_spellings[spelling] for spelling in found})


def find_preset(name: str, *, op: str = "create_model") -> tuple[Preset, WeightTag | None]:
    """The preset of a name in any spelling, and the tag where the name has one (``resnest50d.in1k``).

    Args:
        name: The name as the user wrote it.
        op: The call that the user made, for messages.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: No preset has this name, or its weights have no such tag; the message lists close ones.
    """
    if not isinstance(name, str):
        raise TypeError(f"{op}: name must be a string, got {name!r}")
    model, dot, tag = name.partition(".")
    if model not in _spellings:
        wanted = model.lower()
        # "resnext50" is a beginning before it is a misspelling of "resnest50".
        close = [spelling for spelling in _spellings if wanted and spelling.startswith(wanted)]
        close = close or get_close_matches(wanted, _spellings, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(repr(c) for c in close[:3])}?" if close else ""
        raise ValueError(
            f"{op}: name must be one of lucid.models.list_models(aliases=True), got {name!r}{hint}"
        )
    preset = _presets[_spellings[model]]
    if not dot:
        return preset, None
    found = find_weights(name)
    if found is None:
        known = ", ".join(entry.tag for entry in tags_of(preset.name)) or "none"
        raise ValueError(f"{op}: the tag of {model} must be one of {known}, got {tag!r}")
    return preset, found


def find_weights(name: str) -> WeightTag | None:
    """The published weights that a name with a tag (``resnest50d.in1k``) stands for, or None."""
    model, _, tag = name.partition(".")
    return find_tag(_spellings[model], tag) if model in _spellings else None


def list_tags(name: str) -> list[WeightTag]:
    """The published weights of a preset: where they lie, their licence, their preprocessing.

    Raises:
        ValueError: As ``create_model`` for an unknown name.
    """
    return tags_of(find_preset(name, op="list_tags")[0].name)


def get_config(name: str) -> ModelConfig:
    """The config of a preset, to look at or to change with ``dataclasses.replace``.

    Raises:
        ValueError: As ``create_model`` for an unknown name.
    """
    return cast(ModelConfig, dataclasses.replace(cast(Any, find_preset(name, op="get_config")[0].config)))


def build(config: ModelConfig, *, initialize: bool = True) -> ResNet:
    """The network of a config.

    Args:
        initialize: False leaves the parameters as the memory comes, for weights that follow at once: 828
            million random numbers take seconds.
    """
    make = cast("Callable[[ModelConfig], ResNet]", family_of(config).model)
    if initialize:
        return make(config)
    with init.skip_init():
        return make(config)
