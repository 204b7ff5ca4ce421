"""Engines: each computes what lucid computes, on every kind of node that the models have."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import randomize, small_models

from lucid import Tensor, nn
from lucid.benchmark import ENGINES, Case, compare, conv2d_cases
from lucid.benchmark.comparison import TOLERANCE
from lucid.inference import optimize, trace

NEEDS = {"torch": ["torch"], "openvino": ["openvino", "onnx"], "onnxruntime": ["onnxruntime", "onnx"]}


@pytest.fixture(params=[name for name in ENGINES if name not in ("numpy", "ai-edge-litert")])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    for package in NEEDS.get(name, []):
        pytest.importorskip(package, reason=f"{package} is not installed")
    return name


def case_of(model: nn.Module, shape: tuple[int, ...]) -> Case:
    graph = optimize(trace(model, shape))
    return Case("small", graph, model, lambda x: np.asarray(model(Tensor(x))), {})


@pytest.mark.parametrize("name", small_models())
def test_outputs_are_the_models(engine: str, name: str, rng: np.random.Generator) -> None:
    model, shape = small_models()[name]
    case = case_of(randomize(model, rng), shape)
    inputs = case.inputs()
    want = case.expected(*inputs)
    got = np.asarray(ENGINES[engine](case, inputs, 1)())
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


def test_single_convolutions_are_right(engine: str) -> None:
    for case in conv2d_cases(["resnext_digits", "resnest_digits"], batch=2, size=(20, 17)):
        result = compare(case, {engine: ENGINES[engine]}, threads=1, rounds=1, seconds=0.0)
        assert result.refused == {}


def test_a_convolution_without_bias(engine: str, rng: np.random.Generator) -> None:
    model = randomize(nn.Conv2d(3, 5, 3, bias=False), rng)
    result = compare(case_of(model, (1, 3, 6, 7)), {engine: ENGINES[engine]}, 1, rounds=1, seconds=0.0)
    assert result.refused == {}


@pytest.mark.parametrize("peer", NEEDS)
def test_an_unknown_node_is_a_reason(peer: str) -> None:
    for package in NEEDS[peer]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    pool = nn.AvgPool2d(2, ceil_mode=True, divisor_override=3)
    case = case_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), pool).eval(), (1, 3, 5, 5))
    result = compare(case, {peer: ENGINES[peer]}, threads=1, rounds=1, seconds=0.0)
    assert result.timings == {}
    assert result.refused[peer].startswith("NotImplementedError: ")
    assert result.refused[peer].endswith(" not translated")


def test_xnnpack_computes_each_convolution() -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    engine = ENGINES["ai-edge-litert"]
    for case in conv2d_cases(["resnext_digits", "resnest_digits"], batch=2, size=(20, 17)):
        result = compare(case, {"ai-edge-litert": engine}, threads=1, rounds=1, seconds=0.0)
        assert result.refused == {}
    case = case_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()).eval(), (1, 3, 5, 5))
    result = compare(case, {"ai-edge-litert": engine}, threads=1, rounds=1, seconds=0.0)
    assert result.refused["ai-edge-litert"].endswith(" not translated")
