"""The layers of both models: what each computes and moves, and its roofline time on a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.cuda_gpus import Gpu

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
        memory = self.traffic_microseconds(gpu, format)
        compute = 1e-6 * self.flops / peak
        return max(memory, compute), "m" if memory >= compute else "c"

    def traffic_microseconds(self, gpu: Gpu, format: str) -> float:
        return 1e-3 * self.elements * FORMATS[format] / gpu.bandwidth


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
