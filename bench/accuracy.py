"""``python -m bench accuracy``: how far the logits of every preset are from float64. Writes accuracy.md.

The error of an image is the largest of its logits' errors, relative to the largest logit; the table has the
medians over networks with random weights and their images. Statistics of batch norm are near those of the
values that reach it, as in training. PyTorch computes the traced network, without folding its norms, in
float64 and in float32, with the same weights.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

COMMAND = "python -m bench accuracy"
COLUMNS = ("PyTorch", "eager", "plan", "plan, no Winograd", "plan, bfloat16")
NOISE_BATCH = 4  # images whose statistics the norms take


def settled(model: Any, channels: int, size: int, rng: Any) -> None:
    """Draws scales and shifts, and gives each norm the statistics of noise, as far as they are not tiny."""
    import numpy as np

    import lucid
    from lucid.nn import BatchNorm2d

    norms = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm2d)}
    for name, norm in norms.items():
        low, high = (0.1, 0.4) if name.endswith("bn3") else (0.5, 1.5)
        norm.weight.data[...] = rng.uniform(low, high, norm.weight.shape)
        norm.bias.data[...] = rng.uniform(-0.3, 0.3, norm.bias.shape)
        norm.momentum = 1.0
    with lucid.no_grad():
        model.train()(rng.standard_normal((NOISE_BATCH, channels, size, size), dtype=np.float32))
    for norm in norms.values():
        mean, var = norm.running_mean.data, norm.running_var.data
        var += 0.2 * (mean**2 + (mean**2 + var).mean())
        mean *= rng.uniform(0.8, 1.2, mean.shape)
    model.eval().requires_grad_(False)


def results(model: Any, x: Any) -> Iterator[Any]:
    """The logits in float64, then those of each column; one at a time, since large ones fill memory."""
    import torch

    import lucid
    from lucid.benchmark.torch_graph import TorchGraph
    from lucid.inference import trace

    graph = trace(model, x.shape)
    with torch.inference_mode():
        for dtype in (torch.float64, torch.float32):
            yield TorchGraph(graph, dtype=dtype)(torch.from_numpy(x).to(dtype)).numpy()
    yield model(x).numpy()
    for options in ({}, {"winograd": False}, {"dtype": "bfloat16"}):
        yield lucid.compile(model, x.shape, **options)(x)


def errors(name: str, seeds: int, images: int, size: int) -> list[float]:
    """The median of each column."""
    import numpy as np

    from lucid.models import get_config
    from lucid.models.registry import build

    config = get_config(name)
    size = min(size, 32) if name.endswith("_digits") else size
    found: list[list[float]] = [[] for _ in COLUMNS]
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        model = build(config)
        settled(model, config.in_channels, size, rng)
        computed = results(model, rng.standard_normal((images, config.in_channels, size, size), np.float32))
        want = next(computed)
        for column, got in zip(found, computed, strict=True):
            column += (np.abs(got - want).max(1) / np.abs(want).max(1)).tolist()
    return [statistics.median(column) for column in found]


def run(folder: Path, arguments: Sequence[str]) -> None:
    """Computes the table, and writes it into a folder whenever there is a row more."""
    import lucid
    from lucid.models import list_models

    parser = argparse.ArgumentParser(COMMAND, description=__doc__)
    parser.add_argument("models", nargs="*", help="presets (default all)")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each preset (default 3)")
    parser.add_argument("--images", type=int, default=2, help="images of each (default 2)")
    parser.add_argument("--size", type=int, default=224, help="their height and width (default 224)")
    parser.add_argument("--out", type=Path, default=folder, help="the folder to write to (default results)")
    options = parser.parse_args(arguments)
    chosen = (options.seeds, options.images, options.size)
    lines = [
        "# Errors of logits",
        "",
        f"`{COMMAND} --seeds {chosen[0]} --images {chosen[1]} --size {chosen[2]}` on {lucid.runtime.isa()}:",
        "medians over networks with random weights and their images, against float64. The digits' are 32x32.",
        "",
        f"| preset | {' | '.join(COLUMNS)} |",
        f"| --- |{' ---: |' * len(COLUMNS)}",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models or list_models():
        print(f"{name} ...", file=sys.stderr, flush=True)
        lines.append(f"| {name} | {' | '.join(f'{error:.1e}' for error in errors(name, *chosen))} |")
        (options.out / "accuracy.md").write_text("\n".join([*lines, ""]))
