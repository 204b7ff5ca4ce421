"""max_pool2d, avg_pool2d and radix_sum_pool against float64, and against PyTorch's rules for shapes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import reference
from invariance import assert_layouts_agree, assert_rows_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]
Pair = tuple[int, int]


class Case(NamedTuple):
    shape: tuple[int, int, int, int]
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def max_pool(self, x: Array) -> Array:
        return _core.max_pool2d(x, self.kernel, self.stride, self.padding * 2, self.dilation, self.ceil_mode)

    def avg_pool(self, x: Array, count_include_pad: bool) -> Array:
        return _core.avg_pool2d(
            x, self.kernel, self.stride, self.padding * 2, self.ceil_mode, count_include_pad
        )


CASES = [
    Case((1, 64, 15, 15), (3, 3), (2, 2), (1, 1)),  # the stem's pool, and split attention's
    Case((2, 67, 13, 11), (3, 3), (2, 2), (1, 1), ceil_mode=True),
    Case((1, 128, 9, 8), (2, 2), (2, 2), ceil_mode=True),  # the shortcut's pool
    Case((3, 1, 6, 7), (3, 2), (1, 2), (1, 0)),
    Case((1, 3, 17, 1), (3, 1), (2, 1), (1, 0)),
    Case((2, 5, 1, 9), (1, 4), (1, 3), (0, 2), ceil_mode=True),
    Case((1, 17, 7, 7), (7, 7), (1, 1)),
    Case((1, 31, 8, 9), (5, 4), (3, 1), (2, 2)),
    Case((2, 33, 4, 4), (5, 5), (2, 2), ceil_mode=True),  # wider than the image
    Case((1, 4, 5, 5), (9, 9), (1, 1), (4, 4)),
    Case((1, 8, 3, 3), (2, 2), (5, 5)),  # pixels between the windows
    Case((2, 129, 3, 3), (1, 1), (1, 1)),
]
DILATED = [
    Case((1, 20, 9, 10), (3, 3), (1, 1), (1, 1), (2, 2)),
    Case((2, 65, 11, 7), (2, 3), (2, 1), (1, 1), (3, 2), ceil_mode=True),
    Case((1, 16, 12, 5), (4, 1), (1, 1), (2, 0), (2, 1)),
]


def image(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES + DILATED, ids=str)
def test_max_pool_is_exact(case: Case, isa: str, rng: np.random.Generator) -> None:
    x = image(rng, case.shape)
    y = case.max_pool(x)
    np.testing.assert_array_equal(y, reference.max_pool2d(x, *case[1:]))
    assert y.dtype == np.float32
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous, "results are channels-last in memory"


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_avg_pool_matches_reference(
    case: Case, count_include_pad: bool, isa: str, rng: np.random.Generator
) -> None:
    x = image(rng, case.shape)
    want = reference.avg_pool2d(x, case.kernel, case.stride, case.padding, case.ceil_mode, count_include_pad)
    y = case.avg_pool(x, count_include_pad)
    assert_close(y, want, products=float(np.abs(x).max()))
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("case", CASES, ids=str)
def test_avg_pool_of_integers_rounds_once(case: Case, isa: str, rng: np.random.Generator) -> None:
    x = rng.integers(-999, 1000, case.shape).astype(np.float32)
    want = reference.avg_pool2d(x, case.kernel, case.stride, case.padding, case.ceil_mode)
    np.testing.assert_array_equal(case.avg_pool(x, True), want.astype(np.float32))


def test_nan_and_infinity_come_through(isa: str, rng: np.random.Generator) -> None:
    case = Case((1, 21, 9, 9), (3, 3), (2, 2), (1, 1))
    x = image(rng, case.shape)
    x[0, :, 4, 4] = np.nan
    x[0, 20, 0, 0] = np.nan
    x[0, ::2, 7, 1] = np.inf
    x[0, 1::2, 7, 7] = -np.inf
    np.testing.assert_array_equal(case.max_pool(x), reference.max_pool2d(x, *case[1:]))
    with np.errstate(invalid="ignore"):
        want = reference.avg_pool2d(x, case.kernel, case.stride, case.padding)
    y = case.avg_pool(x, True)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    np.testing.assert_array_equal(y[np.isinf(want)], want[np.isinf(want)].astype(np.float32))


def test_padding_never_wins_the_maximum(isa: str) -> None:
    x = np.full((1, 5, 3, 3), -np.inf, np.float32)
    np.testing.assert_array_equal(_core.max_pool2d(x, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), False), x)
    negative = np.full((1, 5, 3, 3), -2.0, np.float32)
    np.testing.assert_array_equal(
        _core.max_pool2d(negative, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), False), negative
    )


def test_window_that_steps_over_the_image_is_minus_infinity(isa: str) -> None:
    x = np.zeros((1, 3, 1, 1), np.float32)
    y = _core.max_pool2d(x, (2, 2), (1, 1), (1, 1, 1, 1), (2, 2), False)
    np.testing.assert_array_equal(y, np.full((1, 3, 1, 1), -np.inf, np.float32))


def test_huge_window_is_clipped_before_it_is_walked(isa: str) -> None:
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    half = 2**40
    window, padding = (2 * half, 2 * half), (half, half, half, half)
    y = _core.max_pool2d(x, window, (1, 1), padding, (1, 1), False)
    np.testing.assert_array_equal(y, np.broadcast_to(x.max((2, 3), keepdims=True), (1, 2, 5, 5)))
    mean = _core.avg_pool2d(x, window, (1, 1), padding, False, False)
    np.testing.assert_array_equal(mean, np.broadcast_to(x.mean((2, 3), keepdims=True), (1, 2, 5, 5)))


# ---- PyTorch's rules ---------------------------------------------------------------------------------------


def small_windows() -> Iterator[tuple[int, int, int, int, int, bool]]:
    sizes = itertools.product(range(1, 8), range(1, 5), range(1, 5), range(3), range(1, 3), (False, True))
    return (case for case in sizes if case[3] <= case[1] // 2)


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch on one thread: it starts two for three pixels, which takes longer than the pooling."""
    module = pytest.importorskip("torch")
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)


