"""Plans of lucid.h for ctypes: descriptions without the Python module in between."""

from __future__ import annotations

import ctypes
from typing import Any

import c_abi


class Shape(ctypes.Structure):
    _fields_ = [("dtype", c_abi.DType), ("ndim", ctypes.c_int32), ("sizes", ctypes.c_int64 * 8)]


class Step(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_char_p),
        ("inputs", ctypes.POINTER(ctypes.c_int32)),
        ("input_count", ctypes.c_int32),
        ("output", ctypes.c_int32),
        ("attributes", ctypes.c_void_p),
        ("attribute_count", ctypes.c_int32),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    ]


class Pixels(ctypes.Structure):
    _fields_ = [("mean", ctypes.POINTER(ctypes.c_float)), ("std", ctypes.POINTER(ctypes.c_float))]


class PlanArgs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("values", ctypes.POINTER(Shape)),
        ("steps", ctypes.POINTER(Step)),
        ("inputs", ctypes.POINTER(ctypes.c_int32)),
        ("outputs", ctypes.POINTER(ctypes.c_int32)),
        *((f"{name}_count", ctypes.c_int32) for name in ("value", "step", "input", "output")),
        ("winograd", ctypes.c_int32),
        ("context", ctypes.c_void_p),
        ("device", c_abi.Device),
        ("dtype", c_abi.DType),
        ("tf32", ctypes.c_int32),
        ("pixels", ctypes.POINTER(Pixels)),
    ]


class Plan:
    """A ReLU of one image as a plan, or what lucid_plan_create() says of it."""

    def __init__(
        self,
        shape: tuple[int, ...],
        device: tuple[int, int] = (0, 0),
        context: int | None = None,
        pixels: Pixels | None = None,
        size: int = ctypes.sizeof(PlanArgs),
    ) -> None:
        self.library = c_abi.load()
        sizes = (ctypes.c_int64 * 8)(*shape)
        values = (Shape * 2)(*(Shape(c_abi.DType(2, 32, 1), len(shape), sizes) for _ in range(2)))
        first, second = ((ctypes.c_int32 * 1)(index) for index in range(2))
        step = Step(kind=b"relu", inputs=first, input_count=1, output=1)
        args = PlanArgs(
            size=size,
            values=values,
            steps=ctypes.pointer(step),
            inputs=first,
            outputs=second,
            value_count=2,
            step_count=1,
            input_count=1,
            output_count=1,
            context=context,
            device=c_abi.Device(*device),
            pixels=None if pixels is None else ctypes.pointer(pixels),
        )
        self.handle = ctypes.c_void_p()
        self.status = self.library.lucid_plan_create(ctypes.byref(args), ctypes.byref(self.handle))
        self.message = self.library.lucid_last_error().decode()

    def run(self, x: c_abi.Tensor, y: c_abi.Tensor, context: int | None = None) -> tuple[int, str]:
        given = [(ctypes.POINTER(c_abi.Tensor) * 1)(ctypes.pointer(tensor)) for tensor in (x, y)]
        run: Any = self.library.lucid_plan_run_on
        status = run(self.handle, *given, None, ctypes.c_void_p(context))
        return status, self.library.lucid_last_error().decode()

    def close(self) -> None:
        self.library.lucid_plan_destroy(self.handle)
