"""Symbol: a tensor's shape without its data, on which a module's forward pass is traced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from lucid import arguments, symbolic
from lucid.inference.kinds import Attribute, Shape
from lucid.tensor import Array, Tensor

if TYPE_CHECKING:
    from lucid.inference.trace import Tracer

_UNKNOWN_VALUES = "needs the values of a tensor, which are not known before the plan runs"
_NO_COUNTERPART = "has no counterpart in a plan"


def _refused(what: str, reason: str = _NO_COUNTERPART) -> Callable[..., Any]:
    """A method that only says that, and where it was called."""

    def refuse(self: Symbol, *args: Any, **kwargs: Any) -> Any:
        raise self.tracer.refusal(what, reason)

    return refuse


class Symbol(symbolic.Symbol):
    """A value of the graph that is being traced.

    It has what of Tensor's methods a graph can express. Everything else is refused with the line of the
    program that asked for it.
    """

    dtype = np.dtype(np.float32)
    device = "cpu"

    def __init__(self, tracer: Tracer, value: str, shape: Shape) -> None:
        self.tracer = tracer
        self.value = value
        self.shape = shape

    def record(self, operator: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        from lucid.inference.operators import OPERATORS  # which is made of symbols

        if operator not in OPERATORS:
            raise self.tracer.refusal(operator, _NO_COUNTERPART)
        return OPERATORS[operator](*args, **kwargs)

    def add(
        self,
        kind: str,
        *others: Symbol,
        weights: Mapping[str, Array] | None = None,
        **attributes: Attribute,
    ) -> Symbol:
        """Records a node that reads this value first, and returns what it gives."""
        return self.tracer.add(kind, (self, *others), attributes, weights or {})

    def become(self, other: Symbol) -> Symbol:
        """What an operation in place does: whoever holds this symbol reads ``other``'s value from now on."""
        self.value, self.shape = other.value, other.shape
        return self

    # ---- What is known of it

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def size(self, dim: int | None = None) -> Shape | int:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Symbol({self.value}, shape={self.shape})"

    # ---- Shape

    def reshape(self, *shape: SupportsIndex | tuple[SupportsIndex, ...]) -> Symbol:
        return self._reshaped("reshape", _without_hole(self.shape, arguments.shape("reshape", shape)))

    def view(self, *shape: SupportsIndex | tuple[SupportsIndex, ...]) -> Symbol:
        return self._reshaped("view", _without_hole(self.shape, arguments.shape("view", shape)))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Symbol:
        start, end = start_dim % self.ndim, end_dim % self.ndim
        length = math.prod(self.shape[start : end + 1])
        return self._reshaped("flatten", (*self.shape[:start], length, *self.shape[end + 1 :]))

    def squeeze(self, dim: int | None = None) -> Symbol:
        squeezed = range(self.ndim) if dim is None else [dim % self.ndim]
        shape = tuple(length for axis, length in enumerate(self.shape) if axis not in squeezed or length != 1)
        return self._reshaped("squeeze", shape)

    def _reshaped(self, method: str, shape: Shape) -> Symbol:
        if shape == self.shape:
            return self
        if self.ndim == 4 and shape == (self.shape[0], math.prod(self.shape[1:])):
            return self.add("flatten")
        if self.ndim == 2 and shape == (*self.shape, 1, 1):
            return self.add("unflatten")
        raise self.tracer.refusal(
            f"Tensor.{method} from {self.shape} to {shape}",
            f"{_NO_COUNTERPART}: it knows (n, c, h, w) to (n, c * h * w), and (n, c) to (n, c, 1, 1)",
        )

    def contiguous(self) -> Symbol:
        return self.clone()  # what an operator gives is channels-last, so this copies

    def to(self, dtype: npt.DTypeLike) -> Symbol:
        if self.dtype != dtype:
            raise self.tracer.refusal(f"Tensor.to {np.dtype(dtype)}", _NO_COUNTERPART)
        return self

    def clone(self) -> Symbol:
        return Symbol(self.tracer, self.value, self.shape)  # a name of its own, for operations in place

    # ---- Arithmetic

    def mean(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Symbol:
        dims = dim if isinstance(dim, tuple) else () if dim is None else (dim,)
        if self.ndim != 4 or sorted(axis % 4 for axis in dims) != [2, 3]:
            raise self.tracer.refusal(
                f"Tensor.mean over {dim} of {self.shape}", f"{_NO_COUNTERPART}: it knows that over (2, 3)"
            )
        pooled = self.add("global_avg_pool2d", radix=1)
        return pooled.add("unflatten") if keepdim else pooled

    def sigmoid(self) -> Symbol:
        return self.add("sigmoid")

    def softmax(self, dim: int) -> Symbol:
        if self.ndim != 2 or dim not in (1, -1):
            raise self.tracer.refusal(
                f"softmax along {dim} of {self.shape}", f"{_NO_COUNTERPART}: it knows that of (n, c) along 1"
            )
        return self.add("softmax")

    def clamp(self, min: float | None = None, max: float | None = None) -> Symbol:
        if min != 0 or max is not None:
            raise self.tracer.refusal(
                f"Tensor.clamp with min={min} and max={max}", f"{_NO_COUNTERPART}: it knows min=0, the ReLU"
            )
        return self.add("relu")

    def __add__(self, other: object) -> Symbol:
        if isinstance(other, Symbol):
            if other.shape != self.shape:
                raise self.tracer.refusal(f"+ of {self.shape} and {other.shape}", _NO_COUNTERPART)
            return self.add("add", other, relu=False)
        return self._scaled("+", shift=other)

    def __sub__(self, other: object) -> Symbol:
        return self + -other if isinstance(other, Symbol) else self._scaled("-", shift=other, sign=-1.0)

    def __rsub__(self, other: object) -> Symbol:
        return -self + other

    def __mul__(self, other: object) -> Symbol:
        if not isinstance(other, Symbol):
            return self._scaled("*", scale=other)
        image, factors = (self, other) if self.numel() >= other.numel() else (other, self)
        if image.ndim != 4 or factors.shape != (*image.shape[:2], 1, 1):
            raise self.tracer.refusal(
                f"* of {self.shape} and {other.shape}",
                f"{_NO_COUNTERPART}: it knows (n, c, h, w) times (n, c, 1, 1)",
            )
        return image.add("gate", factors.add("flatten"))

    def __truediv__(self, other: object) -> Symbol:
        if isinstance(other, Symbol):
            raise self.tracer.refusal("/ of two tensors", _NO_COUNTERPART)
        return self._scaled("/", divisor=other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Symbol:
        return self._scaled("-", scale=-1.0)

    def _scaled(
        self,
        sign_text: str,
        scale: object = 1.0,
        shift: object = 0.0,
        divisor: object = 1.0,
        sign: float = 1.0,
    ) -> Symbol:
        """``self * scale / divisor + sign * shift``, with numbers or arrays of one number a channel."""
        scale, shift, divisor = (self._per_channel(sign_text, value) for value in (scale, shift, divisor))
        with np.errstate(all="ignore"):
            weights = {"weight": scale / divisor, "bias": sign * shift}
        return self.add("batch_norm", weights=weights, relu=False)

    def _per_channel(self, sign_text: str, value: object) -> Array:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        shape = (1,) * (self.ndim - array.ndim) + array.shape
        fits = len(shape) == self.ndim and all(
            length == 1 or (axis == 1 and length == self.shape[1]) for axis, length in enumerate(shape)
        )
        # A scalar has no say in the dtype of a result; an array of another dtype would make it that.
        is_array = isinstance(value, (Tensor, np.ndarray))
        keeps_dtype = array.dtype == self.dtype or array.dtype.kind in ("biu" if is_array else "biuf")
        if not fits or not keeps_dtype:
            raise self.tracer.refusal(
                f"{sign_text} of {self.shape} and {array.dtype} of shape {array.shape}",
                f"{_NO_COUNTERPART}: it knows numbers, and float32 constants with one value for each channel",
            )
        return np.broadcast_to(array.astype(np.float64).reshape(-1), self.shape[1:2])

    # ---- NumPy

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        raise self.tracer.refusal("the conversion to a NumPy array", _UNKNOWN_VALUES)

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Symbol:
        operation = _OF_UFUNCS.get(function)
        if operation is None or method != "__call__" or kwargs or isinstance(inputs[0], Symbol):
            raise self.tracer.refusal(f"numpy.{function.__name__}", _NO_COUNTERPART)
        return operation(self, inputs[0])

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise self.tracer.refusal(f"numpy.{function.__name__}", _NO_COUNTERPART)

    # ---- Everything else that a tensor has; Python looks for operators on the class, past __getattr__

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "item", "numpy", "tolist") or name.startswith("__dlpack"):
            raise self.tracer.refusal(f"Tensor.{name}", _UNKNOWN_VALUES)
        if hasattr(Tensor, name):
            raise self.tracer.refusal(f"Tensor.{name}", _NO_COUNTERPART)
        raise AttributeError(f"'Tensor' object has no attribute {name!r}")

    __hash__ = object.__hash__
    __bool__ = _refused("bool()", _UNKNOWN_VALUES)
    __int__ = _refused("int()", _UNKNOWN_VALUES)
    __float__ = _refused("float()", _UNKNOWN_VALUES)
    __index__ = _refused("an index", _UNKNOWN_VALUES)
    __contains__ = _refused("in", _UNKNOWN_VALUES)
    __eq__ = _refused("==")
    __ne__ = _refused("!=")
    __lt__ = _refused("<")
    __le__ = _refused("<=")
    __gt__ = _refused(">")
    __ge__ = _refused(">=")
    __iter__ = _refused("iteration")
    __getitem__ = _refused("indexing")
    __setitem__ = _refused("assignment to elements")
    __rtruediv__ = _refused("division by a tensor")
    __floordiv__ = __rfloordiv__ = _refused("//")
    __mod__ = __rmod__ = _refused("%")
    __pow__ = __rpow__ = _refused("**")
    __matmul__ = __rmatmul__ = _refused("@")
    __and__ = __rand__ = _refused("&")
    __or__ = __ror__ = _refused("|")
    __invert__ = _refused("~")
    __abs__ = _refused("abs()")


# What `array + symbol` and the like call, with the array first.
_OF_UFUNCS: Mapping[np.ufunc, Callable[[Symbol, Any], Symbol]] = {
    np.add: Symbol.__radd__,
    np.subtract: Symbol.__rsub__,
    np.multiply: Symbol.__rmul__,
}


def _without_hole(old: Shape, new: Shape) -> Shape:
    """``new`` with what is left in place of -1."""
    if -1 not in new:
        return new
    known = -math.prod(new)
    return tuple(math.prod(old) // known if length == -1 and known > 0 else length for length in new)
