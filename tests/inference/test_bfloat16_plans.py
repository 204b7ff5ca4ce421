"""Plans in bfloat16: each step against float64, what results may not depend on, files, and whole networks."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import c_abi
import numpy as np
import numpy.typing as npt
import plan_graphs as pg
import pytest
import reference
from bfloat16 import assert_close_rounded, rounded
from graph_reference import evaluate
from image_producers import PRODUCERS, normal, window
from invariance import LAYOUTS, assert_rows_agree, assert_threads_agree
from plan_convolution_cases import DIRECT, POINTWISE, WINOGRAD, Case
from plan_loading import LoadArgs, LoadedPlan
from random_graphs import Writer, alone
from small_networks import randomize, small_models, small_networks
from tolerance import assert_close

import lucid
from lucid import _core, nn
from lucid.inference import Graph, InferencePlan, Node

Array = npt.NDArray[np.float32]
NETWORKS = small_models() | small_networks()


def plan_of(graph: Graph) -> InferencePlan:
    return InferencePlan(graph, internal_dtype="bfloat16")


def with_rounded_weights(node: Node) -> Node:
    """Those of convolutions and linear layers are bfloat16; biases and the constants of norms are not."""
    if node.kind not in ("conv2d", "linear"):
        return node
    weights = {**node.weights, "weight": rounded(node.weights["weight"])}
    return Node(node.kind, node.inputs, node.output, node.attributes, weights)


def check(node: Node, inputs: list[Array], got: Array, want: npt.NDArray[np.float64]) -> None:
    """Compares what one node gives; the rounding of its inputs is not its own."""
    weight = node.weights.get("weight")
    largest = max(float(np.abs(x).max()) for x in inputs) + 1
    terms, products = max(9, *(x.shape[-1] for x in inputs)), largest
    if weight is not None:
        terms, products = int(np.prod(weight.shape[1:])) + 2, largest * float(np.abs(weight).max() + 1)
    if got.ndim == 4:
        assert_close_rounded(got, want, terms, products)
    else:
        assert_close(got, want, terms, products)


@pytest.mark.parametrize("seed", range(12))
def test_each_step_matches_reference(isa: str, seed: int) -> None:
    graph = Writer(np.random.default_rng(seed)).graph(14)
    x = rounded(np.random.default_rng(seed).standard_normal(graph.inputs["x"], dtype=np.float32))
    values = {"x": x, **dict(zip(graph.outputs, pg.run_plan(plan_of(graph), x), strict=True))}
    for node in graph.nodes:
        inputs = [values[name] for name in dict.fromkeys(node.inputs)]
        assert np.isfinite(values[node.output]).all(), node
        [want] = evaluate(alone(graph, with_rounded_weights(node)), *inputs)
        check(node, inputs, values[node.output], want)


@pytest.mark.parametrize("seed", range(6))
def test_values_that_share_memory_are_what_they_are_alone(isa: str, seed: int) -> None:
    graph = Writer(np.random.default_rng(seed + 100)).graph(16)
    x = np.random.default_rng(seed).standard_normal(graph.inputs["x"], dtype=np.float32)
    want = dict(zip(graph.outputs, pg.run_plan(plan_of(graph), x), strict=True))
    read = {name for node in graph.nodes for name in node.inputs}
    last = [name for name in graph.outputs if name not in read]
    plan = plan_of(pg.graph(graph.inputs, graph.nodes, last))
    assert_threads_agree(lambda: tuple(pg.run_plan(plan, x)))
    for name, got in zip(last, pg.run_plan(plan, x), strict=True):
        np.testing.assert_array_equal(got, want[name], name)


def shapes_of(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of x and of the weight."""
    weight = case.out_channels, case.channels // case.groups, *case.kernel
    return (case.n, case.channels, case.h, case.w), weight


def algorithm_of(case: Case, isa: str) -> str:
    """That of a plan; of each name one instruction set or another has it."""
    if case.channels <= 4 and case.dilation[1] == 1:
        return "bfloat16_narrow"
    group = case.channels // case.groups
    narrow_group = group in (1, 2, 4, 8, 16) and case.channels == case.out_channels
    window = case.kernel == (3, 3) and case.dilation == (1, 1) and case.stride in ((1, 1), (2, 2))
    return "bfloat16_grouped" if isa.endswith("avx512_bf16") and narrow_group and window else "bfloat16"


