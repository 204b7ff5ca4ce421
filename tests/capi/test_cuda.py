"""lucid.h on a CUDA device without the Python module in between: packed weights, streams, properties."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import c_abi
import numpy as np
import pytest
import reference
from conv2d_cases import Case, random_sample
from device_arrays import DTYPES, Array, assert_near, behind, load, on_device, rounded

from lucid import _core

pytestmark = pytest.mark.cuda

CASE = Case(2, 8, 24, (9, 7), (3, 3), padding=(1, 1), bias=True)


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load()


def tensor(x: Any) -> c_abi.Tensor:
    """``x`` as it lies on its device; the array must outlive the result."""
    codes = {"f": 2, "V": 4}
    itemsize = x.dtype.itemsize
    return c_abi.Tensor(
        data=x.data_ptr,
        device=c_abi.Device(2, x.device_index),
        ndim=x.ndim,
        dtype=c_abi.DType(codes[x.dtype.kind], itemsize * 8, 1),
        shape=(ctypes.c_int64 * x.ndim)(*x.shape),
        strides=(ctypes.c_int64 * x.ndim)(*(stride // itemsize for stride in x.strides)),
        byte_offset=0,
    )


class Call:
    """A convolution of CASE on the device, whose tensors stay alive."""

    def __init__(self, x: Array, dtype: str, case: Case = CASE, algorithm: str | None = None) -> None:
        sample = random_sample(case)
        parts = [on_device(part, dtype) for part in (x, sample.weight, sample.bias)]
        self.y = on_device(np.zeros((len(x), *sample.want.shape[1:])), dtype)
        params = case.params
        self._alive = parts
        self.args = c_abi.conv2d_args(
            *(tensor(part) for part in (*parts, self.y)),
            params["stride"],
            params["padding"],
            params["dilation"],
            params["groups"],
            algorithm,
        )

    def prepare(self) -> ctypes.c_void_p:
        weights = ctypes.c_void_p()
        library = c_abi.load()
        status = library.lucid_conv2d_prepare(self.args, ctypes.byref(weights))
        assert (status, library.lucid_last_error()) == (c_abi.OK, b"")
        return weights

    def run(self, weights: ctypes.c_void_p | None = None) -> tuple[int, str]:
        self.args.contents.prepared = weights
        library = c_abi.load()
        return library.lucid_conv2d(self.args), library.lucid_last_error().decode()


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_those_of_weights_packed_on_the_way(dtype: str) -> None:
    """For any batch and any number of calls, also when the caller's weights are gone."""
    sample = random_sample(CASE)
    weights = Call(sample.x, dtype).prepare()
    for x in (sample.x, np.concatenate([sample.x, sample.x + 1]), sample.x[:0]):
        call, plain = Call(x, dtype), Call(x, dtype)
        call.args.contents.weight.contents.data = None
        assert call.run(weights) == (c_abi.OK, "")
        assert plain.run() == (c_abi.OK, "")
        np.testing.assert_array_equal(call.y.to_host(), plain.y.to_host())
        given = [rounded(part, dtype) for part in (x, sample.weight, sample.bias)]
        products = float(np.abs(x).max(initial=0) * np.abs(sample.weight).max())
        assert_near(call.y, reference.conv2d(*given, **CASE.params), CASE.terms, products)
    c_abi.load().lucid_conv2d_weights_destroy(weights)


def test_weights_packed_for_tf32_are_multiplied_in_tf32() -> None:
    """Whatever the call says; and an older program's context, which ends before the field, says nothing."""
    case = Case(1, 64, 32, (5, 7), (1, 1), bias=True)
    sample = random_sample(case)
    allowing = c_abi.Context(size=ctypes.sizeof(c_abi.Context), tf32=1)
    older = c_abi.Context(size=c_abi.Context.tf32.offset, tf32=1)
    packing, exact, prepared, other = (Call(sample.x, "float32", case) for _ in range(4))
    packing.args.contents.context = ctypes.addressof(allowing)
    weights = packing.prepare()
    assert packing.run() == (c_abi.OK, "")
    assert prepared.run(weights) == (c_abi.OK, "")
    assert exact.run() == (c_abi.OK, "")
    other.args.contents.context = ctypes.addressof(older)
    assert other.run() == (c_abi.OK, "")
    rounded_result = packing.y.to_host()
    assert (rounded_result != exact.y.to_host()).any()
    np.testing.assert_array_equal(prepared.y.to_host(), rounded_result)
    np.testing.assert_array_equal(other.y.to_host(), exact.y.to_host())
    c_abi.load().lucid_conv2d_weights_destroy(weights)


def test_weights_of_another_problem_are_refused() -> None:
    x = random_sample(CASE).x
    weights = Call(x, "float32").prepare()
    larger = replace(CASE, size=(10, 7))
    others = [
        (Call(random_sample(larger).x, "float32", larger), "geometry, got weights for another"),
        (Call(x, "float16"), "the dtype of x, got weights for another"),
        (Call(x, "float32", algorithm="fastest"), "algorithm 'fastest', got weights for"),
    ]
    for call, reason in others:
        status, message = call.run(weights)
        assert status == c_abi.INVALID_ARGUMENT
        assert f"conv2d: prepared must be packed for {reason}" in message.replace("this ", "")
    c_abi.load().lucid_conv2d_weights_destroy(weights)


