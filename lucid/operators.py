"""Operators: ``+``, ``*=``, ``<`` and the like on tensors, and PyTorch's methods in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from lucid import exchange, primitives
from lucid.primitives import Primitive

if TYPE_CHECKING:
    from lucid.tensor import Tensor

Operand: TypeAlias = "Tensor | npt.NDArray[Any] | np.generic | float"
T = TypeVar("T", bound="Operators")


class Operators:
    """Python's operators; operands are tensors, arrays of any library, and numbers."""

    # NumPy's operators leave `array + tensor` to __radd__ when this is higher than theirs.
    __array_priority__ = 1000.0

    def __add__(self, other: Operand) -> Tensor:
        return _binary(primitives.add, self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return _binary(primitives.add, other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return _binary(primitives.subtract, self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _binary(primitives.subtract, other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _binary(primitives.multiply, self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return _binary(primitives.multiply, other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return _binary(primitives.divide, self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _binary(primitives.divide, other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return _binary(primitives.floor_divide, self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return _binary(primitives.floor_divide, other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return _binary(primitives.remainder, self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return _binary(primitives.remainder, other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return _binary(primitives.power, self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return _binary(primitives.power, other, self)

    def __and__(self, other: Operand) -> Tensor:
        return _binary(primitives.bitwise_and, self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return _binary(primitives.bitwise_and, other, self)

    def __or__(self, other: Operand) -> Tensor:
        return _binary(primitives.bitwise_or, self, other)

    def __ror__(self, other: Operand) -> Tensor:
        return _binary(primitives.bitwise_or, other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return _binary(primitives.matmul, self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return _binary(primitives.matmul, other, self)

    def __lt__(self, other: Operand) -> Tensor:
        return _binary(primitives.less, self, other)

    def __le__(self, other: Operand) -> Tensor:
        return _binary(primitives.less_equal, self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return _binary(primitives.greater, self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return _binary(primitives.greater_equal, self, other)

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return _binary(primitives.equal, self, other)

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return _binary(primitives.not_equal, self, other)

    __hash__ = object.__hash__  # by identity: == compares elements

    def __neg__(self) -> Tensor:
        return primitives.negative(self)

    def __abs__(self) -> Tensor:
        return primitives.abs(self)

    def __invert__(self) -> Tensor:
        return primitives.invert(self)

    # ---- In place: shape and dtype stay, and all who hold the tensor see the result

    def __iadd__(self: T, other: Operand) -> T:
        return _update(primitives.add, "+=", self, other)

    def __isub__(self: T, other: Operand) -> T:
        return _update(primitives.subtract, "-=", self, other)

    def __imul__(self: T, other: Operand) -> T:
        return _update(primitives.multiply, "*=", self, other)

    def __itruediv__(self: T, other: Operand) -> T:
        return _update(primitives.divide, "/=", self, other)

    def __ifloordiv__(self: T, other: Operand) -> T:
        return _update(primitives.floor_divide, "//=", self, other)

    def __imod__(self: T, other: Operand) -> T:
        return _update(primitives.remainder, "%=", self, other)

    def __ipow__(self: T, other: Operand) -> T:
        return _update(primitives.power, "**=", self, other)

    def __iand__(self: T, other: Operand) -> T:
        return _update(primitives.bitwise_and, "&=", self, other)

    def __ior__(self: T, other: Operand) -> T:
        return _update(primitives.bitwise_or, "|=", self, other)

    def add_(self: T, other: Operand) -> T:
        return _method(primitives.add, "add_", self, other)

    def sub_(self: T, other: Operand) -> T:
        return _method(primitives.subtract, "sub_", self, other)

    def mul_(self: T, other: Operand) -> T:
        return _method(primitives.multiply, "mul_", self, other)

    def div_(self: T, other: Operand) -> T:
        return _method(primitives.divide, "div_", self, other)

    def copy_(self: T, source: Operand) -> T:
        """Writes the elements of ``source`` over the tensor's, in its dtype."""
        return _assigned("copy_", self, source)

    def fill_(self: T, value: float) -> T:
        return _assigned("fill_", self, value)

    def zero_(self: T) -> T:
        return _assigned("zero_", self, 0)


def _binary(primitive: Primitive[Tensor], left: Any, right: Any) -> Tensor:
    left, right = _operand(left), _operand(right)
    if left is NotImplemented or right is NotImplemented:
        return NotImplemented  # type: ignore[no-any-return]  # Python asks the other operand next
    return primitive(left, right)


def _update(primitive: Primitive[Tensor], written: str, target: T, other: Any) -> T:
    other = _operand(other)
    if other is NotImplemented:
        return NotImplemented  # type: ignore[no-any-return]
    return primitive.update(written, target, other)  # type: ignore[no-any-return]


def _method(primitive: Primitive[Tensor], name: str, target: T, other: Any) -> T:
    result = _update(primitive, name, target, other)
    if result is NotImplemented:
        raise TypeError(
            f"{name}: other must be a tensor, an array or a number, got {exchange.type_name(other)}"
        )
    return result


def _assigned(name: str, target: T, value: Any) -> T:
    plain = _operand(value)
    if plain is NotImplemented:
        raise TypeError(f"{name}: it takes a tensor, an array or a number, got {exchange.type_name(value)}")
    primitives.assign.update(name, target, plain, index=...)
    return target


def _operand(value: object) -> Any:
    """A tensor, symbol, array or number; NotImplemented for anything else."""
    if isinstance(value, Operators):
        return value
    if isinstance(value, np.generic):  # before the next line: np.float64 is a float as well
        return value.item()
    if isinstance(value, (np.ndarray, int, float)):
        return value
    return exchange.array_of("operator", "operand", value) if exchange.lends_memory(value) else NotImplemented
