"""Passes: each by itself changes what it is for and nothing else, and keeps what the graph computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from graph_reference import evaluate
from small_networks import randomize, small_models, small_networks

from lucid import Tensor, nn
from lucid.inference import Graph, Node, optimize, passes, trace
from lucid.nn import functional as F

Pass = Callable[[Graph], Graph]
PASSES: dict[str, Pass] = {
    name: getattr(passes, name) for name in passes.__all__ if name not in ("own_weights", "optimize")
}

NETWORKS = small_models() | small_networks()


class Layers(nn.Module):
    """Modules as attributes, and how they are called."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)
        randomize(self, np.random.default_rng(1))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def traced(forward: Callable[..., Any], shape: tuple[int, ...] = (2, 4, 5, 6), **layers: nn.Module) -> Graph:
    return trace(Layers(forward, **layers), shape)


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.nodes]


def node(graph: Graph, output: str) -> Node:
    return next(node for node in graph.nodes if node.output == output)


def assert_same(before: Graph, after: Graph, tolerance: float = 1e-6) -> None:
    """Both compute the same, but for the rounding of folded weights to float32."""
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal(shape) for shape in before.inputs.values()]
    pairs = zip(evaluate(after, *inputs), evaluate(before, *inputs), strict=True)
    for got, want in pairs:
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= tolerance * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_pass_keeps_what_is_computed(name: str, rng: np.random.Generator) -> None:
    model, shape = NETWORKS[name]
    original = trace(randomize(model, rng), shape)
    printed = str(original)
    weights = {id(array): array.copy() for entry in original.nodes for array in entry.weights.values()}
    final = optimize(original)
    assert_same(original, final, tolerance=1e-5)
    assert not {"mul", "batch_norm"} & set(kinds(final)) or name == "normalizing"
    assert str(optimize(final)) == str(final)  # nothing is left to do
    assert str(original) == printed
    for entry in original.nodes:
        for array in entry.weights.values():
            np.testing.assert_array_equal(array, weights[id(array)])


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("network", ["resnest_cardinality", "two_outputs", "squeeze_excite", "normalizing"])
def test_a_pass_alone_keeps_what_is_computed(name: str, network: str, rng: np.random.Generator) -> None:
    model, shape = NETWORKS[network]
    original = trace(randomize(model, rng), shape)
    assert_same(original, PASSES[name](original), tolerance=1e-5)


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_with_nothing_to_do_gives_the_same_graph(name: str) -> None:
    graph = traced(lambda m, x: F.max_pool2d(m.conv(x), 2), conv=nn.Conv2d(4, 3, 3))
    assert str(PASSES[name](graph)) == str(graph)


# ---- fold_batch_norm


@pytest.mark.parametrize("eps", [0.0, 0.25, 3.0])
def test_fold_batch_norm_heeds_the_layers_eps(eps: float, rng: np.random.Generator) -> None:
    """By the definition, not by the trace, in which eps is part of the weights already."""
    model = nn.Sequential(nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6, eps=eps))
    randomize(model, rng)
    x, state = rng.standard_normal((2, 4, 5, 6)), {k: v.data for k, v in model.state_dict().items()}
    statistics = (state["1.running_mean"], state["1.running_var"], state["1.weight"], state["1.bias"])
    want = reference.batch_norm(reference.conv2d(x, state["0.weight"]), *statistics, eps)
    for graph in (trace(model, x.shape), optimize(trace(model, x.shape))):
        assert np.abs(evaluate(graph, x)[0] - want).max() <= 1e-6 * np.abs(want).max()
    assert kinds(optimize(trace(model, x.shape))) == ["conv2d"]