def agrees_with_torch(ours: Any, theirs: Any, x: Array, *arguments: Any) -> bool:
    """Whether both compute, and then the same; both must refuse otherwise."""
    try:
        want = theirs(x, *arguments)
    except RuntimeError:
        with pytest.raises(ValueError, match=r"(max|avg)_pool2d: the window must fit"):
            ours(x, *arguments)
        return False
    got = ours(x, *arguments)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(np.float32).eps, atol=0, err_msg=str(arguments))
    return True


def test_shapes_and_values_are_those_of_torch(torch: Any, rng: np.random.Generator) -> None:
    def max_pool_of_pairs(x: Array, kernel: Pair, stride: Pair, padding: Pair, *arguments: Any) -> Array:
        return _core.max_pool2d(x, kernel, stride, (*padding, *padding), *arguments)

    def avg_pool_of_pairs(x: Array, kernel: Pair, stride: Pair, padding: Pair, *arguments: Any) -> Array:
        return _core.avg_pool2d(x, kernel, stride, (*padding, *padding), *arguments)

    def torch_max_pool(x: Array, *arguments: Any) -> Array:
        return torch.nn.functional.max_pool2d(torch.from_numpy(x), *arguments).numpy()

    def torch_avg_pool(x: Array, *arguments: Any) -> Array:
        return torch.nn.functional.avg_pool2d(torch.from_numpy(x), *arguments).numpy()

    results = []
    for size, kernel, stride, padding, dilation, ceil_mode in small_windows():
        x = rng.integers(1, 99, (1, 3, size, 5)).astype(np.float32)
        window = ((kernel, 2), (stride, 1), (padding, 0))
        maximum = (max_pool_of_pairs, torch_max_pool, x, *window, (dilation, 1), ceil_mode)
        results.append(agrees_with_torch(*maximum))
        if dilation == 1:
            average = (avg_pool_of_pairs, torch_avg_pool, x, *window, ceil_mode)
            results += [agrees_with_torch(*average, count) for count in (False, True)]
    assert sum(results) > 1000
    assert len(results) - sum(results) > 100


# ---- radix_sum_pool ----------------------------------------------------------------------------------------

GLOBAL = [
    ((1, 64, 7, 7), 1),
    ((2, 134, 9, 5), 2),
    ((3, 3, 1, 1), 3),
    ((1, 17, 1, 13), 1),
    ((2, 48, 8, 8), 4),
    ((1, 5, 33, 31), 5),
    ((2, 258, 3, 3), 2),
]


