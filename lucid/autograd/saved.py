"""Arrays that gradient formulas read, and whether they have changed since."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from lucid.device_array import DeviceArray


class Facts(NamedTuple):
    """Stands for an array of which a formula needs the shape and dtype alone."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Changes:
    """Counts the changes in place of one piece of memory, while something saved lies in it."""

    __slots__ = ("__weakref__", "count")

    def __init__(self) -> None:
        self.count = 0


# By what owns the memory; an entry lives as long as something saved keeps that owner alive.
_watched: WeakValueDictionary[int, _Changes] = WeakValueDictionary()


def owner_of(array: Any) -> int:
    """The identity of an array's memory, which all views of it share."""
    if type(array) is DeviceArray:
        return array.memory_id
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array if array.base is None else array.base)


def note_change(array: Any) -> None:
    """To be called by what has changed the array of a tensor in place."""
    if _watched:
        changes = _watched.get(owner_of(array))
        if changes is not None:
            changes.count += 1


class Saved:
    """An array as it was when it was saved."""

    __slots__ = ("array", "changes", "count")

    def __init__(self, array: Any) -> None:
        self.array = array
        self.changes = _watched.setdefault(owner_of(array), _Changes())
        self.count = self.changes.count

    def value(self, name: str) -> Any:
        if self.changes.count != self.count:
            raise ValueError(
                f"backward: what {name} read must still be what it was, got a tensor of shape "
                f"{self.array.shape} that was changed in place since; clone() it before the change"
            )
        return self.array


def save(value: Any) -> Any:
    return Saved(value) if hasattr(value, "dtype") else value


def restore(value: Any, name: str) -> Any:
    return value.value(name) if type(value) is Saved else value


def facts(array: Any) -> Facts:
    return Facts(array.shape, array.dtype)
