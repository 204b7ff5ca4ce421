"""The cases to measure: single convolutions traced from the models, and whole models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lucid.inference import Graph, InferencePlan, Node, optimize, trace
from lucid.inference.graph import size_text
from lucid.inference.report import steps_of
from lucid.models.registry import build, find_preset
from lucid.nn import functional as F
from lucid.nn.module import Module, Parameter
from lucid.tensor import Tensor

__all__ = ["Case", "conv2d_cases", "conv2d_float64", "model_case"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One computation that every engine does.

    Attributes:
        name: For a convolution its window, stride, groups, channels and image: ``3x3s2g32_256to256_56x56``.
        graph: The computation, with one output.
        eager: The same without a plan, with float32 weights on the CPU; None where there is no such thing.
        expected: The right output for the inputs.
        counts: How often each model has it.
        itemsize: Bytes of a value in the dtype that engines compute in.
        macs: Multiplications with an addition each, as the definition counts them.
        bytes: The least that must be read and written: inputs, weights and output of each step.
    """

    name: str
    graph: Graph
    eager: Module | None
    expected: Callable[..., Array]
    counts: dict[str, int]
    itemsize: int = 4
    macs: int = field(init=False)
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        steps = steps_of(self.graph, [""] * len(self.graph.nodes), self.itemsize)
        object.__setattr__(self, "macs", sum(step.macs for step in steps))
        object.__setattr__(self, "bytes", sum(step.bytes for step in steps))

    @cached_property
    def on_matrix_unit(self) -> bool:
        """Whether a plan multiplies matrices on the matrix unit alone, of the instruction set in use."""
        steps = [step for step in InferencePlan(self.graph).steps if step.macs]
        return bool(steps) and all(step.algorithm.endswith("_bf16x3") for step in steps)

    @property
    def flops_per_byte(self) -> float:
        """The arithmetic intensity: two operations a MAC."""
        return 2 * self.macs / self.bytes

    @property
    def description(self) -> str:
        """The operator, the shapes of its inputs, its attributes, and last the name of the case.

        All but the bias, which every case has that may have one. ``csrc/bench`` reads it.
        """
        shapes = "+".join(size_text(shape) for shape in self.graph.inputs.values())
        [node] = self.graph.nodes
        details = str(node).removeprefix(f"{node.kind}(").removesuffix(")").split(", ")[len(node.inputs) :]
        words = [detail.replace(" ", "=") for detail in details if not detail.startswith("bias ")]
        return " ".join([node.kind, shapes, *words, f"name={self.name}"])

    def inputs(self) -> list[Array]:
        """The same random numbers each time."""
        rng = np.random.default_rng(0)
        return [rng.standard_normal(shape, dtype=np.float32) for shape in self.graph.inputs.values()]


def model_case(name: str, batch: int = 1, size: tuple[int, int] = (224, 224)) -> Case:
    """A whole model with random weights, which run as fast as trained ones.

    Args:
        name: As for ``create_model``.
        size: Height and width of the images.

    Raises:
        ValueError: There is no such model, or the image is too small for it.
    """
    preset, _ = find_preset(name)
    model = build(preset.config).eval()
    graph = optimize(trace(model, (batch, preset.config.in_channels, *size)))
    return Case(preset.name, graph, model, lambda x: np.asarray(model(Tensor(x))), {preset.name: 1})


def conv2d_cases(names: Sequence[str], batch: int = 1, size: tuple[int, int] = (224, 224)) -> list[Case]:
    """The distinct convolutions of some models, in the order in which they run, each with a bias.

    What a model fuses with one, a ReLU or an addition, is left out: eager PyTorch would run it separately.

    Args, Raises: As for ``model_case``.
    """
    found: dict[str, tuple[Graph, Counter[str]]] = {}
    for name in names:
        preset, _ = find_preset(name)
        # Values play no part: a case draws its own.
        model = build(preset.config, initialize=False).eval()
        graph = optimize(trace(model, (batch, preset.config.in_channels, *size)))
        for node in graph.nodes:
            if node.kind == "conv2d":
                single = _single(node, graph.shapes[node.inputs[0]])
                found.setdefault(single.outputs[0], (single, Counter()))[1][preset.name] += 1
    return [_conv2d_case(name, graph, dict(counts)) for name, (graph, counts) in found.items()]


def _single(node: Node, shape: tuple[int, ...]) -> Graph:
    """A graph of one convolution, named after all that it depends on."""
    window, out_channels = node.weights["weight"].shape[2:], node.weights["weight"].shape[0]
    stride, padding, dilation = (_tuple(node, name) for name in ("stride", "padding", "dilation"))
    name = size_text(window)
    name += f"s{stride[0]}" if stride[0] == stride[1] else f"s{size_text(stride)}"
    if padding != tuple(side // 2 for side in (*window, *window)):
        name += f"p{size_text(padding[:2] if padding[:2] == padding[2:] else padding)}"
    if dilation != (1, 1):
        name += f"d{size_text(dilation)}"
    if node.attributes["groups"] != 1:
        name += f"g{node.attributes['groups']}"
    name += f"_{shape[1]}to{out_channels}_{size_text(shape[2:])}"
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(node.weights["weight"].shape, dtype=np.float32)
    weights: dict[str, Array] = {
        "weight": weight,
        "bias": rng.standard_normal((out_channels,), dtype=np.float32),
    }
    single = Node("conv2d", ("x",), name, {**node.attributes, "relu": False}, weights)
    return Graph({"x": shape}, (single,), (name,))


def _conv2d_case(name: str, graph: Graph, counts: dict[str, int]) -> Case:
    [node] = graph.nodes
    return Case(name, graph, _Convolution(node), lambda x: conv2d_float64(x, node), counts)


class _Convolution(Module):
    """A conv2d node as a layer, whose weights are not drawn anew."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.weight, self.bias = (Parameter(node.weights[name]) for name in ("weight", "bias"))
        top, left, bottom, right = _tuple(node, "padding")
        self.arguments: Mapping[str, Any] = {
            **{key: value for key, value in node.attributes.items() if key != "relu"},
            "padding": ((top, bottom), (left, right)),
        }

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, **self.arguments)


def conv2d_float64(x: Array, node: Node) -> Array:
    """The output of a conv2d node without residual and ReLU: a matrix product for each tap."""
    (sh, sw), (dh, dw) = _tuple(node, "stride"), _tuple(node, "dilation")
    top, left, bottom, right = _tuple(node, "padding")
    groups: Any = node.attributes["groups"]
    weight = node.weights["weight"].astype(np.float64)
    out_channels, in_group, kh, kw = weight.shape
    weight = weight.reshape(groups, out_channels // groups, in_group, kh, kw)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    spans = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    n, _, oh, ow = windows.shape[:4]
    y = np.zeros((n, groups, out_channels // groups, oh * ow))
    for i in range(kh):
        for j in range(kw):
            y += weight[..., i, j] @ windows[..., i, j].reshape(n, groups, in_group, oh * ow)
    bias = node.weights["bias"].astype(np.float64)
    return np.asarray(y.reshape(n, out_channels, oh, ow) + bias[:, None, None])


def _tuple(node: Node, name: str) -> tuple[int, ...]:
    value = node.attributes[name]
    assert isinstance(value, tuple)
    return value
