"""Where the values of a plan lie: margins of zeros, places that are used again, inputs that stay outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import plan_graphs as pg
import pytest
from graph_reference import evaluate
from image_producers import PRODUCERS, normal, window
from invariance import LAYOUTS
from tolerance import assert_close

from lucid.inference import Graph, InferencePlan

Array = npt.NDArray[np.float32]


# ---- Margins


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("producer", PRODUCERS)
def test_margins_are_zeros(isa: str, producer: str, kernel: int, rng: np.random.Generator) -> None:
    nodes = PRODUCERS[producer](rng)
    nodes.append(pg.conv2d("out", "y", window(rng, 16, 24, kernel), padding=(kernel // 2, kernel // 2)))
    graph = pg.graph({"x": (2, 16, 9, 10)}, tuple(nodes), ("out",))
    x = normal(rng, 2, 16, 9, 10)
    [want] = evaluate(graph, x)
    [got] = pg.run(graph, x, winograd=False)
    assert_close(got, want, terms=2 * 16 * kernel * kernel, products=float(np.abs(want).max()))


def test_margins_of_an_imported_image_are_zeros(isa: str, rng: np.random.Generator) -> None:
    """Winograd reads the plan's own layout, so the input comes inside."""
    weight = window(rng, 16, 24)
    graph = pg.graph({"x": (1, 16, 26, 27)}, (pg.conv2d("y", "x", weight, padding=(1, 1)),), ("y",))
    x = normal(rng, 1, 16, 26, 27)
    assert InferencePlan(graph).steps[0].algorithm == "winograd_4x4"
    [got], [want] = pg.run(graph, x), evaluate(graph, x)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_channels_that_fill_up_a_block_are_zeros(isa: str, rng: np.random.Generator) -> None:
    """Winograd's blocks have four channels at least, and ten channels leave two of them empty."""
    nodes = pg.plain("relu", "inside", "x"), pg.conv2d("y", "inside", window(rng, 10, 24), padding=(1, 1))
    graph = pg.graph({"x": (1, 10, 26, 27)}, nodes, ("y",))
    assert InferencePlan(graph).steps[1].algorithm == "winograd_4x4"
    x = normal(rng, 1, 10, 26, 27)
    [got], [want] = pg.run(graph, x), evaluate(graph, x)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_margins_of_an_unflattened_vector_are_zeros(isa: str, rng: np.random.Generator) -> None:
    nodes = pg.plain("unflatten", "image", "x"), pg.conv2d("y", "image", window(rng, 20), padding=(1, 1))
    graph = pg.graph({"x": (3, 20)}, nodes, ("y",))
    x = normal(rng, 3, 20)
    [got], [want] = pg.run(graph, x), evaluate(graph, x)
    assert_close(got, want, terms=20, products=float(np.abs(x).max()))


@pytest.mark.parametrize(
    ("h", "w", "padding", "algorithm"),
    [(25, 29, 1, "winograd_4x4"), (27, 32, 0, "winograd_4x4"), (11, 11, 0, "winograd_2x2")],
)
def test_the_last_tiles_of_a_row_read_nothing_of_the_next_row(
    isa: str, h: int, w: int, padding: int, algorithm: str, rng: np.random.Generator
) -> None:
    """Winograd mixes all that a tile reads: infinities behind the right edge would spoil the whole tile."""
    nodes = (
        pg.plain("relu", "inside", "x"),
        pg.conv2d("y", "inside", window(rng, 16, 24), padding=(padding, padding)),
    )
    plan = InferencePlan(pg.graph({"x": (2, 16, h, w)}, nodes, ("y",)))
    assert plan.steps[1].algorithm == algorithm
    x = normal(rng, 2, 16, h, w)
    x[..., :2] = 0
    [want] = pg.run_plan(plan, x)
    x[..., :2] = np.inf
    [got] = pg.run_plan(plan, x)
    np.testing.assert_array_equal(got[..., 8:], want[..., 8:])
    assert np.isnan(got[..., :2]).all()


# ---- Places


