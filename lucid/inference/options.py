"""Where and how a plan runs: its device, its dtype and its threads, checked."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np

from lucid import arguments, cuda

_MOST_THREADS = 1024  # as of lucid.set_num_threads


def checked_device(op: str, device: Any) -> str:
    """The device's full name: "cpu", "cuda:0". RuntimeError if it is not there."""
    return cuda.name_of(cuda.device_index(op, device))


def checked_dtype(op: str, dtype: Any, device: str) -> str:
    """The name of a dtype that a plan on ``device`` may have.

    NotImplementedError for another one, ValueError for what is none.
    """
    error: type[Exception] = NotImplementedError
    try:
        found = np.dtype(dtype)
        name: str = found.name if found.isnative else found.str
    except TypeError:  # NumPy knows bfloat16 with the package ml_dtypes only
        name = str(dtype)
        error = ValueError
    if name in ("float32", "bfloat16") or (device != "cpu" and name == "float16"):
        return name
    if device == "cpu":
        raise error(
            f"{op}: dtype must be 'float32' or 'bfloat16', got {dtype!r}; on cuda it may also be 'float16'"
        )
    raise error(f"{op}: dtype must be 'float32', 'float16' or 'bfloat16', got {dtype!r}")


def allows_tf32(given: bool | None, device: str, dtype: str) -> bool:
    """Whether a plan may round to TF32, which other dtypes and the CPU do not know."""
    allowed = cuda.get_allow_tf32() if given is None else given
    return bool(allowed) and device != "cpu" and dtype == "float32"


def checked_threads(op: str, value: SupportsIndex | None, device: str) -> int | None:
    """The most threads of a call on ``device``, where it is limited. ValueError for a number that is none."""
    if value is None:
        return None
    number = arguments.integer(op, "threads_per_call", value, "an int or None")
    if not 1 <= number <= _MOST_THREADS:
        raise ValueError(f"{op}: threads_per_call must be from 1 to {_MOST_THREADS}, got {number}")
    if device != "cpu":
        raise ValueError(f"{op}: threads_per_call must be None on {device}, being for the CPU, got {number}")
    return number