CONVOLUTIONS = [
    *DIRECT,
    *POINTWISE,
    *WINOGRAD,
    Case(1, 3, 32, 37, 41, (7, 7), (2, 2), (3, 3)),  # of a network's first layer
    Case(2, 3, 40, 17, 20, (3, 3), (2, 2)),
    Case(1, 4, 8, 9, 30, (3, 9), (1, 3), (1, 4)),
    Case(2, 96, 96, 5, 6, groups=2),  # 48 channels a group: a panel of two groups
    Case(1, 132, 66, 6, 7, groups=33),  # 4 channels a group, 2 outputs
    Case(1, 64, 64, 1, 40),
]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_convolutions_match_reference(isa: str, residual: bool, relu: bool, rng: np.random.Generator) -> None:
    for case in CONVOLUTIONS:
        x_shape, weight_shape = shapes_of(case)
        x, weight, bias = (
            rounded(normal(rng, *x_shape)),
            normal(rng, *weight_shape),
            normal(rng, weight_shape[0]),
        )
        want = reference.conv2d(
            x, rounded(weight), bias, case.stride, case.padding, case.dilation, case.groups
        )
        inputs = {"x": x}
        if residual:
            inputs["other"] = rounded(normal(rng, *want.shape))
            want = want + inputs["other"]
        settings: Any = {
            "stride": case.stride,
            "padding": case.padding,
            "dilation": case.dilation,
            "groups": case.groups,
            "relu": relu,
            "residual": "other" if residual else None,
        }
        graph = pg.graph(
            {name: array.shape for name, array in inputs.items()},
            [pg.conv2d("y", "x", weight, bias, **settings)],
            ["y"],
        )
        plan = plan_of(graph)
        assert plan.steps[0].algorithm == algorithm_of(case, isa)
        [got] = pg.run_plan(plan, *inputs.values())
        products = float(np.abs(x).max() * np.abs(weight).max())
        assert_close_rounded(
            got, reference.relu(want) if relu else want, int(np.prod(weight_shape[1:])) + 2, products
        )
        assert_threads_agree(lambda plan=plan, given=inputs: tuple(plan(*given.values())))  # type: ignore[misc]