def test_a_residual_that_is_read_later_stays(isa: str, rng: np.random.Generator) -> None:
    """By another step, as an output, and by two convolutions one after the other."""
    eye = np.eye(16, dtype=np.float32)[:, :, None, None]
    head = pg.conv2d("a", "x", eye), pg.plain("relu", "b", "a")
    x = normal(rng, 1, 16, 5, 6)
    for tail, outputs in (
        ((pg.conv2d("c", "b", eye, residual="a"), pg.add("d", "c", "a")), ("d",)),
        ((pg.conv2d("c", "b", eye, residual="a"),), ("c", "a")),
        ((pg.conv2d("c", "b", eye, residual="a"), pg.conv2d("d", "c", eye, residual="a")), ("d",)),
        (
            (
                pg.conv2d("c", "b", eye, residual="a"),
                pg.conv2d("d", "b", eye, residual="c"),
                pg.add("e", "d", "b"),
            ),
            ("e", "d"),
        ),
        ((pg.conv2d("c", "a", eye, residual="a"), pg.add("d", "c", "b")), ("d",)),
    ):
        graph = pg.graph({"x": x.shape}, (*head, *tail), outputs)
        for got, want in zip(pg.run(graph, x), evaluate(graph, x), strict=True):
            assert_close(got, want, terms=3)


def test_a_convolution_does_not_overwrite_the_image_that_it_reads(isa: str, rng: np.random.Generator) -> None:
    """With more outputs than are computed together, the later ones read what the first have written."""
    weight = window(rng, 128, 128, 1)
    nodes = pg.plain("relu", "a", "x"), pg.conv2d("y", "a", weight, residual="a")
    graph = pg.graph({"x": (2, 128, 6, 5)}, nodes, ("y",))
    x = normal(rng, 2, 128, 6, 5)
    [got], [want] = pg.run(graph, x), evaluate(graph, x)
    assert_close(got, want, terms=128, products=float(np.abs(x).max()))


def test_a_residual_with_other_margins_is_not_overwritten(isa: str, rng: np.random.Generator) -> None:
    eye = np.eye(16, dtype=np.float32)[:, :, None, None]
    weight = window(rng, 16)
    for wide, narrow in (("a", "b"), ("b", "a")):
        nodes = (
            pg.conv2d("a", "x", eye),
            pg.conv2d("side", wide, weight, padding=(1, 1)),
            pg.conv2d("b", "x", eye, residual=narrow if narrow == "a" else None),
            pg.conv2d("last", "b", weight, padding=(1, 1)),
        )
        graph = pg.graph({"x": (2, 16, 7, 6)}, nodes if wide == "a" else (*nodes[:1], *nodes[2:]), ("last",))
        x = normal(rng, 2, 16, 7, 6)
        [got], [want] = pg.run(graph, x, winograd=False), evaluate(graph, x)
        assert_close(got, want, terms=16 * 9, products=float(np.abs(x).max()))


def test_steps_between_two_uses_leave_a_value_alone(isa: str, rng: np.random.Generator) -> None:
    """Values of different sizes would fit where another lies."""
    eye = np.eye(16, dtype=np.float32)[:, :, None, None]
    nodes = (
        pg.conv2d("a", "x", eye),
        pg.max_pool2d("small", "a", (2, 2), stride=(2, 2)),
        pg.plain("relu", "b", "a"),
        pg.radix_sum_pool("mean", "b"),
        pg.plain("sigmoid", "c", "b"),
        pg.add("d", "c", "a"),
        pg.conv2d("e", "small", eye),
        pg.plain("unflatten", "pixel", "mean"),
    )
    graph = pg.graph({"x": (2, 16, 8, 8)}, nodes, ("d", "e", "pixel"))
    x = normal(rng, 2, 16, 8, 8)
    for got, want in zip(pg.run(graph, x), evaluate(graph, x), strict=True):
        assert_close(got, want, terms=64)


# ---- Outside


def one_channel_views(x: Array) -> dict[str, Array]:
    """``x`` (n, 1, h, w) with every kind of stride that a dimension of one may have."""
    n, _, h, w = x.shape
    among = np.full((n, 5, h, w), np.nan, np.float32)
    among[:, 3:4] = x
    last = np.full((n, h, w, 3), np.nan, np.float32)
    last[..., 1] = x[:, 0]
    strided = {
        f"stride {stride}": np.lib.stride_tricks.as_strided(x, x.shape, (h * w * 4, stride, w * 4, 4))
        for stride in (0, -4, 8, 4 * 17, 1 << 40)
    }
    return {"among": among[:, 3:4], "last": last.transpose(0, 3, 1, 2)[:, 1:2], **strided}


