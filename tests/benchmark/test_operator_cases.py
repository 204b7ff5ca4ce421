"""Cases of operators: those of the models, and right on both of lucid's ways and on the peers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from tolerance import assert_close

from lucid.benchmark import ENGINES, NUMPY, OPERATORS, Case, compare, operator_cases
from lucid.benchmark.operators_float64 import EXPECTED
from lucid.inference import Graph, Node, trace
from lucid.models import create_model

DIGITS = ("resnext_digits", "resnest_digits")


def cases_of(operator: str) -> list[Case]:
    return operator_cases(operator, DIGITS, batch=2, size=(16, 16))


@pytest.mark.parametrize("operator", OPERATORS)
def test_cases_are_the_nodes_of_the_models_and_computed_right(operator: str) -> None:
    cases = cases_of(operator)
    assert cases
    assert len({case.name for case in cases}) == len(cases)
    for name in DIGITS:
        graph = trace(create_model(name).eval(), (2, 1, 16, 16))
        nodes = sum(node.kind in OPERATORS[operator] for node in graph.nodes) + (operator == "softmax")
        assert sum(case.counts.get(name, 0) for case in cases) == nodes
    for case in cases:
        engines = {name: ENGINES[name] for name in ("plan", "eager")}
        assert compare(case, engines, threads=1, rounds=1, seconds=0.0).refused == {}


@pytest.mark.parametrize("peer", ["torch", "numpy"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_peer_computes_the_same(operator: str, peer: str) -> None:
    pytest.importorskip(peer, reason=f"{peer} is not installed")
    for case in cases_of(operator):
        refused = compare(case, {peer: ENGINES[peer]}, threads=1, rounds=1, seconds=0.0).refused
        if peer == "numpy" and operator not in NUMPY:
            assert refused == {"numpy": f"NotImplementedError: no formula for {case.graph.nodes[0].kind}"}
        else:
            assert refused == {}


def test_every_kind_has_an_expectation() -> None:
    assert EXPECTED.keys() == {kind for kinds in OPERATORS.values() for kind in kinds}


WINDOWS: list[dict[str, Any]] = [
    {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1)},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 1, 1, 0), "ceil_mode": True},
    {"kernel_size": (3, 2), "stride": (3, 2), "padding": (1, 0, 0, 1), "ceil_mode": True},
    {"kernel_size": (1, 1), "stride": (3, 3), "padding": (0, 0, 0, 0)},
]
WAYS: dict[str, list[dict[str, Any]]] = {
    "max_pool2d": [{"dilation": (1, 1)}, {"dilation": (2, 1)}],
    "avg_pool2d": [
        {"count_include_pad": True, "divisor_override": 0},
        {"count_include_pad": False, "divisor_override": 0},
        {"count_include_pad": False, "divisor_override": 5},
    ],
}


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", WAYS)
def test_pooling_in_float64_is_the_reference(
    kind: str, window: dict[str, Any], rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, 3, 7, 8)) - 2  # mostly below zero, which padding must not win over
    for way in WAYS[kind]:
        attributes = {"ceil_mode": False, **window, **way}
        graph = Graph({"x": x.shape}, (Node(kind, ("x",), "y", attributes),), ("y",))
        got = EXPECTED[kind](graph.nodes[0], graph.shapes["y"], x)
        assert_close(got, getattr(reference, kind)(x, **attributes), terms=9)


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (4, 3)])
def test_split_attention_in_float64_is_the_reference(
    radix: int, cardinality: int, rng: np.random.Generator
) -> None:
    x, logits = rng.standard_normal((2, radix * 6, 3, 2)), rng.standard_normal((2, radix * 6))
    attributes = {"radix": radix, "cardinality": cardinality}
    [node] = Graph(
        {"x": x.shape, "y": logits.shape}, (Node("split_attention", ("x", "y"), "z", attributes),), ("z",)
    ).nodes
    got = EXPECTED["split_attention"](node, (2, 6, 3, 2), x, logits)
    assert_close(got, reference.split_attention(x, logits, radix, cardinality), terms=radix)
