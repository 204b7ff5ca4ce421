"""Classify the digits that ship with lucid, then time ResNeXt-50 and ResNeSt-50.

Needs no network and no file: ten handwritten digits that the two small shipped models did not see in
training are classified and shown next to the truth. Then both full-size networks are built with random
weights, which run as fast as trained ones, compiled, and timed on one 224x224 image.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lucid.models import ResNet

__all__ = ["add_arguments", "run"]

_DIGIT_MODELS = ("resnext_digits", "resnest_digits")
_TIMED_MODELS = ("resnext50_32x4d", "resnest50")

# Enough runs for a steady median; the limit keeps the demo short on slow machines.
_MOST_RUNS, _FEWEST_RUNS, _SECONDS = 20, 3, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``demo`` takes none."""


def run(options: argparse.Namespace) -> int:
    """Prints both parts; the exit code is 1 where a model misses more than one of the ten digits."""
    right = _classify_digits()
    print()
    _time_networks()
    return 0 if min(right) >= 9 else 1


def _classify_digits() -> list[int]:
    """Prints a row for each shipped image; returns how many each model has right."""
    from lucid.classifier import Classifier
    from lucid.models.pretrained.digits import sample_images

    samples = sample_images()
    classifiers = [Classifier(name, topk=1) for name in _DIGIT_MODELS]
    print("Handwritten digits, none of them seen in training:")
    print(f"{'image':<12}{'truth':>6}" + "".join(f"{name:>22}" for name in _DIGIT_MODELS))
    right = [0] * len(classifiers)
    for path, truth in samples:
        row = f"{path.name:<12}{truth:>6}"
        for i, classifier in enumerate(classifiers):
            [best] = classifier(path)
            right[i] += best.label == str(truth)
            row += f"{best.label:>12} ({100 * best.probability:5.1f} %)"
        print(row, flush=True)
    print(f"{'right':<18}" + "".join(f"{f'{count} of {len(samples)}':>22}" for count in right))
    return right


def _time_networks() -> None:
    from lucid import runtime
    from lucid.models import create_model

    threads = runtime.get_num_threads()
    print(f"Compiled plan, batch 1, 3x224x224, {threads} thread{'s'[: threads != 1]}, {runtime.isa()}:")
    for name in _TIMED_MODELS:
        milliseconds, runs = time_plan(create_model(name).eval())
        print(f"{name:<18}{milliseconds:8.1f} ms per image (median of {runs} runs)", flush=True)


def time_plan(model: ResNet) -> tuple[float, int]:
    """Median milliseconds of the model's plan on one 224x224 image, and of how many runs."""
    from lucid import random
    from lucid.inference import compile

    image = random.rand(1, 3, 224, 224)
    plan = compile(model, image.shape)
    plan(image)  # the first run allocates
    durations: list[float] = []
    start = time.perf_counter()
    while len(durations) < _MOST_RUNS and (
        len(durations) < _FEWEST_RUNS or time.perf_counter() - start < _SECONDS
    ):
        before = time.perf_counter()
        plan(image)
        durations.append(1000 * (time.perf_counter() - before))
    return statistics.median(durations), len(durations)
