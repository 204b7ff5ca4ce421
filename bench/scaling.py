"""``python -m bench scaling``: how time and memory grow with batch, image, depth and threads.

From a base point, one variable at a time is changed: so many images of so many pixels, a deeper network of
the same family, more threads. Lucid's plan and its eager layers take turns with the peers at every point,
whose ratios therefore are of one run. Writes scaling.json, scaling.md and scaling.svg.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import scaling_picture

COMMAND = "python -m bench scaling"
VARIABLES = ("batch", "size", "depth", "threads")
MEBI = 1 << 20


@dataclass(frozen=True)
class Point:
    """A network of a family, the square images that it gets, and the threads that it may use."""

    family: str
    depth: int
    batch: int
    size: int
    threads: int


@dataclass(frozen=True)
class Family:
    """Networks by their depth, the first of which is the base point's."""

    name: str
    models: Mapping[int, str]


FAMILIES = (
    Family("ResNeXt", {50: "resnext50_32x4d", 101: "resnext101_32x4d", 152: "resnext152_32x4d"}),
    Family("ResNeSt", {50: "resnest50", 101: "resnest101", 200: "resnest200", 269: "resnest269"}),
)
VALUES = {"batch": (1, 2, 4, 8, 16), "size": (96, 160, 224, 320, 448)}
QUICK_VALUES = {"batch": (1, 4), "size": (128, 224)}
QUICK_DEPTHS, QUICK_SECONDS = 2, 60.0


def sweep(family: Family, values: Mapping[str, Sequence[int]], base: Point) -> dict[str, list[Point]]:
    """The points of each variable, which share the base point."""
    changed = {**values, "depth": tuple(family.models)}
    base = replace(base, family=family.name, depth=next(iter(family.models)))
    return {name: [replace(base, **{name: value}) for value in changed[name]] for name in VARIABLES}


def powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and last ``most`` itself."""
    powers = [1 << exponent for exponent in range(most.bit_length())]
    return tuple(dict.fromkeys([*powers, most]))


def measured(model: str, point: Point, peers: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each engine at a point, and bytes of the plan's weights and of its arena."""
    from lucid import benchmark, runtime
    from lucid.inference import InferencePlan

    runtime.set_num_threads(point.threads)
    case = benchmark.model_case(model, point.batch, (point.size, point.size))
    memory = InferencePlan(case.graph).memory()
    engines = {name: benchmark.ENGINES[name] for name in ("plan", "eager", *peers)}
    result = benchmark.compare(case, engines, point.threads, rounds, seconds)
    return {
        **asdict(point),
        "model": model,
        "macs": case.macs,
        "weights_bytes": memory["weights"],
        "arena_bytes": memory["arena"],
        "engines": {
            name: {"median": timing.median, "rounds": timing.rounds, "ratio": result.ratio(name)}
            for name, timing in result.timings.items()
        },
        "not_timed": result.refused,
    }


def measure(
    families: Sequence[Family],
    values: Mapping[str, Sequence[int]],
    base: Point,
    peers: Sequence[str] = ("torch",),
    rounds: int = 5,
    turn: float = 0.5,
    limit: float | None = None,
) -> dict[str, Any]:
    """The report: the machine, the curves as numbers of points, and the points.

    Args:
        values: Of batch, size and threads; a family has its depths.
        base: Its batch, size and threads are those of the variables that are not changed.
        turn: Seconds of an engine in a round, at least.
        limit: Seconds after which no further point is begun.
    """
    from lucid import benchmark, runtime
    from lucid.cli.terminal import Progress, tell

    before, end = runtime.get_num_threads(), time.monotonic() + (limit or float("inf"))
    runtime.set_num_threads(base.threads)
    machine = benchmark.Machine.measured(tuple(peers))
    sweeps = {family.name: sweep(family, values, base) for family in families}
    models = {(family.name, depth): name for family in families for depth, name in family.models.items()}
    wanted = list(_alternating(sweeps))
    points: dict[Point, dict[str, Any]] = {}
    try:
        with Progress(COMMAND, len(wanted), "points") as progress:
            for point in wanted:
                if points and time.monotonic() >= end:
                    break
                model = models[point.family, point.depth]
                points[point] = measured(model, point, peers, rounds, turn)
                progress.update(1)
    finally:
        runtime.set_num_threads(before)
    if left := len(wanted) - len(points):
        tell(COMMAND, f"{left} of {len(wanted)} points are left out: the time is over")
    number = {point: index for index, point in enumerate(points)}
    curves = {
        family: {name: [number[point] for point in line if point in number] for name, line in lines.items()}
        for family, lines in sweeps.items()
    }
    return {"machine": asdict(machine), "curves": curves, "points": list(points.values())}


