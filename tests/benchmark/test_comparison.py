"""A comparison times nothing that is wrong or cannot run; and who is compared with whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lucid.benchmark import (
    ENGINES,
    Case,
    Comparison,
    Timing,
    compare,
    conv2d_cases,
    model_case,
    operator_cases,
)
from lucid.benchmark.engines import Call, Engine


@pytest.fixture(scope="module")
def case() -> Case:
    return conv2d_cases(["resnext_digits"], size=(16, 16))[0]


def returning(change: Callable[[np.ndarray], np.ndarray], calls: list[int]) -> Engine:
    """An engine that changes what is right."""

    def engine(case: Case, inputs: Sequence[np.ndarray], threads: int) -> Call:
        result = change(case.expected(*inputs).astype(np.float32))

        def call() -> np.ndarray:
            calls.append(threads)
            return result

        return call

    return engine


def one_wrong(y: np.ndarray) -> np.ndarray:
    y[0, 0, 0, 0] += 2e-4 * np.abs(y).max()
    return y


def one_nan(y: np.ndarray) -> np.ndarray:
    y[0, 0, 0, 0] = np.nan
    return y


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (one_wrong, r"wrong: error 2\.\de-04 of the largest value, allowed 0\.0001"),
        (one_nan, r"wrong: error nan"),
        (lambda y: y[:, 1:], r"wrong: shape \(1, .*\), expected \(1, "),
        (lambda y: 1 / 0, r"ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_engine_is_refused(case: Case, change: Callable[..., np.ndarray], reason: str) -> None:
    wrong_calls: list[int] = []
    right_calls: list[int] = []
    engines = {"wrong": returning(change, wrong_calls), "right": returning(lambda y: y, right_calls)}
    result = compare(case, engines, threads=3, rounds=2, seconds=0.0)
    assert list(result.refused) == ["wrong"]
    assert re.search(reason, result.refused["wrong"])
    assert len(wrong_calls) <= 1  # to be checked
    assert list(result.timings) == ["right"]
    assert right_calls == [3] * (1 + 2 * 4)


def test_an_absent_package_is_named(case: Case) -> None:
    def absent(case: Case, inputs: Sequence[np.ndarray], threads: int) -> Call:
        import lucid_benchmark_of_another_world  # noqa: F401

        return list

    result = compare(case, {"absent": absent}, threads=1, rounds=1, seconds=0.0)
    assert result.refused == {"absent": "lucid_benchmark_of_another_world is not installed"}


def test_lucid_itself_is_right(case: Case, isa: str) -> None:
    engines = {name: ENGINES[name] for name in ("plan", "eager")}
    result = compare(case, engines, threads=1, rounds=2, seconds=0.0)
    assert result.refused == {}
    assert [len(timing.rounds) for timing in result.timings.values()] == [2, 2]


TIMINGS = {
    "plan": Timing((2.0,)),
    "eager": Timing((4.0,)),
    "torch": Timing((8.0,)),
    "openvino": Timing((6.0,)),
}


def test_like_is_compared_with_like(case: Case) -> None:
    single = Comparison(case, TIMINGS, {})
    assert (single.ratio("torch"), single.ratio("openvino"), single.ratio("eager")) == (2.0, 3.0, 2.0)
    whole = Comparison(model_case("resnext_digits", size=(16, 16)), TIMINGS, {})
    assert (whole.ratio("torch"), whole.ratio("openvino")) == (4.0, 3.0)
    assert Comparison(case, TIMINGS, {}, on_gpu=True).ratio("torch") == 4.0  # a graph, as lucid's plan is
    operator = Comparison(operator_cases("add", ["resnext_digits"], size=(16, 16))[0], TIMINGS, {})
    assert (operator.ratio("torch"), operator.ratio("openvino"), operator.ratio("eager")) == (4.0, 3.0, 2.0)
    eager_first = replace(operator, timings={**TIMINGS, "eager": Timing((1.0,))})
    assert (eager_first.ratio("torch"), eager_first.ratio("openvino")) == (8.0, 6.0)
    assert single.ratio("onnxruntime") is None
    assert Comparison(case, {"torch": Timing((8.0,))}, {}).ratio("torch") is None


def test_rates(case: Case) -> None:
    result = Comparison(case, TIMINGS, {})
    assert result.fastest == "plan"
    assert result.gflops("plan") == pytest.approx(2 * case.macs / 0.002 / 1e9)
    assert result.bandwidth("eager") == pytest.approx(case.bytes / 0.004 / 1e9)
    assert Comparison(case, {"torch": Timing((8.0,))}, {}).fastest is None
