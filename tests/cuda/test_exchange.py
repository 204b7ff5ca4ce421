"""Memory of a device lent to other libraries and taken from them, without a copy."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import Tensor
from lucid.nn import functional as F

pytestmark = pytest.mark.cuda

CUDA = 2  # DLPack's number


class Lender:
    """An array of another library: only what the protocol says."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.streams: list[Any] = []

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        self.streams.append(stream)
        return self.x.__dlpack__(stream=stream, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.x.__dlpack_device__()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_dlpack_shares_memory(device: str, dtype: str, rng: np.random.Generator) -> None:
    array = (rng.standard_normal((3, 4, 5)) * 9).astype(dtype)
    x = Tensor(array).to(device)
    assert x.__dlpack_device__() == (CUDA, 0)
    # Elements of one byte are copied where they have no gaps.
    for view in (x, x.permute(2, 0, 1), x[1:, ::2] if array.itemsize > 1 else x[1:]):
        lender = Lender(view)
        y = lucid.from_dlpack(lender)
        assert lender.streams == [1]  # the default stream, which the lender is to wait for
        assert y.data.data_ptr == view.data.data_ptr
        assert (y.shape, y.dtype, y.device) == (view.shape, view.dtype, device)
        np.testing.assert_array_equal(y.cpu().numpy(), view.cpu().numpy())


def test_memory_outlives_its_lender(device: str) -> None:
    lucid.cuda.empty_cache()
    x = lucid.tensor([1.0, 2.0], device=device)
    y = lucid.from_dlpack(Lender(x))
    del x
    z = lucid.zeros(2, device=device)  # would take the memory, were it free
    assert (y.tolist(), z.tolist()) == ([1.0, 2.0], [0.0, 0.0])


def test_a_capsule_that_nobody_takes_is_freed(device: str) -> None:
    x = lucid.zeros(1 << 18, device=device)
    before = lucid.cuda.memory_allocated()
    capsule = x.__dlpack__(stream=1)
    del x
    assert lucid.cuda.memory_allocated() == before
    del capsule
    assert lucid.cuda.memory_allocated() <= before - (1 << 20)


def test_copies_are_made_where_asked_for(device: str) -> None:
    x = lucid.tensor([1.0], device=device)
    y = lucid.from_dlpack(Lender(x), copy=True)
    assert y.data.data_ptr != x.data.data_ptr
    assert lucid.from_dlpack(x, device=device).data.data_ptr == x.data.data_ptr
    with pytest.raises(BufferError, match="from_dlpack: device must be that of the memory, cuda:0, got cpu"):
        lucid.from_dlpack(x, device="cpu")


def test_operators_take_arrays_of_other_libraries(device: str, rng: np.random.Generator) -> None:
    array = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    got = F.relu(Lender(Tensor(array).to(device)))  # type: ignore[arg-type]
    assert got.device == device
    np.testing.assert_array_equal(got.cpu().numpy(), array.clip(0))
    total: Any = Tensor(array).to(device) + Lender(Tensor(array).to(device))  # type: ignore[operator]
    np.testing.assert_array_equal(total.cpu().numpy(), array + array)


def test_cuda_array_interface(device: str) -> None:
    x = lucid.zeros(2, 3, device=device).T
    facts = x.__cuda_array_interface__
    assert facts["data"] == (x.data.data_ptr, False)
    assert facts["shape"] == (3, 2)
    assert facts["typestr"] == "<f4"
    assert facts["strides"] == (4, 12)
    assert facts["version"] == 3
    assert lucid.zeros(2, device=device).__cuda_array_interface__["strides"] in (None, (4,))
    assert not hasattr(lucid.zeros(2), "__cuda_array_interface__")


class Numba:
    """An array of a library that has the interface and no DLPack: facts of now, and what keeps its memory."""

    def __init__(self, x: Tensor, **changes: Any) -> None:
        self.x = x
        self.__cuda_array_interface__ = {**x.__cuda_array_interface__, **changes}

    __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_the_array_interface_shares_memory(device: str, dtype: str, rng: np.random.Generator) -> None:
    x = Tensor((rng.standard_normal((3, 4, 5)) * 9).astype(dtype)).to(device)
    for view in (x, x.permute(2, 0, 1), x[1:]):
        y = lucid.from_dlpack(Numba(view))
        assert y.data.data_ptr == view.data.data_ptr
        assert (y.shape, y.data.strides, y.dtype, y.device) == (
            view.shape,
            view.data.strides,
            x.dtype,
            device,
        )
        np.testing.assert_array_equal(y.cpu().numpy(), view.cpu().numpy())
    dense = lucid.from_dlpack(Numba(x, strides=None))
    np.testing.assert_array_equal(dense.cpu().numpy(), x.cpu().numpy())
    assert lucid.from_dlpack(Numba(x[:0])).shape == (0, 4, 5)


def test_the_array_interface_keeps_its_owner(device: str) -> None:
    lucid.cuda.empty_cache()
    before = lucid.cuda.memory_allocated()
    y = lucid.from_dlpack(Numba(lucid.tensor([1.0, 2.0], device=device)))
    z = lucid.zeros(2, device=device)  # would take the memory, were it free
    assert (y.tolist(), z.tolist()) == ([1.0, 2.0], [0.0, 0.0])
    assert (y + Numba(y)).tolist() == [2.0, 4.0]  # type: ignore[operator]
    assert F.relu(Numba(y)).tolist() == [1.0, 2.0]  # type: ignore[arg-type]
    del y, z
    assert lucid.cuda.memory_allocated() == before


def test_the_array_interface_is_read_behind_its_stream(device: str) -> None:
    x, side = lucid.tensor([1.0, 2.0], device=device), lucid.cuda.Stream()
    side.wait_stream(lucid.cuda.current_stream())
    with lucid.cuda.stream(side):
        lent = Numba(x + 1.0)
    assert lent.__cuda_array_interface__["stream"] == side.cuda_stream
    assert lucid.from_dlpack(lent).tolist() == [2.0, 3.0]
    assert lucid.from_dlpack(Numba(x + 2.0, stream=None, version=2)).tolist() == [3.0, 4.0]


def test_what_the_array_interface_cannot_lend(device: str) -> None:
    x = lucid.zeros(2, 3, device=device)
    host = np.zeros(3, np.float32)
    for changes, reason in (
        ({"mask": x}, "an array with a mask cannot be taken over"),
        ({"stream": 0}, "the stream of __cuda_array_interface__ must not be 0"),
        ({"strides": (10, 4)}, "strides must be multiples of the item size 4"),
        ({"strides": (4,)}, "strides must be as many as sizes"),
        ({"shape": (1,) * 9, "strides": None}, "the array must have at most 8 dimensions"),
        ({"data": (host.ctypes.data, False)}, "the array must be in the memory of a CUDA device"),
    ):
        with pytest.raises(BufferError, match=f"from_dlpack: {reason}$"):
            lucid.from_dlpack(Numba(x, **changes))
    with pytest.raises(
        TypeError, match="from_dlpack: array must be float32 in native byte order, got dtype >f4"
    ):
        lucid.from_dlpack(Numba(x, typestr=">f4"))
    kept = lucid.from_dlpack(Numba(x, data=(x.data.data_ptr, True)))
    with pytest.raises(ValueError, match="must be writable, got a read-only one"):
        kept.fill_(1.0)


def test_numpy_cannot_take_the_memory(device: str) -> None:
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(lucid.ones(2, device=device))  # type: ignore[arg-type]


def test_streams_order_work(device: str) -> None:
    x = lucid.tensor([1.0, 2.0], device=device)
    default, side = lucid.cuda.current_stream(), lucid.cuda.Stream()
    assert default.cuda_stream == 0
    assert default != side
    begin, end = lucid.cuda.Event(), lucid.cuda.Event()
    side.wait_stream(default)
    with lucid.cuda.stream(side):
        assert lucid.cuda.current_stream() == side
        begin.record()
        y = x + 1.0
        end.record()
    assert lucid.cuda.current_stream() == default
    default.wait_stream(side)
    assert (x + y).tolist() == [3.0, 5.0]
    assert begin.elapsed_time(end) >= 0.0
    side.synchronize()
    end.synchronize()
    lucid.cuda.synchronize()


def test_a_stream_of_another_library_is_used_and_left_alone(device: str) -> None:
    owner = lucid.cuda.Stream()
    lent = lucid.cuda.ExternalStream(owner.cuda_stream)
    assert lent == owner
    assert hash(lent) == hash(owner)
    assert lent.cuda_stream == owner.cuda_stream != 0
    x = lucid.tensor([1.0, 2.0], device=device)
    lent.wait_stream(lucid.cuda.current_stream())
    with lucid.cuda.stream(lent):
        assert lucid.cuda.current_stream() == owner
        y = x * 2.0
        done = lent.record_event()
    done.synchronize()
    assert y.tolist() == [2.0, 4.0]
    del lent
    gc.collect()
    with lucid.cuda.stream(owner):  # a stream that was destroyed would fail
        assert (y + 1.0).tolist() == [3.0, 5.0]
    owner.synchronize()
    assert lucid.cuda.ExternalStream(0) == lucid.cuda.current_stream()


def test_streams_speak_the_protocol_of_nvidias_packages(device: str) -> None:
    class Foreign:
        def __init__(self, version: int, handle: Any) -> None:
            self.answer = version, handle

        def __cuda_stream__(self) -> tuple[int, Any]:
            return self.answer

    owner = lucid.cuda.Stream()
    assert owner.__cuda_stream__() == (0, owner.cuda_stream)
    assert lucid.cuda.ExternalStream(owner) == owner
    assert lucid.cuda.ExternalStream(Foreign(0, owner.cuda_stream), device) == owner
    with pytest.raises(ValueError, match=r"^ExternalStream: __cuda_stream__ must be of version 0, got 1$"):
        lucid.cuda.ExternalStream(Foreign(1, 0))


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    [
        ("0x10", TypeError, "stream must be a cudaStream_t as an int, or have __cuda_stream__, got '0x10'"),
        (None, TypeError, "stream must be a cudaStream_t as an int, or have __cuda_stream__, got None"),
        (True, TypeError, "stream must be a cudaStream_t as an int, or have __cuda_stream__, got True"),
        (-1, ValueError, "stream must not be negative, got -1"),
    ],
)
def test_what_is_no_stream(device: str, stream: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^ExternalStream: {message}$"):
        lucid.cuda.ExternalStream(stream)


def test_memory_is_counted_and_given_back(device: str) -> None:
    lucid.cuda.empty_cache()
    before = lucid.cuda.memory_allocated()
    x = lucid.zeros(1 << 18, device=device)
    assert lucid.cuda.memory_allocated() >= before + (1 << 20)
    assert lucid.cuda.memory_reserved() >= lucid.cuda.memory_allocated()
    view = x[1:]
    del x
    assert lucid.cuda.memory_allocated() >= before + (1 << 20)
    del view
    assert lucid.cuda.memory_allocated() == before
    lucid.cuda.empty_cache()
    assert lucid.cuda.memory_reserved() < before + (1 << 20)


def test_facts_about_the_device(device: str) -> None:
    facts = lucid.cuda.get_device_properties()
    assert facts == lucid.cuda.get_device_properties(0) == lucid.cuda.get_device_properties(device)
    assert facts.name == lucid.cuda.get_device_name()
    assert (facts.major, facts.minor) == lucid.cuda.get_device_capability()
    assert facts.total_memory > 0
    assert lucid.cuda.current_device() == 0
    with lucid.cuda.device(0):
        assert lucid.zeros(1, device="cuda").device == "cuda:0"
    with pytest.raises(ValueError, match="get_device_name: device must be one of cuda's, got 'cpu'"):
        lucid.cuda.get_device_name("cpu")
