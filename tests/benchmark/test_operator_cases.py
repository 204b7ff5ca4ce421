"""Cases of operators: those of the models, and right on both of lucid's ways."""

from __future__ import annotations

import numpy as np
import pytest

from lucid.benchmark import ENGINES, OPERATORS, compare, operator_cases
from lucid.inference import trace
from lucid.models import create_model

DIGITS = ("resnext_digits", "resnest_digits")


@pytest.mark.parametrize("operator", OPERATORS)
def test_cases_are_the_nodes_of_the_models_and_computed_right(operator: str) -> None:
    cases = operator_cases(operator, DIGITS, batch=2, size=(16, 16))
    assert len({case.name for case in cases}) == len(cases)
    for name in DIGITS:
        graph = trace(create_model(name).eval(), (2, 1, 16, 16))
        nodes = sum(node.kind == operator for node in graph.nodes)
        assert sum(case.counts.get(name, 0) for case in cases) == nodes
    for case in cases:
        engines = {name: ENGINES[name] for name in ("plan", "eager")}
        assert compare(case, engines, threads=1, rounds=1, seconds=0.0).refused == {}


def test_peer_computes_the_same() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    for operator in OPERATORS:
        case = operator_cases(operator, DIGITS, size=(16, 16))[0]
        x = case.input()
        np.testing.assert_allclose(
            np.asarray(ENGINES["torch"](case, x, 1)()), case.expected(x), rtol=1e-4, atol=1e-4
        )