def test_fold_batch_norm_into_convolution_and_linear() -> None:
    graph = traced(lambda m, x: m.bn(m.conv(x), relu=True), conv=nn.Conv2d(4, 6, 3), bn=nn.BatchNorm2d(6))
    folded = passes.fold_batch_norm(graph)
    assert kinds(folded) == ["conv2d"]
    assert folded.outputs == ("conv",)
    assert folded.nodes[0].attributes["relu"] is True
    assert {array.dtype for array in folded.nodes[0].weights.values()} == {np.dtype(np.float32)}
    assert_same(graph, folded)

    def of_rows(m: Any, x: Tensor) -> Tensor:
        return F.batch_norm(m.fc(x.flatten(1)), m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias)

    graph = traced(of_rows, fc=nn.Linear(120, 6), bn=nn.BatchNorm2d(6))
    folded = passes.fold_batch_norm(graph)
    assert kinds(folded) == ["flatten", "linear"]
    assert_same(graph, folded)


def test_fold_batch_norm_without_affine_or_bias_and_two_in_a_row() -> None:
    conv = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    norms = {"a": nn.BatchNorm2d(6, affine=False, eps=0.1), "b": nn.BatchNorm2d(6)}
    graph = traced(lambda m, x: m.b(m.a(m.conv(x))), conv=conv, **norms)
    folded = passes.fold_batch_norm(graph)
    assert kinds(folded) == ["conv2d"]
    assert_same(graph, folded)


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.bn(F.relu(m.conv(x))),  # the ReLU stands between
        lambda m, x: m.bn(m.conv(x)) + m.conv(x) * 1.0,  # another convolution, and a product
        lambda m, x: (lambda y: m.bn(y) + y)(m.conv(x)),  # read twice
        lambda m, x: (lambda y: (m.bn(y), y))(m.conv(x)),  # read as an output
    ],
)
def test_fold_batch_norm_keeps_what_others_read(forward: Callable[..., Any]) -> None:
    graph = traced(forward, conv=nn.Conv2d(4, 4, 3), bn=nn.BatchNorm2d(4))
    folded = passes.fold_batch_norm(graph)
    assert "conv2d" in kinds(folded)
    assert_same(graph, folded)
    shared = traced(
        lambda m, x: (lambda y: m.bn(y) + y)(m.conv(x)), conv=nn.Conv2d(4, 4, 3), bn=nn.BatchNorm2d(4)
    )
    assert "batch_norm" in kinds(passes.fold_batch_norm(shared))


def test_fold_batch_norm_leaves_one_before_a_padded_convolution() -> None:
    graph = traced(lambda m, x: m.conv(m.bn(x)), conv=nn.Conv2d(4, 6, 3, padding=1), bn=nn.BatchNorm2d(4))
    assert kinds(passes.fold_batch_norm(graph)) == ["batch_norm", "conv2d"]


def test_fold_batch_norm_leaves_what_is_clipped_or_added_before_it() -> None:
    norms = {name: nn.BatchNorm2d(4) for name in ("a", "b")}
    clipped = traced(lambda m, x: m.b(m.a(x, relu=True)), **norms)
    added = passes.fuse_residual(
        traced(lambda m, x: m.bn(m.conv(x) + x), conv=nn.Conv2d(4, 4, 1), bn=nn.BatchNorm2d(4))
    )
    for graph, wanted in ((clipped, ["batch_norm"] * 2), (added, ["conv2d", "batch_norm"])):
        folded = passes.fold_batch_norm(graph)
        assert kinds(folded) == wanted
        assert_same(graph, folded)


# ---- fuse_relu


def test_fuse_relu_into_what_can_clip() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.conv(x))
        y = F.relu(y + F.relu(m.bn(y)))
        return F.relu(m.fc(y.flatten(1)))

    layers = {"conv": nn.Conv2d(4, 4, 1), "bn": nn.BatchNorm2d(4), "fc": nn.Linear(120, 3)}
    graph = traced(forward, **layers)
    fused = passes.fuse_relu(graph)
    assert kinds(fused) == ["conv2d", "batch_norm", "add", "flatten", "linear"]
    assert all(entry.attributes["relu"] for entry in fused.nodes if entry.kind != "flatten")
    assert_same(graph, fused)


