"""Show the layers of a model: output shapes, parameters, multiply-adds.

The multiply-adds are those of convolutions and linear layers, one for each product, as papers count them;
all else is small beside them.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lucid.cli.arguments import image_size, positive

if TYPE_CHECKING:
    from lucid.nn import Module

__all__ = ["Layer", "add_arguments", "run", "trace"]

Shape = tuple[int, ...]

# Tables of models count at this size, whatever a model is evaluated at.
_USUAL_SIZE = 224


@dataclass(frozen=True)
class Layer:
    """A module as one row: its dotted name, its output for one image, and its cost with all inside it.

    ``parent`` is True where other modules are inside.
    """

    name: str
    kind: str
    output: Shape
    parameters: int
    multiply_adds: int
    parent: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid summary``."""
    parser.add_argument("model", metavar="MODEL", help="e.g. resnext50_32x4d or resnest50")
    parser.add_argument(
        "--input-size",
        type=image_size,
        metavar="N|HxW",
        help=f"pixels of the image (default {_USUAL_SIZE}; 32 for the digit models)",
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images (default 1)")
    parser.add_argument(
        "--depth",
        type=positive,
        metavar="N",
        help="close modules nested deeper: 1 shows the stages, 2 the blocks (default: every layer)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the table."""
    from lucid.models.registry import build, find_preset

    preset, _ = find_preset(options.model)
    side = preset.preprocessing.size if preset.preprocessing else _USUAL_SIZE
    size = options.input_size or (side, side)
    # Values play no part, and 828 million random numbers take seconds.
    model = build(preset.config, initialize=False).eval()
    layers = trace(model, (preset.config.in_channels, *size))
    shape = _text((options.batch, preset.config.in_channels, *size))
    print(f"{preset.name} ({type(model).__name__}) on {shape}")
    _print_table(layers, options.batch, options.depth or math.inf)
    return 0


def trace(model: Module, image: Shape) -> list[Layer]:
    """Every module that a forward pass on one image calls, outer before inner.

    The model is traced as ``lucid.compile`` traces it. Nothing is computed, so this takes a moment for any.

    Args:
        image: ``(channels, height, width)``.
    """
    from lucid.inference.trace import trace_modules

    traced = trace_modules(model, (1, *image))
    costs = Counter[str]()
    for node in traced.graph.nodes:
        costs[traced.modules[node.output]] += traced.graph.macs(node)
    return [
        _layer(name, module, traced.outputs[name], costs)
        for name, module in model.named_modules()
        if name in traced.outputs
    ]


def _layer(name: str, module: Module, output: Shape, costs: Mapping[str, int]) -> Layer:
    inside = f"{name}." if name else ""
    return Layer(
        name=name,
        kind=type(module).__name__,
        output=output,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        multiply_adds=sum(cost for layer, cost in costs.items() if layer == name or layer.startswith(inside)),
        parent=any(True for _ in module.children()),
    )


def _print_table(layers: list[Layer], batch: int, depth: float) -> None:
    total, *rows = layers
    # An open module shows as its parts; one that is closed, by depth or by nature, as a row.
    shown = [
        layer
        for layer in rows
        if (level := layer.name.count(".") + 1) == depth or (level < depth and not layer.parent)
    ]
    widths = [max(len(row.name) for row in shown), max(len(row.kind) for row in shown)]
    line = f"{{:<{widths[0]}}}  {{:<{widths[1]}}}  {{:<18}}  {{:>13}}  {{:>14}}"
    print(line.format("layer", "kind", "output", "parameters", "multiply-adds"))
    for row in shown:
        parameters = f"{row.parameters:,}" if row.parameters else "-"
        cost = f"{batch * row.multiply_adds / 1e6:,.3f} M" if row.multiply_adds else "-"
        print(line.format(row.name, row.kind, _text((batch, *row.output[1:])), parameters, cost))
    scale, unit = (1e9, "G") if total.multiply_adds >= 1e8 else (1e6, "M")
    cost = f"{batch * total.multiply_adds / scale:,.3f} {unit}"
    print(line.format("total", "", "", f"{total.parameters:,}", cost))


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
