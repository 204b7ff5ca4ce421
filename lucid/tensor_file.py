"""Safetensors files, read tensor by tensor into memory.

The safetensors package maps a file into memory. If another process cuts the file off meanwhile, touching a
lost page ends the whole process (SIGBUS); if the system refuses the mapping, the package's Rust code panics.
Plain reads end in an exception in both cases, and need no more memory than the tensor that is read.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

__all__ = ["StoredTensor", "TensorFile", "foreign_content", "open_file", "without_repeats"]

Array = npt.NDArray[Any]

# Bits of an element. The types without a NumPy dtype stand here so that a file which has them is not called
# damaged.
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
    "F32": 32, "I32": 32, "U32": 32,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip

# bfloat16 has no NumPy dtype: its 16 bits are the upper half of a float32's.
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "C64": "<c8",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

_LARGEST_HEADER = 100_000_000  # as in the safetensors package
_MOST_DIMENSIONS = 32  # NumPy 1 has no more

# First bytes of files that are saved under the name of a weight file by mistake.
_FOREIGN = (
    (b"version https://git-lfs.github.com/", "a Git LFS pointer and not the file itself: run git lfs pull"),
    (b"PK\x03\x04", "a zip archive, as PyTorch's files are"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzip-compressed: unpack it first"),
    (b"BZh", "bzip2-compressed: unpack it first"),
    (b"\xfd7zXZ", "xz-compressed: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a rar archive: unpack it first"),
    (b"(\xb5/\xfd", "zstd-compressed: unpack it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"\x93NUMPY", "a NumPy array: load it with numpy.load"),
    (b"GGUF", "a GGUF file"),
    (b"\x80", "a pickle, as PyTorch's older files are"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: its dtype in the format's spelling, its shape, where its bytes lie."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def foreign_content(head: bytes) -> str | None:
    """Describes a file of another kind by its first bytes (512 of them are enough); None if unknown."""
    if not head:
        return "empty"
    for magic, description in _FOREIGN:
        if head.startswith(magic):
            return description
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page: the download gave an error or a login page"
    if text.startswith((b"{", b"[")):
        return "a JSON text"
    if len(head) >= 8 and head.isascii() and head.decode().isprintable():
        return f"a text: {head[:60].decode()!r}"
    if not head.strip(b"\0"):
        return "filled with zeros: a download that did not finish"
    return None


class TensorFile:
    """An open safetensors file whose header is consistent with its length; closed at the end of a ``with``.

    Attributes:
        path: The file.
        tensors: The tensors by name.
        texts: The texts in the header, by name.
    """

    def __init__(self, op: str, path: Path) -> None:
        """Opens a file, and checks its header before a tensor is read.

        The tensors must fill the data exactly: without gaps, overlaps or bytes left over, each as long as its
        shape says.

        Args:
            op: The call that the user made, for messages.
            path: A regular file.

        Raises:
            ValueError: The file is truncated, overlong or inconsistent, or no safetensors file.
            OSError: It cannot be opened or read.
        """
        self.path, self._op = path, op
        self._file = open_file(op, path)
        try:
            self._state = _state_of(self._file.fileno())
            self.tensors, self.texts = self._read_header()
        except BaseException:
            self.close()
            raise

    def read(self, name: str) -> Array:
        """The elements of a tensor, as an array of their own. bfloat16 is widened to float32, exactly.

        Raises:
            ValueError: The file has become shorter, or the dtype is one that NumPy lacks.
        """
        stored = self.tensors[name]
        if stored.dtype not in _DTYPES:
            raise ValueError(
                f"{self._op}: {name} in {self.path} must be of a dtype that NumPy has, got {stored.dtype}"
            )
        array = np.empty(stored.shape, _DTYPES[stored.dtype])
        self._file.seek(stored.begin)
        if array.size:
            self._fill(array.reshape(-1).view(np.uint8).data)
        return _widened(array) if stored.dtype == "BF16" else array

    def check_unchanged(self) -> None:
        """Raises ValueError if the file was written to since it was opened: tensors may be of two files."""
        if _state_of(self._file.fileno()) != self._state:
            self._fail("another process changed it while it was read")

    def close(self) -> None:
        """Closes the file; tensors that were read stay."""
        self._file.close()

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, reason: str) -> NoReturn:
        raise ValueError(f"{self._op}: {self.path} must be an undamaged safetensors file: {reason}")

    def _fill(self, memory: memoryview) -> None:
        while memory:
            count = self._file.readinto(memory)  # at most 2 GiB at a time on Linux
            if not count:
                self._fail("another process cut it off while it was read")
            memory = memory[count:]

    def _read_header(self) -> tuple[dict[str, StoredTensor], dict[str, str]]:
        size = self._state[0]
        start = self._file.read(512)
        length = int.from_bytes(start[:8], "little")
        if size < 8 or length > min(size - 8, _LARGEST_HEADER) or start[8:9] != b"{":
            foreign = foreign_content(start)
            if foreign is None:
                foreign = f"damaged or truncated: {size} bytes cannot hold a header of {length}"
            self._fail(f"it is {foreign}")
        self._file.seek(8)
        raw = bytearray(length)
        self._fill(memoryview(raw))
        try:
            header = json.loads(raw.decode(), object_pairs_hook=without_repeats, parse_constant=_refuse)
            return _parsed(header, 8 + length, size)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._fail(f"its header is inconsistent: {error}")


def open_file(op: str, path: Path) -> Any:
    """An unbuffered regular file, for reading.

    Raises:
        FileNotFoundError: There is no such file, or it is a folder, a pipe or a device.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "a pipe or a device" if path.exists() else "none"
        raise FileNotFoundError(f"{op}: {path} must be a file, found {found}")
    return open(path, "rb", buffering=0)


def _state_of(descriptor: int) -> tuple[int, int]:
    """Length of a file, and when it was last written to."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _widened(bits: Array) -> Array:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for ``json.loads``.

    Raises:
        ValueError: A name stands there twice, or a text holds half a character, which UTF-8 cannot express.
    """
    found = dict(pairs)
    for pair in pairs:
        for text in pair:
            if isinstance(text, str):
                text.encode()
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}")


def _parsed(header: Any, start: int, size: int) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Tensors and texts of a header, after which ``size - start`` bytes of data come."""
    if not isinstance(header, dict):
        raise TypeError("it is no dictionary")
    texts = header.pop("__metadata__", None) or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("__metadata__ must hold texts")
    tensors = {name: _tensor(name, entry, start) for name, entry in header.items()}
    position = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            raise ValueError(f"{name} must begin at byte {position}, got {tensor.begin}")
        position = tensor.end
    if position != size:
        raise ValueError(f"the file must end at byte {position}, got {size}")
    return tensors, texts


def _tensor(name: str, entry: Any, start: int) -> StoredTensor:
    if not isinstance(entry, dict):
        raise TypeError(f"{name} must be described by a dictionary")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BITS:
        raise ValueError(f"{name} has the unknown dtype {kind!r}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
            raise TypeError(f"{name} must have sizes and offsets, got {str(numbers)[:80]}")
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{name} must have at most {_MOST_DIMENSIONS} dimensions, got {len(shape)}")
    begin, end = offsets
    if math.prod(shape) * _BITS[kind] != (end - begin) * 8:
        raise ValueError(f"{name} of shape {shape} must have that many elements, got {end - begin} bytes")
    return StoredTensor(name, kind, tuple(shape), start + begin, start + end)
