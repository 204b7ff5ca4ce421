"""Structs from other versions of lucid.h, and tensors that no Python array is, as C programs pass them."""

from __future__ import annotations

import ctypes
from typing import Any

import c_abi
import numpy as np
import pytest

WORD = ctypes.sizeof(ctypes.c_void_p)


class ReluArgs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("x", ctypes.POINTER(c_abi.Tensor)),
        ("y", ctypes.POINTER(c_abi.Tensor)),
        ("context", ctypes.c_void_p),
    ]


class Context(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("parallel_for", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("deallocate", ctypes.c_void_p),
        ("host", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
    ]


class Call:
    """lucid_relu on two tensors, which a test changes before it is made."""

    def __init__(self) -> None:
        self.library = c_abi.load()
        self.library.lucid_relu.argtypes = [ctypes.c_void_p]
        self.array, self.result = np.array([-1, 2, -3, 4], np.float32), np.zeros(4, np.float32)
        self.x, self.y = c_abi.tensor(self.array), c_abi.tensor(self.result)
        self.args = ReluArgs(ctypes.sizeof(ReluArgs), ctypes.pointer(self.x), ctypes.pointer(self.y), None)

    def __call__(self, args: Any = None) -> tuple[int, str]:
        """The status, and the message of an error."""
        status = self.library.lucid_relu(ctypes.byref(self.args) if args is None else args)
        return status, "" if status == c_abi.OK else self.library.lucid_last_error().decode()


@pytest.fixture
def call() -> Call:
    return Call()


@pytest.mark.parametrize("size", [0, ctypes.sizeof(ReluArgs)])
def test_a_struct_of_this_version(call: Call, size: int) -> None:
    call.args.size = size
    assert call() == (c_abi.OK, "")
    np.testing.assert_array_equal(call.result, [0, 2, 0, 4])


def test_a_shorter_struct_is_completed_with_zeros(call: Call) -> None:
    """The bytes behind it are no context."""
    call.args.size = ReluArgs.context.offset
    call.args.context = 1
    assert call() == (c_abi.OK, "")
    np.testing.assert_array_equal(call.result, [0, 2, 0, 4])


@pytest.mark.parametrize("words", [1, 2, 20])
def test_a_longer_struct_may_hold_zeros_only(call: Call, words: int) -> None:
    class Longer(ctypes.Structure):
        _fields_ = [("known", ReluArgs), ("unknown", ctypes.c_size_t * words)]

    longer = Longer(call.args)
    longer.known.size = ctypes.sizeof(Longer)
    assert call(ctypes.byref(longer)) == (c_abi.OK, "")
    np.testing.assert_array_equal(call.result, [0, 2, 0, 4])
    longer.unknown[words - 1] = 1
    status, message = call(ctypes.byref(longer))
    assert status == c_abi.UNSUPPORTED
    assert message.startswith("relu: fields behind the first")


@pytest.mark.parametrize("size", [1, WORD - 1, 1 << 20, 2**64 - 1])
def test_a_size_that_is_none(call: Call, size: int) -> None:
    call.args.size = size
    status, message = call()
    assert status == c_abi.INVALID_ARGUMENT
    assert message == f"relu: size must be that of the struct or 0, got {size}"


def test_no_struct(call: Call) -> None:
    assert call(ctypes.c_void_p()) == (c_abi.INVALID_ARGUMENT, "relu: args must be a struct, got NULL")


@pytest.mark.parametrize("field", [name for name, _ in Context._fields_[1:]])
def test_a_context_holds_nothing_yet(call: Call, field: str) -> None:
    context = Context(ctypes.sizeof(Context))
    call.args.context = ctypes.addressof(context)
    assert call() == (c_abi.OK, "")
    setattr(context, field, 8)
    status, message = call()
    assert status == c_abi.UNSUPPORTED
    assert message.startswith(f"relu: context: {field} is not used yet")


# ---- Tensors


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


@pytest.mark.parametrize(("device", "name"), [(2, "cuda:0"), (7, "device type 7")])
def test_data_must_be_on_the_processor(call: Call, device: int, name: str) -> None:
    call.x.device.type = device
    assert call() == (c_abi.UNSUPPORTED, f"relu: x must be on the CPU, got {name}")


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
