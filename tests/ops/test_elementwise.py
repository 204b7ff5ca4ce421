"""relu and add: exact, on any shape and any strides."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from invariance import LAYOUTS, assert_layouts_agree, assert_threads_agree

from lucid import _core

Array = npt.NDArray[Any]

SHAPES: list[tuple[int, ...]] = [
    (),
    (1,),
    (17,),
    (33000,),
    (3, 5),
    (1, 1),
    (129, 257),
    (4, 1, 6),
    (2, 19, 7, 5),
    (3, 64, 17, 16),
    (1, 1, 1, 1),
    (2, 3, 1, 4, 5),
    (2, 2, 3, 1, 2, 3, 2, 3),
]


def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Some of them NaN, infinite or minus zero."""
    x = rng.standard_normal(shape).astype(np.float32)
    odd = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42, -1e-42], np.float32), shape)
    return np.asarray(np.where(rng.random(shape) < 0.1, odd, x))


def numpy_add(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(a + b)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_exact(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    a, b = values(rng, shape), values(rng, shape)
    for got, want in [(_core.relu(a), np.maximum(a, 0)), (_core.add(a, b), numpy_add(a, b))]:
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.float32
        assert (got.transpose(0, 2, 3, 1) if got.ndim == 4 else got).flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_relu_in_place_changes_every_layout(
    shape: tuple[int, ...], isa: str, rng: np.random.Generator
) -> None:
    values_before = values(rng, shape)
    for name, lay_out in LAYOUTS.items():
        if name == "read-only":
            continue
        x = (
            lay_out(values_before).copy(order="K")
            if name == "reversed dimensions"
            else lay_out(values_before)
        )
        y = _core.relu(x, inplace=True)
        assert y is x
        np.testing.assert_array_equal(x, np.maximum(values_before, 0), name)


def test_relu_in_place_stays_inside_the_view(isa: str, rng: np.random.Generator) -> None:
    memory = -np.ones((5, 9, 40), np.float32)
    _core.relu(memory[1:4:2, ::3, 5:38:2], inplace=True)
    want = -np.ones((5, 9, 40), np.float32)
    want[1:4:2, ::3, 5:38:2] = 0
    np.testing.assert_array_equal(memory, want)


def test_every_order_of_dimensions_agrees(isa: str, rng: np.random.Generator) -> None:
    a, b = values(rng, (4, 3, 17, 5)), values(rng, (4, 3, 17, 5))
    for order in itertools.permutations(range(4)):
        back = np.argsort(order)
        x = np.ascontiguousarray(a.transpose(order)).transpose(back)
        np.testing.assert_array_equal(_core.add(x, b), numpy_add(a, b))
        np.testing.assert_array_equal(_core.add(x, x), numpy_add(a, a))


def test_add_of_an_array_and_its_transpose(isa: str, rng: np.random.Generator) -> None:
    a = rng.standard_normal((131, 131)).astype(np.float32)
    np.testing.assert_array_equal(_core.add(a, a.T), a + a.T)


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (3, 69, 23, 22), (200, 301), (7, 11, 13, 5, 9)], ids=str)
def test_result_depends_on_values_only(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    a, b = values(rng, shape), values(rng, shape)
    assert_layouts_agree(_core.relu, a)
    assert_layouts_agree(_core.add, a, b)
    assert_threads_agree(lambda: _core.relu(a))
    assert_threads_agree(lambda: _core.add(a, b))
    assert_threads_agree(lambda: _core.relu(a.copy(), inplace=True))


A = np.ones((2, 3), np.float32)

BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "relu dtype": (lambda: _core.relu(A.astype(np.float64)), r"relu: x must be float32, got float64"),
    "relu in place dtype": (
        lambda: _core.relu(np.ones(3, np.int32), True),
        r"relu: x must be float32, got int32",
    ),
    "relu rank": (
        lambda: _core.relu(np.ones((1,) * 9, np.float32)),
        r"relu: x must have 0 to 8 dimensions, got 9",
    ),
    "relu empty": (
        lambda: _core.relu(A[:, :0]),
        r"relu: sizes of x must be positive, but for the batch, got",
    ),
    "relu read-only": (lambda: _core.relu(np.broadcast_to(A, (4, 2, 3)), True), r"relu: x must be writable"),
    "add dtype": (lambda: _core.add(A, A.astype(np.float16)), r"add: b must be float32, got float16"),
    "add rank": (lambda: _core.add(A, A[0]), r"add: b must have shape \(2, 3\), got \(3,\)"),
    "add shape": (lambda: _core.add(A, A.T), r"add: b must have shape \(2, 3\), got \(3, 2\)"),
    "add broadcast": (lambda: _core.add(A, A[:1]), r"add: b must have shape \(2, 3\), got \(1, 3\)"),
    "add empty": (
        lambda: _core.add(A[:, :0], A[:, :0]),
        r"add: sizes of a must be positive, but for the batch, got \(2, 0\)",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()


def test_refuses_other_types() -> None:
    with pytest.raises(TypeError, match=r"relu: x must be a numpy.ndarray, got float"):
        _core.relu(1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"add: b must be float32 in native byte order"):
        _core.add(A, A.astype(object))


def test_result_too_large_for_any_memory_is_an_error() -> None:
    huge = np.broadcast_to(np.float32(1), (2**29, 2**28))
    with pytest.raises(MemoryError, match=r"relu: no memory for a result of shape \(536870912, 268435456\)"):
        _core.relu(huge)
    with pytest.raises(MemoryError, match=r"add: no memory for a result of shape"):
        _core.add(huge, huge)
