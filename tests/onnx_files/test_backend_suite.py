"""The single-operator cases of ONNX's own backend suite, for every operator that ``lucid.onnx.load`` knows.

A case is not applicable where ``load`` refuses it with NotImplementedError, or where it has no input, or one
that is no array (a sequence, or a dtype that NumPy does not have). Every other case must give the suite's
result.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

import lucid
from lucid.inference import InferencePlan, optimize
from lucid.onnx.operators import OPERATORS

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def cases() -> dict[str, Any]:
    """Those of one node, of an operator that is known."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return {
        case.name: case
        for case in found
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPERATORS
    }


CASES = cases()


def with_constants(model: Any, inputs: Any) -> tuple[Any, list[Any]]:
    """The model whose inputs but the first are weights, as they are in networks, and its input.

    The second stays an input where it has the first one's rank, as both operands of a sum do.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    left = []
    binary = changed.graph.node[0].op_type in ("Add", "Div", "Mul", "Sub", "Sum")
    for value, array in zip(list(changed.graph.input), inputs, strict=True):
        variable = not left or (binary and array.ndim in (2, 4))
        if variable:
            left.append(array)
        else:
            changed.graph.input.remove(value)
            changed.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), value.name))
    return changed, left


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    case = CASES[name]
    for inputs, outputs in case.data_sets:
        if not inputs or not all(isinstance(array, (np.ndarray, np.generic)) for array in inputs):
            pytest.skip("not applicable: it has no input, or one that is no array")
        model, left = with_constants(case.model, inputs)
        try:
            graph = lucid.onnx.load(model)
        except NotImplementedError as error:
            pytest.skip(f"not applicable: {error}")
        got = InferencePlan(optimize(graph))(*left)
        results = got if isinstance(got, tuple) else (got,)
        for result, want in zip(results, outputs, strict=False):
            np.testing.assert_allclose(result, want, rtol=max(case.rtol, 1e-5), atol=max(case.atol, 1e-6))


def test_the_operators_of_networks_have_applicable_cases() -> None:
    assert Counter(case.model.graph.node[0].op_type for case in CASES.values()).keys() >= {
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "MaxPool",
        "Mul",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Softmax",
    }
