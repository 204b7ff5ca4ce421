"""The entries of a weight file besides the tensors: the network's config, labels, preprocessing, licence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lucid.data.transforms import Preprocessing
from lucid.models.config import ModelConfig
from lucid.models.registry import families, family_of

__all__ = ["WeightMetadata", "is_non_commercial"]


@dataclass(frozen=True)
class WeightMetadata:
    """The facts that a weight file states about itself; None where it states nothing.

    In the file each entry is one text in the safetensors header, in JSON.

    Attributes:
        model: Name of the network's preset.
        config: Config of the network, enough to build it.
        labels: One name for each class.
        preprocessing: The preparation of an image for the network.
        license: An SPDX identifier, or a sentence.
        extra: Anything else that JSON can hold, by name.
        entry: Name of the network in a training checkpoint that the weights were taken from; empty if the
            file held nothing else. It is no part of the file's header.
    """

    model: str | None = None
    config: ModelConfig | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    license: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    entry: str = field(default="", compare=False)

    def completed_by(self, other: WeightMetadata) -> WeightMetadata:
        """These facts, and those of ``other`` where these are silent."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        silent = {name: getattr(other, name) for name, value in known.items() if value is None}
        return replace(self, **silent)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> WeightMetadata:
        """The entries as plain values (lists, dictionaries as ``to_dict`` gives them) or as the objects.

        Names that are no attribute go into ``extra``.

        Raises:
            TypeError, ValueError: An entry has the wrong type or value.
        """
        rest = dict(values)
        rest.pop("entry", None)
        config = _config(rest.pop("family", None), rest.pop("config", None))
        labels = _labels(rest.pop("labels", None))
        if config is not None and labels is not None and len(labels) != config.num_classes:
            raise ValueError(
                f"labels must be one for each of {config.num_classes} classes, got {len(labels)}"
            )
        return cls(
            model=_text("model", rest.pop("model", None)),
            config=config,
            labels=labels,
            preprocessing=_preprocessing(rest.pop("preprocessing", None)),
            license=_text("license", rest.pop("license", None)),
            extra=rest,
        )

    def to_texts(self) -> dict[str, str]:
        """The entries of the header.

        Raises:
            ValueError: A value cannot be written as JSON.
        """
        values: dict[str, Any] = dict(self.extra)
        values |= {"model": self.model, "labels": self.labels, "license": self.license}
        if self.config is not None:
            values |= {"family": family_of(self.config).model.__name__, "config": self.config.to_dict()}
        if self.preprocessing is not None:
            values["preprocessing"] = self.preprocessing.to_dict()
        try:
            return {
                name: json.dumps(value, allow_nan=False)
                for name, value in values.items()
                if value is not None
            }
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"save_weights: config and metadata must be values that JSON can hold: {error}"
            ) from None

    @classmethod
    def from_texts(cls, op: str, texts: Mapping[str, str], where: str) -> WeightMetadata:
        """The entries of a header.

        Only texts that ``to_texts`` wrote are read as JSON; what other programs write (``{"format": "pt"}``)
        has no family and lands in ``extra`` as it is.

        Args:
            op: The call that the user made, for messages.
            texts: The header's entries.
            where: Name of the file, for messages.

        Raises:
            ValueError: An entry does not make sense.
        """
        if "family" not in texts:
            return cls(extra=dict(texts))
        try:
            return cls.from_values({name: json.loads(text) for name, text in texts.items()})
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{op}: {where} must have readable metadata: {error!s:.300}") from None


def is_non_commercial(license: str | None) -> bool:
    """Whether a licence is one of the Creative Commons that forbid commercial use."""
    return license is not None and "-nc" in license.lower()


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r}")
    return value


def _config(family: Any, config: Any) -> ModelConfig | None:
    if config is None or isinstance(config, ModelConfig):
        return config
    known = families()
    if not isinstance(family, str) or family not in known:
        raise ValueError(f"family must be one of {', '.join(sorted(known))}, got {family!r}")
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dictionary of fields, got {config!r}")
    return known[family].config.from_dict(config)


def _labels(labels: Any) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"labels must be a list of strings, got {labels!r}")
    return tuple(labels)


def _preprocessing(values: Any) -> Preprocessing | None:
    if values is None or isinstance(values, Preprocessing):
        return values
    if not isinstance(values, Mapping):
        raise TypeError(f"preprocessing must be a dictionary of fields, got {values!r}")
    return Preprocessing.from_dict(values)