def test_fuse_relu_leaves_what_is_read_before_it() -> None:
    graph = traced(lambda m, x: (lambda y: F.relu(y) + y)(m.conv(x)), conv=nn.Conv2d(4, 4, 1))
    assert kinds(passes.fuse_relu(graph)) == ["conv2d", "relu", "add"]
    pooled = traced(lambda m, x: F.relu(F.max_pool2d(x, 2)))
    assert kinds(passes.fuse_relu(pooled)) == ["max_pool2d", "relu"]


# ---- fuse_residual


def test_fuse_residual_into_the_only_convolution() -> None:
    for forward in (lambda m, x: m.conv(x) + x, lambda m, x: x + m.conv(x)):
        graph = traced(forward, conv=nn.Conv2d(4, 4, 1))
        fused = passes.fuse_residual(graph)
        assert [(entry.kind, entry.inputs) for entry in fused.nodes] == [("conv2d", ("input", "input"))]
        assert_same(graph, fused)


def test_fuse_residual_into_the_later_of_two() -> None:
    graph = traced(lambda m, x: m.a(x) + m.b(x), a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1))
    fused = passes.fuse_residual(graph)
    assert [(entry.output, entry.inputs) for entry in fused.nodes] == [
        ("a", ("input",)),
        ("b", ("input", "a")),
    ]
    assert_same(graph, fused)


def test_fuse_residual_moves_the_convolution_to_the_sum() -> None:
    graph = traced(lambda m, x: m.a(x) + F.max_pool2d(x, 3, 1, 1), a=nn.Conv2d(4, 4, 1))
    fused = passes.fuse_residual(graph)
    assert [(entry.kind, entry.inputs) for entry in fused.nodes] == [
        ("max_pool2d", ("input",)),
        ("conv2d", ("input", "max_pool2d")),
    ]
    assert_same(graph, fused)


def test_fuse_residual_of_a_chain_of_sums() -> None:
    layers = {name: nn.Conv2d(4, 4, 1) for name in "abc"}
    graph = traced(lambda m, x: m.a(x) + m.b(x) + m.c(x) + x, **layers)
    fused = passes.fuse_residual(graph)
    assert kinds(fused) == ["conv2d", "conv2d", "conv2d", "add"]
    assert_same(graph, fused)


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: F.relu(m.conv(x)) + x,
        lambda m, x: (lambda y: y + y)(m.conv(x)),
        lambda m, x: (lambda y: (y + x, y))(m.conv(x)),
        lambda m, x: (lambda y: F.max_pool2d(y, 2) + F.avg_pool2d(y + x, 2))(m.conv(x)),
    ],
)
def test_fuse_residual_leaves_what_others_read(forward: Callable[..., Any]) -> None:
    graph = passes.fuse_relu(traced(forward, conv=nn.Conv2d(4, 4, 1)))
    fused = passes.fuse_residual(graph)
    assert kinds(fused) == kinds(graph)


def test_fuse_residual_keeps_the_relu_of_the_sum() -> None:
    graph = traced(lambda m, x: F.relu(m.conv(x) + x), conv=nn.Conv2d(4, 4, 1))
    fused = passes.fuse_residual(passes.fuse_relu(graph))
    assert kinds(fused) == ["conv2d"]
    assert fused.nodes[0].attributes["relu"] is True
    assert_same(graph, fused)


# ---- pointwise_to_linear


def test_pointwise_to_linear_in_split_attention() -> None:
    layer = nn.SplitAttention(4, 8, 3, groups=2, radix=2)
    graph = traced(lambda m, x: m.splat(x), splat=layer)
    after = passes.pointwise_to_linear(graph)
    assert kinds(after)[2:] == ["radix_sum_pool", "linear", "batch_norm", "linear", "split_attention"]
    assert node(after, "splat.fc1").attributes["groups"] == 2
    assert_same(graph, after)