def _alternating(sweeps: Mapping[str, Mapping[str, Sequence[Point]]]) -> Iterator[Point]:
    """Each point once: a step of every curve in turn, so that the points far from the base come last."""
    curves = [line for lines in sweeps.values() for line in lines.values()]
    steps = range(max(map(len, curves)))
    return iter(dict.fromkeys(line[step] for step in steps for line in curves if step < len(line)))


def table(report: Mapping[str, Any], family: str, variable: str) -> str:
    """A line for each point of a curve."""
    from lucid.inference.report import table as aligned

    points = [report["points"][index] for index in report["curves"][family][variable]]
    engines = list(dict.fromkeys(name for point in points for name in point["engines"]))
    others = [name for name in engines if name != "plan"]
    columns = [variable, "GMACs", *(f"{name} ms" for name in engines)]
    columns += [*(f"{name} / plan" for name in others), "weights MiB", "arena MiB"]
    rows = []
    for point in points:
        found = point["engines"]
        times = [f"{found[name]['median']:.1f}" if name in found else "-" for name in engines]
        ratios = [found[name]["ratio"] if name in found else None for name in others]
        cells = ["-" if ratio is None else f"{ratio:.2f}x" for ratio in ratios]
        sizes = [f"{point[name] / MEBI:.1f}" for name in ("weights_bytes", "arena_bytes")]
        label = point["model"] if variable == "depth" else str(point[variable])
        rows.append([label, f"{point['macs'] / 1e9:.2f}", *times, *cells, *sizes])
    return aligned(columns, rows, left=1)


def text(report: Mapping[str, Any]) -> str:
    """All tables, in Markdown."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        "# Time and memory by batch, image, depth and threads",
        "",
        f"{machine['cpu']}, {machine['isa']}, {machine['date']} UTC; {versions}.",
        "Ratios are medians over alternating rounds: above 1.00x lucid's plan is faster.",
    ]
    for family, curves in report["curves"].items():
        for variable in curves:
            lines += ["", f"## {family}: {variable}", "", "```", table(report, family, variable), "```"]
    reasons = {
        f"- {name}: {reason}" for point in report["points"] for name, reason in point["not_timed"].items()
    }
    if reasons:
        lines += ["", "Not timed:", "", *sorted(reasons)]
    return "\n".join([*lines, ""])


def run(folder: Path, arguments: Sequence[str]) -> None:
    """Measures, and writes the three files into a folder."""
    from lucid import runtime

    parser = argparse.ArgumentParser(COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end in about a minute, with few points")
    parser.add_argument("--peers", default="torch", help="engines to compare with, or none (default torch)")
    parser.add_argument("--out", type=Path, default=folder, help="the folder to write to (default results)")
    options = parser.parse_args(arguments)
    threads = runtime.get_num_threads()
    values = {**(QUICK_VALUES if options.quick else VALUES), "threads": powers_of_two(threads)}
    families = list(FAMILIES)
    if options.quick:
        families = [replace(f, models=dict(list(f.models.items())[:QUICK_DEPTHS])) for f in FAMILIES]
    base = Point("", 0, 1, 224, threads)
    peers = [] if options.peers == "none" else options.peers.split(",")
    settings: dict[str, Any] = {"rounds": 1, "turn": 0.0, "limit": QUICK_SECONDS} if options.quick else {}
    report = measure(families, values, base, peers, **settings)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "scaling.md").write_text(text(report))
    scaling_picture.plot(str(options.out / "scaling.svg"), report)
