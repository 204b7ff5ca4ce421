"""The picture of where a whole network's time goes: by block of layers, and by kind of step."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from lucid.benchmark.figure import figure
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.machine import Machine
from lucid.inference import Profile
from lucid.inference.report import Step

__all__ = ["REST", "plot", "times"]

# Inches, of which a narrow page's text has as many in width.
_WIDTH, _ROW, _MARGINS = 5.5, 0.16, 1.1

# Fill and hatching that can be told apart without colours; the last is for all that is left.
_FILLS = (
    ("black", ""),
    ("0.75", ""),
    ("white", "//////"),
    ("white", "......"),
    ("0.45", ""),
    ("white", "xxxxxx"),
    ("white", ""),
)
REST = "rest"

# Where the repeated part of a network begins: layer1.0.conv1, but not conv1.0, a layer of a stem.
_BLOCK = re.compile(r"(\w+\.\d+)\.\w")


def times(profile: Profile) -> dict[str, dict[str, float]]:
    """Milliseconds by block and within it by kind: ``{"layer1.0": {"grouped_3x3": 0.2, "linear": 0.1}}``.

    A step's kind is its operator, of a convolution the algorithm. What lies before the first block is the
    stem, what follows the last the head. Only the kinds that take longest have their names, the others are
    ``REST``.
    """
    by_kind: dict[str, float] = defaultdict(float)
    for entry in profile.steps:
        by_kind[_kind(entry.step)] += entry.milliseconds
    named = sorted(by_kind, key=lambda kind: -by_kind[kind])[: len(_FILLS) - 1]
    kinds = [*named, REST] if len(by_kind) > len(named) else named
    found: dict[str, dict[str, float]] = {}
    for entry in profile.steps:
        match = _BLOCK.match(entry.step.name)
        block = match[1] if match else "head" if any(name != "stem" for name in found) else "stem"
        row = found.setdefault(block, dict.fromkeys(kinds, 0.0))
        kind = _kind(entry.step)
        row[kind if kind in row else REST] += entry.milliseconds
    return found


def _kind(step: Step) -> str:
    return step.algorithm if step.kind == "conv2d" else step.kind


def plot(path: str, name: str, machine: Machine | Gpu, profile: Profile) -> None:
    """Writes a picture, in the format of the file's ending (``.svg``, ``.png``).

    Above a bar for each block of the network, in the order in which they run, stacked by kind of step; below
    the sums by kind, longest first, with their parts of the whole; their names explain the fills of both.

    Args:
        name: Of the network.

    Raises:
        ImportError: There is no matplotlib.
        OSError: The file cannot be written.
        ValueError: The ending is of no known format.
    """
    blocks = times(profile)
    kinds = list(next(iter(blocks.values())))
    drawing = figure(_WIDTH, (len(blocks) + len(kinds)) * _ROW + _MARGINS)
    above, below = drawing.subplots(2, height_ratios=[len(blocks), len(kinds)])
    starts = [0.0] * len(blocks)
    for kind, style in zip(kinds, _styles(), strict=False):
        lengths = [row[kind] for row in blocks.values()]
        above.barh(list(blocks), lengths, left=starts, **style)
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    for kind, style in zip(kinds, _styles(), strict=False):
        total = sum(row[kind] for row in blocks.values())
        below.barh([kind], [total], **style)
        part = f" {total:.2f} ms, {100 * total / profile.milliseconds:.0f} %"
        below.annotate(part, (total, kind), va="center", fontsize=6)
    for axes in (above, below):
        axes.invert_yaxis()  # the first on top
        axes.tick_params(labelsize=6)
        axes.margins(y=0.01)
        axes.spines[["top", "right"]].set_visible(False)
    above.margins(x=0.02)
    below.margins(x=0.25)  # for the text beside the longest bar
    above.set_xlabel("ms in each block", fontsize=7)
    below.set_xlabel("ms in all blocks", fontsize=7)
    drawing.suptitle(f"{name}: {profile.milliseconds:.1f} ms\n{machine.name}", fontsize=8)
    drawing.savefig(path, dpi=150)


def _styles() -> list[dict[str, Any]]:
    """How a bar of each kind is drawn."""
    return [
        {"color": fill, "hatch": hatch, "edgecolor": "black", "linewidth": 0.5, "height": 0.75}
        for fill, hatch in _FILLS
    ]
