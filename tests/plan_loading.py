"""Plan files by lucid_plan_load and lucid_plan_load_buffer, with ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import c_abi
import numpy as np
import numpy.typing as npt
from plan_structs import Shape

Array = npt.NDArray[Any]
KINDS = ("int", "uint", "float")


class LoadArgs(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("device", c_abi.Device),
        ("dtype", c_abi.DType),
        ("tf32", ctypes.c_int32),
        ("context", ctypes.c_void_p),
    ]


class LoadedPlan:
    """A plan of a file, or of a buffer with the contents of one.

    Attributes:
        inputs: Name and shape of each input.
        dtypes: The dtype that each must have.
        outputs: Name and shape of each output, all of them float32.
    """

    def __init__(self, source: Path | bytes, args: LoadArgs | None = None) -> None:
        """ValueError for a file that is refused, MemoryError where there is none."""
        self.library = c_abi.load()
        self.handle = ctypes.c_void_p()
        given = None if args is None else ctypes.byref(args)
        if isinstance(source, bytes):
            data = ctypes.c_char_p(source)
            size = ctypes.c_size_t(len(source))
            status = self.library.lucid_plan_load_buffer(data, size, given, ctypes.byref(self.handle))
        else:
            path = str(source).encode()
            status = self.library.lucid_plan_load(path, given, ctypes.byref(self.handle))
        self._check(status)
        inputs, outputs = self._described("input"), self._described("output")
        self.inputs, self.dtypes = [each[:2] for each in inputs], [dtype for _, _, dtype in inputs]
        self.outputs = [each[:2] for each in outputs]

    def __call__(self, *inputs: Array) -> list[Array]:
        return self.run(inputs)

    def run(
        self,
        inputs: Sequence[Array],
        context: c_abi.Context | None = None,
        arena: tuple[int, int] | None = None,
        milliseconds: Any = None,
    ) -> list[Array]:
        """The outputs; ``arena`` is address and size of memory to run in."""
        outputs = [np.zeros(shape, np.float32) for _, shape in self.outputs]
        given = [self.handle, self._pointers(inputs), self._pointers(outputs), milliseconds]
        given.append(None if context is None else ctypes.byref(context))
        if arena is None:
            self._check(self.library.lucid_plan_run_on(*given))
        else:
            place = ctypes.c_void_p(arena[0]), ctypes.c_size_t(arena[1])
            self._check(self.library.lucid_plan_run_in(*given, *place))
        return outputs

    def profile(
        self, inputs: Sequence[Array], context: c_abi.Context | None = None, left_out: Sequence[str] = ()
    ) -> tuple[list[Array], list[float], list[float], list[float]]:
        """The outputs, and of each step its time, waiting and barriers; lists that are left out are empty."""
        outputs = [np.zeros(shape, np.float32) for _, shape in self.outputs]
        steps = self.library.lucid_plan_step_count(self.handle)
        places: list[Any] = [
            None if name in left_out else (ctypes.c_double * steps)(*[-1.0] * steps)
            for name in ("milliseconds", "waiting", "barriers")
        ]
        given = None if context is None else ctypes.byref(context)
        pointers = self._pointers(inputs), self._pointers(outputs)
        self._check(self.library.lucid_plan_profile(self.handle, *pointers, *places, given))
        times, waiting, barriers = ([] if place is None else list(place) for place in places)
        return outputs, times, waiting, barriers

    def arena_size(self, context: c_abi.Context | None = None) -> tuple[int, int]:
        """Bytes and alignment."""
        size, alignment = ctypes.c_size_t(), ctypes.c_size_t()
        given = None if context is None else ctypes.byref(context)
        status = self.library.lucid_plan_arena_size(
            self.handle, given, ctypes.byref(size), ctypes.byref(alignment)
        )
        self._check(status)
        return size.value, alignment.value

    def close(self) -> None:
        self.library.lucid_plan_destroy(self.handle)
        self.handle = ctypes.c_void_p()

    def _described(self, kind: str) -> list[tuple[str, tuple[int, ...], str]]:
        described = []
        for index in range(self.library[f"lucid_plan_{kind}_count"](self.handle)):
            name, shape = ctypes.c_char_p(), Shape()
            function = self.library[f"lucid_plan_{kind}"]
            self._check(function(self.handle, index, ctypes.byref(name), ctypes.byref(shape)))
            sizes, dtype = tuple(shape.sizes[: shape.ndim]), shape.dtype
            described.append(((name.value or b"").decode(), sizes, f"{KINDS[dtype.code]}{dtype.bits}"))
        return described

    @staticmethod
    def _pointers(arrays: Sequence[Array]) -> Any:
        tensors = [ctypes.pointer(c_abi.tensor(array)) for array in arrays]
        return (ctypes.POINTER(c_abi.Tensor) * len(tensors))(*tensors)

    def _check(self, status: int) -> None:
        if status == c_abi.OK:
            return
        message = self.library.lucid_last_error().decode(errors="replace")
        kinds = {c_abi.INVALID_ARGUMENT: ValueError, c_abi.OUT_OF_MEMORY: MemoryError}
        raise kinds.get(status, RuntimeError)(message)
