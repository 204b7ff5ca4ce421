"""Output of lucid bench: a table for each section, and files of all of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lucid import runtime
from lucid.cli.terminal import UsageError

if TYPE_CHECKING:
    from lucid.benchmark import Comparison, Gpu, Machine
    from lucid.inference import Profile

__all__ = ["Section", "check_files", "print_section", "write_files"]


@dataclass
class Section:
    """The measurements of one batch with one number of threads."""

    batch: int
    machine: Machine | Gpu
    results: list[Comparison] = field(default_factory=list)
    layers: Profile | None = None


def check_files(options: argparse.Namespace, gpu: Gpu | None) -> None:
    """Fails before anything is measured where the end would fail."""
    pictures = _pictures(options)
    for path in filter(None, [options.json, *pictures.values()]):
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder} to write {Path(path).name} into")
        if Path(path).is_dir():
            raise UsageError(f"{path} is a folder, not a file")
    for option, path in pictures.items():
        from lucid.benchmark import figure

        if Path(path).suffix.lower().removeprefix(".") not in figure.formats():
            raise UsageError(f"{option} must name a file such as layers.svg or layers.png, got {path}")
        if len(options.batch) * len(options.threads or "1") > 1:
            raise UsageError(f"{option} draws one batch and one number of threads, got several")
        if option == "--roofline" and gpu is not None and not (gpu.peak_gflops and gpu.bandwidth):
            raise UsageError(f"--roofline needs a device whose peaks are known, got {gpu.name}")


def _pictures(options: argparse.Namespace) -> dict[str, str]:
    """The files of pictures, by the options that name them."""
    named = {"--plot": options.plot, "--roofline": getattr(options, "roofline", None)}
    return {option: path for option, path in named.items() if path}


def print_section(options: argparse.Namespace, section: Section, several: bool) -> None:
    """Prints the table of a section, under a heading if there are several."""
    from lucid.benchmark import Throughput, cases_table, engines_table, throughput_table

    if not section.results:
        return
    if several:
        threads = f", threads {runtime.get_num_threads()}" if options.threads else ""
        print(f"batch {section.batch}{threads}")
    if options.kind == "kernel":
        print(cases_table(section.machine, section.results, options.peers))
    elif isinstance(result := section.results[0], Throughput):
        print(throughput_table(section.machine, result))
    else:
        print(engines_table(section.machine, result, options.peers))
    if section.layers is not None and options.layers:
        print(f"\n{section.layers}")
    if several:
        print(flush=True)


def write_files(options: argparse.Namespace, sections: Sequence[Section]) -> None:
    """Writes the files, of all sections that have results."""
    from lucid.benchmark import as_json

    if not sections:
        return
    if options.json:
        kind = "throughput" if options.throughput else options.kind
        shared = {"kind": kind, "size": options.size, "rounds": options.rounds}
        reports = [
            as_json(section.machine, section.results, {**shared, "batch": section.batch}, section.layers)
            for section in sections
        ]
        single = len(options.batch) * len(options.threads or "1") == 1
        report = reports[0] if single else {"sections": reports}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if pictures := _pictures(options):
        _draw(pictures, sections[0], options)


def _draw(pictures: Mapping[str, str], section: Section, options: argparse.Namespace) -> None:
    """Writes bars and roofline, whichever are wanted."""
    from lucid.benchmark import bars, roofline, time_by_layer

    if options.kind == "model":
        if section.layers is not None:
            name = f"{section.results[0].case.name}, batch {section.batch}"
            time_by_layer.plot(pictures["--plot"], name, section.machine, section.layers)
        return
    if "--plot" in pictures:
        bars.plot(pictures["--plot"], section.machine, section.results, options.peers)
    if "--roofline" in pictures:
        engines = dict.fromkeys(engine for result in section.results for engine in result.timings)
        points = {
            engine: [
                (result.case.flops_per_byte, gflops)
                for result in section.results
                if engine in result.timings and (gflops := result.gflops(engine)) is not None
            ]
            for engine in engines
        }
        roofline.plot(pictures["--roofline"], section.machine, points)