def test_weights_stay_on_their_device() -> None:
    sample = random_sample(CASE)
    arrays = sample.x, sample.weight, sample.bias, np.zeros_like(sample.want, np.float32)
    params = CASE.params
    on_cpu = c_abi.conv2d_args(
        *(c_abi.tensor(part) for part in arrays),
        params["stride"],
        params["padding"],
        params["dilation"],
        params["groups"],
        None,
    )
    library, cpu_weights = c_abi.load(), ctypes.c_void_p()
    assert library.lucid_conv2d_prepare(on_cpu, ctypes.byref(cpu_weights)) == c_abi.OK
    weights = Call(sample.x, "float32").prepare()
    on_cpu.contents.prepared = weights
    assert library.lucid_conv2d(on_cpu) == c_abi.INVALID_ARGUMENT
    assert library.lucid_last_error() == b"conv2d: prepared must be packed for the CPU, got weights for CUDA"
    status, message = Call(sample.x, "float32").run(cpu_weights)
    assert status == c_abi.INVALID_ARGUMENT
    assert message == "conv2d: prepared must be packed for cuda:0, got weights for the CPU"
    for made in (weights, cpu_weights):
        library.lucid_conv2d_weights_destroy(made)


@pytest.mark.parametrize("count", [64, 3])
def test_tensors_begin_at_their_offsets(count: int) -> None:
    """Where a kernel can read them, and where it cannot: 3 floats are no multiple of 16 bytes."""
    sample, params = random_sample(CASE), CASE.params
    arrays = [sample.x, sample.weight, sample.bias, np.zeros(sample.want.shape, np.float32)]
    memories, tensors = zip(*(behind(array, count) for array in arrays), strict=True)
    args = c_abi.conv2d_args(
        *tensors, params["stride"], params["padding"], params["dilation"], params["groups"], None
    )
    library = c_abi.load()
    assert (library.lucid_conv2d(args), library.lucid_last_error()) == (c_abi.OK, b"")
    plain = Call(sample.x, "float32")
    assert plain.run() == (c_abi.OK, "")
    got = memories[3].to_host()
    assert np.isnan(got[:count]).all()
    np.testing.assert_array_equal(got[count:], plain.y.to_host().ravel())


def test_a_call_runs_on_the_stream_of_its_context() -> None:
    """Which the allocator must know as well: what the call needed goes back to that stream."""
    sample, stream = random_sample(CASE), _core.CudaStream(0)
    call, plain = Call(sample.x, "float32"), Call(sample.x, "float32")
    assert plain.run() == (c_abi.OK, "")
    stream.wait(_core.cuda_current_stream(0))  # for the operands
    context = c_abi.Context(size=ctypes.sizeof(c_abi.Context), stream=stream.cuda_stream)
    call.args.contents.context = ctypes.addressof(context)
    assert call.run() == (c_abi.OK, "")
    stream.synchronize()
    np.testing.assert_array_equal(call.y.to_host(), plain.y.to_host())
    context.allocate = 1  # without deallocate
    assert call.run()[0] == c_abi.INVALID_ARGUMENT


class Properties(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 256),
        *((name, ctypes.c_int64) for name in ("memory", "shared_memory_per_block", "l2_bytes")),
        *((name, ctypes.c_int32) for name in ("major", "minor", "multiprocessors", "clock_khz")),
        *((name, ctypes.c_int32) for name in ("memory_clock_khz", "memory_bus_bits", "simulation")),
    ]


def test_properties_are_those_that_python_shows() -> None:
    library, found, count = c_abi.load(), Properties(), ctypes.c_int32()
    assert library.lucid_cuda_device_count(ctypes.byref(count)) == c_abi.OK
    assert count.value == _core.cuda_device_count() >= 1
    assert library.lucid_cuda_device_properties(0, ctypes.byref(found)) == c_abi.OK
    shown = _core.cuda_properties(0)
    assert found.name.decode() == shown["name"]
    assert (found.major, found.minor, found.memory) == (
        shown["major"],
        shown["minor"],
        shown["total_memory"],
    )
    assert bool(found.simulation) == _core.cuda_backend()["simulation"]
    assert library.lucid_cuda_device_properties(count.value, ctypes.byref(found)) == c_abi.UNSUPPORTED


def test_copies_go_in_every_direction() -> None:
    library = c_abi.load()
    library.lucid_cuda_copy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    x, y = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    first, second = on_device(np.zeros(6)), on_device(np.zeros(6))
    steps = [
        (first.data_ptr, x.ctypes.data),
        (second.data_ptr, first.data_ptr),
        (y.ctypes.data, second.data_ptr),
    ]
    for to, source in steps:
        assert library.lucid_cuda_copy(to, source, 24, None) == c_abi.OK
    np.testing.assert_array_equal(y, x)
    assert library.lucid_cuda_copy(y.ctypes.data, None, 24, None) == c_abi.INVALID_ARGUMENT
