"""lucid_plan_* without the Python module in between: contexts, and tensors that begin behind their memory."""

from __future__ import annotations

import ctypes

import c_abi
import numpy as np
import pytest
from device_arrays import behind, load
from plan_structs import Plan

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
