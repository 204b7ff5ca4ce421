"""Tracing: every operator is recorded as it computes, and what cannot be is refused with its line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_reference import evaluate
from small_networks import randomize, small_networks
from tolerance import assert_close

import lucid
from lucid import Tensor, nn, primitives
from lucid.inference import trace
from lucid.nn import functional as F

# Operators of training only.
WITHOUT_COUNTERPART = {"cross_entropy"}


class Calling(nn.Module):
    """A module that computes what a function does."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 3, 1)
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def weights(*shape: int) -> Any:
    return np.ones(shape, np.float32)


# A call of each function of nn.functional, on an image of 8 channels.
CALLS: dict[str, Callable[[Any], Any]] = {
    "conv2d": lambda x: F.conv2d(x, weights(4, 8, 2, 2), padding="same"),
    "batch_norm": lambda x: F.batch_norm(x, weights(8), weights(8)),
    "max_pool2d": lambda x: F.max_pool2d(x, 2, padding=((1, 0), (0, 1))),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (2, None)),
    "global_avg_pool2d": F.global_avg_pool2d,
    "radix_sum_pool": lambda x: F.radix_sum_pool(x, 2),
    "split_attention": lambda x: F.split_attention(x, F.global_avg_pool2d(x), 2),
    "linear": lambda x: F.linear(x.mean((2, 3)), weights(3, 8)),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "dropout": lambda x: F.dropout(x, training=False),
    "drop_path": lambda x: F.drop_path(x, training=False),
}


def test_every_operator_is_called_here() -> None:
    public = {
        name
        for name, function in vars(F).items()
        if inspect.isfunction(function)
        and not name.startswith("_")
        and function.__module__.startswith("lucid.nn.")
    }
    assert public == CALLS.keys() | WITHOUT_COUNTERPART


@pytest.mark.parametrize("name", CALLS)
def test_recorded_operator_computes_what_the_eager_one_does(name: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 8, 5, 4), dtype=np.float32)
    graph = trace(Calling(CALLS[name]), x.shape)
    want = CALLS[name](Tensor(x)).numpy()
    assert graph.shapes[graph.outputs[0]] == want.shape
    assert_close(want, evaluate(graph, x)[0], terms=64)


def test_every_primitive_has_its_columns() -> None:
    assert len(primitives.TABLE) > 30
    for primitive in primitives.TABLE.values():
        assert callable(primitive.run)
        assert callable(primitive.record)
        assert primitive.backward is None or callable(primitive.backward.formula)


@pytest.mark.parametrize("name", CALLS)
def test_refused_arguments_are_refused_while_tracing_too(name: str) -> None:
    """The same words by the same operator, and while tracing with the line."""
    if name in (
        "batch_norm",
        "drop_path",
        "dropout",
        "relu",
        "sigmoid",
        "softmax",
        "log_softmax",
        "linear",
        "pad",
        "split_attention",
    ):
        pytest.skip("takes tensors of any rank, or flattens first")
    with pytest.raises(ValueError, match=f"^{name}: ") as eager:
        CALLS[name](lucid.ones(2, 8))
    with pytest.raises(ValueError, match=f"^{name}: ") as traced:
        trace(Calling(CALLS[name]), (2, 8))
    assert str(traced.value).startswith(str(eager.value))
    assert "test_trace.py" in str(traced.value)


@pytest.mark.parametrize("name", small_networks())
def test_traced_graph_computes_what_the_module_does(name: str, rng: np.random.Generator) -> None:
    model, shape = small_networks()[name]
    randomize(model, rng)
    x = rng.standard_normal(shape, dtype=np.float32)
    result: Any = model(x)
    graph = trace(model, shape)
    assert graph.as_tuple == isinstance(result, tuple)
    expected = [y.numpy() for y in (result if isinstance(result, tuple) else (result,))]
    for got, want in zip(expected, evaluate(graph, x), strict=True):
        assert_close(got, want, terms=2000)


def test_values_are_named_after_modules() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())).eval()
    assert [node.output for node in trace(model, (1, 3, 2, 2)).nodes] == ["0", "1.0", "1.1"]


