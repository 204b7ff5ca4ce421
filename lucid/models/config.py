"""The base of both families' configurations: checks, JSON, and the arguments of a block."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

__all__ = ["ModelConfig", "StemType", "integer", "reported_by"]

StemType = Literal["deep"] | None

_Config = TypeVar("_Config", bound="ModelConfig")

STAGES = 4

# Arguments that a stage passes to each of its blocks by itself.
_STAGE_ARGUMENTS = ("in_channels", "channels", "stride", "downsample", "drop_path")

# The class that Python, or a config itself, names at the beginning of an error.
_CLASS = re.compile(r"^\w+Config(?:\.__init__\(\)|:) ")


class ModelConfig:
    """Base of the config dataclasses: checks the fields, which each family lists in an order of its own.

    Sequences become tuples, NumPy integers become ints, ``block_args`` is copied. The dataclasses are frozen,
    so a config that exists is a valid one; ``dataclasses.replace`` makes a changed copy and checks it again.

    Raises:
        TypeError: A field has the wrong type. A bool or a float, NaN included, is never taken for a number.
        ValueError: A field is out of its range, or the widths come out as zero.
    """

    layers: Sequence[int]
    cardinality: int
    base_width: int
    num_classes: int
    in_channels: int
    stem_width: int
    stem_type: StemType
    avg_down: bool
    channels: Sequence[int]
    block_args: dict[str, Any]
    drop_path: float
    dropout: float

    _integer_fields: ClassVar[tuple[str, ...]] = (
        "cardinality",
        "base_width",
        "num_classes",
        "in_channels",
        "stem_width",
    )
    _boolean_fields: ClassVar[tuple[str, ...]] = ("avg_down",)
    _probability_fields: ClassVar[tuple[str, ...]] = ("drop_path", "dropout")
    # Fields that every block gets as keyword arguments, next to block_args.
    _block_fields: ClassVar[tuple[str, ...]] = ("cardinality", "base_width")

    def __post_init__(self) -> None:
        with reported_by(type(self).__name__):
            self._check()

    def _check(self) -> None:
        self._set("layers", _four_positive("layers", "stage depths", self.layers))
        self._set("channels", _four_positive("channels", "stage widths", self.channels))
        for name in self._integer_fields:
            self._set(name, _positive(name, getattr(self, name)))
        for name in self._boolean_fields:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in self._probability_fields:
            self._set(name, _probability(name, getattr(self, name)))
        if self.stem_type is not None and self.stem_type != "deep":
            raise ValueError(f"stem_type must be None or 'deep', got {self.stem_type!r}")
        self._set("block_args", self._checked_block_args())
        for channels in self.channels:
            if channels * self.base_width < 64:
                raise ValueError(
                    "base_width must give each group at least one channel: int(channels * base_width / 64) "
                    f"is 0 for channels {channels} and base_width {self.base_width}"
                )

    def block_arguments(self) -> dict[str, Any]:
        """Keyword arguments for every block: the fields that shape it, and ``block_args``."""
        return {name: getattr(self, name) for name in self._block_fields} | self.block_args

    def to_dict(self) -> dict[str, Any]:
        """The fields as values that JSON can hold; ``from_dict`` reads them back."""
        fields: dict[str, Any] = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}

    @classmethod
    def from_dict(cls: type[_Config], values: Mapping[str, Any]) -> _Config:
        """The config that ``to_dict`` wrote.

        Raises:
            TypeError: A key is not a field, or a required field is absent, or as for the class.
            ValueError: As for the class.
        """
        return cls(**values)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _checked_block_args(self) -> dict[str, Any]:
        if not isinstance(self.block_args, dict):
            raise TypeError(f"block_args must be a dictionary, got {type(self.block_args).__name__}")
        for name in self.block_args:
            if not isinstance(name, str):
                raise TypeError(f"block_args must have names as keys, got {name!r}")
            if name in self._block_fields:
                raise ValueError(f"block_args must not contain {name!r}: set the config field of that name")
            if name in _STAGE_ARGUMENTS:
                raise ValueError(f"block_args must not contain {name!r}: each stage sets it")
        return dict(self.block_args)


@contextmanager
def reported_by(op: str) -> Iterator[None]:
    """Lets the errors of a config begin with the call that the user made, ``op``, and not with its class."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{op}: {re.sub(_CLASS, '', str(error))}") from None


def _positive(name: str, value: Any) -> int:
    number = integer(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {number}")
    return number


def _probability(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0.0 <= value < 1.0:  # NaN neither
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
    return float(value)


def integer(name: str, value: Any) -> int:
    # bool is an int to Python, but cardinality=True is a mistake.
    if type(value).__name__ in ("bool", "bool_"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def _four_positive(name: str, what: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence of {STAGES} integers, got {value!r}")
    given = tuple(value)
    if len(given) != STAGES:
        raise ValueError(f"{name} must contain exactly {STAGES} {what}, got {len(given)}: {given}")
    numbers = tuple(integer(f"{name}[{i}]", entry) for i, entry in enumerate(given))
    if min(numbers) <= 0:
        raise ValueError(f"{name} must contain positive integers, got {numbers}")
    return numbers
