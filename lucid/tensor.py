"""Tensor: an n-dimensional array of numbers.

A CPU tensor holds a NumPy array of any strides, and its elementwise and shape work is NumPy's. Results of the
operators in ``lucid.nn.functional`` have NCHW shapes but lie channels-last in memory; no method here depends
on the strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from lucid import _core, arguments

Array: TypeAlias = npt.NDArray[Any]
Dim: TypeAlias = "int | tuple[int, ...] | None"
Operand: TypeAlias = "Tensor | Array | np.generic | float"

# Native byte order only: a big-endian dtype compares unequal to these.
_DTYPES = frozenset(np.dtype(code) for code in "?bBhHiIlLqQefd")
_FLOATING = frozenset(np.dtype(code) for code in "efd")

# ndarray.__dlpack__ takes the arguments of DLPack 1.0 (max_version, dl_device, copy) from NumPy 2.1 on.
_NUMPY_SPEAKS_DLPACK_1 = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 1)


class ValuesAndIndices(NamedTuple):
    """What ``max``, ``min`` and ``topk`` along a dimension return."""

    values: Tensor
    indices: Tensor


class Tensor(_core.TensorBase):
    """A NumPy array with PyTorch's method names.

    ``Tensor(array)`` shares the array's memory, and so do ``data``, ``numpy()``, the buffer protocol and
    DLPack; the array stays the same one for the tensor's life, so memory that was handed out never moves.
    ``lucid.tensor`` copies.

    Raises:
        TypeError: ``array`` is no ndarray, or holds anything but booleans, integers and floats in native byte
            order.
    """

    # NumPy's operators leave `array + tensor` to Tensor.__radd__ when this is higher than theirs.
    __array_priority__ = 1000.0

    def __init__(self, array: Array) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"Tensor: array must be a numpy.ndarray, got {type(array).__name__}")
        if array.dtype not in _DTYPES:
            raise TypeError(
                "Tensor: array must hold bools, integers or floats in native byte order, "
                f"got dtype {array.dtype!r}"
            )
        super().__init__(np.asarray(array))

    # ---- What it holds

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def device(self) -> str:
        return "cpu"

    @overload
    def size(self) -> tuple[int, ...]: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def item(self) -> Any:
        """The only element, as a Python number; ValueError if there are more or none."""
        if self.data.size != 1:
            raise ValueError(f"item: the tensor must have one element, got shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        return self.data.tolist()

    def clone(self) -> Tensor:
        """A copy with memory of its own, in the same memory order."""
        return Tensor(self.data.copy(order="K"))

    def contiguous(self) -> Tensor:
        """The tensor in row-major order (NCHW for images): itself if it is already, else a copy."""
        return self if self.data.flags.c_contiguous else Tensor(np.ascontiguousarray(self.data))

    def to(self, dtype: npt.DTypeLike) -> Tensor:
        """The tensor in another dtype; itself if it has that one."""
        return self if self.data.dtype == dtype else Tensor(self.data.astype(dtype))

    # ---- Exchange with others

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if copy:
            return np.array(self.data, dtype=wanted)
        if copy is False and wanted != self.dtype:
            raise ValueError(f"Tensor: converting {self.dtype} to {wanted} needs a copy, got copy=False")
        return np.asarray(self.data, dtype=wanted)

    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """NumPy's DLPack capsule, versioned (with a read-only flag) if consumer and NumPy know of that."""
        if _NUMPY_SPEAKS_DLPACK_1:
            return self.data.__dlpack__(
                stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
            )
        if dl_device is not None and dl_device != self.__dlpack_device__():
            raise BufferError(
                f"__dlpack__: the tensor is on device {self.__dlpack_device__()}, got {dl_device}"
            )
        return (self.data.copy() if copy else self.data).__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self.data.__dlpack_device__()
        return int(kind), int(index)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.data,)

    # ---- Python's protocols

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len: a tensor without dimensions has no length")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Tensor:
        """NumPy's indexing; a tensor of indices or of booleans works as an array of them does."""
        index = _plain_index(index)
        if not any(part is Ellipsis for part in index):
            index = (*index, Ellipsis)  # keeps a single element a view: NumPy would return a copied scalar
        return Tensor(self.data[index])

    def __setitem__(self, index: Any, value: Operand) -> None:
        self.data[_plain_index(index)] = value.data if isinstance(value, Tensor) else value

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"Tensor: only an integer tensor can be an index, got {self.dtype}")
        return int(self.item())

    def __contains__(self, value: object) -> bool:
        return value in self.data

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="tensor(", precision=4)
        if self.data.size == 0:
            text += f", shape={self.shape}"
        if self.dtype.name not in ("float32", "int64", "bool"):
            text += f", dtype={self.dtype.name}"
        return f"tensor({text})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.ndim == 0 else format(repr(self), spec)

    # ---- Shape

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix, as a view."""
        if self.ndim != 2:
            raise ValueError(f"T: the tensor must be a matrix, got shape {self.shape}")
        return Tensor(self.data.T)

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """The elements in row-major order in another shape; -1 is what is left. A view if possible."""
        return Tensor(self.data.reshape(arguments.shape("reshape", shape)))

    def view(self, *shape: int | tuple[int, ...]) -> Tensor:
        """As ``reshape``, but ValueError where the strides do not allow a view.

        Results of the operators are channels-last in memory, so that flattening their last three dimensions
        is such a case; ``reshape`` copies instead.
        """
        result = self.data.reshape(arguments.shape("view", shape))
        if result.size and not np.may_share_memory(result, self.data):
            raise ValueError(
                f"view: {self.shape} with strides {self.data.strides} has no view of shape {result.shape}"
            )
        return Tensor(result)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Joins the dimensions from ``start_dim`` to ``end_dim``, both included, into one."""
        if self.ndim == 0:
            return self.reshape(1)
        start, end = (
            _dim_in_range("flatten", start_dim, self.ndim),
            _dim_in_range("flatten", end_dim, self.ndim),
        )
        if start > end:
            raise ValueError(f"flatten: start_dim must not come after end_dim, got {start_dim} and {end_dim}")
        length = math.prod(self.shape[start : end + 1])  # not -1, which is ambiguous for an empty tensor
        return self.reshape(*self.shape[:start], length, *self.shape[end + 1 :])

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchanges two dimensions, as a view."""
        return Tensor(np.swapaxes(self.data, dim0, dim1))

    def permute(self, *dims: int | tuple[int, ...]) -> Tensor:
        """Puts the dimensions in the order given, as a view."""
        return Tensor(self.data.transpose(arguments.shape("permute", dims)))

    def squeeze(self, dim: int | None = None) -> Tensor:
        """Without the dimensions of length 1, or without ``dim`` if its length is 1."""
        if dim is not None and self.shape[_dim_in_range("squeeze", dim, self.ndim)] != 1:
            return self
        return Tensor(np.squeeze(self.data, axis=dim))

    def unsqueeze(self, dim: int) -> Tensor:
        """With a dimension of length 1 inserted before ``dim``."""
        return Tensor(np.expand_dims(self.data, dim))

    # ---- Reductions: over all elements, or along ``dim``, which stays with length 1 if ``keepdim``

    def sum(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return _wrap(self.data.sum(axis=dim, keepdims=keepdim))

    def mean(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return _wrap(self._floating("mean").mean(axis=dim, keepdims=keepdim))

    def var(self, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Tensor:
        """The variance, divided by the number of elements less ``correction``."""
        return _wrap(self._floating("var").var(axis=dim, keepdims=keepdim, ddof=correction))

    def std(self, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Tensor:
        return _wrap(self._floating("std").std(axis=dim, keepdims=keepdim, ddof=correction))

    @overload
    def max(self) -> Tensor: ...
    @overload
    def max(self, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...
    def max(self, dim: int | None = None, keepdim: bool = False) -> Tensor | ValuesAndIndices:
        """The largest element; along a dimension, also where it stands."""
        if dim is None:
            return _wrap(self.data.max())
        return ValuesAndIndices(_wrap(self.data.max(axis=dim, keepdims=keepdim)), self.argmax(dim, keepdim))

    @overload
    def min(self) -> Tensor: ...
    @overload
    def min(self, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...
    def min(self, dim: int | None = None, keepdim: bool = False) -> Tensor | ValuesAndIndices:
        """The smallest element; along a dimension, also where it stands."""
        if dim is None:
            return _wrap(self.data.min())
        return ValuesAndIndices(_wrap(self.data.min(axis=dim, keepdims=keepdim)), self.argmin(dim, keepdim))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Index of the largest element, of the first of several; without ``dim`` in the flattened tensor."""
        return _wrap(self.data.argmax() if dim is None else self.data.argmax(axis=dim, keepdims=keepdim))

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Index of the smallest element, of the first of several; without ``dim`` in the flattened tensor."""
        return _wrap(self.data.argmin() if dim is None else self.data.argmin(axis=dim, keepdims=keepdim))

    def topk(self, k: int, dim: int = -1) -> ValuesAndIndices:
        """The ``k`` largest elements along ``dim``, largest first; of equal ones the first comes first."""
        length = self.shape[_dim_in_range("topk", dim, self.ndim)]
        if not 0 <= k <= length:
            raise ValueError(f"topk: k must be from 0 to {length}, the length of dim {dim}, got {k}")
        order = np.argsort(-self._floating("topk"), axis=dim, kind="stable")
        indices = np.take(order, range(k), axis=dim)
        return ValuesAndIndices(_wrap(np.take_along_axis(self.data, indices, dim)), _wrap(indices))

    def all(self) -> Tensor:
        return _wrap(self.data.all())

    def any(self) -> Tensor:
        return _wrap(self.data.any())

    # ---- Elementwise; division by zero and overflow give infinities and NaN without a warning

    def exp(self) -> Tensor:
        return _wrap(_silently(np.exp, self._floating("exp")))

    def log(self) -> Tensor:
        return _wrap(_silently(np.log, self._floating("log")))

    def sqrt(self) -> Tensor:
        return _wrap(_silently(np.sqrt, self._floating("sqrt")))

    def abs(self) -> Tensor:
        return _wrap(np.abs(self.data))

    def clamp(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Each element, moved to the nearest bound if it lies beyond one."""
        return _wrap(np.clip(self.data, min, max))

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)); where exp overflows, the quotient is 0 as it should be."""
        x = self._floating("sigmoid")
        one = x.dtype.type(1)
        return _wrap(_silently(lambda: one / (one + np.exp(-x))))

    def softmax(self, dim: int) -> Tensor:
        """exp(x) / sum(exp(x)) along ``dim``; the largest x is subtracted first against overflow."""
        x = self._floating("softmax")
        powers = _silently(lambda: np.exp(x - x.max(axis=dim, keepdims=True)))
        return _wrap(powers / powers.sum(axis=dim, keepdims=True))

    def log_softmax(self, dim: int) -> Tensor:
        """The logarithm of ``softmax``, computed without forming quotients that could be rounded to 0."""
        x = self._floating("log_softmax")
        shifted = _silently(lambda: x - x.max(axis=dim, keepdims=True))
        return _wrap(shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True)))

    # ---- Operators; what they share is in _binary

    def __add__(self, other: Operand) -> Tensor:
        return _binary(np.add, self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return _binary(np.add, other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return _binary(np.subtract, self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _binary(np.subtract, other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _binary(np.multiply, self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return _binary(np.multiply, other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return _binary(np.divide, self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _binary(np.divide, other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return _binary(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return _binary(np.floor_divide, other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return _binary(np.remainder, self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return _binary(np.remainder, other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return _binary(np.power, self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return _binary(np.power, other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return _binary(np.matmul, self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return _binary(np.matmul, other, self)

    def __and__(self, other: Operand) -> Tensor:
        return _binary(np.bitwise_and, self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return _binary(np.bitwise_and, other, self)

    def __or__(self, other: Operand) -> Tensor:
        return _binary(np.bitwise_or, self, other)

    def __ror__(self, other: Operand) -> Tensor:
        return _binary(np.bitwise_or, other, self)

    def __lt__(self, other: Operand) -> Tensor:
        return _binary(np.less, self, other)

    def __le__(self, other: Operand) -> Tensor:
        return _binary(np.less_equal, self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return _binary(np.greater, self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return _binary(np.greater_equal, self, other)

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return _binary(np.equal, self, other)

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return _binary(np.not_equal, self, other)

    __hash__ = object.__hash__  # by identity: == compares elements

    def __neg__(self) -> Tensor:
        return _wrap(-self.data)

    def __abs__(self) -> Tensor:
        return self.abs()

    def __invert__(self) -> Tensor:
        return _wrap(~self.data)

    def _floating(self, op: str) -> Array:
        if self.dtype not in _FLOATING:
            raise ValueError(f"{op}: dtype must be floating, got {self.dtype}")
        return self.data


def _wrap(result: Any) -> Tensor:
    """A tensor of what a NumPy function returned, which is a scalar where no dimension is left."""
    return Tensor(np.asarray(result))


def _silently(function: Callable[..., Array], *inputs: Any) -> Array:
    with np.errstate(all="ignore"):
        return function(*inputs)


def _binary(function: np.ufunc, left: Operand, right: Operand) -> Tensor:
    """``function`` of two operands, of which scalars have no say in the dtype of the result.

    NumPy computes float64 where integers meet floats; PyTorch's rule is kept instead: float32, unless an
    operand holds float64 already. One slip of a network into float64 would otherwise end in the next operator
    refusing its input.
    """
    operands = [_plain_operand(left), _plain_operand(right)]
    if operands[0] is NotImplemented or operands[1] is NotImplemented:
        return NotImplemented  # type: ignore[no-any-return]  # Python asks the other operand next
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if function is np.add and len(arrays) == 2 and _suits_add(*arrays):
        return Tensor(_core.add(*arrays))
    result = np.asarray(_silently(function, *operands))
    if result.dtype == np.float64 and all(array.dtype != np.float64 for array in arrays):
        result = result.astype(np.float32)
    return Tensor(result)


def _plain_operand(operand: object) -> Any:
    if isinstance(operand, Tensor):
        return operand.data
    if isinstance(operand, np.generic):
        return operand.item()
    return operand if isinstance(operand, (np.ndarray, int, float)) else NotImplemented


def _suits_add(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.size > 0 and a.dtype == np.float32 and b.dtype == np.float32


def _plain_index(index: Any) -> tuple[Any, ...]:
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(part.data if isinstance(part, Tensor) else part for part in parts)


def _dim_in_range(op: str, dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise ValueError(f"{op}: dim must be from {-ndim} to {ndim - 1}, got {dim}")
    return dim % ndim
