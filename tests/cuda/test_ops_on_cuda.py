"""Every operator on DeviceArrays against float64, in each dtype, with any strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from conv2d_cases import Case, generated
from device_arrays import Array, assert_near, load, on_device, rounded

from lucid import _core

pytestmark = pytest.mark.cuda

_MOST_MULTIPLICATIONS = 300_000  # a simulated thread computes some 10 million in a second


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load()


def drawn(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    """Normal numbers that ``dtype`` has."""
    return rounded(rng.standard_normal(shape).astype(np.float32), dtype)


def sliced(x: Array) -> Array:
    """``x`` in the middle of a larger array, turned around in its last dimension."""
    larger = np.zeros([size + 2 for size in x.shape], x.dtype)
    middle: Array = larger[tuple(slice(1, -1) for _ in x.shape)][..., ::-1]
    middle[...] = x
    return middle


def strided(x: Array, dtype: str) -> Any:
    """``x`` on the device with the strides of ``sliced(x)``."""
    given = on_device(np.zeros([size + 2 for size in x.shape], np.float32), dtype)
    strides = (*given.strides[:-1], -given.strides[-1])
    itemsize = given.nbytes // given.size
    offset = sum(given.strides) + (x.shape[-1] - 1) * itemsize
    view = given.as_strided(x.shape, strides, offset)
    view.assign(on_device(x, dtype))
    return view


LAYOUTS: dict[str, Callable[[Array, str], Any]] = {
    "row-major": on_device,
    "channels-last": lambda x, dtype: on_device(x, dtype, "channels_last" if x.ndim == 4 else "C"),
    "sliced": strided,
}


@pytest.fixture(params=LAYOUTS)
def place(request: pytest.FixtureRequest) -> Callable[[Array, str], Any]:
    """Brings an array to the device, in one layout of memory after the other."""
    return LAYOUTS[request.param]


# ---- Convolutions --------------------------------------------------------------------------------

CASES = [case for case in generated(250) if case.multiplications <= _MOST_MULTIPLICATIONS][:40]


def run_conv2d(case: Case, x: Any, weight: Any, bias: Any, algorithm: str | None = None) -> Any:
    padding = (*case.padding, *case.padding)
    return _core.conv2d(x, weight, bias, case.stride, padding, case.dilation, case.groups, algorithm)


def operands(case: Case, rng: np.random.Generator, dtype: str) -> tuple[Array, Array, Array | None]:
    return case.fill(lambda shape: drawn(rng, dtype, *shape))


def check_conv2d(case: Case, got: Any, x: Array, weight: Array, bias: Array | None) -> None:
    want = reference.conv2d(x, weight, bias, **case.params)
    products = float(np.abs(x).max() * np.abs(weight).max())
    assert_near(got, want, case.terms, max(products, float(np.abs(bias).max()) if bias is not None else 0))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv2d(case: Case, dtype: str, rng: np.random.Generator) -> None:
    x, weight, bias = operands(case, rng, dtype)
    y = run_conv2d(case, *(on_device(part, dtype) for part in (x, weight, bias)))
    assert y.dtype.name == dtype
    check_conv2d(case, y, x, weight, bias)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 16])
def test_conv2d_by_every_algorithm(
    kernel: int, groups: int, dtype: str, place: Any, rng: np.random.Generator
) -> None:
    case = Case(2, 32, 32, (6, 5), (kernel, kernel), padding=(kernel // 2,) * 2, groups=groups, bias=True)
    x, weight, bias = operands(case, rng, dtype)
    given = [place(x, dtype), place(weight, dtype), place(bias, dtype)]
    padding = (*case.padding, *case.padding)
    names = _core.conv2d_algorithms(*given[:2], case.stride, padding, case.dilation, groups)
    assert names
    for name in names:
        check_conv2d(case, run_conv2d(case, *given, algorithm=name), x, weight, bias)


def test_conv2d_takes_a_bias_of_float32_beside_narrow_images(rng: np.random.Generator) -> None:
    case = Case(1, 4, 8, (5, 5), (3, 3), bias=True)
    x, weight, bias = operands(case, rng, "float16")
    y = run_conv2d(case, on_device(x, "float16"), on_device(weight, "float16"), on_device(bias))
    check_conv2d(case, y, x, weight, bias)
    with pytest.raises(ValueError, match="conv2d: weight must be float16, got float32"):
        run_conv2d(case, on_device(x, "float16"), on_device(weight), on_device(bias))


def test_an_algorithm_must_exist(rng: np.random.Generator) -> None:
    case = Case(1, 4, 8, (5, 5), (3, 3))
    x, weight, _ = operands(case, rng, "float32")
    with pytest.raises(ValueError, match=r"conv2d: algorithm 'magic' does not exist .* on cuda"):
        run_conv2d(case, on_device(x), on_device(weight), None, "magic")


# ---- Pools ---------------------------------------------------------------------------------------

POOLS = [
    ((2, 67, 7, 6), (3, 3), (2, 2), (1, 1), False),
    ((1, 8, 9, 8), (2, 2), (2, 2), (0, 0), True),
    ((3, 1, 6, 7), (3, 2), (1, 2), (1, 0), False),
    ((1, 33, 4, 4), (4, 4), (4, 4), (0, 0), False),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pool2d(pool: Any, dtype: str, place: Any, rng: np.random.Generator) -> None:
    shape, kernel, stride, padding, ceil_mode = pool
    x = drawn(rng, dtype, *shape)
    want, places = reference.max_pool2d_with_indices(x, kernel, stride, padding, 1, ceil_mode)
    given = (place(x, dtype), kernel, stride, padding * 2, (1, 1), ceil_mode)
    y, indices = _core.max_pool2d_with_indices(*given)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices.to_host(), places)
    for values in (y, _core.max_pool2d(*given)):
        np.testing.assert_array_equal(values.to_host().astype(np.float64), want)


@pytest.mark.parametrize(("counts", "divisor"), [(True, 0), (False, 0), (True, 5)])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_avg_pool2d(pool: Any, counts: bool, divisor: int, dtype: str, rng: np.random.Generator) -> None:
    shape, kernel, stride, padding, ceil_mode = pool
    x = drawn(rng, dtype, *shape)
    y = _core.avg_pool2d(on_device(x, dtype), kernel, stride, padding * 2, ceil_mode, counts, divisor)
    want = reference.avg_pool2d(x, kernel, stride, padding, ceil_mode, counts, divisor)
    assert_near(y, want, kernel[0] * kernel[1], float(np.abs(x).max()))


@pytest.mark.parametrize("output_size", [(1, 1), (3, 2), (7, 11)])
def test_adaptive_avg_pool2d(output_size: Any, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x = drawn(rng, dtype, 2, 19, 7, 8)
    y = _core.adaptive_avg_pool2d(place(x, dtype), output_size)
    assert_near(y, reference.adaptive_avg_pool2d(x, output_size), 56, float(np.abs(x).max()))


@pytest.mark.parametrize(("shape", "radix"), [((2, 64, 5, 7), 2), ((1, 33, 3, 3), 3), ((3, 20, 1, 1), 1)])
def test_radix_sum_pool(shape: Any, radix: int, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x = drawn(rng, dtype, *shape)
    y = _core.radix_sum_pool(place(x, dtype), radix)
    assert_near(y, reference.radix_sum_pool(x, radix), radix * shape[2] * shape[3], radix * np.abs(x).max())


# ---- Layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(2, 67, 5, 4), (5, 48, 11), (2, 1030), (1, 1, 3, 3)], ids=str)
def test_batch_norm(shape: Any, relu: bool, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x, c = drawn(rng, dtype, *shape), shape[1]
    weight, bias, mean = (drawn(rng, dtype, c) for _ in range(3))
    var = rounded(rng.uniform(0.25, 4, c).astype(np.float32), dtype)
    residual = drawn(rng, dtype, *shape)
    for parts in ((weight, bias), (None, bias), (weight, None), (None, None)):
        scaled = np.abs(reference.batch_norm(x, mean, var, parts[0])).max()
        want = reference.batch_norm(x, mean, var, *parts)
        # Vectors in the dtype of x, and in float32.
        for other in (dtype, "float32"):
            vectors = [None if part is None else place(part, other) for part in (*parts, mean, var)]
            largest = max(scaled, np.abs(bias).max())
            y = _core.batch_norm(place(x, dtype), *vectors, 1e-5, relu)
            assert_near(y, reference.relu(want) if relu else want, 2, largest)
            y = _core.batch_norm(place(x, dtype), *vectors, 1e-5, relu, place(residual, dtype))
            both = want + residual
            assert_near(y, reference.relu(both) if relu else both, 3, largest + np.abs(residual).max())


@pytest.mark.parametrize("shape", [(2, 67, 5, 4), (5, 48, 11), (70, 20)], ids=str)
def test_batch_norm_statistics(shape: Any, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x = drawn(rng, dtype, *shape)
    mean, var = _core.batch_norm_statistics(place(x, dtype))
    assert mean.dtype == var.dtype == np.float32
    terms = x.size // shape[1]
    want_mean, want_var = reference.batch_norm_statistics(x)
    assert_near(mean, want_mean, terms, float(np.abs(x).max()))
    assert_near(var, want_var, terms, float(np.abs(x).max()) ** 2)


@pytest.mark.parametrize(("radix", "cardinality"), [(2, 1), (1, 2), (3, 2), (4, 1)])
def test_split_attention(
    radix: int, cardinality: int, dtype: str, place: Any, rng: np.random.Generator
) -> None:
    channels = radix * cardinality * 17
    x, logits = drawn(rng, dtype, 2, channels, 5, 3), drawn(rng, dtype, 2, channels)
    y = _core.split_attention(place(x, dtype), place(logits, dtype), radix, cardinality)
    want = reference.split_attention(x, logits, radix, cardinality)
    assert_near(y, want, radix + 4, float(np.abs(x).max()))


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "groups"), [(1, 64, 10, 1), (5, 33, 7, 1), (3, 24, 8, 4)]
)
def test_linear(
    rows: int, inputs: int, outputs: int, groups: int, dtype: str, place: Any, rng: np.random.Generator
) -> None:
    x, bias = drawn(rng, dtype, rows, inputs), drawn(rng, dtype, outputs)
    weight = drawn(rng, dtype, outputs, inputs // groups)
    slices = zip(np.split(x, groups, 1), np.split(weight, groups), np.split(bias, groups), strict=True)
    want = np.concatenate([reference.linear(*part) for part in slices], axis=1)
    y = _core.linear(place(x, dtype), place(weight, dtype), place(bias, dtype), groups)
    assert_near(y, want, inputs + 1, max(float(np.abs(x).max() * np.abs(weight).max()), np.abs(bias).max()))


# ---- Elementwise ---------------------------------------------------------------------------------

SHAPES = [(), (7,), (3, 1), (2, 19, 3, 4), (2, 3, 2, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu_sigmoid_and_add(shape: Any, dtype: str, rng: np.random.Generator) -> None:
    x, other = drawn(rng, dtype, *shape), drawn(rng, dtype, *shape)
    for place in LAYOUTS.values() if shape else [on_device]:
        given = place(x, dtype)
        assert_near(_core.relu(given), reference.relu(x), 1)
        assert_near(_core.sigmoid(given), reference.sigmoid(x), 4)
        assert_near(_core.add(given, on_device(other, dtype)), x.astype(np.float64) + other, 1)
        in_place = _core.relu(given, True)
        assert in_place.data_ptr == given.data_ptr
        assert_near(given, reference.relu(x), 1)


def test_mul(dtype: str, place: Any, rng: np.random.Generator) -> None:
    x, factors = drawn(rng, dtype, 2, 19, 3, 4), drawn(rng, dtype, 2, 19)
    want = x.astype(np.float64) * factors[:, :, None, None]
    assert_near(_core.mul(place(x, dtype), place(factors, dtype)), want)


@pytest.mark.parametrize("shape", [(7,), (3, 1), (5, 100), (2, 19, 3, 4)], ids=str)
def test_softmax(shape: Any, dtype: str, place: Any, rng: np.random.Generator) -> None:
    x = rounded((10 * rng.standard_normal(shape)).astype(np.float32), dtype)
    for dim in range(-len(shape), len(shape)):
        assert_near(_core.softmax(place(x, dtype), dim), reference.softmax(x, dim), factor=80)
        assert_near(_core.softmax(place(x, dtype), dim, True), reference.log_softmax(x, dim), factor=4)


def test_softmax_does_not_depend_on_strides(rng: np.random.Generator) -> None:
    x = drawn(rng, "float32", 3, 70, 5, 4)
    results = [_core.softmax(place(x, "float32"), 1).to_host() for place in LAYOUTS.values()]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_what_vectors_cannot_be_loaded_from_is_copied() -> None:
    """Kernels load 16 bytes at once, which a GPU does from multiples of 16 only."""
    memory = on_device(np.zeros(4 * 1024 + 4))

    def held(offset: int) -> int:
        x = memory.as_strided((4, 1024), (4096, 4), offset)
        _core.cuda_release_memory()
        before = _core.cuda_memory(0)[1]
        _core.softmax(x, 1)
        return _core.cuda_memory(0)[1] - before

    assert held(0) == held(16)
    for offset in (4, 8, 12):
        assert held(offset) == held(0) + 4 * 4096


# ---- All of them ---------------------------------------------------------------------------------

WEIGHT, BIAS = np.ones((8, 4, 3, 3), np.float32), np.ones(8, np.float32)
ONE = (1, 1)
OPERATORS: dict[str, Callable[[Callable[..., Any], Any], Any]] = {
    "conv2d": lambda to, x: _core.conv2d(x, to(WEIGHT), None, ONE, (1, 1, 1, 1), ONE, 1),
    "max_pool2d": lambda to, x: _core.max_pool2d(x, (2, 2), ONE, (0, 0, 0, 0), ONE, False),
    "avg_pool2d": lambda to, x: _core.avg_pool2d(x, (2, 2), ONE, (0, 0, 0, 0), False, True),
    "adaptive_avg_pool2d": lambda to, x: _core.adaptive_avg_pool2d(x, (2, 2)),
    "radix_sum_pool": lambda to, x: _core.radix_sum_pool(x, 2),
    "batch_norm": lambda to, x: _core.batch_norm(x, None, None, to(BIAS[:4]), to(BIAS[:4]), 1e-5),
    "relu": lambda to, x: _core.relu(x),
    "sigmoid": lambda to, x: _core.sigmoid(x),
    "softmax": lambda to, x: _core.softmax(x, 1),
    "add": lambda to, x: _core.add(x, x),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_empty_batch_has_the_shape_of_the_cpu(name: str, dtype: str) -> None:
    x = np.zeros((0, 4, 5, 6), np.float32)
    y = OPERATORS[name](lambda part: on_device(part, dtype), on_device(x, dtype))
    assert y.shape == OPERATORS[name](lambda part: part, x).shape
    assert y.to_host().size == 0


def test_operands_of_two_devices_are_refused(rng: np.random.Generator) -> None:
    x = drawn(rng, "float32", 1, 4, 5, 5)
    for first, second, where in (
        (on_device(x), WEIGHT, "x on cuda:0 and weight on the CPU"),
        (x, on_device(WEIGHT), "x on the CPU and weight on cuda:0"),
    ):
        with pytest.raises(ValueError, match=f"conv2d: all tensors must be on one device, got {where}"):
            _core.conv2d(first, second, None, ONE, (0, 0, 0, 0), ONE, 1)
    with pytest.raises(
        ValueError, match="add: all tensors must be on one device, got a on cuda:0 and b on the CPU"
    ):
        _core.add(on_device(x), x)


@pytest.mark.parametrize("dtype", ["float64", "int32", "int64"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"relu: x must be float32, float16 or bfloat16, got {dtype}"):
        _core.relu(_core.device_array(np.zeros(3, dtype), 0))
