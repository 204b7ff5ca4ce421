"""Regenerates ``bench/results``: ``python -m bench``, with lucid installed with the extra ``[bench]``.

Some five minutes on two cores, on which nothing else should run. ``python -m bench scaling`` measures how
time and memory grow with batch, image, depth and threads: some ten minutes, with ``--quick`` one.
``python -m bench cuda-model`` prints what the data sheets of GPUs allow, and what the CUDA kernels are
predicted to take; it measures nothing, and needs nvcc and a build with the simulator.
``python -m bench throughput`` measures images a second of a stream of calls, by model and batch.
``python -m bench accuracy`` compares the logits of every preset with float64.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from bench import accuracy, cuda_model, scaling, throughput

RESULTS = Path(__file__).parent / "results"
APART = {"winograd": ", Winograd", "bf16x3": ", matrix unit"}
MODELS = {"resnext50_32x4d": "ResNeXt-50 32x4d", "resnest50d": "ResNeSt-50"}


def bench(name: str, title: str, *arguments: str) -> dict[str, Any]:
    """Runs ``lucid bench`` and keeps its tables in NAME.md and its figures in NAME.json."""
    from lucid.cli.main import main

    print(f"{name} ...", file=sys.stderr, flush=True)
    figures = RESULTS / f"{name}.json"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["bench", *arguments, "--json", str(figures)])
    if code != 0:
        sys.exit(f"bench: lucid bench {' '.join(arguments)} ended with {code}\n{printed.getvalue()}")
    (RESULTS / f"{name}.md").write_text(f"# {title}\n\n```\n{printed.getvalue()}```\n")
    return dict(json.loads(figures.read_text()))


def layers(name: str, report: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """The convolutions of a model's plan as points of the roofline; apart, what may pass the peak."""
    points: dict[str, list[tuple[float, float]]] = {}
    for step in report["layers"]:
        if step["kind"] == "conv2d":
            way = next((way for mark, way in APART.items() if mark in step["algorithm"]), "")
            points.setdefault(f"{name}{way}", []).append((2 * step["macs"] / step["bytes"], step["gflops"]))
    return points


def run() -> None:
    """Measures both models and their convolutions, and draws the roofline."""
    from lucid.benchmark import Machine, roofline

    points: dict[str, list[tuple[float, float]]] = {}
    for model, name in MODELS.items():
        picture = str(RESULTS / f"{model}_layers.svg")
        report = bench(model, f"{name}, batch 1, 224x224", "model", model, "--layers", "--plot", picture)
        points |= layers(name, report)
    chosen = [part for model in MODELS for part in ("--model", model)]
    kernels = bench("kernel", "Convolutions of both models, batch 1, 224x224", "kernel", *chosen)
    roofline.plot(str(RESULTS / "roofline.svg"), Machine(**kernels["machine"]), points)


if __name__ == "__main__":
    # Python looks in the working directory first, where lucid is its source without the compiled module.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != RESULTS.parents[1]]
    if sys.argv[1:2] == ["cuda-model"]:
        cuda_model.run(sys.argv[2:])
    elif sys.argv[1:2] == ["scaling"]:
        scaling.run(RESULTS, sys.argv[2:])
    elif sys.argv[1:2] == ["throughput"]:
        throughput.run(RESULTS, sys.argv[2:])
    elif sys.argv[1:2] == ["accuracy"]:
        accuracy.run(RESULTS, sys.argv[2:])
    else:
        formatter = argparse.RawDescriptionHelpFormatter
        argparse.ArgumentParser(
            "python -m bench", description=__doc__, formatter_class=formatter
        ).parse_args()
        run()
