"""Modules that hold others in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, overload

from lucid.nn.module import Module
from lucid.tensor import Tensor

S = TypeVar("S", bound="_Ordered")


class _Ordered(Module):
    """Children under the names "0", "1", ..., or names of the caller's."""

    def _items(self) -> list[Module]:
        # Not children(), which leaves out a module that stands there twice.
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def append(self: S, module: Module) -> S:
        self.add_module(str(len(self)), module)
        return self

    def extend(self: S, modules: Iterable[Module]) -> S:
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items())

    @overload
    def __getitem__(self: S, index: slice) -> S: ...
    @overload
    def __getitem__(self, index: int) -> Module: ...
    def __getitem__(self: S, index: int | slice) -> S | Module:
        """The module at a position, or a container of the same modules for a slice."""
        if not isinstance(index, slice):
            return self._items()[index]
        return type(self)().extend(self._items()[index])

    def __setitem__(self, index: int, module: Module) -> None:
        names = [name for name, value in vars(self).items() if isinstance(value, Module)]
        self.add_module(names[index], module)


class Sequential(_Ordered):
    """Calls modules one after the other, each with the result of the one before.

    Takes the modules themselves, which are then named "0", "1", ..., or one dict of names and modules.
    """

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: dict[str, Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0]
        else:
            named = {str(position): module for position, module in enumerate(modules)}
        for name, module in named.items():
            self.add_module(name, module)

    def forward(self, input: Tensor) -> Tensor:
        for module in self._items():
            input = module(input)
        return input


class ModuleList(_Ordered):
    """A list of modules whose parameters are found; it is not callable itself."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)
