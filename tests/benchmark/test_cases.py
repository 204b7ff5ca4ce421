"""Cases: the models' convolutions, no more and no fewer, and what is right for them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import reference
from tolerance import assert_close

from lucid.benchmark import conv2d_cases, model_case
from lucid.benchmark.cases import conv2d_float64
from lucid.inference import Graph, Node, optimize, trace
from lucid.models import create_model

DIGITS = ("resnext_digits", "resnest_digits")


def convolutions(name: str) -> Counter[tuple[object, ...]]:
    """All that decides how long a convolution takes."""
    graph = optimize(trace(create_model(name).eval(), (2, 1, 32, 32)))
    return Counter(
        (
            graph.shapes[node.inputs[0]],
            node.weights["weight"].shape,
            *(node.attributes[key] for key in ("stride", "padding", "dilation", "groups")),
        )
        for node in graph.nodes
        if node.kind == "conv2d"
    )


def test_cases_are_the_distinct_convolutions_of_the_models() -> None:
    cases = conv2d_cases(DIGITS, batch=2, size=(32, 32))
    assert len({case.name for case in cases}) == len(cases)
    for name in DIGITS:
        found = Counter[tuple[object, ...]]()
        for case in cases:
            [node] = case.graph.nodes
            key = (
                case.graph.inputs["x"],
                node.weights["weight"].shape,
                *(node.attributes[key] for key in ("stride", "padding", "dilation", "groups")),
            )
            found[key] += case.counts.get(name, 0)
        assert +found == convolutions(name)


def test_cost_and_name() -> None:
    case = next(case for case in conv2d_cases(["resnext50_32x4d"]) if case.name == "3x3s2g32_256to256_56x56")
    assert case.counts == {"resnext50_32x4d": 1}
    assert case.macs == 28 * 28 * 256 * 8 * 9
    assert case.bytes == 4 * (256 * 56 * 56 + 256 * 8 * 9 + 256 + 256 * 28 * 28)
    assert case.flops_per_byte == 2 * case.macs / case.bytes


@pytest.mark.parametrize("name", DIGITS)
def test_a_model_is_the_sum_of_its_layers(name: str) -> None:
    case = model_case(name, batch=2, size=(32, 32))
    single = conv2d_cases([name], batch=2, size=(32, 32))
    linear = sum(node.weights["weight"].size * 2 for node in case.graph.nodes if node.kind == "linear")
    assert case.macs == linear + sum(other.macs * other.counts[name] for other in single)


def test_an_unknown_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="resnext51"):
        conv2d_cases(["resnext51_32x4d"])


@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation", "groups"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((1, 1), (2, 2), (0, 0), (1, 1), 2),
        ((3, 2), (2, 1), (0, 2), (1, 3), 4),
    ],
)
def test_float64_is_the_reference(
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    rng: np.random.Generator,
) -> None:
    x = rng.standard_normal((2, 8, 9, 11), dtype=np.float32)
    weights = {
        "weight": rng.standard_normal((12, 8 // groups, *window), dtype=np.float32),
        "bias": rng.standard_normal(12, dtype=np.float32),
    }
    sides = (*padding, *padding)
    attributes = {"stride": stride, "padding": sides, "dilation": dilation, "groups": groups, "relu": False}
    [node] = Graph({"x": x.shape}, (Node("conv2d", ("x",), "y", attributes, weights),), ("y",)).nodes
    got = conv2d_float64(x, node)
    want = reference.conv2d(x, weights["weight"], weights["bias"], stride, padding, dilation, groups)
    assert got.dtype == np.float64
    assert_close(got, want, terms=8 // groups * window[0] * window[1] + 1)
