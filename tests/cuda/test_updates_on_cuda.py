"""Updates of parameters on DeviceArrays against float64, in each dtype and in any memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_updates as reference
from device_arrays import Array, assert_near, load, on_device, rounded

from lucid import _core

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load()


def inside(x: Array, dtype: str) -> Any:
    """``x`` on the device in a larger array, with its first dimension turned around."""
    given = on_device(np.full([size + 2 for size in x.shape], np.nan, np.float32), dtype)
    view = given.as_strided(
        x.shape,
        (-given.strides[0], *given.strides[1:]),
        sum(given.strides) + (x.shape[0] - 1) * given.strides[0],
    )
    view.assign(on_device(x, dtype))
    return view


PLACES: dict[str, Any] = {"dense": on_device, "inside another": inside}
SHAPES = [(64, 3, 3, 3), (1000,), (7, 5)]


def drawn(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], count: int) -> list[Array]:
    """Normal numbers that ``dtype`` has."""
    return [rounded(rng.standard_normal(shape).astype(np.float32), dtype) for _ in range(count)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sgd(shape: Any, place: str, dtype: str, rng: np.random.Generator) -> None:
    p, g, buffer = drawn(rng, dtype, shape, 3)
    largest = 1 + float(max(np.abs(x).max() for x in (p, g, buffer)))
    for settings in (
        {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.05},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ):
        for is_first_step in (True, False):
            given: dict[str, Any] = {"dampening": 0.0, "weight_decay": 0.0, "nesterov": False} | settings
            own, gradient = PLACES[place](p, dtype), on_device(g, dtype)
            kept = PLACES[place](buffer, dtype) if settings["momentum"] else None
            _core.sgd_update(own, gradient, kept, **given, is_first_step=is_first_step)
            want, want_buffer = reference.sgd_update(p, g, None if is_first_step else buffer, **given)
            assert_near(own, want, 4, 2 * largest)
            if kept is not None and want_buffer is not None:
                assert_near(kept, want_buffer, 2, 2 * largest)
            np.testing.assert_array_equal(gradient.to_host().astype(np.float32), g)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adamw(shape: Any, place: str, dtype: str, rng: np.random.Generator) -> None:
    p, g, m, v = drawn(rng, dtype, shape, 4)
    v = rounded(np.abs(v) + np.float32(0.0625), dtype)
    want = reference.adamw_update(
        p, g, m, v, lr=0.05, betas=(0.75, 0.875), eps=1e-3, weight_decay=0.1, step=2
    )
    own, mean, square = (PLACES[place](x, dtype) for x in (p, m, v))
    _core.adamw_update(own, on_device(g, dtype), mean, square, 0.05, 0.75, 0.875, 1e-3, 0.1, 2)
    assert_near(own, want[0], 6, float(np.abs(p).max() + np.abs(p - want[0]).max()))
    assert_near(mean, want[1], 2, float(np.abs(m).max() + np.abs(g).max()))
    assert_near(square, want[2], 2, float(v.max() + np.square(g).max()))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_average(shape: Any, place: str, dtype: str, rng: np.random.Generator) -> None:
    average, p = drawn(rng, dtype, shape, 2)
    own = PLACES[place](average, dtype)
    _core.average_update(own, on_device(p, dtype), 0.75)
    largest = float(np.abs(average).max() + np.abs(p).max())
    assert_near(own, reference.average_update(average, p, 0.75), 2, largest)


def test_nothing_to_update() -> None:
    x = on_device(np.empty((0, 3), np.float32))
    _core.sgd_update(x, x, None, 0.1, 0.0, 0.0, 0.0, False, True)
    _core.average_update(x, x, 0.5)


def test_a_large_parameter_is_updated_whole(rng: np.random.Generator) -> None:
    """The last block has units behind the last."""
    p, g = drawn(rng, "float32", (100_003,), 2)
    own = on_device(p)
    _core.sgd_update(own, on_device(g), None, 0.5, 0.0, 0.0, 0.0, False, True)
    assert_near(own, p - 0.5 * g.astype(np.float64), 2)


def test_refuses() -> None:
    x, y = on_device(np.ones((2, 3), np.float32)), np.ones((2, 3), np.float32)
    one = "all tensors must be on one device, got"
    for update, message in (
        (
            lambda: _core.average_update(x, y, 0.5),
            f"average_update: {one} average on cuda:0 and parameter on the CPU",
        ),
        (
            lambda: _core.adamw_update(y, y, x, y, 0.1, 0.9, 0.9, 0.0, 0.0, 1),
            f"adamw_update: {one} parameter on the CPU and exp_avg on cuda:0",
        ),
        (
            lambda: _core.average_update(_core.device_array(y.astype(np.int32), 0), x, 0.5),
            "average_update: average must be float32, float16 or bfloat16, got int32",
        ),
        (
            lambda: _core.average_update(x, on_device(y, "float16"), 0.5),
            "average_update: parameter must be float32, got float16",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            update()
    np.testing.assert_array_equal(x.to_host(), y)