def test_module_used_twice_has_two_names() -> None:
    conv = nn.Conv2d(3, 3, 1).eval()
    model = nn.Sequential(conv, conv).eval()
    assert [node.output for node in trace(model, (1, 3, 2, 2)).nodes] == ["0", "0_2"]


def test_tuple_list_and_single_outputs() -> None:
    shape = (1, 3, 4, 4)
    assert not trace(Calling(lambda x: F.relu(x)), shape).as_tuple
    assert trace(Calling(lambda x: (F.relu(x),)), shape).as_tuple
    assert len(trace(Calling(lambda x: [F.relu(x), x]), shape).outputs) == 2


def test_several_inputs() -> None:
    graph = trace(Calling(lambda a, b: a + b), (1, 2), (1, 2))
    assert graph.inputs == {"input0": (1, 2), "input1": (1, 2)}


def test_relu_in_place_is_seen_by_all_who_hold_the_tensor(rng: np.random.Generator) -> None:
    def forward(x: Tensor) -> Tensor:
        y = x * 1.0
        F.relu(y, inplace=True)
        return x + y

    x = rng.standard_normal((2, 3, 4, 5), dtype=np.float32)
    [got] = evaluate(trace(Calling(forward), x.shape), x)
    np.testing.assert_array_equal(got, x + np.maximum(x, 0))


ARITHMETIC: dict[str, Callable[[Any], Any]] = {
    "x + 1": lambda x: x + 1,
    "1 + x": lambda x: 1 + x,
    "x - 2.5": lambda x: x - 2.5,
    "2 - x": lambda x: 2 - x,
    "3 * x": lambda x: 3 * x,
    "x / 3": lambda x: x / 3,
    "-x": lambda x: -x,
    "x - x": lambda x: x - x,
    "x - relu": lambda x: x - F.relu(x),
    "array + x": lambda x: np.arange(3, dtype=np.float32).reshape(3, 1, 1) + x,
    "array - x": lambda x: np.arange(3, dtype=np.float32).reshape(3, 1, 1) - x,
    "array * x": lambda x: np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1) * x,
    "scalar * x": lambda x: np.float64(2.0) * x,
    "x / tensor": lambda x: x / lucid.arange(3).reshape(3, 1, 1).clamp(min=1),
    "tensor - x": lambda x: lucid.ones(1, 3, 1, 1) - x,
    "clamp": lambda x: x.clamp(min=0),
    "x * means": lambda x: x * x.mean((-1, -2), keepdim=True),
    "means * x": lambda x: F.adaptive_avg_pool2d(x, 1) * x,
    "reshape": lambda x: x.reshape(x.size(0), -1),
    "reshape back": lambda x: x.mean((2, 3)).view(-1, 3, 1, 1) + 0,
    "squeeze": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "contiguous": lambda x: x.contiguous().to(np.float32) + 0,
    "clone": lambda x: F.relu(x.clone(), inplace=True) + x,
    "sizes": lambda x: x * (x.shape[2] + x.ndim + len(x) + x.numel()),
    "softmax": lambda x: x.flatten(1).softmax(-1),
    "keywords": lambda x: F.max_pool2d(kernel_size=2, input=x),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 6), dtype=np.float32)
    model = Calling(ARITHMETIC[name])
    want = model(x).numpy()
    [got] = evaluate(trace(model, x.shape), x)
    assert_close(want, got, terms=8, products=100.0)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "bool": lambda x: x + 1 if x.mean((2, 3)) else x,
    "comparison": lambda x: x > 0,
    "equality": lambda x: x == 0,
    "item": lambda x: x.item(),
    "float": lambda x: float(x),
    "numpy": lambda x: x.numpy(),
    "data": lambda x: x.data,
    "asarray": lambda x: np.asarray(x),
    "numpy function": lambda x: np.concatenate([x, x]),
    "numpy ufunc": lambda x: np.exp(x),
    "index": lambda x: x[:, 1:],
    "assignment": lambda x: x.__setitem__(0, 1),
    "iteration": lambda x: list(x),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "exp": lambda x: x.exp(),
    "power": lambda x: x**2,
    "quotient": lambda x: 1 / x,
    "quotient of tensors": lambda x: x / x,
    "product": lambda x: x * x,
    "sum of shapes": lambda x: x + x.mean((2, 3), keepdim=True),
    "constant for each pixel": lambda x: x + np.zeros((4, 6), np.float32),
    "constant in float64": lambda x: x + np.zeros((3, 1, 1)),
    "mean": lambda x: x.mean(1),
    "mean of all": lambda x: x.mean(),
    "reshape": lambda x: x.reshape(2, 1, 3, 4, 6),
    "view": lambda x: x.view(-1),
    "clamp": lambda x: x.clamp(0, 6),
    "dropout": lambda x: F.dropout(x),
    "drop_path": lambda x: F.drop_path(x),
    "statistics of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "computed weight": lambda x: F.conv2d(x, x),
    "dtype": lambda x: x.to(np.float64),
    "dlpack": lambda x: lucid.from_dlpack(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_line(name: str) -> None:
    with pytest.raises(NotImplementedError, match=r"^compile: ") as caught:
        trace(Calling(REFUSED[name]), (2, 3, 4, 6))
    line = REFUSED[name].__code__.co_firstlineno
    assert f"{Path(__file__)}:{line}, in Calling" in str(caught.value)


def test_layer_that_does_not_fit_is_named_with_its_line() -> None:
    model = Calling(lambda x: F.linear(x, np.ones((2, 5), np.float32)))
    line = model.function.__code__.co_firstlineno
    with pytest.raises(ValueError, match=rf"linear: .*{Path(__file__).name}:{line}"):
        trace(model, (2, 3, 4, 6))
    with pytest.raises(ValueError, match=r"conv2d: .* in Conv2d '1'"):
        trace(nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)).eval(), (2, 3, 4, 6))


