"""A library for AArch64, called from Python on another processor: server.c under QEMU, through a pipe."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

_ALLOCATE, _WRITE, _READ, _CALL, _LENGTH = range(5)
_ARENA_BYTES = 256 << 20  # of which the system gives what is touched
_DTYPES = {"f": 2, "i": 0, "u": 1, "c": 5, "b": 6}


class Emulator:
    """Functions by name, and memory for their arguments, which lasts until the next ``forget``."""

    def __init__(self, folder: Path) -> None:
        command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", folder / "server", folder / "liblucid.so"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._arena = self._ask(_ALLOCATE, _ARENA_BYTES)
        self._used = 0

    def call(self, name: str, *arguments: int) -> int:
        """The result as an unsigned number of 64 bits."""
        text = name.encode()
        packed = struct.pack(f"<{len(arguments)}Q", *arguments)
        return self._ask(_CALL, len(text), len(arguments), text + packed)

    def status(self, name: str, *arguments: int) -> None:
        """Calls a function that returns lucid_status, and raises what ``lucid._core`` would."""
        status = self.call(name, *arguments) & 0xFFFFFFFF
        if status != 0:
            kinds: dict[int, type[Exception]] = {2: NotImplementedError, 3: MemoryError, 4: RuntimeError}
            raise kinds.get(status, ValueError)(self.text(self.call("lucid_last_error")))

    def text(self, address: int) -> str:
        return self.read(address, self._ask(_LENGTH, address)).decode()

    def forget(self) -> None:
        self._used = 0

    def reserve(self, size: int) -> int:
        """The address of ``size`` bytes."""
        address = self._arena + self._used
        self._used += -(-size // 64) * 64 + 64
        if self._used > _ARENA_BYTES:
            raise MemoryError(f"emulator: arguments must fit into {_ARENA_BYTES} bytes, got {self._used}")
        return address

    def place(self, data: bytes) -> int:
        """The address of a copy of ``data``."""
        address = self.reserve(len(data))
        self._send(_WRITE, address, len(data), data)
        return address

    def numbers(self, layout: str, *values: float) -> int:
        """The address of a struct, in the layout that both processors' C has; see ``struct``."""
        return self.place(struct.pack(f"@{layout}", *values))

    def string(self, text: str | None) -> int:
        return 0 if text is None else self.place(text.encode() + b"\0")

    def read(self, address: int, size: int) -> bytes:
        self._send(_READ, address, size)
        return self._receive(size)

    def tensor(self, array: npt.NDArray[np.generic] | None) -> int:
        """The address of a lucid_tensor, with the strides and all memory that ``array`` spans; 0 for None."""
        if array is None:
            return 0
        low, high = _bounds(array)
        return self.describe(array, self.place(_memory(array, low, high)) - low)

    def describe(self, array: npt.NDArray[np.generic], data: int) -> int:
        """The address of a lucid_tensor as ``array``, but with its memory at ``data``."""
        dtype = array.dtype
        if dtype.kind not in _DTYPES or not dtype.isnative:
            raise TypeError(f"emulator: the dtype must be one of C, got {dtype}")
        steps = [
            0 if n <= 1 else s // dtype.itemsize for n, s in zip(array.shape, array.strides, strict=True)
        ]
        shape, strides = (self.place(np.array(values, np.int64).tobytes()) for values in (array.shape, steps))
        code = _DTYPES[dtype.kind]
        return self.numbers(
            "PiiiBBHPPQ", data, 1, 0, array.ndim, code, dtype.itemsize * 8, 1, shape, strides, 0
        )

    def result(self, sizes: Sequence[int], dtype: npt.DTypeLike = np.float32) -> tuple[int, Result]:
        """The address of a lucid_tensor to be written, and its reader; images are channels-last in memory."""
        order = (0, 2, 3, 1) if len(sizes) == 4 else tuple(range(len(sizes)))
        memory = np.full([sizes[d] for d in order], np.nan if dtype == np.float32 else -1, dtype)
        array = memory.transpose(np.argsort(order))
        data = self.place(memory.tobytes())
        return self.describe(array, data), Result(self, memory, array, data)

    def _ask(self, command: int, first: int, second: int = 0, data: bytes = b"") -> int:
        self._send(command, first, second, data)
        return int.from_bytes(self._receive(8), "little")

    def _send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<3Q", command, first, second) + data)

    def _receive(self, size: int) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.flush()
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise RuntimeError(f"emulator: the program ended with {self._process.wait()}")
        return data


class Result:
    """An array that a function will have written."""

    def __init__(
        self, emulator: Emulator, memory: npt.NDArray[np.generic], array: npt.NDArray[np.generic], data: int
    ) -> None:
        self._emulator, self._memory, self._array, self._data = emulator, memory, array, data

    def get(self) -> npt.NDArray[np.generic]:
        self._memory.reshape(-1).view(np.uint8)[:] = np.frombuffer(
            self._emulator.read(self._data, self._memory.nbytes), np.uint8
        )
        return self._array


def _bounds(array: npt.NDArray[np.generic]) -> tuple[int, int]:
    """The first byte that the elements take, from the first element on, and the byte behind the last."""
    if array.size == 0:
        return 0, 0
    reach = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
    return sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach) + array.itemsize


def _memory(array: npt.NDArray[np.generic], low: int, high: int) -> bytes:
    """The bytes from the lowest to the highest element."""
    return ctypes.string_at(array.ctypes.data + low, high - low)
