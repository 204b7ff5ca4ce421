"""The curves of ``python -m bench scaling`` as small multiples: a row for each variable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Inches: as wide as a narrow page's text.
_WIDTH, _ROW, _LEGEND = 5.8, 1.45, 0.9

_LABELS = {"batch": "images", "size": "pixels a side", "depth": "layers", "threads": "threads"}
# Lines are told apart by their engines, markers by the families, neither by colours.
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = (
    {"marker": "o", "markerfacecolor": "black", "color": "black"},
    {"marker": "s", "markerfacecolor": "white", "color": "0.45"},
)
_MEBI = 1 << 20
_FEWEST_TICKS = 3


def plot(path: str, report: Mapping[str, Any]) -> None:
    """Writes a picture, in the format of the file's ending: time, others' time to the plan's, and memory.

    All axes are logarithmic, so that a straight line is a power and a doubling is everywhere as long.

    Raises:
        ImportError: There is no matplotlib.
    """
    from lucid.benchmark.figure import figure

    curves = report["curves"]
    variables = list(next(iter(curves.values())))
    drawing = figure(_WIDTH, len(variables) * _ROW + _LEGEND)
    panels = drawing.subplots(len(variables), 3, squeeze=False)
    engines = list(dict.fromkeys(name for point in report["points"] for name in point["engines"]))
    for row, variable in zip(panels, variables, strict=True):
        for markers, (family, lines) in zip(_MARKERS, curves.items(), strict=False):
            points = [report["points"][index] for index in lines[variable]]
            _draw_family(row, points, variable, engines, family, markers)
        for axes, title in zip(row, ("ms", "time / plan's", "MiB"), strict=True):
            ticks = {p[variable] for lines in curves.values() for p in _points(report, lines[variable])}
            _finish(axes, sorted(ticks), _LABELS[variable], title)
        row[1].axhline(1.0, color="black", linewidth=0.6)
    machine = report["machine"]
    drawing.suptitle(f"{machine['cpu']}, {machine['isa']}, {machine['threads']} threads", fontsize=7)
    labels: dict[str, Any] = {}
    for axes in (panels[0][0], panels[0][2]):
        labels |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 3, "frameon": False}
    drawing.legend(labels.values(), labels, fontsize=6, handlelength=4, **place)
    drawing.savefig(path, dpi=150)


def _points(report: Mapping[str, Any], numbers: Sequence[int]) -> list[Mapping[str, Any]]:
    return [report["points"][number] for number in numbers]


def _draw_family(
    row: Sequence[Any],
    points: Sequence[Mapping[str, Any]],
    variable: str,
    engines: Sequence[str],
    family: str,
    markers: Mapping[str, str],
) -> None:
    """The lines of a family: in the panels of times, of ratios, and of memory."""
    style = {**markers, "markersize": 3.5, "linewidth": 1.0}
    for line, engine in zip(_LINES, engines, strict=False):
        timed = [point for point in points if engine in point["engines"]]
        places = [point[variable] for point in timed]
        values = [point["engines"][engine] for point in timed]
        row[0].plot(
            places, [v["median"] for v in values], linestyle=line, label=f"{family}, {engine}", **style
        )
        if engine != "plan" and all(v["ratio"] is not None for v in values):
            row[1].plot(places, [v["ratio"] for v in values], linestyle=line, **style)
    for line, name in zip(_LINES, ("arena", "weights"), strict=False):
        held = [point[f"{name}_bytes"] / _MEBI for point in points]
        places = [point[variable] for point in points]
        row[2].plot(places, held, linestyle=line, label=f"{family}, {name} (MiB)", **style)


def _finish(axes: Any, ticks: Sequence[int], label: str, title: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    rounded = _round_numbers(*axes.get_ylim())
    if len(rounded) >= _FEWEST_TICKS:
        axes.set_yticks(rounded)
        axes.set_yticks([], minor=True)
    axes.tick_params(labelsize=5.5, which="both")
    axes.set_xlabel(label, fontsize=6)
    axes.set_title(title, fontsize=6)
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers; the powers alone where those are enough."""
    powers = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for factors in ((1,), (1, 2, 5)):
        found = [factor * power for power in powers for factor in factors if low <= factor * power <= high]
        if len(found) >= _FEWEST_TICKS:
            break
    return found
