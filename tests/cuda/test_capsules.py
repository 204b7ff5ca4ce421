"""DLPack capsules as other libraries make them: versions, flags, offsets, devices, and their return."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import c_abi
import numpy as np
import pytest
from device_arrays import load, on_device

from lucid import _core

pytestmark = pytest.mark.cuda

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
READ_ONLY, COPIED = 1, 2

Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Plain(ctypes.Structure):
    _fields_ = [("tensor", c_abi.Tensor), ("context", ctypes.c_void_p), ("deleter", Deleter)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", c_abi.Tensor),
    ]


class Lent:
    """X on the device, lent by another library, and how often it came back."""

    # Only the array taken from it knows of the deleter, and Python's collector does not see that.
    _all: ClassVar[list[Lent]] = []

    def __init__(self, major: int | None = 1, flags: int = 0, **fields: Any) -> None:
        self._all.append(self)
        self.array = on_device(X)
        self.returns = 0
        tensor = c_abi.tensor(X)
        tensor.data, tensor.device = self.array.data_ptr, c_abi.Device(2, 0)
        for name, value in fields.items():
            setattr(tensor, name, value)
        self._deleter = Deleter(self._back)
        self._managed: Any = (
            Plain(tensor=tensor, deleter=self._deleter)
            if major is None
            else Versioned(major=major, deleter=self._deleter, flags=flags, tensor=tensor)
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.argtypes, new.restype = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p], ctypes.py_object
        self._name = b"dltensor" if major is None else b"dltensor_versioned"
        self.capsule = new(ctypes.addressof(self._managed), self._name, None)

    def _back(self, _: int) -> None:
        self.returns += 1

    def taken(self) -> Any:
        return _core.device_from_dlpack(self.capsule)


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load()


@pytest.mark.parametrize("major", [None, 1])
def test_memory_comes_back_once(major: int | None) -> None:
    lent = Lent(major)
    y = lent.taken()
    assert (y.data_ptr, y.shape, y.strides) == (lent.array.data_ptr, X.shape, X.strides)
    view = y.as_strided((2,), (4,), 0)
    del y
    assert lent.returns == 0
    np.testing.assert_array_equal(view.to_host(), [0, 1])
    del view
    assert lent.returns == 1


@pytest.mark.parametrize("major", [None, 1])
def test_a_tensor_begins_at_its_offset(major: int | None) -> None:
    sizes, strides = (ctypes.c_int64 * 2)(2, 3), (ctypes.c_int64 * 2)(12, 4)
    y = Lent(major, byte_offset=8, ndim=2, shape=sizes, strides=strides).taken()
    np.testing.assert_array_equal(y.to_host(), X[:, :, 2])


def test_without_strides_a_tensor_is_dense() -> None:
    y = Lent(strides=None).taken()
    assert y.strides == X.strides
    np.testing.assert_array_equal(y.to_host(), X)


@pytest.mark.parametrize("major", [0, 2, 7])
def test_another_version_is_refused_and_stays_with_its_owner(major: int) -> None:
    lent = Lent(major)
    with pytest.raises(BufferError, match=rf"from_dlpack: DLPack's version must be 1, got {major}$"):
        lent.taken()
    assert lent.returns == 0


def test_what_is_read_only_stays_so() -> None:
    for flags in (0, COPIED):
        y = Lent(flags=flags).taken()
        assert not y.read_only
        y.assign(on_device(7))
        np.testing.assert_array_equal(y.to_host(), np.full_like(X, 7))
    y = Lent(flags=READ_ONLY).taken()
    assert y.read_only
    assert y.__cuda_array_interface__["data"] == (y.data_ptr, True)
    for write in (lambda: y.assign(on_device(7)), lambda: _core.cuda_elementwise("add", y, 1, out=y)):
        with pytest.raises(ValueError, match="the array must be writable, got a read-only one"):
            write()
    with pytest.raises(BufferError, match=r"a read-only array needs DLPack 1\.0"):
        y.__dlpack__()
    again = _core.device_from_dlpack(y.__dlpack__(max_version=(1, 0)))
    assert again.read_only


def test_the_device_must_be_there() -> None:
    count = _core.cuda_device_count()
    for index in (count, 99, -1):
        lent = Lent(device=c_abi.Device(2, index))
        with pytest.raises(BufferError, match=f"from_dlpack: there is no cuda:{index}$"):
            lent.taken()
        assert lent.returns == 0
    for kind in (1, 3, 10):
        with pytest.raises(BufferError, match=f"must be on a CUDA device, got device type {kind}$"):
            Lent(device=c_abi.Device(kind, 0)).taken()
    np.testing.assert_array_equal(Lent(device=c_abi.Device(13, 0)).taken().to_host(), X)  # managed


def test_elements_must_be_plain() -> None:
    for dtype in (c_abi.DType(2, 32, 2), c_abi.DType(1, 4, 1), c_abi.DType(1, 0, 1)):
        with pytest.raises(BufferError, match="the array must have plain elements and at most 8 dimensions"):
            Lent(dtype=dtype).taken()
    for ndim in (-1, 9):
        with pytest.raises(BufferError, match="the array must have plain elements and at most 8 dimensions"):
            Lent(ndim=ndim).taken()


@pytest.mark.parametrize("taken_on_the_stream", [True, False])
def test_memory_comes_back_when_our_streams_are_done_with_it(taken_on_the_stream: bool) -> None:
    lent, stream = Lent(), _core.CudaStream(0)
    before = _core.cuda_current_stream(0)
    stream.wait(before)
    if taken_on_the_stream:
        _core.cuda_set_stream(stream)
    y = lent.taken()
    _core.cuda_set_stream(stream)
    z = _core.relu(y)
    del y
    _core.cuda_set_stream(before)
    assert lent.returns == 1
    lent.array.assign(on_device(-1))  # as its owner may now
    np.testing.assert_array_equal(lent.array.to_host(), np.full_like(X, -1))
    _core.cuda_set_stream(stream)
    np.testing.assert_array_equal(z.to_host(), X)
    _core.cuda_set_stream(before)
