"""Tensors in other libraries' hands and theirs in lucid's: __array__, the buffer protocol, DLPack."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import lucid
from lucid import Tensor

NUMPY_2_1 = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 1)


def sliced() -> np.ndarray:
    """An array of odd strides, one of them negative."""
    return np.arange(48, dtype=np.float32).reshape(4, 12)[::2, ::-3]


def read_only() -> np.ndarray:
    array = np.arange(3, dtype=np.float32)
    array.flags.writeable = False
    return array


def test_array_shares_memory_unless_it_must_not():
    x = lucid.ones(3)
    assert np.shares_memory(np.asarray(x), x.data)
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64


def test_array_method_honours_copy():
    x = lucid.ones(3)
    assert x.__array__() is x.data
    assert x.__array__(copy=False) is x.data
    assert not np.shares_memory(x.__array__(copy=True), x.data)
    assert x.__array__(np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="needs a copy, got copy=False"):
        x.__array__(np.float64, copy=False)


def test_numpy_functions_take_tensors():
    x = lucid.tensor([1.0, 4.0])
    np.testing.assert_array_equal(np.sqrt(x), [1.0, 2.0])
    assert np.stack([x, x]).shape == (2, 2)
    out = np.empty(2, np.float32)
    out[:] = x
    assert out.tolist() == [1.0, 4.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"])
def test_buffer_is_the_arrays_memory(dtype):
    x = lucid.ones(2, 3, dtype=dtype)
    view = memoryview(x)
    assert view.shape == (2, 3)
    assert view.itemsize == x.dtype.itemsize
    back = np.asarray(view)
    assert back.dtype == x.dtype
    assert np.shares_memory(back, x.data)


def test_buffer_keeps_strides():
    x = Tensor(sliced())
    view = memoryview(x)
    assert view.strides == x.data.strides
    np.testing.assert_array_equal(np.asarray(view), x.data)


def test_buffer_of_read_only_array_is_read_only():
    assert memoryview(Tensor(read_only())).readonly
    assert not memoryview(lucid.zeros(3)).readonly


def test_buffer_outlives_the_tensor():
    view = memoryview(Tensor(np.full(100_000, 7, np.float32)))
    gc.collect()
    np.full(100_000, 8, np.float32)
    assert np.asarray(view).sum() == 700_000


def test_dlpack_round_trip_shares_memory():
    x = lucid.ones(2, 3)
    assert x.__dlpack_device__() == (1, 0)
    assert np.shares_memory(np.from_dlpack(x), x.data)
    y = lucid.from_dlpack(x)
    assert type(y) is Tensor
    assert np.shares_memory(y.data, x.data)
    np.testing.assert_array_equal(lucid.from_dlpack(Tensor(sliced())).data, sliced())


def test_dlpack_copies_on_request():
    x = lucid.ones(2, 3)
    y = lucid.from_dlpack(x, copy=True)
    assert not np.shares_memory(y.data, x.data)
    y.data[:] = 2  # and is writeable
    assert x.sum().item() == 6


def test_dlpack_takes_every_documented_argument():
    x = lucid.ones(3)
    for arguments in (
        {},
        {"stream": None},
        {"max_version": (1, 0)},
        {"dl_device": (1, 0)},
        {"copy": False},
        {"copy": True},
        {"max_version": (1, 0), "dl_device": (1, 0), "copy": True, "stream": None},
    ):
        assert type(x.__dlpack__(**arguments)).__name__ == "PyCapsule"
    with pytest.raises((BufferError, ValueError, RuntimeError)):
        x.__dlpack__(dl_device=(2, 0))


@pytest.mark.skipif(not NUMPY_2_1, reason="NumPy below 2.1 has no read-only flag in DLPack")
def test_dlpack_of_read_only_array_is_read_only():
    assert not lucid.from_dlpack(Tensor(read_only())).data.flags.writeable


def test_from_dlpack_rejects_strangers():
    with pytest.raises(TypeError, match="from_dlpack: x must have __dlpack__, got list"):
        lucid.from_dlpack([1.0])
    with pytest.raises(NotImplementedError, match=r"from_dlpack: device must be 'cpu' or .*, got 'mps'"):
        lucid.from_dlpack(lucid.ones(1), device="mps")


def test_operators_return_memory_of_their_own():
    x = lucid.random.randn(2, 4, 5, 5)
    y = lucid.nn.functional.relu(x)
    kept = y.data.copy()
    alias = np.asarray(y)
    del y
    for _ in range(3):  # would hand out the same memory again if it had been given back too early
        lucid.nn.functional.relu(lucid.random.randn(2, 4, 5, 5))
    np.testing.assert_array_equal(alias, kept)


class TestTorch:
    torch = None

    @pytest.fixture(autouse=True)
    def import_torch(self):
        type(self).torch = pytest.importorskip("torch")

    def test_shares_memory_both_ways(self):
        x = lucid.ones(2, 3)
        t = self.torch.from_dlpack(x)
        t[0, 0] = 5
        assert x[0, 0].item() == 5
        y = lucid.from_dlpack(self.torch.arange(4, dtype=self.torch.float32))
        assert y.tolist() == [0.0, 1.0, 2.0, 3.0]

    def test_channels_last_result_stays_so(self):
        y = lucid.nn.functional.conv2d(lucid.ones(1, 3, 5, 5), lucid.ones(4, 3, 3, 3))
        t = self.torch.from_dlpack(y)
        assert t.shape == y.shape
        assert t.is_contiguous(memory_format=self.torch.channels_last)

    def test_tensor_reads_torch(self):
        assert lucid.tensor(self.torch.ones(2)).tolist() == [1.0, 1.0]
        t = self.torch.zeros(2)
        lucid.tensor(t)[0] = 1.0
        assert t.tolist() == [0.0, 0.0]

    def test_bfloat16_is_refused_by_name(self):
        with pytest.raises((BufferError, TypeError, RuntimeError)):
            lucid.from_dlpack(self.torch.zeros(2, dtype=self.torch.bfloat16))
