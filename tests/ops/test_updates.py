"""Updates of parameters against float64: settings, shapes, memory of any layout, threads, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference_updates as reference
from invariance import LAYOUTS, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

SHAPES: list[tuple[int, ...]] = [
    (),
    (1,),
    (7,),
    (16,),
    (3, 19),
    (2, 33, 5, 3),
    (1000,),
    (2, 3, 2, 3, 2, 1, 2),
]
SGD: list[dict[str, Any]] = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.05},
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-2},
    {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
    {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]
ADAMW: list[dict[str, Any]] = [
    {"lr": 0.01, "step": 1},
    {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "step": 3},
    {"lr": 0.3, "betas": (0.0, 0.5), "weight_decay": 0.0, "step": 1000},
]


def sgd(p: Array, g: Array, buffer: Array | None, settings: dict[str, Any], is_first_step: bool) -> None:
    usual = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    _core.sgd_update(p, g, buffer, **(usual | settings), is_first_step=is_first_step)


def adamw(p: Array, g: Array, m: Array, v: Array, settings: dict[str, Any]) -> None:
    usual = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}
    given = usual | settings
    beta1, beta2 = given.pop("betas")
    _core.adamw_update(p, g, m, v, beta1=beta1, beta2=beta2, **given)


def normal(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> list[Array]:
    return [np.asarray(rng.standard_normal(shape), np.float32) for _ in range(count)]


@pytest.mark.parametrize("settings", SGD, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sgd(shape: tuple[int, ...], settings: dict[str, Any], isa: str, rng: np.random.Generator) -> None:
    p, g, second = normal(rng, shape, 3)
    buffer = np.full(shape, np.nan, np.float32) if settings.get("momentum") else None
    # Four sums of two terms, each below what is the largest of all.
    largest = 1 + max(float(np.abs(x).max()) for x in (p, g, second))
    want, want_buffer = reference.sgd_update(p, g, **settings)
    sgd(p, g, buffer, settings, True)
    assert_close(p, want, 4, largest)
    before = None if buffer is None else buffer.copy()
    if buffer is not None and want_buffer is not None:
        assert_close(buffer, want_buffer, 1, largest)
    want, want_buffer = reference.sgd_update(p, second, before, **settings)
    sgd(p, second, buffer, settings, False)
    assert_close(p, want, 4, 2 * largest)
    if buffer is not None and want_buffer is not None:
        assert_close(buffer, want_buffer, 2, 2 * largest)


@pytest.mark.parametrize("settings", ADAMW, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adamw(shape: tuple[int, ...], settings: dict[str, Any], isa: str, rng: np.random.Generator) -> None:
    p, g, m, v = normal(rng, shape, 4)
    v = np.asarray(np.abs(v))
    want, want_m, want_v = reference.adamw_update(p, g, m, v, **settings)
    moved = np.abs(np.asarray(p, np.float64) - want).max()
    adamw(p, g, m, v, settings)
    assert_close(m, want_m, 2, 1 + max(np.abs(want_m).max(), np.abs(g).max()))
    assert_close(v, want_v, 2, 1 + max(np.abs(want_v).max(), np.abs(g).max() ** 2))
    # Of the step: six roundings on the way to the quotient.
    assert_close(p, want, 6, float(max(np.abs(want).max(), moved)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_average(shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    for decay in (0.0, 0.75, 0.9999):
        average, p = normal(rng, shape, 2)
        want = reference.average_update(average, p, decay)
        largest = float(np.abs(average).max() + np.abs(p).max())
        _core.average_update(average, p, decay)
        assert_close(average, want, 2, largest)


# One call of each with the arrays that it changes and reads.
UPDATES: dict[str, tuple[int, Callable[..., None]]] = {
    "sgd": (2, lambda p, g: sgd(p, g, None, SGD[1], True)),
    "first step": (3, lambda p, g, v: sgd(p, g, v, SGD[4], True)),
    "momentum": (3, lambda p, g, v: sgd(p, g, v, SGD[4], False)),
    "adamw": (4, lambda p, g, m, v: adamw(p, g, m, v, ADAMW[1])),
    "average": (2, lambda average, p: _core.average_update(average, p, 0.75)),
}


def positive(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> list[Array]:
    return [np.abs(x) for x in normal(rng, shape, count)]


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (2, 70, 3, 3), (1, 1, 1, 129)], ids=str)
def test_strides_change_no_bit(name: str, shape: tuple[int, ...], isa: str, rng: np.random.Generator) -> None:
    count, update = UPDATES[name]
    arrays = positive(rng, shape, count)
    want = [x.copy() for x in arrays]
    update(*want)
    for layout, lay_out in LAYOUTS.items():
        for strided in (range(count), range(1), range(1, count)):  # all of them, the first, all but the first
            if layout == "read-only" and list(strided) != [1]:
                continue
            got = [lay_out(x.copy()) if i in strided else x.copy() for i, x in enumerate(arrays)]
            update(*got)
            for one, other in zip(got, want, strict=True):
                np.testing.assert_array_equal(one, other, layout)


@pytest.mark.parametrize("name", UPDATES)
def test_threads_change_no_bit(name: str, isa: str, rng: np.random.Generator) -> None:
    count, update = UPDATES[name]
    for arrays in (positive(rng, (40003,), count), [x.T for x in positive(rng, (301, 130), count)]):
        first, *rest = arrays
        together = [np.ascontiguousarray(first), *rest]  # another order in memory than the others

        def compute(arrays: list[Array] = together) -> tuple[Array, ...]:
            own = [x.copy(order="K") for x in arrays]
            update(*own)
            return tuple(own)

        assert_threads_agree(compute)


def test_an_infinite_parameter_without_decay(isa: str) -> None:
    p, g, buffer = np.full(19, np.inf, np.float32), np.ones(19, np.float32), np.zeros(19, np.float32)
    sgd(p, g, buffer, SGD[3], False)
    assert (p == np.inf).all()
    np.testing.assert_array_equal(buffer, np.full(19, 0.7, np.float32))


def test_nan_stays_where_it_is(isa: str) -> None:
    for name, (count, update) in UPDATES.items():
        arrays = [np.ones(37, np.float32) for _ in range(count)]
        arrays[1][5] = np.nan
        update(*arrays)
        np.testing.assert_array_equal(np.isnan(arrays[0]), np.arange(37) == 5, name)


def test_adamw_starts_from_zeros(isa: str) -> None:
    """The first step is lr, whatever the size of the gradient, down to where its square is a subnormal."""
    g = np.float32([1e-18, -1e-3, 5, -1e15])
    p, m, v = (np.zeros(4, np.float32) for _ in range(3))
    adamw(p, g, m, v, {"lr": 0.5, "eps": 0.0, "weight_decay": 0.0, "step": 1})
    np.testing.assert_allclose(p, -0.5 * np.sign(g), rtol=1e-2)
    np.testing.assert_allclose(p[1:], -0.5 * np.sign(g[1:]), rtol=1e-6)


def test_empty(isa: str) -> None:
    for count, update in UPDATES.values():
        for shape in ((0,), (0, 3), (3, 0, 2)):
            update(*(np.empty(shape, np.float32) for _ in range(count)))


X, READ_ONLY = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
READ_ONLY.flags.writeable = False
BAD: dict[str, tuple[Any, str]] = {
    "shape": (
        lambda: sgd(X, X[:1], None, SGD[0], True),
        r"sgd_update: gradient must have shape \(2, 3\), got \(1, 3\)",
    ),
    "dtype": (
        lambda: sgd(X.astype(np.float64), X, None, SGD[0], True),
        "sgd_update: parameter must be float32, got float64",
    ),
    "dtype of the gradient": (
        lambda: adamw(X, X.astype(np.float16), X, X, ADAMW[0]),
        "adamw_update: gradient must be float32, got float16",
    ),
    "no buffer": (
        lambda: sgd(X, X, None, SGD[2], True),
        "sgd_update: momentum_buffer must be a tensor where momentum is not 0, got NULL",
    ),
    "read-only": (
        lambda: sgd(READ_ONLY, X, None, SGD[0], True),
        "sgd_update: parameter must be writable, got a read-only array",
    ),
    "read-only buffer": (
        lambda: sgd(X, X, READ_ONLY, SGD[2], True),
        "sgd_update: momentum_buffer must be writable, got a read-only array",
    ),
    "read-only mean": (
        lambda: adamw(X, X, READ_ONLY, X, ADAMW[0]),
        "adamw_update: exp_avg must be writable, got a read-only array",
    ),
    "read-only average": (
        lambda: _core.average_update(READ_ONLY, X, 0.5),
        "average_update: average must be writable, got a read-only array",
    ),
    "the same memory in another order": (
        lambda: _core.average_update(X[:2, :2], X[:2, :2].T, 0.5),
        "average_update: average must have the strides of parameter where it is the same memory",
    ),
    "step": (
        lambda: adamw(X, X, X, X, {"lr": 0.1, "step": 0}),
        "adamw_update: step must be at least 1, got 0",
    ),
    "beta": (
        lambda: adamw(X, X, X, X, {"lr": 0.1, "step": 1, "betas": (0.9, 1.0)}),
        "adamw_update: beta2 must be at least 0 and below 1, got 1",
    ),
    "NaN for a beta": (
        lambda: adamw(X, X, X, X, {"lr": 0.1, "step": 1, "betas": (float("nan"), 0.9)}),
        "adamw_update: beta1 must be at least 0 and below 1, got nan",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()
    assert (X == 1).all()
