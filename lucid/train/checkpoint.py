"""Checkpoints: nested dictionaries of tensors and plain values in a safetensors file, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lucid.device_array import on_host
from lucid.tensor import Tensor
from lucid.tensor_file import TensorFile

__all__ = ["read_checkpoint", "write_checkpoint", "write_durably"]

_KEY = "lucid_checkpoint"  # of the text in the header
_TENSOR = "$tensor"  # stands in that text for a tensor, with its name


def write_checkpoint(path: str | PathLike[str], state: Mapping[str, Any]) -> None:
    """Writes a state, such as ``Training.state_dict()``.

    Whenever the process or the machine stops, the path has the old file or the new one, and it is whole: the
    data reach the disk under another name before the file is renamed, and then the name does.

    Raises:
        TypeError: A value is neither a tensor nor one that JSON can hold.
        OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays: dict[str, Any] = {}
    text = json.dumps(_without_tensors(state, "", arrays))
    target = Path(path)
    temporary = target.with_name(f".{target.name}.part")  # the same each time: no litter after a crash
    try:
        temporary.unlink(missing_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(arrays, temporary, {_KEY: text})
        os.chmod(temporary, mode)  # the package's files are for their owner alone
        _rename_durably(temporary, target)
    except (SafetensorError, OSError) as error:
        raise OSError(f"write_checkpoint: {target} cannot be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """The state that ``write_checkpoint`` wrote; keys of its dictionaries that were numbers are so again.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or no checkpoint of lucid's.
    """
    with TensorFile("read_checkpoint", Path(path)) as file:
        if _KEY not in file.texts:
            raise ValueError(
                f"read_checkpoint: {os.fspath(path)} must be a checkpoint of a training by lucid"
            )
        state: dict[str, Any] = _with_tensors(json.loads(file.texts[_KEY]), file)
        return state


def write_durably(path: Path, text: str) -> None:
    """Replaces a file by a text, as ``write_checkpoint`` does."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    _rename_durably(temporary, path)


def _rename_durably(temporary: Path, target: Path) -> None:
    _flush(temporary)
    os.replace(temporary, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Waits until a file's data, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _without_tensors(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """``value`` with names in place of tensors, which go into ``arrays``."""
    if isinstance(value, (Tensor, np.ndarray)):
        data = value.data if isinstance(value, Tensor) else value
        arrays[name] = np.asarray(on_host(data), order="C")
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {
            str(key): _without_tensors(part, f"{name}/{key}".strip("/"), arrays)
            for key, part in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_tensors(part, f"{name}/{place}", arrays) for place, part in enumerate(value)]
    return value


def _with_tensors(value: Any, file: TensorFile) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return Tensor(file.read(value[_TENSOR]))
        return {
            int(key) if key.isdecimal() else key: _with_tensors(part, file) for key, part in value.items()
        }
    if isinstance(value, list):
        return [_with_tensors(part, file) for part in value]
    return value
