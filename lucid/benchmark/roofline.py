"""The roofline picture: what was attained, under what the machine can do at most."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from lucid.benchmark.figure import figure
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.machine import Machine

__all__ = ["Points", "plot"]

# FLOP for each byte that must move, and GFLOP/s.
Points = Sequence[tuple[float, float]]

_MARKERS = "os^DvP"


def plot(path: str, machine: Machine | Gpu, series: Mapping[str, Points]) -> None:
    """Writes a picture, in the format of the file's ending (``.svg``, ``.png``).

    The roof over a point is the lesser of the peak of the FMA units and of what memory feeds them. A matrix
    unit and Winograd's algorithm, which needs fewer operations than are counted, may pass it; so may what a
    cache holds.

    Raises:
        ImportError: There is no matplotlib.
        OSError: The file cannot be written.
        ValueError: The ending is of no known format, or no roof is known.
    """
    if machine.peak_gflops is None or machine.bandwidth is None:
        raise ValueError(f"roofline: the peaks of the device must be known, got none for {machine.name}")
    drawing = figure(7.5, 4.5)
    axes = drawing.subplots()
    intensities = [x for points in series.values() for x, _ in points]
    ridge = machine.peak_gflops / machine.bandwidth
    low, high = min([ridge, *intensities]) / 2, max([ridge, *intensities]) * 2
    roof = [low * machine.bandwidth, machine.peak_gflops, machine.peak_gflops]
    axes.loglog([low, ridge, high], roof, color="black", linewidth=1.5)
    axes.annotate(f"{machine.peak_gflops:.0f} GFLOP/s", (high, roof[-1]), ha="right", va="bottom")
    axes.annotate(f"{machine.bandwidth:.0f} GB/s", (low, roof[0]), ha="left", va="top")
    for marker, (name, points) in zip(itertools.cycle(_MARKERS), series.items(), strict=False):
        axes.plot(*zip(*points, strict=True), marker, label=name, markersize=5, alpha=0.7)
    axes.set_xlabel("FLOP for each byte that must move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(machine.name, fontsize=10)
    axes.grid(visible=True, which="both", alpha=0.2)
    if series:
        axes.legend(loc="lower right", fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    drawing.savefig(path, dpi=120)
