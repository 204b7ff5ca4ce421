"""Roofline and predicted times of layers on GPUs that nobody here has: ``python -m bench cuda-model``.

A layer takes at least as long as its memory traffic at the bandwidth of the data sheet, and as its
arithmetic at the peak. The larger of both is its roofline time: a bound. What its kernels are predicted to
take comes from the instructions and accesses of their PTX, a block of which the tests' executor runs.
Nothing here was measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from bench import cuda_counts
from bench.cuda_gpus import GPUS
from bench.cuda_layers import FORMATS, Layer, header, layers_of, row
from bench.cuda_predictions import ASSUMPTIONS, DTYPES, Predictions

MODELS = {"resnext50_32x4d": "ResNeXt-50 32x4d", "resnest50d": "ResNeSt-50"}
HEAD = """# What the data sheets of GPUs allow

Roofline times: the larger of memory traffic and arithmetic at the peaks below. No GPU was at hand, and
nothing was measured. In a cell stand microseconds in float32 on the CUDA cores, in TF32 and in float16
or bfloat16 on the tensor cores; m: memory bounds the layer, c: arithmetic does. Each value is read and
written once in memory: a tensor that the L2 cache keeps from one layer to the next may be faster than m.
"""


def times(layers: Sequence[Layer], bounds: bool) -> Iterator[str]:
    """A cell for each GPU: the sum over all layers, for each format; with what bounds the first, if asked."""
    for gpu in GPUS:
        texts = []
        for format in FORMATS:
            each = [layer.microseconds(gpu, format) for layer in layers]
            total = sum(time for time, _ in each)
            texts.append((f"{total:.1f}" if total < 100 else f"{total:.0f}") + (each[0][1] if bounds else ""))
        yield " / ".join(texts)


def table_of_gpus() -> Iterator[str]:
    yield from header(
        [
            "",
            "fp32 TFLOP/s",
            "TF32",
            "fp16, bf16",
            "GB/s",
            "L2 MB",
            "ridge FLOP/B: fp32 / TF32 / fp16",
            "source",
        ],
        1,
    )
    for gpu in GPUS:
        ridges = " / ".join(f"{1e3 * getattr(gpu, name) / gpu.bandwidth:.0f}" for name in FORMATS)
        peaks = [f"{gpu.fp32:g}", f"{gpu.tf32:g}", f"{gpu.fp16:g}", f"{gpu.bandwidth:g}", f"{gpu.l2:g}"]
        yield row([gpu.name, *peaks, ridges, gpu.source])


def table_of_layers(layers: Sequence[Layer]) -> Iterator[str]:
    """A line for each distinct layer, one for each kernel, and one for all."""
    names = [gpu.name for gpu in GPUS]
    yield from header(["layer", "number", "MFLOP", "MB fp32", *names], 1)
    for layer in dict.fromkeys(layers):
        sizes = [f"{layer.flops / 1e6:.1f}", f"{4e-6 * layer.elements:.1f}"]
        count = layers.count(layer)
        yield row([f"{layer.kernel}: {layer.title}", str(count), *sizes, *times([layer], bounds=True)])
    for kernel in sorted({layer.kernel for layer in layers}):
        yield total(f"**all {kernel}**", [layer for layer in layers if layer.kernel == kernel])
    yield total("**all**", layers)


def total(title: str, layers: Sequence[Layer]) -> str:
    sizes = f"{sum(x.flops for x in layers) / 1e6:.0f}", f"{4e-6 * sum(x.elements for x in layers):.0f}"
    return row([title, str(len(layers)), *sizes, *times(layers, bounds=False)])


def report_rooflines(name: str, layers: Sequence[Layer], batch: int) -> None:
    print(f"\n## {name}, batch {batch}, 224x224: {len(layers)} steps of a plan\n")
    print("\n".join(table_of_layers(layers)))
    rates = ", ".join(
        f"{gpu.name} "
        + " / ".join(f"{batch / sum(x.microseconds(gpu, f)[0] for x in layers) * 1e6:.0f}" for f in FORMATS)
        for gpu in GPUS
    )
    print(f"\nImages a second at most, float32 / TF32 / float16: {rates}.")


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench cuda-model", description="Roofline and predicted times of both models on GPUs."
    )
    parser.add_argument("--batch", type=int, default=32, help="images (default 32)")
    parser.add_argument("--rooflines", action="store_true", help="no more than what the data sheets allow")
    options = parser.parse_args(arguments)
    program = None if options.rooflines else cuda_counts.simulator()
    layers = {model: layers_of(model, options.batch) for model in MODELS}
    print(HEAD)
    print("\n".join(table_of_gpus()))
    for model, name in MODELS.items():
        report_rooflines(name, layers[model], options.batch)
    if program is None:
        return
    print(ASSUMPTIONS)
    with cuda_counts.workers() as pool:
        recorder = cuda_counts.Recorder(pool, program)
        for model, name in MODELS.items():
            for format, dtype in DTYPES.items():
                steps = recorder.steps(model, options.batch, dtype)
                print(f"\n## {name}, batch {options.batch}, {dtype}: predicted\n")
                print("\n".join(Predictions(layers[model], steps, format, options.batch).lines()))
