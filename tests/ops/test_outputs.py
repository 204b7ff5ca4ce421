"""Uses of lucid.h that Python never makes: results in memory of the caller, of any layout, over the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import c_abi
import numpy as np
import numpy.typing as npt
import pytest
from c_calls import call

from lucid import _core

Array = npt.NDArray[Any]

SENTINEL = np.float32(-12345.5)


def sample(*shape: int) -> Array:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


X, Z, LOGITS = sample(2, 38, 6, 5), sample(2, 38, 6, 5) + 1, sample(2, 38)
C = np.abs(sample(38)) + 1
WEIGHT, BIAS = sample(21, 38), sample(21)
WINDOW = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}
NORM = {"weight": C, "bias": C, "mean": C, "var": C, "eps": 1e-5, "relu": 1}


class Call(NamedTuple):
    function: str
    arguments: dict[str, Any]
    want: Callable[[], Array]
    output: str = "y"
    refused: str = ""  # what has a wrong shape where the output has another; the output itself if empty


INDICES = np.random.default_rng(7).integers(0, 30, (2, 38, 3, 3))
CLASSES = np.random.default_rng(7).integers(0, 38, (2, 6, 5))
SUMS = {"dweight": np.empty_like(C), "dbias": np.empty_like(C)}
DX = {"dx": np.empty_like(X), **SUMS}
# What an update does not read: the buffer of a first step, and means of which nothing is kept.
UNREAD = np.zeros((3, *X.shape), np.float32)


def updated(update: Callable[[Array], None]) -> Array:
    """An array of SENTINEL, with which every output begins, and what an update makes of it."""
    parameter = np.full_like(X, SENTINEL)
    update(parameter)
    return parameter


CALLS = [
    Call(
        "lucid_max_pool2d",
        {"x": X, **WINDOW, "dilation": (1, 1)},
        lambda: _core.max_pool2d(X, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False),
    ),
    Call(
        "lucid_avg_pool2d",
        {"x": X, **WINDOW, "count_include_pad": 1},
        lambda: _core.avg_pool2d(X, (3, 3), (2, 2), (1, 1, 1, 1), False, True),
    ),
    Call(
        "lucid_adaptive_avg_pool2d",
        {"x": X, "output_size": (4, 3)},
        lambda: _core.adaptive_avg_pool2d(X, (4, 3)),
    ),
    Call("lucid_radix_sum_pool", {"x": X, "radix": 2}, lambda: _core.radix_sum_pool(X, 2)),
    Call("lucid_batch_norm", {"x": X, **NORM}, lambda: _core.batch_norm(X, C, C, C, C, 1e-5, True)),
    Call(
        "lucid_batch_norm",
        {"x": X, **NORM, "residual": Z},
        lambda: _core.batch_norm(X, C, C, C, C, 1e-5, True, Z),
    ),
    Call("lucid_batch_norm", {"x": LOGITS, **NORM}, lambda: _core.batch_norm(LOGITS, C, C, C, C, 1e-5, True)),
    Call(
        "lucid_batch_norm",
        {"x": X[:, :, 0], **NORM},
        lambda: _core.batch_norm(X[:, :, 0], C, C, C, C, 1e-5, True),
    ),
    Call(
        "lucid_split_attention",
        {"x": X, "logits": LOGITS, "radix": 2, "cardinality": 1},
        lambda: _core.split_attention(X, LOGITS, 2, 1),
    ),
    Call(
        "lucid_linear",
        {"x": LOGITS, "weight": WEIGHT, "bias": BIAS, "groups": 1},
        lambda: _core.linear(LOGITS, WEIGHT, BIAS),
    ),
    Call(
        "lucid_linear",
        {"x": LOGITS, "weight": WEIGHT[:20, :19], "bias": BIAS[:20], "groups": 2},
        lambda: _core.linear(LOGITS, WEIGHT[:20, :19], BIAS[:20], 2),
    ),
    Call("lucid_sigmoid", {"x": X}, lambda: _core.sigmoid(X)),
    Call("lucid_mul", {"a": X, "b": LOGITS}, lambda: _core.mul(X, LOGITS)),
    Call("lucid_softmax", {"x": X, "dim": 1}, lambda: _core.softmax(X, 1)),
    Call("lucid_softmax", {"x": X, "dim": -1, "log": 1}, lambda: _core.softmax(X, 3, True)),
    Call(
        "lucid_cross_entropy",
        {"x": X, "target": CLASSES, "weight": C, "ignore_index": 3, "label_smoothing": 0.1},
        lambda: _core.cross_entropy(X, CLASSES, C, 3, 0.1, 0),
    ),
    Call("lucid_relu", {"x": X}, lambda: _core.relu(X)),
    Call("lucid_add", {"a": X, "b": Z}, lambda: _core.add(X, Z)),
    Call(
        "lucid_batch_norm_backward",
        {"dy": Z, "x": X, "y": X, "weight": C, "mean": C, "var": C, **SUMS, "eps": 1e-5, "training": 1},
        lambda: _core.batch_norm_backward(Z, X, X, C, C, C, 1e-5, True)[0],
        "dx",
    ),
    Call(
        "lucid_batch_norm_backward",
        {"dy": Z, "x": X, "y": X, "weight": C, "mean": C, "var": C, **DX, "eps": 1e-5, "training": 1},
        lambda: _core.batch_norm_backward(Z, X, X, C, C, C, 1e-5, True, True)[3],
        "dresidual",
    ),
    Call("lucid_relu_backward", {"dy": Z, "y": X}, lambda: _core.relu_backward(Z, X), "dx"),
    Call("lucid_sigmoid_backward", {"dy": Z, "y": X}, lambda: _core.sigmoid_backward(Z, X), "dx"),
    Call(
        "lucid_softmax_backward",
        {"dy": Z, "y": X, "dim": 1, "log": 1},
        lambda: _core.softmax_backward(Z, X, 1, True),
        "dx",
    ),
    Call(
        "lucid_cross_entropy_backward",
        {"dy": Z[:, 0], "x": X, "target": Z, "weight": C, "label_smoothing": 0.1},
        lambda: _core.cross_entropy_backward(Z[:, 0], X, Z, C, 0, 0.1, 0),
        "dx",
    ),
    Call(
        "lucid_max_pool2d_backward",
        {"dy": X[:, :, :3, :3], "indices": INDICES, "image_size": (6, 5), **WINDOW, "dilation": (1, 1)},
        lambda: _core.max_pool2d_backward(
            X[:, :, :3, :3], INDICES, 6, 5, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False
        ),
        "dx",
    ),
    Call(
        "lucid_avg_pool2d_backward",
        {"dy": X[:, :, :3, :3], "image_size": (6, 5), **WINDOW, "count_include_pad": 1},
        lambda: _core.avg_pool2d_backward(
            X[:, :, :3, :3], 6, 5, (3, 3), (2, 2), (1, 1, 1, 1), False, True, 0
        ),
        "dx",
    ),
    Call(
        "lucid_adaptive_avg_pool2d_backward",
        {"dy": X, "image_size": (9, 4)},
        lambda: _core.adaptive_avg_pool2d_backward(X, 9, 4),
        "dx",
    ),
    Call(
        "lucid_radix_sum_pool_backward",
        {"dy": LOGITS, "radix": 2, "image_size": (3, 4)},
        lambda: _core.radix_sum_pool_backward(LOGITS, 2, 3, 4),
        "dx",
    ),
    Call(
        "lucid_split_attention_backward",
        {
            "dy": X[:, :19],
            "x": Z,
            "logits": LOGITS,
            "dlogits": np.empty_like(LOGITS),
            "radix": 2,
            "cardinality": 1,
        },
        lambda: _core.split_attention_backward(X[:, :19], Z, LOGITS, 2, 1)[0],
        "dx",
    ),
    Call(
        "lucid_sgd_update",
        {"gradient": X, "momentum_buffer": UNREAD[0], "lr": 0.1, "momentum": 0.9, "is_first_step": 1},
        lambda: updated(lambda p: _core.sgd_update(p, X, UNREAD[0], 0.1, 0.9, 0.0, 0.0, False, True)),
        "parameter",
        "gradient",
    ),
    Call(
        "lucid_adamw_update",
        {"gradient": X, "exp_avg": UNREAD[1], "exp_avg_sq": UNREAD[2], "lr": 0.1, "eps": 1e-8, "step": 1},
        lambda: updated(lambda p: _core.adamw_update(p, X, *UNREAD[1:], 0.1, 0.0, 0.0, 1e-8, 0.0, 1)),
        "parameter",
        "gradient",
    ),
    Call(
        "lucid_average_update",
        {"parameter": X, "decay": 0.75},
        lambda: updated(lambda average: _core.average_update(average, X, 0.75)),
        "average",
        "parameter",
    ),
]
# Operands that a call may do without.
OPTIONAL = {
    "lucid_batch_norm": {"weight", "bias", "residual"},
    "lucid_linear": {"bias"},
    "lucid_cross_entropy": {"weight"},
    "lucid_cross_entropy_backward": {"weight"},
    "lucid_batch_norm_backward": {"weight", "y", "dresidual"},
    "lucid_sgd_update": {"momentum_buffer"},
}
IDS = [f"{one.function.removeprefix('lucid_')}{index}" for index, one in enumerate(CALLS)]


def result_views(shape: tuple[int, ...]) -> Iterator[tuple[str, Array, Array]]:
    """Buffers full of SENTINEL, each with a view in it where the result belongs."""

    def view(order: tuple[int, ...], gap: int) -> tuple[Array, Array]:
        buffer = np.full([shape[d] + gap for d in order], SENTINEL, np.float32)
        inner = buffer[tuple(slice(gap // 2, gap // 2 + shape[d]) for d in order)]
        return buffer, inner.transpose(np.argsort(order))

    plain, last = tuple(range(len(shape))), (0, *range(2, len(shape)), 1)
    count = int(np.prod(shape))
    flat = np.full(count + 64, SENTINEL, np.float32)
    inside = flat[31 : 31 + count].reshape([shape[d] for d in last]).transpose(np.argsort(last))
    yield "channels-last between guards", flat, inside
    yield "channels-last with gaps", *view(last, 2)
    yield "row-major", *view(plain, 0)
    yield "row-major with gaps", *view(plain, 3)
    yield "reversed dimensions", *view(plain[::-1], 1)
    buffer, inner = view(last, 2)
    yield "backwards", buffer, inner[(slice(None, None, -1),) * len(shape)]


@pytest.mark.parametrize("one", CALLS, ids=IDS)
def test_writes_its_output_and_nothing_else(one: Call, isa: str) -> None:
    want = one.want()
    for name, buffer, y in result_views(want.shape):
        assert call(one.function, **one.arguments, **{one.output: y}) == (c_abi.OK, ""), name
        np.testing.assert_array_equal(y, want, name)
        y[...] = SENTINEL
        assert (buffer == SENTINEL).all(), name


def test_statistics_go_to_any_stride(isa: str) -> None:
    memory = np.full((38, 5), SENTINEL, np.float32)
    assert call("lucid_batch_norm_statistics", x=X, mean=memory[:, 1], var=memory[::-1, 3]) == (c_abi.OK, "")
    mean, var = _core.batch_norm_statistics(X)
    np.testing.assert_array_equal(memory[:, 1], mean)
    np.testing.assert_array_equal(memory[::-1, 3], var)
    assert (memory[:, ::2] == SENTINEL).all()


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda x: x.copy(),
        lambda x: x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    ],
    ids=["NCHW", "channels-last", "sliced", "backwards"],
)
def test_results_may_replace_an_input(lay_out: Callable[[Array], Array], isa: str) -> None:
    for function, name, arguments, want in [
        ("lucid_batch_norm", "x", NORM, _core.batch_norm(X, C, C, C, C, 1e-5, True)),
        ("lucid_relu", "x", {}, _core.relu(X)),
        ("lucid_add", "a", {"b": Z}, X + Z),
        ("lucid_add", "b", {"a": Z}, X + Z),
        ("lucid_sigmoid", "x", {}, _core.sigmoid(X)),
        ("lucid_mul", "a", {"b": LOGITS}, _core.mul(X, LOGITS)),
        ("lucid_softmax", "x", {"dim": 1}, _core.softmax(X, 1)),
    ]:
        x = lay_out(X)
        assert call(function, **arguments, **{name: x}, y=x) == (c_abi.OK, "")
        np.testing.assert_array_equal(x, want, function)
    for function, name, arguments, want in [
        ("lucid_relu_backward", "dy", {"y": Z}, _core.relu_backward(X, Z)),
        ("lucid_relu_backward", "y", {"dy": Z}, _core.relu_backward(Z, X)),
        ("lucid_sigmoid_backward", "dy", {"y": Z}, _core.sigmoid_backward(X, Z)),
        ("lucid_softmax_backward", "dy", {"y": Z, "dim": 1}, _core.softmax_backward(X, Z, 1, False)),
    ]:
        dx = lay_out(X)
        assert call(function, **arguments, **{name: dx}, dx=dx) == (c_abi.OK, "")
        np.testing.assert_array_equal(dx, want, function)


def test_add_of_an_array_to_itself_in_place(isa: str) -> None:
    x = X.copy()
    assert call("lucid_add", a=x, b=x, y=x) == (c_abi.OK, "")
    np.testing.assert_array_equal(x, X + X)


def test_refuses_the_same_memory_in_another_order() -> None:
    x = sample(9, 9)
    before = x.copy()
    for status, message in [call("lucid_relu", x=x, y=x.T), call("lucid_add", a=before, b=x.T, y=x)]:
        assert status == c_abi.INVALID_ARGUMENT
        assert "y must have the strides of" in message
    np.testing.assert_array_equal(x, before)
    status, message = call("lucid_relu_backward", dy=x, y=before, dx=x.T)
    assert status == c_abi.INVALID_ARGUMENT
    assert "dx must have the strides of dy where it is the same memory" in message


@pytest.mark.parametrize("one", CALLS, ids=IDS)
def test_refuses_results_of_another_shape(one: Call) -> None:
    shape = one.want().shape
    for wrong in [(*shape[:-1], shape[-1] + 1), (*shape, 1), (0, *shape[1:])]:
        y = np.full(wrong, SENTINEL, np.float32)
        status, message = call(one.function, **one.arguments, **{one.output: y})
        assert status == c_abi.INVALID_ARGUMENT
        named = one.refused or one.output
        assert message.startswith(one.function.removeprefix("lucid_") + f": {named} must have ")
        assert (y == SENTINEL).all()


@pytest.mark.parametrize("one", CALLS, ids=IDS)
def test_refuses_null_pointers(one: Call) -> None:
    y = np.empty_like(one.want())
    for name, value in {**one.arguments, one.output: y}.items():
        if not isinstance(value, np.ndarray) or name in OPTIONAL.get(one.function, set()):
            continue
        status, message = call(one.function, **{**one.arguments, one.output: y, name: None})
        assert status == c_abi.INVALID_ARGUMENT
        assert f": {name} must be a tensor, got NULL" in message
