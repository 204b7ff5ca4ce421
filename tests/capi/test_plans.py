"""lucid_plan_* without the Python module in between: contexts, and tensors that begin behind their memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import c_abi
import numpy as np
import numpy.typing as npt
import pytest
from device_arrays import behind, load
from plan_structs import Pixels, Plan, PlanArgs

from lucid import _core

X = np.arange(-30, 30, dtype=np.float32).reshape(1, 3, 4, 5)


def context_with(**fields: int) -> c_abi.Context:
    return c_abi.Context(size=ctypes.sizeof(c_abi.Context), **fields)


def test_a_plan_on_the_cpu_takes_no_stream() -> None:
    """Neither when it is made nor when it runs."""
    context = context_with(stream=1)
    message = "plan: context: stream must be NULL on the CPU, got a pointer"
    for device in ((0, 0), (1, 0)):
        refused = Plan(X.shape, device, ctypes.addressof(context))
        assert (refused.status, refused.message) == (c_abi.UNSUPPORTED, message)
        assert not refused.handle
    y, nothing = np.zeros_like(X), context_with()
    plan = Plan(X.shape, context=ctypes.addressof(nothing))
    assert (plan.status, plan.message) == (c_abi.OK, "")
    given = c_abi.tensor(X), c_abi.tensor(y)
    assert plan.run(*given, ctypes.addressof(context)) == (c_abi.UNSUPPORTED, message)
    assert plan.run(*given) == (c_abi.OK, "")
    np.testing.assert_array_equal(y, X.clip(0))
    plan.close()


def test_a_plan_must_have_a_place() -> None:
    library = c_abi.load()
    assert library.lucid_plan_create(None, None) == c_abi.INVALID_ARGUMENT
    assert library.lucid_last_error() == b"plan: the plan must have a place, got NULL"


def pixels(mean: Sequence[float] | None, std: Sequence[float] | None) -> Pixels:
    given = (None if part is None else (ctypes.c_float * len(part))(*part) for part in (mean, std))
    return Pixels(*given)


def run_on_bytes(plan: Plan, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    y = np.zeros_like(X)
    assert plan.run(c_abi.tensor(images), c_abi.tensor(y)) == (c_abi.OK, "")
    return y


def test_a_plan_normalises_bytes() -> None:
    """And keeps no pointer to mean and std."""
    mean, std = (0.1, 0.2, 0.3), (1.0, 0.5, 0.25)
    given = pixels(mean, std)
    plan = Plan(X.shape, pixels=given)
    assert (plan.status, plan.message) == (c_abi.OK, "")
    for part in (given.mean, given.std):
        part[0], part[1], part[2] = 7, 7, 7
    images = np.arange(120, dtype=np.uint8).reshape(1, 4, 5, 6).transpose(0, 3, 1, 2)[:, ::2]
    scaled = images.astype(np.float32) / np.float32(255)
    want = (scaled - np.float32(mean)[:, None, None]) / np.float32(std)[:, None, None]
    np.testing.assert_array_equal(run_on_bytes(plan, images), want.clip(0))
    y = np.zeros_like(X)
    message = "plan: input must be uint8, got float32"
    assert plan.run(c_abi.tensor(X), c_abi.tensor(y)) == (c_abi.INVALID_ARGUMENT, message)
    plan.close()


@pytest.mark.parametrize("given", [None, pixels(None, None)])
def test_inputs_without_pixels_are_float32(given: Pixels | None) -> None:
    plan, y = Plan(X.shape, pixels=given), np.zeros_like(X)
    assert plan.run(c_abi.tensor(X), c_abi.tensor(y)) == (c_abi.OK, "")
    np.testing.assert_array_equal(y, X.clip(0))
    images = c_abi.tensor(np.zeros(X.shape, np.uint8))
    message = "plan: input must be float32, got uint8"
    assert plan.run(images, c_abi.tensor(y)) == (c_abi.INVALID_ARGUMENT, message)
    plan.close()


def test_pixels_of_a_struct_that_ends_before_them_are_not_read() -> None:
    plan = Plan(X.shape, pixels=pixels([0.5] * 3, None), size=PlanArgs.pixels.offset)
    assert (plan.status, plan.message) == (c_abi.OK, "")
    plan.close()


@pytest.mark.parametrize(
    ("shape", "given", "message"),
    [
        (X.shape, pixels([0.5] * 3, None), "mean and std of input 0 must be given together, got one"),
        (X.shape, pixels(None, [0.5] * 3), "mean and std of input 0 must be given together, got one"),
        (
            (2, 3),
            pixels([0.5] * 3, [0.5] * 3),
            "an input of pixels must be an image (n, c, h, w), got input 0 of 2 dimensions",
        ),
        (X.shape, pixels([0, np.inf, 0], [1] * 3), "the mean of input 0 must be finite, got inf"),
        (X.shape, pixels([0] * 3, [1, 1, 0]), "the std of input 0 must be positive and finite, got 0"),
    ],
)
def test_what_are_no_pixels(shape: tuple[int, ...], given: Pixels, message: str) -> None:
    plan = Plan(shape, pixels=given)
    assert (plan.status, plan.message) == (c_abi.INVALID_ARGUMENT, f"plan: {message}")
    assert not plan.handle


@pytest.mark.cuda
def test_a_plan_on_cuda_takes_no_pixels() -> None:
    load()
    plan = Plan(X.shape, (2, 0), pixels=pixels([0.5] * 3, [0.5] * 3))
    message = "plan: inputs of pixels must be for a plan on the CPU, got input 0 on cuda"
    assert (plan.status, plan.message) == (c_abi.UNSUPPORTED, message)


@pytest.mark.cuda
@pytest.mark.parametrize("count", [64, 3])
def test_a_plan_on_cuda_reads_and_writes_behind_an_offset(count: int) -> None:
    """On the stream of a context, which its creation may name as well."""
    load()
    stream = _core.CudaStream(0)
    context = context_with(stream=stream.cuda_stream)
    plan = Plan(X.shape, (2, 0), ctypes.addressof(context))
    assert (plan.status, plan.message) == (c_abi.OK, "")
    for _ in range(3):
        (_x_memory, x), (y_memory, y) = behind(X, count), behind(np.zeros_like(X), count)
        stream.wait(_core.cuda_current_stream(0))
        assert plan.run(x, y, ctypes.addressof(context)) == (c_abi.OK, "")
        stream.synchronize()
        assert np.isnan(y_memory.to_host()[:count]).all()
        np.testing.assert_array_equal(y_memory.to_host()[count:], X.clip(0).ravel())
    plan.close()
