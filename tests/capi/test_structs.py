"""Every *_args struct: of any size, with a context, missing; and tensors of another device."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import c_abi
import numpy as np
import pytest
from plan_structs import Shape

FUNCTIONS = re.findall(r"lucid_status (lucid_\w+)\(const lucid_\w+_args\* args\)", c_abi.HEADER.read_text())
X = np.arange(-6, 6, dtype=np.float32).reshape(3, 4)


class ReluArgs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("x", ctypes.POINTER(c_abi.Tensor)),
        ("y", ctypes.POINTER(c_abi.Tensor)),
        ("context", ctypes.c_void_p),
        ("later", ctypes.c_int64),  # a field that this library does not know
    ]


def relu(**fields: Any) -> tuple[int, str, Any]:
    """The status and message of lucid_relu on X, and the result."""
    library, y = c_abi.load(), np.zeros_like(X)
    tensors = c_abi.tensor(X), c_abi.tensor(y)
    args = ReluArgs(x=ctypes.pointer(tensors[0]), y=ctypes.pointer(tensors[1]), **fields)
    status = library.lucid_relu(ctypes.byref(args))
    return status, library.lucid_last_error().decode(), y


KNOWN = ReluArgs.later.offset


@pytest.mark.parametrize("size", [0, ReluArgs.context.offset, KNOWN, KNOWN + 8])
def test_a_struct_of_any_version_runs(size: int) -> None:
    status, message, y = relu(size=size)
    assert (status, message) == (c_abi.OK, "")
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_what_a_shorter_struct_lacks_is_not_read() -> None:
    status, _, y = relu(size=ReluArgs.context.offset, context=1, later=1)
    assert status == c_abi.OK
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_fields_that_are_not_known_must_be_zero() -> None:
    status, message, y = relu(size=KNOWN + 8, later=1)
    assert status == c_abi.UNSUPPORTED
    assert re.fullmatch(r"relu: fields behind the first 32 bytes must be 0 in lucid \S+, got others", message)
    assert not y.any()


@pytest.mark.parametrize("size", [4, 2**20, 2**64 - 1])
def test_what_is_no_size_is_refused(size: int) -> None:
    status, message, _ = relu(size=size)
    assert status == c_abi.INVALID_ARGUMENT
    assert message == f"relu: size must be that of the struct or 0, got {size}"


def test_a_context_may_ask_for_nothing() -> None:
    nothing = c_abi.Context()
    assert relu(size=KNOWN, context=ctypes.addressof(nothing))[0] == c_abi.OK
    ignored = c_abi.Context(size=ctypes.sizeof(c_abi.Context), tf32=1, host=1)
    assert relu(size=KNOWN, context=ctypes.addressof(ignored))[0] == c_abi.OK


BOTH = "allocate and deallocate must be given together, got one"


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"stream": 1}, c_abi.UNSUPPORTED, "stream must be NULL on the CPU, got a pointer"),
        ({"allocate": 1}, c_abi.INVALID_ARGUMENT, "allocate and deallocate must be given together, got one"),
        (
            {"deallocate": 1},
            c_abi.INVALID_ARGUMENT,
            "allocate and deallocate must be given together, got one",
        ),
        ({"threads": -1}, c_abi.INVALID_ARGUMENT, "threads must be between 0 and 1024, got -1"),
        (
            {"threads": -1, "parallel_for": 1},
            c_abi.INVALID_ARGUMENT,
            "threads must be between 0 and 1024, got -1",
        ),
        (
            {"threads": 1025, "parallel_for": 1},
            c_abi.INVALID_ARGUMENT,
            "threads must be between 0 and 1024, got 1025",
        ),
    ],
)
def test_what_a_context_must_not_hold(fields: dict[str, int], status: int, reason: str) -> None:
    context = c_abi.Context(size=ctypes.sizeof(c_abi.Context), **fields)
    given = relu(size=KNOWN, context=ctypes.addressof(context))[:2]
    assert given == (status, f"relu: context: {reason}")


def test_every_operator_is_here() -> None:
    assert len(FUNCTIONS) >= 14


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_arguments_are_an_error(function: str) -> None:
    library, op = c_abi.load(), function.removeprefix("lucid_")
    assert library[function](None) == c_abi.INVALID_ARGUMENT
    assert library.lucid_last_error().decode() == f"{op}: args must be a struct, got NULL"
    cleared = ctypes.create_string_buffer(512)
    assert library[function](cleared) == c_abi.INVALID_ARGUMENT
    message = library.lucid_last_error().decode()
    assert re.fullmatch(rf"{op}: (x|a|dy|parameter|average) must be a tensor, got NULL", message), message
    if op.endswith("_update"):  # which has no output
        assert not hasattr(library, f"{function}_output_shape")
        return
    assert (
        library[f"{function}_output_shape"](None, ctypes.create_string_buffer(128)) == c_abi.INVALID_ARGUMENT
    )
    assert library[f"{function}_output_shape"](cleared, None) == c_abi.INVALID_ARGUMENT
    assert library.lucid_last_error().decode() == f"{op}: the shape of y must have a place, got NULL"


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ((2, 99), "x is on cuda:99(: .*|, but devices are cuda:0 to .*)"),
        ((12, 0), "x must be on the CPU or on CUDA, got device type 12"),
    ],
)
def test_a_tensor_elsewhere_has_a_shape_but_does_not_run(device: tuple[int, int], reason: str) -> None:
    library = c_abi.load()
    x = c_abi.tensor(X)
    x.device, x.data = c_abi.Device(*device), None
    args, shape = ReluArgs(size=KNOWN, x=ctypes.pointer(x)), Shape()
    assert library.lucid_relu_output_shape(ctypes.byref(args), ctypes.byref(shape)) == c_abi.OK
    assert shape.sizes[: shape.ndim] == [3, 4]
    assert library.lucid_relu(ctypes.byref(args)) == c_abi.UNSUPPORTED
    assert re.fullmatch(f"relu: {reason}", library.lucid_last_error().decode())
