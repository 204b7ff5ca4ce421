"""Measure lucid on this machine, beside PyTorch, OpenVINO and ONNX Runtime where they are installed.

  lucid bench kernel [TEXT ...]  the convolutions of some models, each on its own; only those whose name
                                 contains every TEXT, such as 3x3s1g32 or 56x56
  lucid bench model NAME         a whole model, eager and as a plan

Every engine computes the same with the same weights, is checked before it is timed, and has its turn in every
round. The plan's times of single convolutions include the conversion of the image to its own layout and back;
--layers shows what each takes inside a model. Ctrl-C ends the measuring and shows what there is.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucid.cli.arguments import image_size, positive
from lucid.cli.terminal import Progress, UsageError, tell

if TYPE_CHECKING:
    from lucid.benchmark import Case, Comparison, Machine
    from lucid.inference import Profile

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid bench"
_PEERS = ("torch", "openvino", "onnxruntime")
_KERNEL_MODELS = ("resnext50_32x4d", "resnest50d")
_ROUNDS = 7

# The variable that keeps oneDNN, in PyTorch and in OpenVINO, to an instruction set from its import on.
_ONEDNN_ISA = {"amx": "AVX512_CORE_AMX", "avx512": "AVX512_CORE", "avx2": "AVX2", "generic": "SSE41"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid bench``."""
    kinds = parser.add_subparsers(dest="kind", metavar="kernel|model", required=True)
    kernel = kinds.add_parser("kernel", help="single convolutions of models", allow_abbrev=False)
    kernel.add_argument("filters", nargs="*", metavar="TEXT", help="what the names of the cases must contain")
    kernel.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help=f"whose convolutions; may be repeated (default {' and '.join(_KERNEL_MODELS)})",
    )
    kernel.add_argument("--plot", metavar="FILE", help="write a roofline, .svg or .png (needs matplotlib)")
    model = kinds.add_parser("model", help="a whole model", allow_abbrev=False)
    model.add_argument("model", metavar="NAME", help="e.g. resnext50_32x4d")
    model.add_argument("--layers", action="store_true", help="show the time of each step of the plan, too")
    for command in (kernel, model):
        _add_settings(command)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images (default 1)")
    parser.add_argument(
        "--size",
        type=image_size,
        default=(224, 224),
        metavar="N|HxW",
        help="pixels of the image (default 224)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="of every engine (default: lucid's)")
    parser.add_argument("--isa", metavar="NAME", help="pin an instruction set, such as avx2")
    parser.add_argument(
        "--rounds",
        type=positive,
        default=_ROUNDS,
        metavar="N",
        help=f"turns of each engine (default {_ROUNDS})",
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        default=_PEERS,
        metavar="LIST",
        help=f"engines to compare with, or none (default {','.join(_PEERS)})",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")


def _peers(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in _PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(_PEERS)}, or none, got {unknown[0]!r}")
    return names


def run(options: argparse.Namespace) -> int:
    """Prints the table; 1 where lucid itself was wrong."""
    _check_files(options)
    _configure(options)
    from lucid.benchmark import Machine

    results: list[Comparison] = []
    cases = _cases(options)
    machine = Machine.measured(options.peers)
    layers = None
    try:
        with Progress(_COMMAND, len(cases), "cases") as progress:
            for case in cases:
                results.append(_compare(case, options))
                machine = machine.remeasured()
                progress.update(1)
        if options.kind == "model" and options.layers:
            layers = _profile(cases[0], machine)
    except KeyboardInterrupt:
        if results:
            _show(options, machine, results, layers)
        raise
    _show(options, machine, results, layers)
    wrong = {"plan", "eager"} & {engine for result in results for engine in result.refused}
    return 1 if wrong else 0


def _check_files(options: argparse.Namespace) -> None:
    """Fails before anything is measured where the end would fail."""
    for path in filter(None, [options.json, getattr(options, "plot", None)]):
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder} to write {Path(path).name} into")
        if Path(path).is_dir():
            raise UsageError(f"{path} is a folder, not a file")
    if plot := getattr(options, "plot", None):
        from lucid.benchmark import roofline

        if Path(plot).suffix.lower().removeprefix(".") not in roofline.formats():
            raise UsageError(f"--plot must name a file such as roofline.svg or roofline.png, got {plot}")


def _configure(options: argparse.Namespace) -> None:
    """Instruction set and threads, of lucid and through the environment of the peers."""
    from lucid import runtime

    if options.isa:
        runtime.set_isa(options.isa)
    if options.threads:
        runtime.set_num_threads(options.threads)
    if runtime.isa() != runtime.isas()[0]:
        os.environ["ONEDNN_MAX_CPU_ISA"] = _ONEDNN_ISA[runtime.isa()]
        if "onnxruntime" in options.peers:
            tell(
                _COMMAND, f"onnxruntime cannot be kept to {runtime.isa()} and uses all that the processor has"
            )


def _cases(options: argparse.Namespace) -> list[Case]:
    from lucid.benchmark import conv2d_cases, model_case

    if options.kind == "model":
        return [model_case(options.model, options.batch, options.size)]
    cases = conv2d_cases(options.model or _KERNEL_MODELS, options.batch, options.size)
    chosen = [case for case in cases if all(text in case.name for text in options.filters)]
    if not chosen:
        names = ", ".join(case.name for case in cases)
        raise UsageError(f"no case has {' and '.join(options.filters)} in its name; there are {names}")
    return chosen


def _compare(case: Case, options: argparse.Namespace) -> Comparison:
    from lucid import runtime
    from lucid.benchmark import ENGINES, compare

    engines = {name: ENGINES[name] for name in ("plan", "eager", *options.peers)}
    # A turn of a model is as long as several runs of it.
    seconds = 0.05 if options.kind == "kernel" else 0.5
    return compare(case, engines, runtime.get_num_threads(), options.rounds, seconds)


def _profile(case: Case, machine: Machine) -> Profile:
    from lucid.inference import InferencePlan

    profile = InferencePlan(case.graph).profile(case.input())
    return replace(profile, peak_gflops=machine.peak_gflops)


def _show(
    options: argparse.Namespace, machine: Machine, results: Sequence[Comparison], layers: Profile | None
) -> None:
    """Prints the table and writes the files."""
    from lucid.benchmark import as_json, cases_table, engines_table

    if options.kind == "kernel":
        print(cases_table(machine, results, options.peers))
    else:
        print(engines_table(machine, results[0], options.peers))
    if layers is not None:
        print(f"\n{layers}")
    if options.json:
        settings: dict[str, Any] = {
            name: getattr(options, name) for name in ("kind", "batch", "size", "rounds")
        }
        report = as_json(machine, results, settings, layers)
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if getattr(options, "plot", None):
        from lucid.benchmark import roofline

        engines = dict.fromkeys(engine for result in results for engine in result.timings)
        roofline.plot(
            options.plot,
            machine,
            {
                engine: [(r.case.flops_per_byte, r.gflops(engine)) for r in results if engine in r.timings]
                for engine in engines
            },
        )
