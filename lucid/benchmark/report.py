"""Results as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lucid.benchmark.comparison import Comparison
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.machine import Machine
from lucid.benchmark.throughput import Throughput
from lucid.inference import Profile
from lucid.inference.report import table

__all__ = ["as_json", "cases_table", "engines_table", "throughput_table"]


_MEASURED_OF_A_STEP = ("milliseconds", "gflops", "waiting", "barriers")

_LUCID_IS_FASTER = (
    "above 1.00x lucid is faster: the median over alternating rounds of the other's time to lucid's"
)
_MORE_IMAGES = (
    "above 1.00x an engine gives more images a second than the fastest peer of the round: the median over "
    "alternating rounds"
)

# On an idle machine the quartiles of the rounds are closer to each other than this, in parts of the median.
_STEADY = 0.25


def cases_table(machine: Machine | Gpu, results: Sequence[Comparison], peers: Sequence[str]) -> str:
    """A line for each case: lucid's two times, the rates of the faster, and what peers take beside them."""
    columns = ["case", "count", "MMACs", "eager ms", "plan ms", "spread"]
    columns += ["GFLOP/s", "of peak", "GB/s", "of memory"]
    rows = [_case_cells(machine, result) for result in results]
    parts = [_part_of_matrix_unit(machine, result) for result in results]
    if any(part is not None for part in parts):
        columns.append("plan of matrix unit")
        for row, part in zip(rows, parts, strict=True):
            row.append("-" if part is None else f"{part:.0f} %")
    rows = [[*row, *_ratios(result, peers)] for row, result in zip(rows, results, strict=True)]
    meaning = _LUCID_IS_FASTER if peers else None
    return _with_facts(table([*columns, *peers], rows, left=1), machine, results, meaning)


def engines_table(machine: Machine | Gpu, result: Comparison, peers: Sequence[str]) -> str:
    """A line for each engine on one case."""
    columns = ["engine", "ms", "spread", "GFLOP/s", "of peak", "to plan"]
    rows = []
    for engine in result.timings:
        [ratio] = _ratios(result, [engine])
        rows.append(
            [engine, f"{result.timings[engine].median:.2f}", *_rates(machine, result, engine)[:3], ratio]
        )
    title = f"{result.case.name}: {result.case.macs / 1e9:.3f} GMACs"
    meaning = _LUCID_IS_FASTER if peers else None
    return f"{title}\n{_with_facts(table(columns, rows, left=1), machine, [result], meaning)}"


def throughput_table(machine: Machine | Gpu, result: Throughput) -> str:
    """A line for each engine and way of calling it: how many images a second."""
    columns = ["engine", "calls at once", "images/s", "spread", "GFLOP/s", "of peak", "to best peer"]
    rows = []
    ratio: float | None = None
    for engine in result.timings:
        ratio = result.to_best_peer(engine)
        rows.append(
            [
                engine,
                str(result.at_once[engine]),
                f"{result.images_per_second(engine):.1f}",
                *_rates(machine, result, engine)[:3],
                "-" if ratio is None else f"{ratio:.2f}x",
            ]
        )
    case, images = result.case, result.images
    title = f"{case.name}: {case.macs / images / 1e9:.3f} GMACs an image, batch {images}"
    meaning = None if ratio is None else _MORE_IMAGES
    return f"{title}\n{_with_facts(table(columns, rows, left=1), machine, [result], meaning)}"


def _case_cells(machine: Machine | Gpu, result: Comparison) -> list[str]:
    case, fastest = result.case, result.fastest
    times = [
        f"{result.timings[engine].median:.3f}" if engine in result.timings else "-"
        for engine in ("eager", "plan")
    ]
    rates = ["-"] * 5 if fastest is None else _rates(machine, result, fastest)
    macs = f"{case.macs / 1e6:.1f}" if case.macs else "-"
    return [case.name, str(sum(case.counts.values())), macs, *times, *rates]


def _rates(machine: Machine | Gpu, result: Comparison, engine: str) -> list[str]:
    """Spread, GFLOP/s, percent of the peak, GB/s, percent of what memory feeds."""
    cells = [f"{100 * result.timings[engine].spread:.0f} %"]
    for rate, roof in (
        (result.gflops(engine), machine.peak_gflops),
        (result.bandwidth(engine), machine.bandwidth),
    ):
        part = _percent(rate, roof)
        cells += ["-" if rate is None else f"{rate:.1f}", "-" if part is None else f"{part:.0f} %"]
    return cells


