"""Bad input to any operator ends in an error that names it: never a crash, never a silent wrong answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import lucid
from lucid.nn import functional as F

HUGE = 2**62


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


# Each operator as a function of its first argument, valid for an image of shape 2 x 8 x 5 x 5.
OPERATORS: dict[str, Callable[[np.ndarray], object]] = {
    "conv2d": lambda x: F.conv2d(x, ones(4, 8, 3, 3)),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "global_avg_pool2d": lambda x: F.global_avg_pool2d(x),
    "radix_sum_pool": lambda x: F.radix_sum_pool(x, 2),
    "batch_norm": lambda x: F.batch_norm(x, ones(8), ones(8)),
    "batch_norm_training": lambda x: F.batch_norm(x, None, None, training=True),
    "split_attention": lambda x: F.split_attention(x, ones(2, 8), 2),
}
SPOKEN = {"batch_norm_training": "batch_norm"}


def valid() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 8, 5, 5), dtype=np.float32)


@pytest.fixture(params=OPERATORS)
def operator(request) -> tuple[str, Callable[[np.ndarray], object]]:
    return SPOKEN.get(request.param, request.param), OPERATORS[request.param]


def test_the_valid_input_is_valid(operator):
    assert operator[1](valid()) is not None


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool", "complex64"])
def test_other_dtypes_are_refused(operator, dtype):
    name, call = operator
    with pytest.raises((ValueError, TypeError), match=rf"{name}.*{dtype}"):
        call(valid().astype(dtype))


@pytest.mark.parametrize("dtype", [object, ">f4", np.dtype([("a", "f4")]), "U1", "V4"], ids=str)
def test_dtypes_that_are_no_numbers_are_refused(operator, dtype):
    name, call = operator
    with pytest.raises(TypeError, match=name):
        call(np.empty((2, 8, 5, 5), dtype))


@pytest.mark.parametrize("value", [[[1.0]], 1.0, None, "image", object(), b"bytes"], ids=str)
def test_other_types_are_refused(value):
    for name, call in OPERATORS.items():
        op = "batch_norm" if name == "batch_norm_training" else name
        with pytest.raises(TypeError, match=f"{op}: .* must be a lucid.Tensor or numpy.ndarray, got"):
            call(value)


@pytest.mark.parametrize("shape", [(), (8,), (8, 5, 5, 1, 1)])
def test_wrong_ranks_are_refused(operator, shape):
    name, call = operator
    with pytest.raises(ValueError, match=name):
        call(ones(*shape))


@pytest.mark.parametrize("shape", [(2, 0, 5, 5), (2, 8, 0, 5), (2, 8, 5, 0)])
def test_empty_images_are_refused(operator, shape):
    name, call = operator
    with pytest.raises(ValueError, match=name):
        call(ones(*shape))


def test_shapes_that_overflow_are_refused(operator):
    _, call = operator
    # A view of one number: NumPy itself counts its elements right, products of its sides in 32 bits do not.
    x = np.broadcast_to(np.float32(1), (2**10, 8, 2**15, 2**15))
    with pytest.raises((ValueError, MemoryError)):
        call(x)


def test_inputs_of_any_strides_give_the_same(operator):
    _, call = operator
    x = valid()
    want = np.asarray(call(x))
    wide = np.zeros((4, 16, 10, 15), np.float32)
    wide[::2, ::2, ::2, ::3] = x
    mirrored = np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1]
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    frozen = x.copy()
    frozen.flags.writeable = False
    for same in (wide[::2, ::2, ::2, ::3], mirrored, channels_last, frozen, lucid.Tensor(x)):
        np.testing.assert_array_equal(np.asarray(call(same)), want)
        np.testing.assert_array_equal(np.asarray(same), x)


def test_floats_at_odd_addresses_are_refused(operator):
    name, call = operator
    x = np.frombuffer(b"\0" + valid().tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 8, 5, 5)
    with pytest.raises(ValueError, match=f"{name}.* must be aligned"):
        call(x)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "batch_norm", "split_attention", "conv2d"])
def test_nan_stays_where_it_is(name):
    x = valid()
    x[1, 3, 2, 2] = np.nan
    y = np.asarray(OPERATORS[name](x))
    assert np.isnan(y[1]).any()
    assert not np.isnan(y[0]).any()


@pytest.mark.parametrize(
    "value", [1.5, True, "3", None, (1,), (1, 2, 3), (1, 2.0), (1, True), np.float32(2)], ids=str
)
@pytest.mark.parametrize("argument", ["stride", "padding", "dilation"])
def test_conv2d_pairs_must_be_ints(argument, value):
    if argument == "padding" and isinstance(value, str):
        pytest.skip("a str is another kind of padding")
    with pytest.raises(TypeError, match=f"conv2d: {argument} must be an int or a pair of ints, got "):
        F.conv2d(valid(), ones(4, 8, 3, 3), **{argument: value})


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 0},
        {"stride": -1},
        {"stride": (1, 0)},
        {"padding": -1},
        {"dilation": 0},
        {"dilation": 5},
        {"groups": 0},
        {"groups": -2},
        {"groups": 3},
        {"groups": 2},
        {"padding": HUGE},
        {"dilation": HUGE},
        {"groups": HUGE},
        {"padding": 2**31},
        {"stride": 2**80},
        {"groups": -(2**80)},
    ],
    ids=str,
)
def test_conv2d_values_out_of_range_are_refused(arguments):
    with pytest.raises((ValueError, MemoryError), match="conv2d"):
        F.conv2d(valid(), ones(4, 8, 3, 3), **arguments)


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        (ones(4, 7, 3, 3), None),
        (ones(4, 8, 3), None),
        (ones(4, 8, 6, 6), None),
        (ones(0, 8, 3, 3), None),
        (ones(4, 8, 0, 3), None),
        (ones(4, 8, 3, 3), ones(3)),
        (ones(4, 8, 3, 3), ones(4, 1)),
        (ones(4, 8, 3, 3).astype(np.float64), None),
        (ones(4, 8, 3, 3), ones(4).astype(np.float64)),
    ],
)
def test_conv2d_weights_must_fit(weight, bias):
    with pytest.raises(ValueError, match="conv2d"):
        F.conv2d(valid(), weight, bias)


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 0},
        {"kernel_size": 7},
        {"kernel_size": 2, "stride": 0},
        {"kernel_size": 2, "padding": -1},
        {"kernel_size": 2, "padding": 2},
        {"kernel_size": HUGE},
        {"kernel_size": 2**80},
    ],
    ids=str,
)
def test_pool_values_out_of_range_are_refused(pool, arguments):
    with pytest.raises((ValueError, MemoryError), match=pool.__name__):
        pool(valid(), **arguments)


@pytest.mark.parametrize(
    "statistics", [(ones(7), ones(8)), (ones(8), ones(8, 1)), (ones(8), ones(8).astype("f8"))]
)
def test_batch_norm_statistics_must_fit(statistics):
    with pytest.raises(ValueError, match="batch_norm"):
        F.batch_norm(valid(), *statistics)


@pytest.mark.parametrize("eps", [float("nan"), -1.0, float("-inf")])
def test_batch_norm_eps_must_make_sense(eps):
    with pytest.raises(ValueError, match="batch_norm: eps must"):
        F.batch_norm(valid(), ones(8), ones(8), eps=eps)


@pytest.mark.parametrize(
    ("logits", "radix", "cardinality"),
    [
        (ones(2, 7), 2, 1),
        (ones(1, 8), 2, 1),
        (ones(8), 2, 1),
        (ones(2, 8, 1), 2, 1),
        (ones(2, 8), 3, 1),
        (ones(2, 8), 0, 1),
        (ones(2, 8), -2, 1),
        (ones(2, 8), 2, 3),
        (ones(2, 8), 2, 0),
        (ones(2, 8), HUGE, HUGE),
        (ones(2, 8), 2**80, 1),
    ],
)
def test_split_attention_arguments_must_fit(logits, radix, cardinality):
    with pytest.raises(ValueError, match="split_attention"):
        F.split_attention(valid(), logits, radix, cardinality)


@pytest.mark.parametrize(
    ("x", "weight", "bias"),
    [
        (ones(2, 3), ones(4, 5), None),
        (ones(2, 3), ones(4), None),
        (ones(2, 3), ones(4, 3), ones(3)),
        (ones(2, 0), ones(4, 0), None),
        (ones(), ones(4, 3), None),
        (ones(2, 3).astype("f8"), ones(4, 3), None),
    ],
)
def test_linear_arguments_must_fit(x, weight, bias):
    with pytest.raises(ValueError, match="linear"):
        F.linear(x, weight, bias)


def test_relu_refuses_what_it_cannot_write():
    frozen = ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="relu"):
        F.relu(frozen, inplace=True)
    with pytest.raises(ValueError, match=r"relu.*float64"):
        F.relu(np.ones(3))
    with pytest.raises(TypeError, match=r"relu: input must be a lucid\.Tensor or numpy\.ndarray, got list"):
        F.relu([1.0])  # type: ignore[arg-type]


def test_relu_in_place_on_overlapping_memory_is_refused_or_right():
    x = np.broadcast_to(np.float32(-1), (3, 4)).copy()[:, ::2]
    F.relu(x, inplace=True)
    assert not x.any()