@pytest.mark.parametrize("producer", PRODUCERS)
def test_margins_are_zeros(isa: str, producer: str, rng: np.random.Generator) -> None:
    nodes = [*PRODUCERS[producer](rng), pg.conv2d("out", "y", window(rng, 16, 24), padding=(1, 1))]
    x = normal(rng, 2, 16, 9, 10)
    y, out = pg.run_plan(plan_of(pg.graph({"x": x.shape}, nodes, ("y", "out"))), x)
    [want] = evaluate(pg.graph({"y": y.shape}, [with_rounded_weights(nodes[-1])], ("out",)), y)
    assert_close_rounded(
        out, want, 16 * 9, float(np.abs(y).max() * np.abs(nodes[-1].weights["weight"]).max())
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(isa: str, name: str, rng: np.random.Generator) -> None:
    """The distance of all outputs together: each of the stored values that they pass through moves them."""
    model, shape = NETWORKS[name]
    plan = lucid.compile(randomize(model, rng), shape, dtype="bfloat16")
    x = rng.standard_normal(shape, dtype=np.float32)
    got = plan(x)
    results = got if isinstance(got, tuple) else (got,)
    for one, want in zip(results, evaluate(plan.graph, x), strict=True):
        distance = float(np.linalg.norm(one - want) / np.linalg.norm(want))
        assert distance <= 2.0**-8 * np.sqrt(2 * len(plan.steps) + 2)


@pytest.mark.parametrize("name", ["resnest_cardinality", "resnext_deep"])
def test_no_bit_depends_on_threads_batch_or_layout(isa: str, name: str, rng: np.random.Generator) -> None:
    model, shape = small_models()[name]
    randomize(model, rng)
    x = rng.standard_normal((5, *shape[1:]), dtype=np.float32)
    plan = lucid.compile(model, x.shape, dtype="bfloat16")
    assert_threads_agree(lambda: plan(x))
    assert_rows_agree(lambda batch: lucid.compile(model, batch.shape, dtype="bfloat16")(batch), x)
    for layout in LAYOUTS.values():
        np.testing.assert_array_equal(plan(layout(x)), plan(x))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_not_lost(isa: str, value: float, rng: np.random.Generator) -> None:
    graph = pg.graph(
        {"x": (1, 32, 5, 5)},
        [pg.conv2d("y", "x", window(rng, 32, 32), padding=(1, 1), relu=True), pg.plain("relu", "z", "y")],
        ("z",),
    )
    x = normal(rng, 1, 32, 5, 5)
    x[0, 3, 2, 2] = value
    [got] = pg.run_plan(plan_of(graph), x)
    assert not np.isfinite(got[0, :, 1:4, 1:4]).all(0).any()
    assert np.isfinite(got[0, :, 0]).all()


def test_rounds_to_the_nearest_and_the_even(isa: str) -> None:
    """The patterns around halves, the smallest and the largest numbers, in whole vectors and beside one."""
    bits = np.array([0x3F80, 0x3F81, 0x0001, 0x7F7F, 0x8000, 0x0080], np.uint32) << 16
    near = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    x = (bits[:, None] + near).astype(np.uint32).view(np.float32).reshape(1, 36, 1, 1)
    graph = pg.graph(
        {"x": x.shape}, [pg.batch_norm("y", "x", np.ones(36, np.float32), np.zeros(36, np.float32))], ["y"]
    )
    [got] = pg.run_plan(plan_of(graph), x)
    np.testing.assert_array_equal(got, rounded(x))


# ---- Files and dtypes


def test_a_file_says_its_dtype(tmp_path: Path, rng: np.random.Generator) -> None:
    model, shape = small_models()["resnext"]
    plan = lucid.compile(randomize(model, rng), shape, dtype="bfloat16")
    x, path = rng.standard_normal(shape, dtype=np.float32), tmp_path / "plan.lucid"
    plan.save(path)
    loaded = lucid.load_plan(path)
    assert (loaded.internal_dtype, loaded.dtype) == ("bfloat16", np.float32)
    np.testing.assert_array_equal(loaded(x), plan(x))
    np.testing.assert_array_equal(LoadedPlan(path)(x)[0], plan(x))
    exact = lucid.load_plan(path, dtype="float32")
    np.testing.assert_array_equal(exact(x), lucid.compile(model, shape)(x))
    size = ctypes.sizeof(LoadArgs)
    float32 = LoadArgs(size=size, dtype=c_abi.DType(2, 32, 1))
    np.testing.assert_array_equal(LoadedPlan(path, float32)(x)[0], exact(x))
    exact.save(path)
    bfloat16 = LoadArgs(size=size, dtype=c_abi.DType(4, 16, 1))
    np.testing.assert_array_equal(LoadedPlan(path, bfloat16)(x)[0], plan(x))


def test_weights_and_images_take_half_the_memory() -> None:
    model = nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1)).eval()
    exact, half = (
        lucid.compile(model, (1, 64, 32, 32), dtype=name).memory() for name in ("float32", "bfloat16")
    )
    assert half["weights"] < 0.6 * exact["weights"]
    assert half["arena"] < 1.1 * exact["arena"]


def test_names_of_dtypes() -> None:
    model = nn.ReLU().eval()
    for name in ("bf16", "half precision", object()):
        with pytest.raises(ValueError, match="compile: dtype must be 'float32' or 'bfloat16', got "):
            lucid.compile(model, (1, 3, 4, 4), dtype=name)  # type: ignore[arg-type]
    with pytest.raises(
        NotImplementedError, match="dtype must be float32 or bfloat16 on the CPU, got float16"
    ):
        _core.Plan([(1, 4)], [0], [0], [], True, None, "float16")
    assert "bfloat16" in repr(lucid.compile(model, (1, 3, 4, 4), dtype="bfloat16"))
