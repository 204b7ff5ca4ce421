"""Micro-batches: images go through the early steps a few at a time, with the same bits as one image alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import plan_graphs as pg
import pytest
from random_graphs import Writer

import lucid
from lucid.inference import Graph, InferencePlan, Node

Array = npt.NDArray[np.float32]
# Images of a megabyte: one or two of them fill a thread's micro-batch, 2 MB. Strides then make them small
# enough for all 6 at once, and 5 has no divisor between.
SIZES = {"one by one": (6, 20, 130, 121), "in pairs": (6, 8, 120, 100), "a prime": (5, 16, 90, 120)}


def drawn(shape: tuple[int, ...], seed: int, steps: int = 12) -> Graph:
    """A random graph, all of whose values are outputs."""
    writer = Writer(np.random.default_rng(seed))
    writer.inputs = {"x": shape}
    writer.shapes = dict(writer.inputs)
    return writer.graph(steps)


def with_outputs(graph: Graph, batch: int, outputs: list[str]) -> Graph:
    return pg.graph({"x": (batch, *graph.inputs["x"][1:])}, graph.nodes, outputs)


def image_by_image(graph: Graph, x: Array, outputs: list[str], dtype: str) -> list[Array]:
    plan = InferencePlan(with_outputs(graph, 1, outputs), internal_dtype=dtype)
    results = [pg.run_plan(plan, x[i : i + 1]) for i in range(len(x))]
    return [np.concatenate(images) for images in zip(*results, strict=True)]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_micro_batches_do_not_change_results(
    shape: tuple[int, ...], seed: int, dtype: str, rng: np.random.Generator
) -> None:
    """All values as outputs, each in memory as a whole; then only those that nothing reads."""
    graph = drawn(shape, seed)
    x = rng.standard_normal(shape, dtype=np.float32)
    read = {name for node in graph.nodes for name in node.inputs}
    for outputs in (graph.outputs, [name for name in graph.outputs if name not in read]):
        plan = InferencePlan(with_outputs(graph, shape[0], list(outputs)), internal_dtype=dtype)
        want = image_by_image(graph, x, list(outputs), dtype)
        for threads in (1, 3):
            lucid.set_num_threads(threads)
            for got, each in zip(pg.run_plan(plan, x), want, strict=True):
                np.testing.assert_array_equal(got, each)
        lucid.set_num_threads(1)


@pytest.mark.usefixtures("one_thread")
def test_memory_is_that_of_a_micro_batch(rng: np.random.Generator) -> None:
    """One of eight images is in memory where they are large, and all where they are small."""
    model = lucid.models.create_model("resnext50_32x4d").eval()
    plan, single = (lucid.compile(model, (n, 3, 224, 224)) for n in (8, 1))
    assert plan.memory()["arena"] < 3 * single.memory()["arena"]
    x = rng.standard_normal((8, 3, 224, 224), dtype=np.float32)
    np.testing.assert_array_equal(plan(x), np.concatenate([single(x[i : i + 1]) for i in range(8)]))


@pytest.mark.usefixtures("three_threads")
def test_threads_of_a_call_decide(rng: np.random.Generator) -> None:
    """A plan for calls of one thread takes as many images at a time as if there were only that one."""
    values = [("x", "u"), ("u", "v"), ("v", "y")]
    nodes = [
        pg.conv2d(to, of, rng.standard_normal((8, 8, 3, 3), np.float32), padding=(1, 1)) for of, to in values
    ]
    graph = pg.graph({"x": (6, 8, 120, 100)}, nodes, ["y"])
    limited, free = InferencePlan(graph, threads_per_call=1), InferencePlan(graph)
    lucid.set_num_threads(1)
    alone = InferencePlan(graph)
    assert limited.memory() == alone.memory() != free.memory()


@pytest.mark.usefixtures("one_thread")
def test_step_over_all_images_is_not_divided(rng: np.random.Generator) -> None:
    """A softmax over the batch needs all of it."""
    size = (4, 40, 128, 128)
    nodes = [pg.plain("relu", "v", "x"), Node("softmax", ("v",), "y", {"dim": 0, "log": False})]
    x = rng.standard_normal(size, dtype=np.float32)
    [got] = pg.run_plan(InferencePlan(pg.graph({"x": size}, nodes, ["y"])), x)
    power = np.exp(np.maximum(x.astype(np.float64), 0))
    np.testing.assert_allclose(got, power / power.sum(0), rtol=1e-6)
