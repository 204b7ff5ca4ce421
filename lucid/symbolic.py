"""Calls of operators on symbols, which have a shape but no data, are recorded and not run.

Every function of ``lucid.nn.functional`` is an ``operator``, so one forward pass on symbols lists what a
module computes. The symbols themselves are those of ``lucid.inference``, which lies above.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class Symbol:
    """What stands in for a tensor while a module is traced."""

    def record(self, operator: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the operator of this name returns: symbols. Called on the first symbol of its arguments."""
        raise NotImplementedError(f"{type(self).__name__}: a subclass must define record, got none")


def operator(function: Function) -> Function:
    """Makes ``function`` one that symbols record; on anything else it runs as it is."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            if isinstance(value, Symbol):
                return value.record(function.__name__, args, kwargs)
        for value in kwargs.values():
            if isinstance(value, Symbol):
                return value.record(function.__name__, args, kwargs)
        return function(*args, **kwargs)

    return cast(Function, call)