@pytest.mark.parametrize(("shape", "radix"), GLOBAL)
def test_global_avg_pool_matches_reference(
    shape: tuple[int, int, int, int], radix: int, isa: str, rng: np.random.Generator
) -> None:
    x = image(rng, shape)
    y = _core.radix_sum_pool(x, radix)
    # A mean of products by 1 / (h * w), radix * h * w of them.
    area = shape[2] * shape[3]
    assert_close(
        y, reference.radix_sum_pool(x, radix), terms=radix * area, products=float(np.abs(x).max()) / area
    )
    assert y.shape == (shape[0], shape[1] // radix)
    assert y.flags.c_contiguous


@pytest.mark.parametrize(("shape", "radix"), GLOBAL)
def test_global_avg_pool_of_integers_rounds_once(
    shape: tuple[int, int, int, int], radix: int, isa: str, rng: np.random.Generator
) -> None:
    x = rng.integers(-99, 100, shape).astype(np.float32)
    want = reference.radix_sum_pool(x, radix).astype(np.float32)
    np.testing.assert_array_equal(_core.radix_sum_pool(x, radix), want)


# ---- the same numbers, whatever the threads, the memory and the neighbours ---------------------------------

FUNCTIONS = {
    "max": lambda x: _core.max_pool2d(x, (3, 3), (2, 1), (1, 1, 1, 1), (1, 2), False),
    "average": lambda x: _core.avg_pool2d(x, (3, 2), (2, 2), (1, 1, 1, 1), True, True),
    "global": lambda x: _core.radix_sum_pool(x, 1),
    "radix": lambda x: _core.radix_sum_pool(x, 3),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("shape", [(3, 3, 7, 6), (3, 69, 23, 22)], ids=str)
def test_result_depends_on_values_only(
    function: Any, shape: tuple[int, ...], isa: str, rng: np.random.Generator
) -> None:
    x = image(rng, shape)
    assert_layouts_agree(function, x)
    assert_threads_agree(lambda: function(x))
    assert_rows_agree(function, x)


# ---- what is refused ---------------------------------------------------------------------------------------

X = np.zeros((2, 6, 5, 4), np.float32)


def max_pool(
    x: Any = X, kernel: Any = (3, 3), stride: Any = (2, 2), padding: Any = (1, 1), dilation: Any = (1, 1)
) -> Any:
    return _core.max_pool2d(x, kernel, stride, (*padding, *padding), dilation, False)


def avg_pool(x: Any = X, kernel: Any = (3, 3), stride: Any = (2, 2), padding: Any = (1, 1)) -> Any:
    return _core.avg_pool2d(x, kernel, stride, (*padding, *padding), False, True)


BAD: dict[str, tuple[Any, str]] = {
    "rank": (lambda: max_pool(X[0]), r"max_pool2d: x must have 4 dimensions, got 3"),
    "dtype": (lambda: avg_pool(X.astype(np.float64)), r"avg_pool2d: x must be float32, got float64"),
    "empty image": (
        lambda: avg_pool(X[:, :, :0]),
        r"avg_pool2d: sizes of x must be positive, but for the batch, got \(2, 6, 0, 4\)",
    ),
    "kernel": (lambda: max_pool(kernel=(3, 0)), r"max_pool2d: kernel_size must be positive, got \(3, 0\)"),
    "stride": (lambda: avg_pool(stride=(-1, 2)), r"avg_pool2d: stride must be positive, got \(-1, 2\)"),
    "dilation": (lambda: max_pool(dilation=(0, 1)), r"max_pool2d: dilation must be positive, got \(0, 1\)"),
    "padding": (
        lambda: max_pool(padding=(-1, 0)),
        r"max_pool2d: padding must be between 0 and half of kernel_size",
    ),
    "wide padding": (
        lambda: avg_pool(padding=(1, 2)),
        r"avg_pool2d: padding must be between 0 and half of kernel_size \(3, 3\), got \(1, 2, 1, 2\)",
    ),
    "no window": (
        lambda: max_pool(kernel=(3, 7), padding=(0, 0)),
        r"max_pool2d: the window must fit into the padded image, got image \(5, 4\), kernel_size \(3, 7\)",
    ),
    "far taps": (lambda: max_pool(dilation=(2**62, 1)), r"max_pool2d: y must have at most"),
    "huge kernel": (
        lambda: avg_pool(kernel=(2**63 - 1, 1), padding=(0, 0)),
        r"avg_pool2d: the window must fit",
    ),
    "global rank": (
        lambda: _core.radix_sum_pool(X[0], 1),
        r"radix_sum_pool: x must have 4 dimensions, got 3",
    ),
    "global empty": (
        lambda: _core.radix_sum_pool(X[:, :0], 1),
        r"radix_sum_pool: sizes of x must be positive",
    ),
    "radix": (lambda: _core.radix_sum_pool(X, 0), r"radix_sum_pool: radix must be positive, got 0"),
    "radix divides": (
        lambda: _core.radix_sum_pool(X, 4),
        r"radix_sum_pool: radix \(4\) must divide the channels of x, got 6",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_refuses_other_types() -> None:
    for x in ([[0.0]], np.zeros((1, 1, 2, 2), object), np.zeros((1, 1, 2, 2), ">f4")):
        with pytest.raises(TypeError, match=r"(max|avg|global_avg)_pool2d: x must"):
            max_pool(x)
        with pytest.raises(TypeError, match=r"radix_sum_pool: x must"):
            _core.radix_sum_pool(x, 1)


def test_result_too_large_for_any_memory_is_an_error() -> None:
    """Strides of 0 make a tensor of any size out of one float."""
    x = np.broadcast_to(np.float32(1), (2**30, 2**28, 1, 1))
    with pytest.raises(ValueError, match=r"max_pool2d: y must have at most"):
        max_pool(x, (8, 8), (1, 1), (4, 4))
    with pytest.raises(
        MemoryError, match=r"max_pool2d: no memory for a result of shape \(1048576, 268435456, 1, 1\)"
    ):
        max_pool(x[: 2**20], (1, 1), (1, 1), (0, 0))
