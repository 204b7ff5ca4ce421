"""The picture of layers side by side: for each a bar of lucid, and one of every peer."""

from __future__ import annotations

from collections.abc import Sequence

from lucid.benchmark.comparison import Comparison
from lucid.benchmark.figure import figure
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.machine import Machine

__all__ = ["plot"]

# A narrow page's text is as wide. The rest is in inches, too.
_WIDTH, _BAR, _BETWEEN, _MARGINS = 5.5, 0.1, 0.08, 1.2

# Fill and hatching: black is lucid, and the others can be told apart without colours.
_FILLS = (("black", ""), ("white", ""), ("0.75", ""), ("white", "/////"), ("white", "....."))


def plot(path: str, machine: Machine | Gpu, results: Sequence[Comparison], peers: Sequence[str]) -> None:
    """Writes a picture, in the format of the file's ending (``.svg``, ``.png``); longer bars are faster.

    A bar is the rate at the median time, in GFLOP/s, or in GB/s where nothing is multiplied. Lucid's is that
    of the faster of its two ways. A dashed line is the machine's roof, where it is known and near enough.

    Raises:
        ImportError: There is no matplotlib.
        OSError: The file cannot be written.
        ValueError: The ending is of no known format.
    """
    shown = [peer for peer in peers if any(peer in result.timings for result in results)]
    bars = len(shown) + 1
    step = bars * _BAR + _BETWEEN
    drawing = figure(_WIDTH, len(results) * step + _MARGINS)
    axes = drawing.subplots()
    multiplies = any(result.case.macs for result in results)
    longest = 0.0
    for index, name in enumerate(["lucid", *shown]):
        rates = [_rate(result, name, multiplies) for result in results]
        longest = max([longest, *rates])
        fill, hatch = _FILLS[index % len(_FILLS)]
        places = [layer * step + index * _BAR for layer in range(len(results))]
        axes.barh(
            places,
            rates,
            _BAR,
            align="edge",
            label=name,
            color=fill,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.5,
        )
    roof = machine.peak_gflops if multiplies else machine.bandwidth
    if roof is not None and roof <= 2 * longest:
        axes.axvline(
            roof, color="black", linestyle="--", linewidth=0.8, label=f"{'peak' if multiplies else 'memory'}"
        )
    axes.set_yticks([layer * step + bars * _BAR / 2 for layer in range(len(results))])
    axes.set_yticklabels([result.case.name for result in results], fontsize=6)
    axes.set_ylim(len(results) * step, -_BETWEEN)  # the first layer on top
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(f"{'GFLOP/s' if multiplies else 'GB/s'} (longer is faster)", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(machine.name, fontsize=8)
    drawing.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    drawing.savefig(path, dpi=150)


def _rate(result: Comparison, name: str, multiplies: bool) -> float:
    """GFLOP/s or GB/s of an engine; 0, which draws no bar, where it was not timed."""
    engine = result.fastest if name == "lucid" else name
    if engine is None or engine not in result.timings:
        return 0.0
    return (result.gflops(engine) if multiplies else result.bandwidth(engine)) or 0.0
