"""DeviceArrays: their memory, copies and views, exchange with other libraries, streams and events."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from device_arrays import DTYPES, Array, dtype_of, load, on_device

from lucid import _core

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load()


X = np.arange(120, dtype=np.float32).reshape(2, 5, 3, 4)


def same(got: Any, want: Array) -> None:
    np.testing.assert_array_equal(got.to_host(), want)


# ---- Copies and views ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["?", "b", "H", "i", "q", "e", "f", "d", "F"])
def test_arrays_of_every_dtype_go_there_and_back(dtype: str) -> None:
    x = np.arange(-3, 9).reshape(3, 4).astype(dtype)
    given = _core.device_array(x, 0)
    assert (given.shape, given.strides, given.dtype) == (x.shape, x.strides, x.dtype)
    assert (given.ndim, given.size, given.nbytes, given.device_index) == (2, 12, x.nbytes, 0)
    same(given, x)


@pytest.mark.parametrize(
    "x", [X.transpose(0, 2, 3, 1), X[::-1, 1:, :, ::2], X[0, 0, 0, 0, ...], X[:0], X[:, None]]
)
def test_an_array_keeps_its_order_in_memory_where_it_has_no_gaps(x: Array) -> None:
    given = _core.device_array(x, 0)
    same(given, x)
    same(given.convert(order="C"), x)
    if x.ndim == 4 and x.base is not None and x.flags.forc:
        assert given.strides == x.strides


def test_what_is_no_plain_array_is_refused() -> None:
    for bad in (np.array(["a"]), np.array([1], ">f4"), np.array([object()])):
        with pytest.raises(TypeError, match="device_array: array must be float32 in native byte order"):
            _core.device_array(bad, 0)
    with pytest.raises(
        NotImplementedError, match="cuda: there is no cuda:99, but devices are cuda:0 to cuda:"
    ):
        _core.device_array(X, 99)


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_converted_by_rounding_to_nearest(dtype: str, to: str) -> None:
    x = (np.random.default_rng(5).standard_normal((2, 3, 5, 7)) * 100).astype(dtype_of(dtype))
    for order in ("K", "C", "channels_last"):
        made = _core.device_array(x, 0).convert(dtype_of(to), order)
        assert made.dtype == dtype_of(to)
        same(made, x.astype(np.float32).astype(dtype_of(to)))
        host = made.to_host()
        assert (host.transpose(0, 2, 3, 1) if order == "channels_last" else host).flags.c_contiguous


INTEGERS = ["bool", "uint8", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize("dtype", [*INTEGERS, "uint16", "uint32", "uint64", "float64", "complex64"])
def test_any_elements_are_copied_by_their_strides(dtype: str) -> None:
    x = (np.arange(24) * 2.0**40 + np.arange(24)).astype("u8").astype(dtype).reshape(2, 3, 4)
    given = _core.device_array(x, 0)
    for dims in ((2, 1, 0), (0, 2, 1), (1, 0, 2)):
        same(given.transpose(dims).convert(order="C"), x.transpose(dims))
    view = given.as_strided((4, 2), (x.itemsize, 12 * x.itemsize), 4 * x.itemsize)
    same(view.convert(order="C"), x[:, 1].T)
    given[:, 0] = given[:, 2]
    same(given, x[:, [2, 1, 2]])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_converted_as_by_numpy(dtype: str) -> None:
    x = np.array([0, 1, -1, 2, 127, 128, -128, 255, 256, 300, -30000, 2**24 + 1, 2**31, -(2**40) - 3])
    x = x.astype(dtype).reshape(2, 7)
    for given, here in ((_core.device_array(x, 0), x), (_core.device_array(x, 0).transpose((1, 0)), x.T)):
        for to in INTEGERS:
            same(given.convert(to), here.astype(to))
        for to in DTYPES:
            with np.errstate(over="ignore"):  # of float16
                same(given.convert(dtype_of(to)), here.astype(np.float32).astype(dtype_of(to)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_floats_become_the_nearest_integer_of_their_whole_part(dtype: str) -> None:
    x = np.array([0.0, 0.5, -0.5, 1.75, -1.75, 126.5, 255.0, -3.0, np.nan, 1e4, -1e4, np.inf, -np.inf, 3e9])
    with np.errstate(over="ignore"):
        x = x.astype(np.float32).astype(dtype_of(dtype))
    exact = np.nan_to_num(x.astype(np.float64), posinf=1e30, neginf=-1e30)
    for to in INTEGERS[1:]:
        limits = np.iinfo(to)
        want = [min(max(int(value), limits.min), limits.max) for value in exact]
        same(_core.device_array(x, 0).convert(to), np.array(want, to))
    same(_core.device_array(x, 0).convert("bool"), x.astype(np.float32) != 0)


def test_what_has_no_conversion_names_the_dtype() -> None:
    with pytest.raises(NotImplementedError, match=r"^convert: float64 cannot be converted on cuda"):
        _core.device_array(np.ones(3), 0).convert("float32")
    with pytest.raises(NotImplementedError, match=r"^convert: uint16 cannot be converted on cuda"):
        on_device(X).convert("uint16")
    with pytest.raises(
        NotImplementedError, match=r"^convert: complex128 cannot be copied by its strides on cuda"
    ):
        _core.device_array(np.ones((2, 3), complex), 0).transpose((1, 0)).convert(order="C")


def test_views_share_memory_and_stay_inside() -> None:
    given = on_device(X)
    view = given.as_strided((3, 2), (-16, 4), 32)
    same(view, np.array([[8, 9], [4, 5], [0, 1]]))
    view.assign(on_device([[-1.0], [-2.0], [-3.0]]))
    assert given.to_host()[0, 0, :, :2].tolist() == [[-3, -3], [-2, -2], [-1, -1]]
    address = given.data_ptr
    del given
    assert view.data_ptr == address + 32
    for shape, strides, offset in (((2,), (4,), 480), ((1,), (4,), -4), ((121,), (4,), 0), ((1,), (4,), 2)):
        with pytest.raises(ValueError, match="as_strided: "):
            on_device(X).as_strided(shape, strides, offset)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_broadcasts_and_takes_numbers(dtype: str) -> None:
    x = (np.random.default_rng(6).integers(1, 5, (2, 3, 4, 5))).astype(np.float32)
    row = np.float32([[1], [2], [4], [2]])
    given, other = on_device(x, dtype), on_device(row, dtype)
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum"):
        function = getattr(np, name)
        for y, want in (
            (_core.cuda_elementwise(name, given, other), function(x, row)),
            (_core.cuda_elementwise(name, other, given), function(row, x)),
            (_core.cuda_elementwise(name, 2, given), function(2, x)),
            (_core.cuda_elementwise(name, given, 0.5, relu=True), np.maximum(function(x, 0.5), 0)),
        ):
            assert y.shape == want.shape
            same(y, want.astype(dtype_of(dtype)))
    same(_core.cuda_elementwise("subtract", given, other, out=given), x - row)
    same(given, x - row)


def test_arithmetic_refuses_what_does_not_fit() -> None:
    x, y = on_device(np.ones((2, 3), np.float32)), on_device(np.ones((2, 2), np.float32))
    with pytest.raises(
        ValueError, match=r"add: b must have a shape that broadcasts to \(2, 3\), got \(2, 2\)"
    ):
        _core.cuda_elementwise("add", x, y)
    with pytest.raises(ValueError, match="add: b must be float32, got float16"):
        _core.cuda_elementwise("add", x, x.convert("float16"))
    with pytest.raises(TypeError, match="add: operands must be DeviceArrays"):
        _core.cuda_elementwise("add", x, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="there is no function 'power'"):
        _core.cuda_elementwise("power", x, x)


# ---- Memory --------------------------------------------------------------------------------------


def test_freed_memory_is_taken_again_by_its_stream() -> None:
    _core.cuda_release_memory()
    gc.collect()
    allocated, reserved = _core.cuda_memory(0)
    x = _core.cuda_empty((1000,), "float32", 0)
    assert _core.cuda_memory(0) == (allocated + 4096, reserved + 4096)
    address = x.data_ptr
    del x
    assert _core.cuda_memory(0) == (allocated, reserved + 4096)
    again = _core.cuda_empty((1000,), "float32", 0)
    assert again.data_ptr == address
    del again
    stream = _core.CudaStream(0)
    before = _core.cuda_current_stream(0)
    _core.cuda_set_stream(stream)
    elsewhere = _core.cuda_empty((1000,), "float32", 0)
    _core.cuda_set_stream(before)
    assert elsewhere.data_ptr != address
    del elsewhere
    _core.cuda_release_memory()
    assert _core.cuda_memory(0) == (allocated, allocated)


def test_memory_outlives_the_stream_that_it_was_allocated_on() -> None:
    before, stream = _core.cuda_current_stream(0), _core.CudaStream(0)
    _core.cuda_set_stream(stream)
    x = on_device(X)
    y = _core.relu(x)
    _core.cuda_set_stream(before)
    del stream
    same(y, X)
    del x
    same(_core.relu(y), X)


# ---- Streams and events --------------------------------------------------------------------------


def test_each_thread_has_a_stream_of_its_own() -> None:
    stream, before = _core.CudaStream(0), _core.cuda_current_stream(0)
    assert before.cuda_stream == 0
    found = []
    _core.cuda_set_stream(stream)
    thread = threading.Thread(target=lambda: found.append(_core.cuda_current_stream(0).cuda_stream))
    thread.start()
    thread.join()
    assert found == [0]
    assert _core.cuda_current_stream(0).cuda_stream == stream.cuda_stream != 0
    _core.cuda_set_stream(before)
    assert _core.cuda_current_stream(0).cuda_stream == 0


def test_events_measure_time_between_them() -> None:
    stream = _core.cuda_current_stream(0)
    events = [_core.CudaEvent(0), _core.CudaEvent(0)]
    for event in events:
        event.record(stream)
        _core.relu(on_device(X))
    assert events[0].elapsed(events[1]) >= 0
    events[1].synchronize()
    other = _core.CudaStream(0)
    other.wait(stream)
    other.synchronize()
    _core.cuda_synchronize(0)


# ---- Exchange ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 3)])
def test_dlpack_shares_memory(version: tuple[int, int] | None) -> None:
    x = on_device(X).as_strided((2, 3), (240, 16), 4)
    assert x.__dlpack_device__() == (2, 0)
    y = _core.device_from_dlpack(x.__dlpack__(max_version=version))
    assert (y.data_ptr, y.shape, y.strides, y.dtype) == (x.data_ptr, x.shape, x.strides, x.dtype)
    y.assign(on_device(7))
    same(x, np.full((2, 3), 7))
    copied = _core.device_from_dlpack(x.__dlpack__(max_version=version, copy=True))
    assert copied.data_ptr != x.data_ptr
    same(copied, np.full((2, 3), 7))


def test_memory_lives_as_long_as_someone_has_it() -> None:
    gc.collect()
    before = _core.cuda_memory(0)[0]
    x = on_device(X)
    capsule = x.__dlpack__()
    del x
    assert _core.cuda_memory(0)[0] > before
    y = _core.device_from_dlpack(capsule)
    del capsule
    same(y, X)
    del y
    assert _core.cuda_memory(0)[0] == before
    capsule = on_device(X).__dlpack__()  # and nobody takes it
    del capsule
    assert _core.cuda_memory(0)[0] == before


def test_a_capsule_is_taken_once() -> None:
    capsule = on_device(X).__dlpack__()
    _core.device_from_dlpack(capsule)
    with pytest.raises(ValueError, match="that nobody has taken yet"):
        _core.device_from_dlpack(capsule)
    with pytest.raises(BufferError, match="must be on a CUDA device, got device type 1"):
        _core.device_from_dlpack(X.__dlpack__())


def test_consumers_name_their_stream() -> None:
    x, stream = on_device(X), _core.CudaStream(0)
    for number in (None, -1, 1, stream.cuda_stream):
        same(_core.device_from_dlpack(x.__dlpack__(stream=number)), X)
    for number in (0, -2):
        with pytest.raises(ValueError, match=f"stream must be None, -1, 1, 2 or a pointer, got {number}"):
            x.__dlpack__(stream=number)
    with pytest.raises(BufferError, match=r"the array is on device \(2, 0\), got \(1, 0\)"):
        x.__dlpack__(dl_device=(1, 0))


def test_cuda_array_interface_is_that_of_version_3() -> None:
    x = on_device(X, order="channels_last")
    interface = x.__cuda_array_interface__
    assert interface == {
        "shape": X.shape,
        "typestr": "<f4",
        "data": (x.data_ptr, False),
        "strides": x.strides,
        "version": 3,
        "stream": 1,
    }
    assert _core.cuda_empty((0, 3), "float16", 0).__cuda_array_interface__["data"] == (0, False)
    assert not hasattr(on_device(X, "bfloat16"), "__cuda_array_interface__")


def test_a_tensor_holds_one_and_lends_no_buffer() -> None:
    x = on_device(X)
    base = _core.TensorBase(x)
    assert base.data is x
    with pytest.raises(BufferError) as raised:
        memoryview(base)  # type: ignore[arg-type]
    reason = "Tensor: memory of a GPU cannot be lent as a buffer; move the tensor by .cpu()"
    assert str(raised.value.__cause__) == reason