def _part_of_matrix_unit(machine: Machine | Gpu, result: Comparison) -> float | None:
    """Percent of its peak that the plan attained; None where it computes elsewhere."""
    unit = machine.matrix_gflops if isinstance(machine, Machine) else 0.0
    if not unit or "plan" not in result.timings or not result.case.on_matrix_unit:
        return None
    return _percent(result.gflops("plan"), unit)


def _percent(rate: float | None, roof: float | None) -> float | None:
    """The part of the roof that was attained; None where either is not known."""
    return None if rate is None or roof is None else 100 * rate / roof


def _ratios(result: Comparison, engines: Sequence[str]) -> list[str]:
    cells = []
    for engine in engines:
        ratio, setting = result.ratio(engine), result.setting(engine)
        cells.append("-" if ratio is None else f"{ratio:.2f}x" + (f" {setting}" if setting else ""))
    return cells


def _with_facts(
    lines: str, machine: Machine | Gpu, results: Sequence[Comparison], meaning: str | None
) -> str:
    """The table, then the machine, what the ratios mean, and what went wrong."""
    facts = [lines, str(machine)]
    if any(result.settings for result in results):
        facts.append(
            "of PyTorch, the fastest of its settings, with its name, beside the faster of lucid's ways"
        )
    if meaning is not None:
        facts.append(meaning)
    disturbed = [r for r in results if r.fastest and r.timings[r.fastest].spread > _STEADY]
    if disturbed:
        facts.append(
            f"{len(disturbed)} of {len(results)} cases spread by more than {100 * _STEADY:.0f} %: "
            "something else was running"
        )
    return "\n".join([*facts, *_reasons(results)])


def _reasons(results: Sequence[Comparison]) -> list[str]:
    """Why engines were not timed, each reason once with the number of cases."""
    found: dict[str, list[str]] = {}
    for result in results:
        for engine, reason in result.refused.items():
            found.setdefault(f"{engine}: {reason}", []).append(result.case.name)
    return [
        f"{reason} ({names[0] if len(names) == 1 else f'{len(names)} cases'})"
        for reason, names in found.items()
    ]


def as_json(
    machine: Machine | Gpu,
    results: Sequence[Comparison],
    settings: dict[str, Any],
    layers: Profile | None = None,
) -> dict[str, Any]:
    """Everything that was measured, for ``json.dump``; times are in milliseconds.

    ``gflops`` and ``percent_of_peak`` are there where a case multiplies matrices; ``images_per_second`` and
    what belongs to it for a stream of calls, whose times are from the end of a call to that of the next.

    Args:
        settings: Settings of the measurement, such as the batch.
        layers: The steps of a model's plan, if they were measured.
    """
    report: dict[str, Any] = {
        "machine": asdict(machine),
        "settings": settings,
        "cases": [_case(machine, result) for result in results],
    }
    if layers is not None:
        report["layers"] = [
            {**asdict(entry.step), **{name: getattr(entry, name) for name in _MEASURED_OF_A_STEP}}
            | {"percent_of_peak": layers.percent_of_peak(entry) if entry.step.macs else None}
            for entry in layers.steps
        ]
    return report


def _case(machine: Machine | Gpu, result: Comparison) -> dict[str, Any]:
    case = result.case
    measured: dict[str, dict[str, Any]] = {}
    for engine, timing in result.timings.items():
        measured[engine] = {
            "median": timing.median,
            "quartiles": timing.quartiles,
            "spread": timing.spread,
            "rounds": timing.rounds,
            "gbytes_per_second": result.bandwidth(engine),
            "percent_of_bandwidth": _percent(result.bandwidth(engine), machine.bandwidth),
            "ratio": result.ratio(engine),
        }
        if isinstance(result, Throughput):
            measured[engine] |= {
                "images_per_second": result.images_per_second(engine),
                "calls_at_once": result.at_once[engine],
                "to_best_peer": result.to_best_peer(engine),
            }
        if (setting := result.setting(engine)) is not None:
            ways = result.settings[engine]
            measured[engine]["setting"] = setting
            measured[engine]["settings"] = {
                way: {"median": ways[way].median, "rounds": ways[way].rounds} for way in ways
            }
        if (gflops := result.gflops(engine)) is not None:
            measured[engine] |= {
                "gflops": gflops,
                "percent_of_peak": _percent(gflops, machine.peak_gflops),
            }
    if (part := _part_of_matrix_unit(machine, result)) is not None:
        measured["plan"]["percent_of_matrix_unit"] = part
    return {
        "name": case.name,
        "counts": case.counts,
        "macs": case.macs,
        "bytes": case.bytes,
        "engines": measured,
        "not_timed": result.refused,
    }
