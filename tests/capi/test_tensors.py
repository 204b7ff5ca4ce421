"""Tensors that no Python array is, as C programs may pass them."""

from __future__ import annotations

import ctypes

import c_abi
import numpy as np
import pytest


class ReluArgs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("x", ctypes.POINTER(c_abi.Tensor)),
        ("y", ctypes.POINTER(c_abi.Tensor)),
        ("context", ctypes.c_void_p),
    ]


class Call:
    """lucid_relu on two tensors, which a test changes before it is made."""

    def __init__(self) -> None:
        self.library = c_abi.load()
        self.library.lucid_relu.argtypes = [ctypes.c_void_p]
        self.array, self.result = np.array([-1, 2, -3, 4], np.float32), np.zeros(4, np.float32)
        self.x, self.y = c_abi.tensor(self.array), c_abi.tensor(self.result)
        self.args = ReluArgs(ctypes.sizeof(ReluArgs), ctypes.pointer(self.x), ctypes.pointer(self.y), None)

    def __call__(self) -> tuple[int, str]:
        """The status, and the message of an error."""
        status = self.library.lucid_relu(ctypes.byref(self.args))
        return status, "" if status == c_abi.OK else self.library.lucid_last_error().decode()


@pytest.fixture
def call() -> Call:
    return Call()


def test_data_must_be_aligned(call: Call) -> None:
    call.x.byte_offset = 2
    status, message = call()
    assert status == c_abi.INVALID_ARGUMENT
    assert message.startswith("relu: the data of x must be aligned to 4 bytes")


@pytest.mark.parametrize("size", [-1, -(2**62), -(2**63)])
def test_sizes_must_not_be_negative(call: Call, size: int) -> None:
    call.x.shape[0] = size
    status, message = call()
    assert status == c_abi.INVALID_ARGUMENT
    assert message == f"relu: sizes of x must not be negative, got {size}"


@pytest.mark.parametrize("dtype", [(2, 64, 1), (2, 16, 1), (4, 16, 1), (0, 32, 1), (2, 32, 4), (200, 3, 0)])
def test_elements_must_be_float32(call: Call, dtype: tuple[int, int, int]) -> None:
    call.x.dtype = c_abi.DType(*dtype)
    status, message = call()
    assert status == c_abi.INVALID_ARGUMENT
    assert message.startswith("relu: x must be float32, got ")


@pytest.mark.parametrize("rank", [-1, 9, 2**31 - 1])
def test_dimensions_must_be_at_most_eight(call: Call, rank: int) -> None:
    call.x.ndim = rank
    status, message = call()
    assert status == c_abi.INVALID_ARGUMENT
    assert message.endswith(f"got {rank}")


@pytest.mark.parametrize("stride", [2**62, -(2**62), -(2**63)])
def test_strides_must_reach_what_can_be_addressed(call: Call, stride: int) -> None:
    call.x.strides[0] = stride
    status, message = call()
    assert status == c_abi.INVALID_ARGUMENT
    assert message.startswith("relu: x must have at most 2^58 elements")


def test_pointers_must_be_there(call: Call) -> None:
    call.x.data = None
    assert call() == (c_abi.INVALID_ARGUMENT, "relu: x must have data, got NULL")
    call.x.shape = None
    assert call() == (c_abi.INVALID_ARGUMENT, "relu: the shape of x must be given, got NULL")
    call.args.x = None
    assert call() == (c_abi.INVALID_ARGUMENT, "relu: x must be a tensor, got NULL")


def test_strides_may_be_absent(call: Call) -> None:
    call.x.strides = call.y.strides = None
    assert call() == (c_abi.OK, "")
    np.testing.assert_array_equal(call.result, [0, 2, 0, 4])
