"""Convolutions that the tests run: generated, layers of the two families, and a file of someone else's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import reference

Array = npt.NDArray[np.float32]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One convolution; pairs are (height, width)."""

    n: int
    in_channels: int
    out_channels: int
    size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = False

    def __str__(self) -> str:
        pairs = [
            ("", self.size),
            ("k", self.kernel),
            ("s", self.stride),
            ("p", self.padding),
            ("d", self.dilation),
        ]
        text = "_".join(f"{name}{h}x{w}" for name, (h, w) in pairs)
        return f"{self.n}x{self.in_channels}to{self.out_channels}_{text}_g{self.groups}{'_bias' * self.bias}"

    @property
    def params(self) -> dict[str, Any]:
        """The arguments of conv2d beside the arrays."""
        return {
            "stride": self.stride,
            "padding": (*self.padding, *self.padding),
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def in_group(self) -> int:
        return self.in_channels // self.groups

    @property
    def out_group(self) -> int:
        return self.out_channels // self.groups

    @property
    def terms(self) -> int:
        """Products and the bias behind one output value."""
        return self.in_group * self.kernel[0] * self.kernel[1] + self.bias

    @property
    def out_size(self) -> Pair:
        h, w = (
            reference.output_size(*axis)
            for axis in zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        return h, w

    @property
    def multiplications(self) -> int:
        h, w = self.out_size
        return self.n * h * w * self.out_channels * self.terms

    def fill(self, draw: Callable[[tuple[int, ...]], npt.NDArray[Any]]) -> tuple[Array, Array, Array | None]:
        """x, weight and bias (or None) as ``draw(shape)`` gives them, in float32."""
        x = draw((self.n, self.in_channels, *self.size))
        weight = draw((self.out_channels, self.in_group, *self.kernel))
        bias = draw((self.out_channels,)) if self.bias else None
        return (
            x.astype(np.float32),
            weight.astype(np.float32),
            None if bias is None else bias.astype(np.float32),
        )


@dataclass(frozen=True)
class Sample:
    """A case with its arrays and its result in float64."""

    x: Array
    weight: Array
    bias: Array | None
    want: npt.NDArray[np.float64]


@lru_cache(maxsize=2)  # a test runs on each instruction set in turn
def random_sample(case: Case) -> Sample:
    """Normally distributed values; the same for each instruction set."""
    arrays = case.fill(np.random.default_rng(case.terms).standard_normal)
    return Sample(*arrays, reference.conv2d(*arrays, **case.params))


@lru_cache(maxsize=2)  # a test runs on each instruction set in turn
def integer_sample(case: Case) -> Sample:
    """Small integers, whose float32 sums of up to 2**24 / 16 terms have no rounding error in any order."""
    rng = np.random.default_rng(case.terms)
    arrays = case.fill(lambda shape: rng.integers(-4, 5, shape))
    return Sample(*arrays, reference.conv2d(*arrays, **case.params))


# ---- generated cases -----------------------------------------------------------------------------

_GROUP_CHANNELS = (1, 2, 3, 4, 5, 7, 8, 10, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 63, 64, 80)
_GROUPS = (1, 1, 1, 2, 2, 3, 4, 5, 8, 16, 32)
_SIZES = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 16, 17, 23, 28, 30)
_KERNELS = ((1, 1), (1, 1), (3, 3), (3, 3), (3, 3), (1, 3), (3, 1), (2, 2), (5, 5), (4, 3), (1, 7), (7, 7))
_STRIDES = ((1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (1, 2), (2, 1), (3, 1), (2, 3))
_DILATIONS = ((1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (3, 3), (1, 2), (3, 1))
_MOST_MULTIPLICATIONS = 1_000_000  # a millisecond without vector instructions
_MOST_TAPS = 500  # of all groups: the steps of the reference


def generated(count: int) -> list[Case]:
    """``count`` different cases, the same in every run."""
    rng = np.random.default_rng(1611_05431)
    cases: dict[Case, None] = {}
    while len(cases) < count:
        case = _draw(rng)
        if min(case.out_size) < 1 or case.multiplications > _MOST_MULTIPLICATIONS:
            continue
        if case.groups * case.kernel[0] * case.kernel[1] <= _MOST_TAPS:
            cases[case] = None
    return list(cases)


def _draw(rng: np.random.Generator) -> Case:
    def pick(choices: tuple[Any, ...]) -> Any:
        return choices[rng.integers(len(choices))]

    in_group, groups, kernel, dilation = (
        pick(_GROUP_CHANNELS),
        pick(_GROUPS),
        pick(_KERNELS),
        pick(_DILATIONS),
    )
    out_group = in_group if rng.random() < 0.5 else pick(_GROUP_CHANNELS)
    size = (pick(_SIZES), pick(_SIZES))
    same = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    beyond = (size[0] + 1, size[1] + 2)  # larger than the image: some windows see nothing but padding
    padding = pick((same, same, same, (0, 0), (int(rng.integers(4)), int(rng.integers(4))), beyond))
    if rng.random() < 0.1:  # as large as the padded input: one output pixel
        kernel, dilation = (size[0] + 2 * padding[0], size[1] + 2 * padding[1]), (1, 1)
    return Case(
        n=int(rng.integers(1, 4)),
        in_channels=in_group * groups,
        out_channels=out_group * groups,
        size=size,
        kernel=kernel,
        stride=pick(_STRIDES),
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bool(rng.integers(2)),
    )


# ---- layers of the two families ------------------------------------------------------------------

# Stage, and the output size that stands for its 56, 28, 14 or 7: small, and with tails of every kind.
_STAGES = ((64, (13, 14)), (128, (9, 11)), (256, (7, 7)), (512, (3, 5)))
_RESNEXT = ((32, 4), (32, 8), (64, 4), (32, 16), (2, 40), (4, 24), (8, 14))  # cardinality, base width
_RESNEST = ((1, 1, 64), (2, 1, 64), (4, 1, 64), (1, 2, 40), (2, 2, 40), (4, 2, 40), (1, 4, 24))  # radix first


def network_layers() -> list[Case]:
    """The distinct layers of ResNeXt and ResNeSt, at their channel counts on smaller images."""
    cases = [
        Case(1, 3, 64, (33, 30), (7, 7), (2, 2), (3, 3)),
        Case(2, 1, 64, (17, 19), (7, 7), (2, 2), (3, 3)),
        Case(1, 3, 32, (25, 24), (3, 3), (2, 2), (1, 1)),
        Case(1, 32, 64, (13, 12), (3, 3), (1, 1), (1, 1)),
    ]
    for channels, size in _STAGES:
        for cardinality, base_width in _RESNEXT:
            cases += _resnext_block(channels, channels * base_width // 64 * cardinality, cardinality, size)
        for radix, cardinality, base_width in _RESNEST:
            cases += _resnest_block(
                channels, channels * base_width // 64 * cardinality, radix, cardinality, size
            )
    return list(dict.fromkeys(cases))


def _resnext_block(channels: int, width: int, cardinality: int, size: Pair) -> Iterator[Case]:
    double = (2 * size[0] - 1, 2 * size[1])
    yield Case(1, 4 * channels, width, size, (1, 1))
    yield Case(1, width, width, size, (3, 3), (1, 1), (1, 1), groups=cardinality)
    yield Case(1, width, width, double, (3, 3), (2, 2), (1, 1), groups=cardinality)
    yield Case(1, width, 4 * channels, size, (1, 1))
    yield Case(1, 2 * channels, 4 * channels, double, (1, 1), (2, 2))


def _resnest_block(channels: int, width: int, radix: int, cardinality: int, size: Pair) -> Iterator[Case]:
    attention = max(width * radix // 4, 32)
    yield Case(1, width, width * radix, size, (3, 3), (1, 1), (1, 1), groups=cardinality * radix)
    yield Case(2, width, attention, (1, 1), (1, 1), groups=cardinality, bias=True)
    yield Case(2, attention, width * radix, (1, 1), (1, 1), groups=cardinality, bias=True)
    yield Case(1, width, 4 * channels, size, (1, 1))


# ---- cases from a file ---------------------------------------------------------------------------


def from_file(path: str, most_multiplications: int) -> list[Case]:
    """The convolutions of oneDNN's benchdnn as gzipped JSON, batch 1, those that are small enough."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = json.load(file)["conv"]
    cases = dict.fromkeys(_from_row(row) for row in rows if not row["asym"])
    return [case for case in cases if case.multiplications <= most_multiplications]


def _from_row(row: dict[str, int]) -> Case:
    case = Case(
        n=1,
        in_channels=row["ic"],
        out_channels=row["oc"],
        size=(row["ih"], row["iw"]),
        kernel=(row["kh"], row["kw"]),
        stride=(row["sh"], row["sw"]),
        padding=(row["ph"], row["pw"]),
        dilation=(row["dh"], row["dw"]),
        groups=row["g"],
    )
    if case.out_size != (row["oh"], row["ow"]):
        raise ValueError(f"{case}: the file says that the output is {row['oh']}x{row['ow']}")
    return case
