"""Names that one package shows and a package above it defines.

The package above lends them, and they are found when somebody asks for them; so imports go downwards only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

__all__ = ["find", "lend", "names"]

_finders: dict[str, dict[str, Callable[[str], Any]]] = {}


def lend(package: str, names: Collection[str], finder: Callable[[str], Any]) -> None:
    """Lets ``package`` show ``names``, each of which ``finder`` finds."""
    _finders.setdefault(package, {}).update(dict.fromkeys(names, finder))


def names(package: str) -> list[str]:
    """The names lent to ``package``."""
    return list(_finders.get(package, ()))


def find(package: str, name: str) -> Any:
    """The object behind a name lent to ``package``.

    Raises:
        AttributeError: The name was not lent.
    """
    if name not in names(package):
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return _finders[package][name](name)
