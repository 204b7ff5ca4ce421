"""Symbol: a tensor's shape without its data, on which a module's forward pass is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lucid.conversions import Conversions
from lucid.methods import Methods
from lucid.operators import Operators
from lucid.recording import NO_COUNTERPART, UNKNOWN_VALUES, Recorder, Shape, Symbolic
from lucid.tensor import Array, Tensor


def _refused(what: str, reason: str = NO_COUNTERPART) -> Callable[..., Any]:
    """A method that raises the refusal, with the line that called it."""

    def refuse(self: Symbol, *args: Any, **kwargs: Any) -> Any:
        raise self.recorder.refusal(what, reason)

    return refuse


class Symbol(Methods, Operators, Conversions, Symbolic):
    """A value of the graph that is being traced.

    It has Tensor's methods. The primitives that they call are recorded, or refused with the line of the
    program. Methods that need the values of a tensor are refused here.
    """

    shape: Shape
    dtype = np.dtype(np.float32)
    device = "cpu"

    def __init__(self, recorder: Recorder, value: str, shape: Shape) -> None:
        self.recorder = recorder
        self.value = value
        self.shape = shape

    def become(self, other: Symbol) -> Symbol:
        """Lets whoever holds this symbol read ``other`` from now on, as an operation in place does."""
        self.value, self.shape = other.value, other.shape
        return self

    def another(self) -> Symbol:
        """A symbol of the same value, which operations in place on this one do not reach."""
        return Symbol(self.recorder, self.value, self.shape)

    def __repr__(self) -> str:
        return f"Symbol({self.value}, shape={self.shape})"

    # ---- NumPy

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        raise self.recorder.refusal("the conversion to a NumPy array", UNKNOWN_VALUES)

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Tensor:
        operation = _OF_UFUNCS.get(function)
        if operation is None or method != "__call__" or kwargs or isinstance(inputs[0], Symbol):
            raise self.recorder.refusal(f"numpy.{function.__name__}")
        return operation(self, inputs[0])

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise self.recorder.refusal(f"numpy.{function.__name__}")

    # ---- Everything else that a tensor has; Python looks for special methods on the class, past __getattr__

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "item", "numpy", "tolist") or name.startswith("__dlpack"):
            raise self.recorder.refusal(f"Tensor.{name}", UNKNOWN_VALUES)
        if hasattr(Tensor, name):
            raise self.recorder.refusal(f"Tensor.{name}")
        raise AttributeError(f"'Tensor' object has no attribute {name!r}")

    __bool__ = _refused("bool()", UNKNOWN_VALUES)
    __int__ = _refused("int()", UNKNOWN_VALUES)
    __float__ = _refused("float()", UNKNOWN_VALUES)
    __index__ = _refused("an index", UNKNOWN_VALUES)
    __contains__ = _refused("in", UNKNOWN_VALUES)
    __iter__ = _refused("iteration")


# Methods behind `array + symbol` and the like.
_OF_UFUNCS: Mapping[np.ufunc, Callable[[Symbol, Any], Tensor]] = {
    np.add: Symbol.__radd__,
    np.subtract: Symbol.__rsub__,
    np.multiply: Symbol.__rmul__,
}
