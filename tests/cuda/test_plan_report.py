"""The memory and the times that a plan on CUDA reports."""

from __future__ import annotations

import math

import numpy as np
import plan_graphs as pg
import pytest

import lucid
from lucid import nn
from lucid.inference import InferencePlan

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    if not lucid.cuda.is_available():
        pytest.skip(lucid.cuda.why_not())


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
def test_every_value_is_aligned_as_memory_of_a_device(dtype: str, size: int) -> None:
    """To 256 bytes, so that vectors can be loaded from it. Values that are all outputs live together."""
    graph = pg.graph(
        {"x": (1, 3, 5, 7)}, [pg.plain("relu", "y", "x"), pg.plain("flatten", "z", "y")], ["x", "y", "z"]
    )
    plan = InferencePlan(graph, device="cuda", internal_dtype=dtype)
    wanted = [-(-math.prod(shape) * size // 256) * 256 for shape in graph.shapes.values()]
    assert plan.memory()["arena"] == sum(wanted)


def test_times_are_those_of_their_steps(rng: np.random.Generator) -> None:
    """Copies in and out count as part of the steps beside them."""
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2)).eval()
    x = rng.standard_normal((1, 32, 24, 24), dtype=np.float32)
    before, convolution, behind = lucid.compile(model, x.shape, device="cuda").profile(x, runs=5).steps
    assert convolution.step.kind == "conv2d"
    assert convolution.milliseconds > before.milliseconds + behind.milliseconds > 0
