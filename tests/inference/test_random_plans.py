"""Plans of random graphs: each step against float64, and the same bits however values share memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import plan_graphs as pg
import pytest
from graph_reference import evaluate
from random_graphs import Writer, alone
from tolerance import WINOGRAD_RELATIVE_RMS, assert_close

from lucid import _core
from lucid.inference import InferencePlan, Node

Array = npt.NDArray[np.float32]


def check(node: Node, algorithm: str, inputs: list[Array], got: Array, want: npt.NDArray[np.float64]) -> None:
    """Compares what one node gives; the rounding of its inputs is not its own."""
    weight = node.weights.get("weight")
    largest = max(float(np.abs(x).max()) for x in inputs) + 1
    if algorithm.startswith("winograd"):
        scale = np.sqrt(np.mean(want**2)) + np.abs(want).max() * 0.1
        assert np.sqrt(np.mean((got - want) ** 2)) <= WINOGRAD_RELATIVE_RMS * scale
    elif weight is not None and weight.ndim > 1:
        products = largest * float(np.abs(weight).max() + 1)
        assert_close(got, want, terms=int(np.prod(weight.shape[1:])) + 2, products=products)
    elif weight is not None:
        assert_close(got, want, terms=2, products=largest * float(np.abs(weight).max() + 1))
    else:
        assert_close(got, want, terms=max(9, *(x.shape[-1] for x in inputs)), products=largest)


@pytest.mark.parametrize("seed", range(12))
def test_each_step_matches_reference(isa: str, seed: int) -> None:
    graph = Writer(np.random.default_rng(seed)).graph(14)
    x = np.random.default_rng(seed).standard_normal(graph.inputs["x"], dtype=np.float32)
    plan = InferencePlan(graph)
    values = {"x": x, **dict(zip(graph.outputs, pg.run_plan(plan, x), strict=True))}
    for node, step in zip(graph.nodes, plan.steps, strict=True):
        inputs = [values[name] for name in dict.fromkeys(node.inputs)]
        if np.isfinite(values[node.output]).all():
            [want] = evaluate(alone(graph, node), *inputs)
            check(node, step.algorithm, inputs, values[node.output], want)
        else:
            raise AssertionError(f"{node} gives NaN")


@pytest.mark.parametrize("seed", range(12))
def test_values_that_share_memory_are_what_they_are_alone(isa: str, seed: int) -> None:
    """As outputs all values live to the end; else later ones take the places of those that nobody reads."""
    graph = Writer(np.random.default_rng(seed + 100)).graph(16)
    x = np.random.default_rng(seed).standard_normal(graph.inputs["x"], dtype=np.float32)
    want = dict(zip(graph.outputs, pg.run(graph, x), strict=True))
    read = {name for node in graph.nodes for name in node.inputs}
    last = [name for name in graph.outputs if name not in read]
    plan = InferencePlan(pg.graph(graph.inputs, graph.nodes, last))
    before = _core.num_threads()
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            for name, got in zip(last, pg.run_plan(plan, x), strict=True):
                np.testing.assert_array_equal(got, want[name], f"{name} on {threads} threads")
    finally:
        _core.set_num_threads(before)
