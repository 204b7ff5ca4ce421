"""Reading weight files: safetensors as mapped memory, pickled PyTorch files through PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lucid.models.keymap import unwrap

__all__ = ["Checkpoint", "as_arrays", "read_checkpoint", "read_header"]

Array = npt.NDArray[Any]

_PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")

# bfloat16 has no NumPy dtype: its 16 bits are the upper half of a float32's.
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file by their names in it, and the texts in its header."""

    arrays: dict[str, Array]
    texts: dict[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """The contents of a weight file.

    A safetensors file is mapped: its arrays are read-only views, and a page is read when it is used. bfloat16
        arrays
    are widened to float32, which is exact.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of no known type, damaged, or holds other things than tensors.
        ImportError: It is a pickled PyTorch file, and PyTorch is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"load_weights: {path} must be a file, found {'a folder' if path.is_dir() else 'none'}"
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PICKLED:
        return Checkpoint(_read_pickled(path))
    raise ValueError(
        f"load_weights: the file must end in .safetensors or one of {', '.join(_PICKLED)}, got {path.name}"
    )


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, after the safetensors package has found the whole file consistent.

    That covers the lengths of header and file, and that the tensors fill the data exactly: without gaps,
        overlaps or
    bytes left over, each as long as its shape says.

    Raises:
        ValueError: The file is truncated, overlong or inconsistent.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"load_weights: {path} must be an undamaged safetensors file: {error}") from None
    with open(path, "rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header


def _read_safetensors(path: Path) -> Checkpoint:
    header = read_header(path)
    texts: dict[str, str] = header.pop("__metadata__", None) or {}
    # The package's own reader cannot make NumPy arrays of bfloat16, and copies what it reads.
    data: Array = np.asarray(np.memmap(path, np.uint8, mode="r"))
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    arrays = {}
    for name, entry in header.items():
        kind = entry["dtype"]
        if kind not in _DTYPES:
            raise ValueError(f"load_weights: {name} in {path} must be of a dtype that NumPy has, got {kind}")
        begin, end = entry["data_offsets"]
        array = data[start + begin : start + end].view(_DTYPES[kind]).reshape(entry["shape"])
        arrays[name] = _widened(array) if kind == "BF16" else array
    return Checkpoint(arrays, texts)


def _widened(bits: Array) -> Array:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _read_pickled(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"load_weights: {path} is a pickled PyTorch file, which PyTorch must read: pip install torch, or "
            "convert it once where PyTorch is installed, with "
            "safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'model.safetensors')"
        ) from None
    try:
        # Without weights_only a file could run any code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a damaged file can raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"load_weights: {path} must be an undamaged PyTorch file of tensors only: {reason}"
        ) from error
    if not isinstance(state, Mapping):
        raise ValueError(
            f"load_weights: {path} must hold a dictionary of tensors, found {type(state).__name__}"
        )
    return as_arrays(state, str(path))


def as_arrays(state: Mapping[Any, Any], where: str) -> dict[str, Array]:
    """The tensors of a state dict as arrays that share their memory.

    Args:
        state: Tensors (of any library) or arrays by name, or a training checkpoint that holds such a
            dictionary.
        where: What to call it in messages.

    Raises:
        ValueError: A name is not a string or a value is not a dense tensor.
    """
    arrays = {}
    for name, value in unwrap(state).items():
        if not isinstance(name, str):
            raise ValueError(f"load_weights: the names in {where} must be strings, got {name!r}")
        arrays[name] = _as_array(name, value, where)
    return arrays


def _as_array(name: str, value: Any, where: str) -> Array:
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    elif not hasattr(value, "__array__"):
        raise ValueError(f"load_weights: {name!r} in {where} must be a tensor, got {type(value).__name__}")
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"load_weights: {name!r} in {where} must be a dense tensor: {error}") from None
