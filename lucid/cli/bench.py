"""Measure lucid on the CPU or a GPU, beside PyTorch, OpenVINO and ONNX Runtime where they are installed.

  lucid bench kernel [TEXT ...]  the convolutions of some models, each on its own; only those whose name
                                 contains every TEXT, such as 3x3s1g32 or 56x56; a first TEXT of
                                 split_attention, add, pool2d (max_pool2d, avg_pool2d), softmax, batch_norm,
                                 linear or relu chooses that operator instead
  lucid bench model NAME         a whole model, eager and as a plan; or an ONNX file, as a plan
  lucid bench compare A B        two reports of --json: what became slower

Every engine computes the same with the same weights, is checked before it is timed, and has its turn in every
round. The plan's times of single convolutions include the conversion of the image to its own layout and back;
--layers shows what each takes inside a model. Ctrl-C ends the measuring and shows what there is.

With --device cuda, lucid's plan and eager calls are measured on a GPU beside PyTorch, which runs in
channels_last as a CUDA graph, and all are checked against the CPU's results. The input is on the GPU before.
A time is that from one wait for the GPU to the next, divided by the calls between; so launches count where
the GPU waits for them. The plan takes and gives float32 in every --dtype, and its conversions count. Nobody
rounds float32 to TF32.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucid.cli import bench_compare
from lucid.cli.arguments import image_size, positive
from lucid.cli.terminal import Progress, UsageError, tell

if TYPE_CHECKING:
    from lucid.benchmark import Case, Comparison, Gpu, Machine
    from lucid.inference import Profile

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid bench"
_PEERS = ("torch", "openvino", "onnxruntime", "numpy")
_CUDA_PEERS = ("torch",)
_DTYPES = ("float32", "float16", "bfloat16")
_KERNEL_MODELS = ("resnext50_32x4d", "resnest50d")
_ROUNDS = 7

# The variable that keeps oneDNN, in PyTorch and in OpenVINO, to an instruction set from its import on.
_ONEDNN_ISA = {"amx": "AVX512_CORE_AMX", "avx512": "AVX512_CORE", "avx2": "AVX2", "generic": "SSE41"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid bench``."""
    kinds = parser.add_subparsers(dest="kind", metavar="kernel|model|compare", required=True)
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
    model.add_argument("model", metavar="NAME", help="e.g. resnext50_32x4d, or model.onnx")
    model.add_argument("--layers", action="store_true", help="show the time of each step of the plan, too")
    for command in (kernel, model):
        _add_settings(command)
    compare = kinds.add_parser("compare", help="two reports: what became slower", allow_abbrev=False)
    bench_compare.add_arguments(compare)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images (default 1)")
    parser.add_argument(
        "--size",
        type=image_size,
        default=(224, 224),
        metavar="N|HxW",
        help="pixels of the image (default 224)",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1")
    parser.add_argument(
        "--dtype",
        choices=_DTYPES,
        default="float32",
        help="of the engines (default float32); others on cuda only",
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
        metavar="LIST",
        help=f"engines to compare with, or none (default {','.join(_PEERS[:-1])}, with numpy "
        f"where it has a formula, on a GPU {_CUDA_PEERS[0]})",
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")


def _peers(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in _PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(_PEERS)}, or none, got {unknown[0]!r}")
    return names


def run(options: argparse.Namespace) -> int:
    """Prints the table; 1 where lucid itself was wrong, or became slower from report to report."""
    if options.kind == "compare":
        return bench_compare.run(options)
    gpu = _gpu(options)
    _check_files(options, gpu)
    if gpu is None:
        _configure(options)
    from lucid.benchmark import Machine

    results: list[Comparison] = []
    cases = _cases(options, gpu)
    machine = gpu or Machine.measured(options.peers)
    layers = None
    try:
        with Progress(_COMMAND, len(cases), "cases") as progress:
            for case in cases:
                results.append(_compare(case, options, gpu))
                machine = machine.remeasured()
                progress.update(1)
        if options.kind == "model" and options.layers:
            layers = _profile(cases[0], options, machine)
    except KeyboardInterrupt:
        if results:
            _show(options, machine, results, layers)
        raise
    _show(options, machine, results, layers)
    wrong = {"plan", "eager"} & {engine for result in results for engine in result.refused}
    return 1 if wrong else 0


def _gpu(options: argparse.Namespace) -> Gpu | None:
    """The GPU to measure, None for the CPU; and the peers that compute there, where the user names none."""
    on_cpu = options.device in ("cpu", "cpu:0")
    possible = _PEERS if on_cpu else _CUDA_PEERS
    if options.peers is None:
        options.peers = tuple(name for name in possible if name != "numpy" or _fits_numpy(options))
    if on_cpu:
        if options.dtype != "float32":
            raise UsageError(f"--dtype must be float32 on the CPU, got {options.dtype}")
        return None
    for name in ("isa", "threads"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is a setting of the CPU, which does not compute on {options.device}")
    for name in options.peers:
        if name not in possible:
            raise UsageError(f"--peers must be of {', '.join(possible)}, or none, on a GPU, got {name!r}")
    from lucid import cuda

    try:
        device = cuda.name_of(cuda.device_index("--device", options.device))
    except (ValueError, NotImplementedError) as error:
        raise UsageError(str(error)) from None
    except RuntimeError:
        raise UsageError(cuda.why_not()) from None
    from lucid.benchmark import Gpu

    gpu = Gpu.found(device, options.dtype, options.peers)
    if gpu.simulation:
        tell(_COMMAND, "this is the simulator, the kernels on a CPU: its times say nothing about a GPU")
    return gpu


def _fits_numpy(options: argparse.Namespace) -> bool:
    from lucid.benchmark import NUMPY

    return options.kind == "kernel" and options.filters[:1] != [] and options.filters[0] in NUMPY


def _check_files(options: argparse.Namespace, gpu: Gpu | None) -> None:
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
        if gpu is not None and not (gpu.peak_gflops and gpu.bandwidth):
            raise UsageError(f"--plot needs a device whose peaks are known, got {gpu.name}")


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


def _cases(options: argparse.Namespace, gpu: Gpu | None) -> list[Case]:
    from lucid.benchmark import OPERATORS, conv2d_cases, model_case, onnx_case, operator_cases
    from lucid.onnx import is_onnx_file

    if options.kind == "model":
        make = onnx_case if is_onnx_file(options.model) else model_case
        cases = [make(options.model, options.batch, options.size)]
    elif options.filters[:1] and options.filters[0] in OPERATORS:
        names = options.model or _KERNEL_MODELS
        cases = operator_cases(options.filters[0], names, options.batch, options.size)
        if options.plot and not any(case.macs for case in cases):
            raise UsageError(f"--plot needs cases that multiply, got {options.filters[0]}")
    else:
        cases = conv2d_cases(options.model or _KERNEL_MODELS, options.batch, options.size)
    if gpu is not None:
        cases = [replace(case, itemsize=gpu.itemsize) for case in cases]
    if options.kind == "model":
        return cases
    chosen = [case for case in cases if all(text in case.name for text in options.filters)]
    if not chosen:
        names = ", ".join(case.name for case in cases)
        raise UsageError(f"no case has {' and '.join(options.filters)} in its name; there are {names}")
    return chosen


def _compare(case: Case, options: argparse.Namespace, gpu: Gpu | None) -> Comparison:
    from lucid import runtime
    from lucid.benchmark import ENGINES, compare, cuda_engines

    known = ENGINES if gpu is None else cuda_engines(gpu.device, gpu.dtype)
    own = ("plan", "eager") if case.eager is not None else ("plan",)
    engines = {name: known[name] for name in (*own, *options.peers)}
    # A turn of a model is as long as several runs of it.
    seconds = 0.05 if options.kind == "kernel" else 0.5
    return compare(case, engines, runtime.get_num_threads(), options.rounds, seconds, gpu)


def _profile(case: Case, options: argparse.Namespace, machine: Machine | Gpu) -> Profile:
    from lucid.inference import InferencePlan

    plan = InferencePlan(case.graph, device=options.device, internal_dtype=options.dtype)
    profile = plan.profile(*case.inputs())
    return replace(profile, peak_gflops=machine.peak_gflops)


def _show(
    options: argparse.Namespace, machine: Machine | Gpu, results: Sequence[Comparison], layers: Profile | None
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
                engine: [
                    (result.case.flops_per_byte, gflops)
                    for result in results
                    if engine in result.timings and (gflops := result.gflops(engine)) is not None
                ]
                for engine in engines
            },
        )
