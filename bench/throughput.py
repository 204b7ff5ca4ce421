"""``python -m bench throughput``: images a second of a stream of calls, by model and batch.

``lucid bench model MODEL --throughput`` measures each batch of each model; what is measured replaces the same
batch with the same threads in MODEL_throughput.json, and the rest of it stays. So batches can be measured one
by one, when nothing else runs. throughput.md is written from all of these files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COMMAND = "python -m bench throughput"
MODELS = ("resnext50_32x4d", "resnest50d")
BATCHES = (1, 2, 4, 8, 16, 32)
ENDING = "_throughput.json"
INTRODUCTION = """\
# Images a second of a stream of calls

`plan`, `openvino` and `onnxruntime` are called one call at a time, on all threads. `_streams` are several
calls at once: of a plan with `threads_per_call=1` and of ONNX Runtime with one thread a call, from as many
Python threads; of OpenVINO with the hint THROUGHPUT and as many requests as it finds best.

The best peer is the fastest of a round, in either way; above 1.00x lucid gives more images a second. Ratios
are medians over alternating rounds. The spread is that of the engine which spreads most."""


def measured(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The sections that ``lucid bench`` measures for some arguments."""
    from lucid.cli.main import main

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        if code := main(["bench", *arguments, "--throughput", "--json", str(path)]):
            sys.exit(f"bench: lucid bench {' '.join(arguments)} ended with {code}")
        report = json.loads(path.read_text())
    return list(report.get("sections", [report]))


def key(section: Mapping[str, Any]) -> tuple[int, int]:
    """Threads and batch of a section."""
    return section["machine"]["threads"], section["settings"]["batch"]


def merged(path: Path, sections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The report of a file, with some sections in the places of those with the same threads and batch."""
    found = json.loads(path.read_text())["sections"] if path.is_file() else []
    by_key = {key(section): section for section in [*found, *sections]}
    return {"sections": [by_key[each] for each in sorted(by_key)]}


def table(sections: Sequence[Mapping[str, Any]]) -> str:
    """A line for each section: images a second of each engine, and lucid's best beside the best peer."""
    from lucid.inference.report import table as aligned

    ways = [section["cases"][0]["engines"] for section in sections]
    engines = list(dict.fromkeys(engine for way in ways for engine in way))
    rows = []
    for section, way in zip(sections, ways, strict=True):
        rates = [f"{way[engine]['images_per_second']:.1f}" if engine in way else "-" for engine in engines]
        ratios = [way.get(engine, {}).get("to_best_peer") for engine in ("plan", "plan_streams")]
        spread = max(measured["spread"] for measured in way.values())
        rows.append(
            [
                str(section["settings"]["batch"]),
                *rates,
                *("-" if ratio is None else f"{ratio:.2f}x" for ratio in ratios),
                f"{100 * spread:.0f} %",
                str(section["settings"]["rounds"]),
            ]
        )
    columns = ["batch", *engines, "plan to best peer", "plan_streams to best peer", "spread", "rounds"]
    return aligned(columns, rows, left=1)


def text(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of some models by their names, in Markdown, each with its machine."""
    lines = [INTRODUCTION]
    for model, report in reports.items():
        sections: Sequence[Mapping[str, Any]] = report["sections"]
        for threads in sorted({section["machine"]["threads"] for section in sections}):
            chosen = [section for section in sections if section["machine"]["threads"] == threads]
            lines += [
                "",
                f"## {model}, {threads} threads",
                "",
                "```",
                table(chosen),
                *machines(chosen),
                "```",
            ]
    return "\n".join([*lines, ""])


def machines(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Machines of the sections, two lines for each that differs in more than time and roofs."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        machine = section["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        name = f"{machine['cpu']}, {machine['isa']}, {machine['threads']} threads; {versions}"
        found.setdefault(name, []).append(machine)
    lines = []
    for name, same in found.items():
        dates = sorted(machine["date"] for machine in same)
        peak, bandwidth = (max(machine[roof] for machine in same) for roof in ("peak_gflops", "bandwidth"))
        roofs = f"peak {peak:.1f} GFLOP/s, memory {bandwidth:.1f} GB/s, the highest that were measured"
        lines += [name, f"{dates[0]} to {dates[-1]} UTC; {roofs}"]
    return lines


def run(folder: Path, arguments: Sequence[str]) -> None:
    """Measures each batch of each model, and writes the files whenever there is one more."""
    parser = argparse.ArgumentParser(COMMAND, description=__doc__)
    parser.add_argument("models", nargs="*", help=f"presets (default {' '.join(MODELS)})")
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)), help="images (default %(default)s)")
    parser.add_argument("--threads", default="2", help="of each engine (default 2)")
    parser.add_argument("--rounds", default="7", help="turns of each engine (default 7)")
    parser.add_argument("--out", type=Path, default=folder, help="the folder to write to (default results)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for model in options.models or MODELS:
        for batch in options.batch.split(","):
            print(f"{model}, batch {batch} ...", file=sys.stderr, flush=True)
            settings = ("--batch", batch, "--threads", options.threads, "--rounds", options.rounds)
            path = options.out / f"{model}{ENDING}"
            report = merged(path, measured(["model", model, *settings]))
            path.write_text(json.dumps(report, indent=1) + "\n")
            write_tables(options.out)


def write_tables(folder: Path) -> None:
    """Writes throughput.md from the reports in a folder."""
    reports = {
        path.name.removesuffix(ENDING): json.loads(path.read_text())
        for path in sorted(folder.glob(f"*{ENDING}"), reverse=True)
    }
    (folder / "throughput.md").write_text(text(reports))
