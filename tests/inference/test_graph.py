"""Graph: what it refuses, how it prints, and that its shapes are those of the operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lucid.inference import Graph, Node
from lucid.inference.kinds import KINDS, output_shape
from lucid.nn import functional as F

# Kinds that take images and rows alike; mul and split_attention want one of each.
ANY_RANK = {"add", "batch_norm", "relu", "sigmoid", "softmax"}
ONES = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}


def convolution(source: str, output: str, **changes: Any) -> Node:
    weight = np.ones((4, 3, 1, 1), np.float32)
    attributes = {**ONES, "groups": 1, "relu": False} | changes
    return Node("conv2d", (source,), output, attributes, {"weight": weight})


def graph(*nodes: Node, outputs: tuple[str, ...] = ("y",)) -> Graph:
    return Graph({"x": (2, 3, 5, 5)}, nodes, outputs)


def test_printed_graph_has_a_line_for_each_node() -> None:
    last = Node("add", ("a", "a"), "y", {"relu": True})
    pool = {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 0, 1, 0), "dilation": (1, 1)}
    text = str(
        graph(convolution("x", "a"), last, Node("max_pool2d", ("y",), "pooled", {**pool, "ceil_mode": True}))
    )
    assert text.splitlines() == [
        "graph(x 2x3x5x5)",
        "  a       2x4x5x5  conv2d(x, weight 4x3x1x1)",
        "  y       2x4x5x5  add(a, a, relu)",
        "  pooled  2x4x3x3  max_pool2d(y, kernel_size=3x2, stride=2, padding=1x0, ceil_mode)",
        "  return y",
    ]


def test_shapes_of_all_values_are_known() -> None:
    assert graph(convolution("x", "y", stride=(2, 1))).shapes == {"x": (2, 3, 5, 5), "y": (2, 4, 3, 5)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: graph(convolution("a", "y")), "y must read what is computed before it, got 'a'"),
        (lambda: graph(convolution("y", "y")), "y must read what is computed before it, got 'y'"),
        (
            lambda: graph(Node("relu", ("b",), "a"), Node("relu", ("a",), "b"), outputs=("b",)),
            "a must read what is computed before it, got 'b'",
        ),
        (lambda: graph(convolution("x", "x")), "each value must be computed once, got 'x' again"),
        (lambda: graph(convolution("x", "y"), outputs=("z",)), "an output must be computed, got 'z'"),
        (lambda: graph(convolution("x", "y"), outputs=()), "must have inputs and outputs"),
        (lambda: Graph({}, (), ("y",)), "must have inputs and outputs"),
        (lambda: graph(convolution("x", "y"), Node("relu", ("x",), "y")), "computed once, got 'y' again"),
        (lambda: Graph({"x": (1, 2, 3)}, (), ("x",)), r"graph: x: .*\(n, c, h, w\) or \(n, c\)"),
        (lambda: Graph({"x": (1, 0)}, (), ("x",)), "positive"),
        (lambda: Graph({"x": (1, 2**30, 2**30, 2**30)}, (), ("x",)), r"at most 2\^58 elements"),
        (lambda: graph(Node("conv3d", ("x",), "y")), "y: .* must be one of .*conv2d, .* got 'conv3d'"),
        (
            lambda: graph(Node("relu", ("x", "x"), "y")),
            "relu: the number of inputs must be from 1 to 1, got 2",
        ),
        (lambda: graph(Node("relu", ("x",), "y", {"relu": True})), "attributes must be none, got relu"),
        (lambda: graph(convolution("x", "y", groups=True)), "groups must be an int, got True"),
        (lambda: graph(convolution("x", "y", relu=1)), "relu must be a bool, got 1"),
        (lambda: graph(convolution("x", "y", stride=2)), "stride must be a pair of ints, got 2"),
        (lambda: graph(convolution("x", "y", stride=(2, True))), "stride must be a pair of ints"),
        (lambda: graph(convolution("x", "y", padding=(0, 0))), "padding must be four ints"),
        (lambda: graph(convolution("x", "y", padding=(0, -1, 0, -1))), "padding must"),
        (lambda: graph(convolution("x", "y", stride=(1 << 70, 1))), "stride"),
        (lambda: graph(convolution("x", "y", stride=(0, 1))), "stride must be"),
        (lambda: graph(convolution("x", "y", groups=2)), "groups"),
        (lambda: graph(convolution("x", "y", groups=0)), "groups"),
        (
            lambda: graph(Node("conv2d", ("x",), "y", {**ONES, "groups": 1, "relu": False})),
            r"weights must be weight, bias \(optional\), got none",
        ),
    ],
)
def test_refuses(make: Callable[[], Graph], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def shape_of(compute: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[int, ...] | None:
    """The shape that is computed, or None for a ValueError."""
    try:
        result = compute(*args, **kwargs)
    except ValueError:
        return None
    return result if isinstance(result, tuple) else result.shape  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_rules_refuse_input_of_another_rank(kind: str) -> None:
    attributes: dict[str, Any] = {"int": 1, "bool": False, "pair": (1, 1), "padding": (0, 0, 0, 0)}
    values = {name: attributes[wanted] for name, wanted in KINDS[kind]["attributes"].items()}
    shape = {"linear": (3, 3), "batch_norm": (3,)}.get(kind, (3, 3, 1, 1))
    weights = dict.fromkeys(KINDS[kind]["weights"], shape)
    count = KINDS[kind]["inputs"][0]
    shapes = [(2, 3), (2, 3, 4, 5)]
    refused = [shape_of(output_shape, kind, [shape] * count, values, weights) for shape in shapes].count(None)
    assert refused == (0 if kind in ANY_RANK else 2 if kind in ("mul", "split_attention") else 1)


def windows(rng: np.random.Generator) -> dict[str, Any]:
    def pair(low: int, high: int) -> tuple[int, int]:
        first, second = rng.integers(low, high, 2)
        return int(first), int(second)

    kernel = pair(1, 5)
    most = (kernel[0] // 2 + 1, kernel[1] // 2 + 1) * 2  # now and then beyond what pools allow
    padding = tuple(int(rng.integers(0, side + 1)) for side in most)
    return {"kernel_size": kernel, "stride": pair(1, 4), "padding": padding, "dilation": pair(1, 3)}


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_shapes_are_those_of_the_operators(rng: np.random.Generator, ceil_mode: bool) -> None:
    """Also where a window hangs over the edge, and where it does not fit."""
    fitting = 0
    for _ in range(60):
        window = windows(rng)
        height, width = (int(size) for size in rng.integers(1, 9, 2))
        x = np.zeros((1, 2, height, width), np.float32)
        largest = {**window, "ceil_mode": ceil_mode}
        mean = {**largest, "count_include_pad": True, "divisor_override": 0}
        del mean["dilation"]
        weight = np.zeros((3, 2, *window.pop("kernel_size")), np.float32)
        convolution = {**window, "groups": 1, "relu": False}
        top, left, bottom, right = window["padding"]
        sides = {"padding": ((top, bottom), (left, right))}
        mean_by_f = {**mean, **sides, "divisor_override": None}
        pairs = [
            (("max_pool2d", [x.shape], largest, {}), shape_of(F.max_pool2d, x, **{**largest, **sides})),
            (("avg_pool2d", [x.shape], mean, {}), shape_of(F.avg_pool2d, x, **mean_by_f)),
            (
                ("conv2d", [x.shape], convolution, {"weight": weight.shape}),
                shape_of(F.conv2d, x, weight, None, **{**window, **sides}),
            ),
        ]
        for arguments, expected in pairs:
            assert shape_of(output_shape, *arguments) == expected
            fitting += expected is not None
    assert 30 < fitting < 170


def test_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conv2d: .*"):
        output_shape(
            "conv2d",
            [(1, 3, 4, 4)],
            {**ONES, "dilation": (2, 1), "groups": 1, "relu": False},
            {"weight": (1, 3, 3, 3)},
        )