def test_pointwise_to_linear_makes_an_image_where_one_is_read() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        pooled = x.mean((2, 3), keepdim=True)
        small = F.relu(m.point(pooled))
        return m.wide(small), small, pooled.flatten(1)

    layers = {"point": nn.Conv2d(4, 3, 1), "wide": nn.Conv2d(3, 2, 3, padding=1)}
    graph = traced(forward, **layers)
    after = passes.pointwise_to_linear(graph)
    assert kinds(after) == ["radix_sum_pool", "linear", "relu", "unflatten", "conv2d"]
    assert after.outputs == ("wide", "relu.image", "radix_sum_pool")
    assert_same(graph, after)


def test_pointwise_to_linear_reads_rows_beside_its_image() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return m.fc(F.relu(m.point(pooled)).flatten(1)) + pooled.flatten(1)

    graph = traced(forward, point=nn.Conv2d(4, 6, 1), fc=nn.Linear(6, 4))
    after = passes.pointwise_to_linear(graph)
    assert kinds(after) == ["radix_sum_pool", "linear", "relu", "linear", "add"]
    assert_same(graph, after)


def test_pointwise_to_linear_leaves_a_padded_convolution() -> None:
    graph = traced(lambda m, x: m.point(F.adaptive_avg_pool2d(x, 1)), point=nn.Conv2d(4, 6, 1, padding=1))
    after = passes.pointwise_to_linear(graph)
    assert kinds(after) == ["radix_sum_pool", "unflatten", "conv2d"]
    assert_same(graph, after)


# ---- fuse_split_attention


def test_fuse_split_attention_turns_a_product_with_a_sigmoid_into_radix_1() -> None:
    model, shape = small_networks()["squeeze_excite"]
    graph = passes.pointwise_to_linear(trace(randomize(model, np.random.default_rng(0)), shape))
    after = passes.fuse_split_attention(graph)
    assert kinds(after)[-1] == "split_attention"
    assert "sigmoid" not in kinds(after)
    assert_same(graph, after)


def test_fuse_split_attention_leaves_other_products() -> None:
    graph = traced(lambda m, x: x * x.mean((2, 3), keepdim=True))
    assert "mul" in kinds(passes.fuse_split_attention(passes.pointwise_to_linear(graph)))


# ---- remove_identity, remove_unused, own_weights


def test_remove_identity() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.max_pool2d(x, 1), (1, 1), 1)
        return F.relu(F.relu(m.bn(x * 1.0 + 0.0, relu=True)))

    graph = traced(forward, bn=nn.BatchNorm2d(4))
    assert kinds(passes.remove_identity(graph)) == ["batch_norm"]
    assert_same(graph, passes.remove_identity(graph))


@pytest.mark.parametrize(
    "forward", [lambda m, x: F.max_pool2d(x, 1, 2), lambda m, x: F.avg_pool2d(x, 2, 1), lambda m, x: x * 2.0]
)
def test_remove_identity_leaves_the_rest(forward: Callable[..., Any]) -> None:
    assert len(passes.remove_identity(traced(forward)).nodes) == 1


def test_remove_unused() -> None:
    graph = traced(lambda m, x: [F.relu(x), m.conv(F.sigmoid(x))][0], conv=nn.Conv2d(4, 4, 1))
    assert kinds(graph) == ["relu", "sigmoid", "conv2d"]
    assert kinds(passes.remove_unused(graph)) == ["relu"]


def test_weights_are_the_graphs_own() -> None:
    conv = nn.Conv2d(4, 6, 1)
    flipped = nn.Conv2d(6, 6, 1, bias=False)
    flipped.weight = nn.Parameter(np.asfortranarray(flipped.weight.data)[::-1])
    graph = traced(lambda m, x: m.b(m.a(x)), a=conv, b=flipped)
    owning = passes.own_weights(graph, graph)
    arrays = [array for entry in owning.nodes for array in entry.weights.values()]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)
    assert not any(array.flags.writeable for array in arrays)
    assert_same(graph, owning, tolerance=0.0)
    before = [array.copy() for array in arrays]
    for layer in (conv, flipped):
        layer.weight.data[...] = 7.0
    for array, kept in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, kept)
