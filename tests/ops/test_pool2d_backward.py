"""Gradients of max_pool2d, avg_pool2d, adaptive_avg_pool2d and radix_sum_pool against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
import reference_gradients as gradients
from invariance import assert_layouts_agree, assert_rows_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

# Image, kernel, stride, padding (top, left, bottom, right), dilation, ceil_mode.
WINDOWS = [
    ((2, 19, 9, 8), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False),
    ((1, 64, 8, 8), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False),
    ((3, 5, 7, 10), (3, 2), (1, 3), (1, 0, 0, 1), (1, 1), True),
    ((1, 33, 6, 5), (3, 3), (2, 1), (1, 1, 1, 1), (2, 2), True),
    ((2, 7, 4, 11), (1, 1), (2, 3), (0, 0, 0, 0), (1, 1), False),
    ((1, 17, 5, 4), (5, 4), (1, 1), (2, 2, 2, 2), (1, 1), False),
    ((1, 3, 9, 9), (2, 2), (5, 5), (1, 1, 1, 1), (3, 3), False),
]
IMAGES = [(2, 19, 9, 8), (1, 64, 7, 7), (3, 5, 4, 10)]


def pairs(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[2], shape[3]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_max_pool2d(window: Any, isa: str, rng: np.random.Generator) -> None:
    shape, *rest = window
    x = rng.integers(-9, 10, shape).astype(np.float32)
    _, indices = _core.max_pool2d_with_indices(x, *rest)
    dy = rng.integers(-99, 100, indices.shape).astype(np.float32)
    want = gradients.max_pool2d(dy, indices, pairs(shape))

    def run(dy: Array, indices: Array = indices) -> Array:
        return _core.max_pool2d_backward(dy, indices, *pairs(shape), *rest)

    np.testing.assert_array_equal(run(dy), want)
    for laid_out in (
        np.ascontiguousarray(indices),
        np.asfortranarray(indices),
        indices[::-1, ::-1].copy()[::-1, ::-1],
    ):
        np.testing.assert_array_equal(run(dy, laid_out), want)
    assert_layouts_agree(run, dy)
    assert_rows_agree(run, dy, indices)
    assert_threads_agree(lambda: run(dy))
    assert run(dy).transpose(0, 2, 3, 1).flags.c_contiguous


def test_max_pool2d_gives_nan_to_its_own_pixel(isa: str) -> None:
    dy, indices = np.zeros((1, 19, 2, 2), np.float32), np.full((1, 19, 2, 2), 5)
    dy[0, :, 1, 1] = np.nan
    indices[0, :, 1, 1] = 10
    dx = _core.max_pool2d_backward(dy, indices, 4, 4, (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), False)
    np.testing.assert_array_equal(np.isnan(dx).reshape(19, 16), np.tile(np.arange(16) == 10, (19, 1)))


@pytest.mark.parametrize("index", [-1, 9, 16, 2**40, -(2**62), 15])
def test_max_pool2d_reads_and_writes_nothing_for_a_wrong_index(index: int, isa: str) -> None:
    indices = np.full((1, 5, 1, 1), index)
    dx = _core.max_pool2d_backward(
        np.ones((1, 5, 1, 1), np.float32), indices, 4, 4, (2, 2), (4, 4), (0, 0, 0, 0), (1, 1), False
    )
    np.testing.assert_array_equal(dx, np.zeros((1, 5, 4, 4)))


@pytest.mark.parametrize("options", [(True, 0), (False, 0), (False, 7)], ids=str)
@pytest.mark.parametrize("window", [w for w in WINDOWS if w[4] == (1, 1)], ids=str)
def test_avg_pool2d(window: Any, options: tuple[bool, int], isa: str, rng: np.random.Generator) -> None:
    shape, kernel, stride, padding, _, ceil_mode = window
    given = (kernel, stride, padding, ceil_mode, *options)
    y = reference.avg_pool2d(np.zeros(shape), *given)
    dy = rng.standard_normal(y.shape).astype(np.float32)

    def run(dy: Array) -> Array:
        return _core.avg_pool2d_backward(dy, *pairs(shape), *given)

    want = gradients.avg_pool2d(dy, pairs(shape), *given)
    assert_close(run(dy), want, terms=kernel[0] * kernel[1], products=float(np.abs(dy).max()))
    assert_layouts_agree(run, dy)
    assert_rows_agree(run, dy)
    assert_threads_agree(lambda: run(dy))


def test_avg_pool2d_divides_once(isa: str, rng: np.random.Generator) -> None:
    dy = rng.standard_normal((2, 21, 3, 3)).astype(np.float32)
    dx = _core.avg_pool2d_backward(dy, 9, 9, (3, 3), (3, 3), (0, 0, 0, 0), False, True, 0)
    np.testing.assert_array_equal(dx, (dy / np.float32(9)).repeat(3, 2).repeat(3, 3))


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 2), (11, 13)])
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_adaptive_avg_pool2d(
    shape: tuple[int, ...], size: tuple[int, int], isa: str, rng: np.random.Generator
) -> None:
    dy = rng.standard_normal((*shape[:2], *size)).astype(np.float32)
    want = gradients.adaptive_avg_pool2d(dy, pairs(shape))
    dx = _core.adaptive_avg_pool2d_backward(dy, *pairs(shape))
    assert_close(dx, want, terms=16, products=float(np.abs(dy).max()))
    assert_threads_agree(lambda: _core.adaptive_avg_pool2d_backward(dy, *pairs(shape)))


@pytest.mark.parametrize("radix", [1, 2, 3])
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_radix_sum_pool(shape: tuple[int, ...], radix: int, isa: str, rng: np.random.Generator) -> None:
    dy = rng.standard_normal(shape[:2]).astype(np.float32)

    def run(dy: Array) -> Array:
        return _core.radix_sum_pool_backward(dy, radix, *pairs(shape))

    np.testing.assert_array_equal(
        run(dy), gradients.radix_sum_pool(dy, radix, pairs(shape)).astype(np.float32)
    )
    assert_layouts_agree(run, dy)
    assert_threads_agree(lambda: run(dy))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_agrees_with_torch(window: Any, isa: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    shape, kernel, stride, padding, dilation, ceil_mode = window
    if padding[:2] != padding[2:]:
        pytest.skip("torch pads both sides alike")
    values = torch.tensor(rng.standard_normal(shape).astype(np.float32))
    functional = torch.nn.functional
    x = values.clone().requires_grad_()
    y, indices = functional.max_pool2d(
        x, kernel, stride, padding[:2], dilation, ceil_mode, return_indices=True
    )
    dy = torch.tensor(rng.standard_normal(tuple(y.shape)).astype(np.float32))
    y.backward(dy)
    given = (kernel, stride, padding)
    dx = _core.max_pool2d_backward(dy.numpy(), indices.numpy(), *pairs(shape), *given, dilation, ceil_mode)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-5, atol=1e-5)
    if dilation == (1, 1):
        x = values.clone().requires_grad_()
        functional.avg_pool2d(x, kernel, stride, padding[:2], ceil_mode, False).backward(dy)
        dx = _core.avg_pool2d_backward(dy.numpy(), *pairs(shape), *given, ceil_mode, False, 0)
        np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_empty_batch(isa: str) -> None:
    dy, indices = np.empty((0, 5, 2, 2), np.float32), np.empty((0, 5, 2, 2), np.int64)
    window = ((2, 2), (2, 2), (0, 0, 0, 0))
    assert _core.max_pool2d_backward(dy, indices, 4, 4, *window, (1, 1), False).shape == (0, 5, 4, 4)
    assert _core.avg_pool2d_backward(dy, 4, 4, *window, False, True, 0).shape == (0, 5, 4, 4)
    assert _core.adaptive_avg_pool2d_backward(dy, 7, 5).shape == (0, 5, 7, 5)
    assert _core.radix_sum_pool_backward(dy[:, :, 0, 0], 2, 7, 5).shape == (0, 10, 7, 5)


DY, INDICES = np.ones((2, 6, 2, 2), np.float32), np.zeros((2, 6, 2, 2), np.int64)


def largest(
    dy: Any = DY, indices: Any = INDICES, h: int = 4, kernel: Any = (2, 2), padding: Any = (0,) * 4
) -> Any:
    return _core.max_pool2d_backward(dy, indices, h, 4, kernel, (2, 2), padding, (1, 1), False)


def average(dy: Any = DY, h: int = 4, divisor: int = 0) -> Any:
    return _core.avg_pool2d_backward(dy, h, 4, (2, 2), (2, 2), (0, 0, 0, 0), False, True, divisor)


HUGE = 2**40
BAD: dict[str, tuple[Any, str]] = {
    "rank": (lambda: largest(DY[0]), r"max_pool2d_backward: dy must have 4 dimensions, got 3"),
    "other windows": (
        lambda: largest(h=7),
        r"max_pool2d_backward: dy must have shape \(2, 6, 3, 2\), got \(2, 6, 2, 2\)",
    ),
    "image": (lambda: largest(h=0), r"max_pool2d_backward: image_size must be positive, got \(0, 4\)"),
    "too large": (
        lambda: largest(h=2**57),
        r"max_pool2d_backward: dx must have at most 2\^58 elements, got image_size \(144115188075855872, 4\)",
    ),
    "indices": (
        lambda: largest(indices=INDICES[:1]),
        r"max_pool2d_backward: indices must have shape \(2, 6, 2, 2\), got \(1, 6, 2, 2\)",
    ),
    "dtype of indices": (
        lambda: largest(indices=INDICES.astype(np.int32)),
        r"max_pool2d_backward: indices must be int64, got int32",
    ),
    "kernel": (lambda: largest(kernel=(0, 2)), r"max_pool2d_backward: kernel_size must be positive"),
    "padding": (
        lambda: largest(padding=(2, 0, 0, 0)),
        r"max_pool2d_backward: padding must be between 0 and half",
    ),
    "average": (lambda: average(h=9), r"avg_pool2d_backward: dy must have shape \(2, 6, 4, 2\)"),
    "divisor": (lambda: average(divisor=-1), r"avg_pool2d_backward: divisor_override must be positive, or 0"),
    "adaptive": (
        lambda: _core.adaptive_avg_pool2d_backward(DY, 4, -1),
        r"adaptive_avg_pool2d_backward: image_size must be positive, got \(4, -1\)",
    ),
    "adaptive too large": (
        lambda: _core.adaptive_avg_pool2d_backward(DY, HUGE, HUGE),
        r"adaptive_avg_pool2d_backward: dx must have at most 2\^58 elements",
    ),
    "radix": (
        lambda: _core.radix_sum_pool_backward(DY[:, :, 0, 0], 0, 4, 4),
        r"radix_sum_pool_backward: radix must be positive, got 0",
    ),
    "radix too large": (
        lambda: _core.radix_sum_pool_backward(DY[:, :, 0, 0], HUGE, HUGE, 4),
        r"radix_sum_pool_backward: dx must have at most 2\^58 elements",
    ),
    "rank of a sum": (
        lambda: _core.radix_sum_pool_backward(DY, 1, 4, 4),
        r"radix_sum_pool_backward: dy must have 2 dimensions, got 4",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()
