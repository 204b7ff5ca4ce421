"""Measure lucid on the CPU or a GPU, beside PyTorch, OpenVINO and ONNX Runtime where they are installed.

  lucid bench kernel [TEXT ...]  the convolutions of some models, each on its own; only those whose name
                                 contains every TEXT, such as 3x3s1g32 or 56x56; a first TEXT of
                                 split_attention, add, pool2d (max_pool2d, avg_pool2d), softmax, batch_norm,
                                 linear or relu chooses that operator instead
  lucid bench model NAME         a whole model, eager and as a plan; or an ONNX file, as a plan
  lucid bench model NAME --throughput
                                 images a second of a stream of calls, to a plan and to peers
  lucid bench compare A B        two reports of --json: what became slower

With --backward, the gradients of an operator's inputs and weights are measured, beside PyTorch's autograd.
With several of --batch or --threads, each combination has a table of its own. --list prints the cases, as
lucid-bench-kernel (csrc/bench) reads them, and measures nothing; --quick ends in about a minute. --plot draws
bars of each layer, of a model where the plan's time goes; --roofline what the machine allows and what was
attained.

Every engine computes the same with the same weights, is checked before it is timed, and has its turn in every
round. The plan's times of single convolutions include the conversion of the image to its own layout and back;
--layers shows what each takes inside a model. Ctrl-C ends the measuring and shows what there is.

With --throughput, each engine is called in two ways: one call at a time on all threads, and as NAME_streams
several calls at once. Lucid's plan (threads_per_call=1) and ONNX Runtime then compute a call on one thread,
and are called from as many as --threads says; OpenVINO has PERFORMANCE_HINT THROUGHPUT, and its optimal
number of requests.

With --device cuda, lucid's plan and eager calls are measured on a GPU beside PyTorch, which runs in
channels_last as a CUDA graph, and all are checked against the CPU's results. The input is on the GPU before.
A time is that from one wait for the GPU to the next, divided by the calls between; so launches count where
the GPU waits for them. The plan takes and gives float32 in every --dtype, and its conversions count. Nobody
rounds float32 to TF32.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from lucid import runtime
from lucid.cli import bench_compare
from lucid.cli.bench_arguments import (
    BACKWARD_PEERS,
    BFLOAT16_PEERS,
    CUDA_PEERS,
    KERNEL_MODELS,
    PEERS,
    QUICK_ROUNDS,
    ROUNDS,
    STREAM_PEERS,
    add_arguments,
)
from lucid.cli.bench_report import Section, check_files, print_section, write_files
from lucid.cli.terminal import Progress, UsageError, tell

if TYPE_CHECKING:
    from lucid.benchmark import Case, Comparison, Gpu, Machine
    from lucid.inference import Profile

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid bench"

# The time of all combinations with --quick, and the part of it that rounds have; engines must be made and
# checked, too.
_QUICK_SECONDS, _PART_OF_ROUNDS = 60.0, 0.5

# The roofs of a CPU take half a second.
_SECONDS_BETWEEN_ROOFS = 5.0

# What keeps the peers to an instruction set of x86-64 from their import on: oneDNN, in PyTorch and in
# OpenVINO, and PyTorch's own kernels. On other processors they cannot be kept to one.
_LIMITS = {
    isa: {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": aten}
    for isa, onednn, aten in (
        ("amx", "AVX512_CORE_AMX", "avx512"),
        ("avx512_bf16", "AVX512_CORE_BF16", "avx512"),
        ("avx512", "AVX512_CORE", "avx512"),
        ("avx2", "AVX2", "avx2"),
        ("generic", "SSE41", "default"),
    )
}

# Those that choose their kernels by themselves, whatever the environment says.
_FREE = ("onnxruntime", "ai-edge-litert", "numpy")


def run(options: argparse.Namespace) -> int:
    """Prints the tables; 1 where lucid itself was wrong, or became slower from report to report."""
    if options.kind == "compare":
        return bench_compare.run(options)
    gpu = _gpu(options)
    check_files(options, gpu)
    if options.kind == "kernel" and options.list:
        return _list(options, gpu)
    if gpu is None:
        _configure(options)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    combinations = list(product(options.batch, options.threads or (None,)))
    start, seconds = time.monotonic(), _QUICK_SECONDS if options.quick else math.inf
    sections: list[Section] = []
    try:
        for done, (batch, threads) in enumerate(combinations, 1):
            if threads is not None:
                runtime.set_num_threads(threads)
            cases = _cases(options, batch, gpu)
            sections.append(Section(batch, gpu or _machine(options)))
            try:
                _measure(options, cases, gpu, sections[-1], start + seconds * done / len(combinations))
            finally:
                print_section(options, sections[-1], several=len(combinations) > 1)
    finally:
        write_files(options, [section for section in sections if section.results])
    refused = {engine for section in sections for result in section.results for engine in result.refused}
    return 1 if _is_wrong(refused) else 0


def _is_wrong(refused: set[str]) -> bool:
    """Whether lucid is among the engines that were not timed."""
    from lucid.benchmark import OWN

    return not refused.isdisjoint(OWN)


def _list(options: argparse.Namespace, gpu: Gpu | None) -> int:
    """Prints a line for each case, and measures nothing."""
    for batch in options.batch:
        for case in _cases(options, batch, gpu):
            print(case.description)
    return 0


def _machine(options: argparse.Namespace) -> Machine:
    from lucid.benchmark import Machine

    return Machine.measured(options.peers)


def _measure(
    options: argparse.Namespace, cases: Sequence[Case], gpu: Gpu | None, section: Section, end: float
) -> None:
    """Adds results to a section until ``end``, a time of the monotonic clock."""
    now = roofs = time.monotonic()
    with Progress(_COMMAND, len(cases), "cases") as progress:
        for done, case in enumerate(cases):
            limit = max(0.0, _PART_OF_ROUNDS * (end - now) / (len(cases) - done))
            section.results.append(_compare(case, options, gpu, limit))
            progress.update(1)
            now = time.monotonic()
            if now - roofs >= _SECONDS_BETWEEN_ROOFS or done == len(cases) - 1:
                section.machine = section.machine.remeasured()
                now = roofs = time.monotonic()
            if now >= end:
                break
    if left := len(cases) - len(section.results):
        tell(_COMMAND, f"{left} of {len(cases)} cases are left out: the time of --quick is over")
    if options.kind == "model" and (options.layers or options.plot):
        section.layers = _profile(cases[0], options, section.machine)


def _gpu(options: argparse.Namespace) -> Gpu | None:
    """The GPU to measure, None for the CPU; and the peers that compute there, where the user names none."""
    on_cpu = options.device in ("cpu", "cpu:0")
    _check_settings(options, on_cpu)
    possible, where = _possible_peers(options, on_cpu)
    if options.peers is None:
        options.peers = tuple(name for name in possible if _fits(name, options))
    for name in options.peers:
        if name not in possible:
            raise UsageError(f"--peers must be of {', '.join(possible)}, or none, {where}, got {name!r}")
    if on_cpu:
        return None
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


def _check_settings(options: argparse.Namespace, on_cpu: bool) -> None:
    """Refuses options that have no meaning together."""
    if options.kind == "kernel" and options.backward and (not on_cpu or options.list):
        raise UsageError("--backward measures on the CPU, and has no --list")
    if options.throughput and not on_cpu:
        raise UsageError(f"--throughput measures on the CPU, got {options.device}")
    if options.throughput and (options.layers or options.plot):
        raise UsageError("--throughput has no --layers and no --plot")
    in_bfloat16 = options.kind == "model" and options.dtype == "bfloat16"
    if on_cpu and options.dtype != "float32" and not in_bfloat16:
        raise UsageError(f"--dtype must be float32 on the CPU, or bfloat16 for a model, got {options.dtype}")
    for name in () if on_cpu else ("isa", "threads"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is a setting of the CPU, which does not compute on {options.device}")


def _possible_peers(options: argparse.Namespace, on_cpu: bool) -> tuple[tuple[str, ...], str]:
    """The peers that compute what is measured, and where that is."""
    if not on_cpu:
        return CUDA_PEERS, "on a GPU"
    if options.kind == "kernel" and options.backward:
        return BACKWARD_PEERS, "with --backward"
    possible, where = (STREAM_PEERS, "with --throughput") if options.throughput else (PEERS, "on the CPU")
    if options.dtype == "bfloat16":
        return tuple(name for name in possible if name in BFLOAT16_PEERS), "in bfloat16"
    return possible, where


def _fits(peer: str, options: argparse.Namespace) -> bool:
    """Whether a peer computes what is measured: two of them only some operators, each on its own."""
    from lucid.benchmark import NUMPY, OPERATORS

    operator = options.filters[0] if options.kind == "kernel" and options.filters else None
    if peer == "numpy":
        return operator in NUMPY
    return peer != "ai-edge-litert" or (options.kind == "kernel" and operator not in OPERATORS)


def _configure(options: argparse.Namespace) -> None:
    """Instruction set and threads, of lucid and through the environment of the peers."""
    if options.isa:
        runtime.set_isa(options.isa)
    isa = runtime.isa()
    if isa == runtime.isas()[0]:
        return
    limits = _LIMITS.get(isa, {}) if platform.machine() in ("x86_64", "AMD64") else {}
    os.environ.update(limits)
    free = [name for name in options.peers if not limits or name in _FREE]
    if free:
        tell(
            _COMMAND, f"{' and '.join(free)} cannot be kept to {isa}, and may use all that the processor has"
        )


def _cases(options: argparse.Namespace, batch: int, gpu: Gpu | None) -> list[Case]:
    from lucid.benchmark import (
        OPERATORS,
        conv2d_cases,
        gradient_case,
        model_case,
        onnx_case,
        operator_cases,
    )
    from lucid.onnx import is_onnx_file

    if options.kind == "model":
        make = onnx_case if is_onnx_file(options.model) else model_case
        cases = [make(options.model, batch, options.size)]
    elif options.filters[:1] and options.filters[0] in OPERATORS:
        names = options.model or KERNEL_MODELS
        cases = operator_cases(options.filters[0], names, batch, options.size)
        if options.roofline and not any(case.macs for case in cases):
            raise UsageError(f"--roofline needs cases that multiply, got {options.filters[0]}")
    else:
        cases = conv2d_cases(options.model or KERNEL_MODELS, batch, options.size)
    if options.dtype != "float32":
        cases = [replace(case, itemsize=2) for case in cases]
    if options.kind == "model":
        return cases
    chosen: list[Case] = [case for case in cases if all(text in case.name for text in options.filters)]
    if not chosen:
        names = ", ".join(case.name for case in cases)
        raise UsageError(f"no case has {' and '.join(options.filters)} in its name; there are {names}")
    return [gradient_case(case) for case in chosen] if options.backward else chosen


def _compare(case: Case, options: argparse.Namespace, gpu: Gpu | None, limit: float) -> Comparison:
    from lucid.benchmark import (
        BFLOAT16_ENGINES,
        ENGINES,
        GRADIENT_ENGINES,
        best_setting,
        compare,
        compare_throughput,
        cuda_engines,
        stream_engines,
        with_settings,
    )

    # A turn of a model is as long as several runs of it.
    seconds = (0.05 if options.kind == "kernel" else 0.5) * (0.2 if options.quick else 1.0)
    threads, rounds = runtime.get_num_threads(), options.rounds
    if options.throughput:
        streams = stream_engines(options.dtype, options.peers)
        return compare_throughput(case, streams, threads, rounds, seconds, limit, options.dtype)
    backward = options.kind == "kernel" and options.backward
    known = GRADIENT_ENGINES if backward else ENGINES
    if gpu is not None:
        known = cuda_engines(gpu.device, gpu.dtype)
    elif options.dtype == "bfloat16":
        known = BFLOAT16_ENGINES
    own = [name for name in ("plan", "eager") if name in known and (name == "plan" or case.eager is not None)]
    engines = {name: known[name] for name in (*own, *options.peers)}
    if gpu is None and not backward:
        engines = with_settings(case, engines)
    result = compare(case, engines, threads, rounds, seconds, gpu, limit, options.dtype)
    return best_setting(result)


def _profile(case: Case, options: argparse.Namespace, machine: Machine | Gpu) -> Profile:
    from lucid.inference import InferencePlan

    plan = InferencePlan(case.graph, device=options.device, internal_dtype=options.dtype)
    profile = plan.profile(*case.inputs())
    return replace(profile, peak_gflops=machine.peak_gflops)
