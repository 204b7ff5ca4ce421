"""Gradients as cases of the benchmark: every operator's are right, and wrong ones are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lucid.benchmark import (
    GRADIENT_ENGINES,
    OPERATORS,
    Case,
    compare,
    conv2d_cases,
    gradient_case,
    operator_cases,
)

NETWORKS = ["resnext_digits", "resnest_digits"]
SIZE = (32, 32)


def cases(operator: str) -> list[Case]:
    if operator == "conv2d":
        return conv2d_cases(NETWORKS, 2, SIZE)
    return operator_cases(operator, NETWORKS, 2, SIZE)


@pytest.mark.parametrize("operator", ["conv2d", *(name for name in OPERATORS if name != "pool2d")])
def test_gradients_are_right(operator: str) -> None:
    for case in cases(operator):
        found = compare(gradient_case(case), GRADIENT_ENGINES, 1, rounds=1, seconds=0.0)
        assert "eager" in found.timings, found.refused
        assert found.refused in ({}, {"torch": "torch is not installed"})
        assert found.case.name == f"{case.name}_backward"
        if "torch" in found.timings:
            ratio = found.timings["torch"].median / found.timings["eager"].median
            assert found.ratio("torch") == pytest.approx(ratio)


@pytest.mark.parametrize("spoilt", ["inputs", "weights"])
def test_wrong_gradients_are_found(spoilt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lucid.gradients import layers

    exact = layers.conv2d.formula

    def wrong(*arguments: Any, **attributes: Any) -> Any:
        dx, dweight, dbias = exact(*arguments, **attributes)
        return (dx * np.float32(1.01), dweight, dbias) if spoilt == "inputs" else (dx, -dweight, dbias)

    monkeypatch.setattr(layers.conv2d, "formula", wrong)
    case = gradient_case(cases("conv2d")[1])
    found = compare(case, {"eager": GRADIENT_ENGINES["eager"]}, 1, rounds=1, seconds=0.0)
    assert "of the largest value, allowed 0.0001" in found.refused["eager"]


def test_work_is_counted_twice() -> None:
    case = cases("conv2d")[0]
    backward = gradient_case(case)
    assert backward.macs == 2 * case.macs
    assert case.bytes < backward.bytes < 2 * case.bytes
    assert gradient_case(cases("add")[0]).macs == 0
