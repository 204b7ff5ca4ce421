"""The roofline time of every layer on GPUs that nobody here has: ``python -m bench cuda-model``.

A layer takes at least as long as its memory traffic at the bandwidth of the data sheet, and as its arithmetic
at the peak. The larger of both is its roofline time: a bound, and no forecast of what a kernel takes. Nothing
is run, and nothing here was measured.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MODELS = {"resnext50_32x4d": "ResNeXt-50 32x4d", "resnest50d": "ResNeSt-50"}


@dataclass(frozen=True)
class Gpu:
    """Peaks of a data sheet, of dense matrices.

    Attributes:
        fp32: 1e12 operations a second of the CUDA cores.
        tf32: Of the tensor cores.
        fp16: Of the tensor cores, with sums in float32; the same for bfloat16.
        bandwidth: 1e9 bytes a second.
        l2: MB.
    """

    name: str
    fp32: float
    tf32: float
    fp16: float
    bandwidth: float
    l2: float
    source: str


# Data sheets print sparse rates first, twice the dense ones. GeForce cards have half the rate of tensor cores
# where sums are in float32.
GPUS = [
    Gpu(
        "H100 SXM",
        66.9,
        494.7,
        989.4,
        3350,
        50,
        "NVIDIA H100 Tensor Core GPU Architecture, white paper, table 2",
    ),
    Gpu("A100 SXM 80 GB", 19.5, 156, 312, 2039, 40, "NVIDIA A100 Tensor Core GPU, data sheet"),
    Gpu("RTX 4090", 82.6, 82.6, 165.2, 1008, 72, "NVIDIA Ada GPU Architecture, white paper, appendix A"),
]
HEAD = """# What the data sheets of GPUs allow

Roofline times: the larger of memory traffic and arithmetic at the peaks below. No GPU was at hand, and
nothing was measured. In a cell stand microseconds in float32 on the CUDA cores, in TF32 and in float16
or bfloat16 on the tensor cores; m: memory bounds the layer, c: arithmetic does. Each value is read and
written once in memory: a tensor that the L2 cache keeps from one layer to the next may be faster than m.
"""

# The arithmetic of a column, and the bytes of an element.
FORMATS = {"fp32": 4, "tf32": 4, "fp16": 2}


@dataclass(frozen=True)
class Layer:
    """Steps of a plan that are alike.

    Attributes:
        kernel: Its name in the table of kernels.
        title: Shapes and window.
        flops: Two for each multiplication, and one for each element that another step reads.
        elements: Of inputs, weights and output: each is read or written once.
    """

    kernel: str
    title: str
    flops: float
    elements: int

    def microseconds(self, gpu: Gpu, format: str) -> tuple[float, str]:
        """The roofline time, and whether memory or arithmetic bounds it."""
        multiplies = self.kernel in ("linear", "conv2d 1x1", "conv2d grouped", "conv2d dense")
        peak = getattr(gpu, format) if multiplies else gpu.fp32
        memory = 1e-3 * self.elements * FORMATS[format] / gpu.bandwidth
        compute = 1e-6 * self.flops / peak
        return max(memory, compute), "m" if memory >= compute else "c"


def kernel_of(node: Any) -> str:
    if node.kind != "conv2d":
        return str(node.kind)
    window = node.weights["weight"].shape[2:]
    if node.attributes["groups"] > 1:
        return "conv2d grouped"
    return "conv2d 1x1" if window == (1, 1) else "conv2d dense"


def title_of(graph: Any, node: Any) -> str:
    def size(name: str) -> str:
        return "x".join(map(str, graph.shapes[name][1:]))

    text = f"{size(node.inputs[0])} -> {size(node.output)}"
    if node.kind == "conv2d":
        window = node.weights["weight"].shape[2:]
        text += f", {'x'.join(map(str, window))}" if window != (1, 1) else ""
        groups = node.attributes["groups"]
        text += f", {groups} groups" if groups > 1 else ""
        text += ", residual" if len(node.inputs) > 1 else ""
    return text


def layers_of(model: str, batch: int) -> list[Layer]:
    """The steps of the plan that runs the model, transfers left out."""
    from lucid import models, nn
    from lucid.inference import optimize, trace

    with nn.init.skip_init():
        network = models.create_model(model).eval()
    graph = optimize(trace(network, (batch, 3, 224, 224)))
    found = []
    for node in graph.nodes:
        read = sum(math.prod(graph.shapes[name]) for name in node.inputs)
        elements = read + math.prod(graph.shapes[node.output])
        elements += sum(array.size for array in node.weights.values())
        flops = 2 * graph.macs(node) or read
        found.append(Layer(kernel_of(node), title_of(graph, node), flops, elements))
    return found


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def header(columns: Sequence[str], left: int) -> list[str]:
    return [row(columns), row(["---"] * left + ["---:"] * (len(columns) - left))]


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


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench cuda-model", description="Roofline times of both models on GPUs."
    )
    parser.add_argument("--batch", type=int, default=32, help="images (default 32)")
    batch = parser.parse_args(arguments).batch
    print(HEAD)
    print("\n".join(table_of_gpus()))
    for model, name in MODELS.items():
        layers = layers_of(model, batch)
        print(f"\n## {name}, batch {batch}, 224x224: {len(layers)} steps of a plan\n")
        print("\n".join(table_of_layers(layers)))
        rates = ", ".join(
            f"{gpu.name} "
            + " / ".join(
                f"{batch / sum(x.microseconds(gpu, f)[0] for x in layers) * 1e6:.0f}" for f in FORMATS
            )
            for gpu in GPUS
        )
        print(f"\nImages a second at most, float32 / TF32 / float16: {rates}.")
