"""Influences that no result may show, to the last bit: memory layout, threads, neighbours in the batch."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from lucid import _core

Array: TypeAlias = npt.NDArray[np.float32]
Results: TypeAlias = "Array | tuple[Array, ...]"


def embedded(array: Array) -> Array:
    """A slice with NaN around each element, which any read beside the slice would bring in."""
    larger = np.full([2 * size + 3 for size in array.shape], np.nan, np.float32)
    view = larger[tuple(slice(1, 2 * size, 2) for size in array.shape)]
    view[...] = array
    return view


def channels_last(array: Array) -> Array:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1) if array.ndim > 1 else array


def backwards(array: Array) -> Array:
    steps = (slice(None, None, -1),) * array.ndim
    return array[steps].copy()[steps]


def one_float_off(array: Array) -> Array:
    """Channels-last, but at no address that vectors or cache lines begin at."""
    order = (0, *range(2, array.ndim), 1) if array.ndim > 1 else (0,)
    memory = np.empty(array.size + 17, np.float32)
    start = (68 - memory.ctypes.data % 64) // 4
    view = memory[start : start + array.size].reshape([array.shape[d] for d in order])
    view = view.transpose(np.argsort(order))
    view[...] = array
    return view


def at_end_of_memory(array: Array) -> Array:
    """A copy whose last byte is the last of a page, before a page that may not be touched."""
    page = mmap.PAGESIZE
    pages = -(-array.nbytes // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    end = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + pages * page
    libc, no_access = ctypes.CDLL(None, use_errno=True), 0
    if libc.mprotect(ctypes.c_void_p(end), ctypes.c_size_t(page), no_access) != 0:
        pytest.skip(f"mprotect failed: {os.strerror(ctypes.get_errno())}")
    copy = np.frombuffer(memory, np.float32, array.size, offset=pages * page - array.nbytes)
    copy[:] = array.ravel()
    return copy.reshape(array.shape)


def channels_last_at_end_of_memory(array: Array) -> Array:
    if array.ndim == 1:
        return at_end_of_memory(array)
    return np.moveaxis(at_end_of_memory(np.moveaxis(array, 1, -1)), -1, 1)


def read_only(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "channels-last": channels_last,
    "columns before rows": lambda a: a.swapaxes(-1, -2).copy().swapaxes(-1, -2) if a.ndim > 1 else a,
    "every second row": lambda a: channels_last(a.repeat(2, 2))[:, :, ::2] if a.ndim == 4 else a,
    "rows backwards": lambda a: channels_last(a[:, :, ::-1])[:, :, ::-1] if a.ndim == 4 else a,
    "batch innermost": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "columns backwards": lambda a: channels_last(a[..., ::-1])[..., ::-1],
    "reversed dimensions": np.asfortranarray,
    "sliced": embedded,
    "sliced channels-last": lambda a: (
        np.moveaxis(embedded(np.moveaxis(a, 1, -1)), -1, 1) if a.ndim > 1 else a
    ),
    "backwards": backwards,
    "backwards channels-last": lambda a: backwards(channels_last(a)),
    "one float off": one_float_off,
    "end of memory": at_end_of_memory,
    "channels-last end of memory": channels_last_at_end_of_memory,
    "read-only": read_only,
}


def assert_equal(got: Results, want: Results, what: str) -> None:
    gots, wants = (results if isinstance(results, tuple) else (results,) for results in (got, want))
    assert len(gots) == len(wants)
    for one, other in zip(gots, wants, strict=True):
        np.testing.assert_array_equal(one, other, what)


def assert_layouts_agree(function: Callable[..., Results], *arrays: Array) -> None:
    """The same for arrays in every layout: all of them laid out so, and the first alone."""
    want = function(*map(np.ascontiguousarray, arrays))
    for name, lay_out in LAYOUTS.items():
        assert_equal(function(*map(lay_out, arrays)), want, name)
        assert_equal(function(lay_out(arrays[0]), *arrays[1:]), want, f"{name}, first argument")
    repeated = np.broadcast_to(arrays[0][:1, :1], arrays[0].shape)
    assert_equal(function(repeated, *arrays[1:]), function(repeated.copy(), *arrays[1:]), "repeated")


def assert_threads_agree(compute: Callable[[], Results]) -> None:
    before = _core.num_threads()
    try:
        _core.set_num_threads(1)
        want = compute()
        for threads in (2, 3, 7):
            _core.set_num_threads(threads)
            assert_equal(compute(), want, f"{threads} threads")
    finally:
        _core.set_num_threads(before)


def assert_rows_agree(function: Callable[..., Array], *batches: Array) -> None:
    """A row of the batch alone gives what it gives among the others."""
    together: Any = function(*batches)
    for row in range(len(together)):
        alone = function(*(batch[row : row + 1] for batch in batches))
        assert_equal(alone[0], together[row], f"row {row}")