def test_unknown_attribute_is_what_it_is_for_a_tensor() -> None:
    with pytest.raises(AttributeError, match="no attribute 'dims'"):
        trace(Calling(lambda x: x.dims()), (1, 3, 2, 2))


@pytest.mark.parametrize("result", [None, (), 3, (None,), np.zeros(2, np.float32)])
def test_refuses_results_that_are_not_computed(result: object) -> None:
    with pytest.raises(TypeError, match="forward must return a tensor or a tuple of tensors"):
        trace(Calling(lambda x: result), (1, 3, 2, 2))


def test_refuses_training_mode_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"must be in eval mode, got it in training mode; call model\.eval"):
        trace(model, (1, 3, 2, 2))
    model.eval()[1].train()
    with pytest.raises(ValueError, match="got 1 in training mode"):
        trace(model, (1, 3, 2, 2))


def test_refuses_norm_without_running_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval()
    with pytest.raises(
        NotImplementedError, match=r"must .* have running statistics; at .* in BatchNorm2d '0'"
    ):
        trace(model, (1, 3, 2, 2))


def test_leaves_the_module_as_it_is() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last: Tensor | None = None
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.conv(x)
            self.conv.extra = self.last  # type: ignore[attr-defined]
            return F.relu(self.last)

    model = Keeping().eval()
    before = [dict(vars(module)) for module in model.modules()]
    trace(model, (1, 3, 2, 2))
    assert [dict(vars(module)) for module in model.modules()] == before
    with pytest.raises(NotImplementedError):
        trace(Calling(lambda x: x.exp()), (1, 3, 2, 2))


def test_symbol_of_another_trace_is_refused() -> None:
    kept: list[Any] = []

    def forward(x: Tensor) -> Tensor:
        kept.append(x)
        return kept[0] + 1

    trace(Calling(forward), (1, 3, 2, 2))
    with pytest.raises(RuntimeError, match="got one kept from another"):
        trace(Calling(forward), (1, 3, 2, 2))


def test_division_by_zero_is_what_it_is_for_a_tensor() -> None:
    [node] = trace(Calling(lambda x: x / 0), (1, 3, 2, 2)).nodes
    assert np.isinf(node.weights["weight"]).all()


def test_operators_still_run_on_arrays(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 3, 4, 4), dtype=np.float32)
    np.testing.assert_array_equal(F.relu(input=x).numpy(), np.maximum(x, 0))
    assert F.conv2d.__doc__