@pytest.mark.parametrize(
    ("out", "kernel", "stride"), [(1, 3, 1), (16, 3, 1), (24, 7, 2), (8, 1, 1), (16, 5, 3)]
)
def test_one_channel_of_any_stride(
    isa: str, out: int, kernel: int, stride: int, rng: np.random.Generator
) -> None:
    node = pg.conv2d(
        "y", "x", normal(rng, out, 1, kernel, kernel), stride=(stride, stride), padding=(kernel // 2,) * 2
    )
    x = normal(rng, 2, 1, 19, 21)
    plan = InferencePlan(pg.graph({"x": x.shape}, (node,), ("y",)))
    [want] = pg.run_plan(plan, x)
    assert_close(want, evaluate(plan.graph, x)[0], terms=kernel * kernel, products=float(np.abs(x).max() * 4))
    for name, view in one_channel_views(x).items():
        np.testing.assert_array_equal(pg.run_plan(plan, view)[0], want, name)


def test_an_input_that_is_added_comes_inside(isa: str, rng: np.random.Generator) -> None:
    weight = window(rng, 16, 16)
    x, other = normal(rng, 2, 16, 7, 9), normal(rng, 2, 16, 7, 9)
    for residual, inputs in (("x", [x]), ("other", [x, other])):
        node = pg.conv2d("y", "x", weight, residual=residual, padding=(1, 1))
        names = ("x", "other")[: len(inputs)]
        graph = pg.graph(dict.fromkeys(names, x.shape), [node], ["y"])
        [got], [want] = pg.run(graph, *inputs, winograd=False), evaluate(graph, *inputs)
        assert_close(got, want, terms=16 * 9, products=float(np.abs(x).max()))


# ---- Strides


def test_weights_of_any_strides_are_copied(isa: str, rng: np.random.Generator) -> None:
    weights = {
        "conv": window(rng, 16, 16),
        "bias": normal(rng, 16),
        "linear": normal(rng, 5, 16) / np.float32(4),
    }

    def graph(lay_out: Callable[[Array], Array]) -> Graph:
        conv, bias, linear = (lay_out(weights[name]) for name in ("conv", "bias", "linear"))
        nodes = (
            pg.conv2d("a", "x", conv, bias, padding=(1, 1)),
            pg.batch_norm("b", "a", bias, lay_out(weights["bias"] * 2)),
            pg.radix_sum_pool("c", "b"),
            pg.linear("d", "c", linear, lay_out(weights["bias"][:5])),
        )
        return pg.graph({"x": (2, 16, 6, 7)}, nodes, ("b", "d"))

    x = normal(rng, 2, 16, 6, 7)
    want = pg.run(graph(np.ascontiguousarray), x)
    for name, lay_out in LAYOUTS.items():
        for got, expected in zip(pg.run(graph(lay_out), x), want, strict=True):
            np.testing.assert_array_equal(got, expected, name)


def test_vectors_of_any_strides_are_imported(isa: str, rng: np.random.Generator) -> None:
    x = normal(rng, 3, 20)
    plan = InferencePlan(pg.graph({"x": x.shape}, [pg.plain("relu", "y", "x")], ["y"]))
    for name, lay_out in LAYOUTS.items():
        np.testing.assert_array_equal(pg.run_plan(plan, lay_out(x))[0], np.maximum(x, 0), name)


# ---- Large numbers


def test_softmax_of_large_numbers(isa: str) -> None:
    graph = pg.graph({"x": (3, 5)}, (pg.plain("softmax", "y", "x"),), ("y",))
    x = np.array([[1000, 999, 0, -1000, 998], [-900, -901, -900, -1e30, -950], [3e38, 0, 3e38, -3e38, 1]])
    [got], [want] = pg.run(graph, x.astype(np.float32)), evaluate(graph, x)
    assert_close(got, want, terms=8)
