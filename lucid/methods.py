"""Methods: what Tensor can compute, under PyTorch's names.

Each method normalises what the user wrote and calls a primitive. A symbol of the tracer has the same methods:
only shape and dtype are used here, never the values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np

from lucid import arguments, primitives
from lucid.operators import Operand

if TYPE_CHECKING:
    from lucid.tensor import Tensor

Dim: TypeAlias = "int | tuple[int, ...] | None"


class ValuesAndIndices(NamedTuple):
    """The result of ``max``, ``min``, ``sort`` and ``topk`` along a dimension."""

    values: Tensor
    indices: Tensor


class Methods:
    """Shape, reductions, elementwise functions and operators."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: Any

    # ---- Facts

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @overload
    def size(self) -> tuple[int, ...]: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a tensor without dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Tensor:
        """NumPy's indexing; a tensor of indices or of booleans works as an array of them does."""
        return primitives.index(self, index=_plain_index(index))

    def __setitem__(self, index: Any, value: Operand) -> None:
        primitives.assign.update("assignment", self, value, index=_plain_index(index))

    # ---- Shape

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix, as a view."""
        if self.ndim != 2:
            raise ValueError(f"T: the tensor must be a matrix, got shape {self.shape}")
        return primitives.permute(self, dims=(1, 0))

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """The elements in row-major order in another shape; -1 is what is left. A view if possible."""
        return primitives.reshape(self, shape=arguments.full_shape("reshape", self.shape, shape))

    def view(self, *shape: int | tuple[int, ...]) -> Tensor:
        """As ``reshape``, but ValueError where the strides do not allow a view.

        Results of the operators are channels-last in memory, so that flattening their last three dimensions
        is such a case; ``reshape`` copies instead.
        """
        return primitives.view(self, shape=arguments.full_shape("view", self.shape, shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Joins the dimensions from ``start_dim`` to ``end_dim``, both included, into one."""
        if self.ndim == 0:
            return self.reshape(1)
        start = arguments.dim("flatten", start_dim, self.ndim)
        end = arguments.dim("flatten", end_dim, self.ndim)
        if start > end:
            raise ValueError(f"flatten: start_dim must not come after end_dim, got {start_dim} and {end_dim}")
        joined = math.prod(self.shape[start : end + 1])
        return primitives.flatten(self, shape=(*self.shape[:start], joined, *self.shape[end + 1 :]))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchanges two dimensions, as a view."""
        first, second = (arguments.dim("transpose", dim, self.ndim) for dim in (dim0, dim1))
        dims = list(range(self.ndim))
        dims[first], dims[second] = second, first
        return primitives.permute(self, dims=tuple(dims))

    def permute(self, *dims: int | tuple[int, ...]) -> Tensor:
        """Puts the dimensions in the order given, as a view."""
        order = tuple(arguments.dim("permute", dim, self.ndim) for dim in arguments.shape("permute", dims))
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(f"permute: dims must name each of {self.ndim} dimensions once, got {dims}")
        return primitives.permute(self, dims=order)

    def squeeze(self, dim: int | None = None) -> Tensor:
        """Without the dimensions of length 1, or without ``dim`` if its length is 1."""
        squeezed = range(self.ndim) if dim is None else [arguments.dim("squeeze", dim, self.ndim)]
        kept = tuple(length for axis, length in enumerate(self.shape) if axis not in squeezed or length != 1)
        return primitives.squeeze(self, shape=kept)

    def unsqueeze(self, dim: int) -> Tensor:
        """With a dimension of length 1 inserted before ``dim``."""
        place = arguments.dim("unsqueeze", dim, self.ndim + 1)
        return primitives.unsqueeze(self, shape=(*self.shape[:place], 1, *self.shape[place:]))

    def contiguous(self) -> Tensor:
        """A tensor in row-major order (NCHW for images): a copy, unless it is in that order already."""
        return primitives.contiguous(self)

    def clone(self) -> Tensor:
        """A copy with memory of its own, in the same memory order."""
        return primitives.clone(self)

    # ---- Reductions: over all elements, or along ``dim``, which stays with length 1 if ``keepdim``

    def sum(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return primitives.sum(self, dim=arguments.dims("sum", dim, self.ndim), keepdim=keepdim)

    def mean(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return primitives.mean(self, dim=arguments.dims("mean", dim, self.ndim), keepdim=keepdim)

    def var(self, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Tensor:
        """The variance, divided by the number of elements less ``correction``."""
        dims = arguments.dims("var", dim, self.ndim)
        return primitives.var(self, dim=dims, keepdim=keepdim, correction=correction)

    def std(self, dim: Dim = None, keepdim: bool = False, correction: int = 1) -> Tensor:
        dims = arguments.dims("std", dim, self.ndim)
        return primitives.std(self, dim=dims, keepdim=keepdim, correction=correction)

    @overload
    def max(self) -> Tensor: ...
    @overload
    def max(self, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...
    def max(self, dim: int | None = None, keepdim: bool = False) -> Tensor | ValuesAndIndices:
        """The largest element; along a dimension, also its index. NaN counts as the largest."""
        if dim is None:
            return primitives.max(self, dim=None, keepdim=False)
        along = arguments.dim("max", dim, self.ndim)
        return ValuesAndIndices(
            primitives.max(self, dim=along, keepdim=keepdim),
            primitives.argmax(self, dim=along, keepdim=keepdim),
        )

    @overload
    def min(self) -> Tensor: ...
    @overload
    def min(self, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...
    def min(self, dim: int | None = None, keepdim: bool = False) -> Tensor | ValuesAndIndices:
        """The smallest element; along a dimension, also its index. NaN where there is one, as in PyTorch."""
        if dim is None:
            return primitives.min(self, dim=None, keepdim=False)
        along = arguments.dim("min", dim, self.ndim)
        return ValuesAndIndices(
            primitives.min(self, dim=along, keepdim=keepdim),
            primitives.argmin(self, dim=along, keepdim=keepdim),
        )

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Index of the largest element, of the first of several; without ``dim`` in the flattened tensor."""
        along = None if dim is None else arguments.dim("argmax", dim, self.ndim)
        return primitives.argmax(self, dim=along, keepdim=keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Index of the smallest element, of the first of several; without ``dim`` in the flattened tensor."""
        along = None if dim is None else arguments.dim("argmin", dim, self.ndim)
        return primitives.argmin(self, dim=along, keepdim=keepdim)

    def sort(self, dim: int = -1, descending: bool = False) -> ValuesAndIndices:
        """The elements along ``dim`` in order; equal ones keep theirs, and NaN counts as the largest."""
        along = arguments.dim("sort", dim, self.ndim)
        return ValuesAndIndices(*primitives.sort(self, dim=along, descending=bool(descending)))

    def argsort(self, dim: int = -1, descending: bool = False) -> Tensor:
        """The indices that ``sort`` returns."""
        return self.sort(dim, descending).indices

    def topk(self, k: int, dim: int = -1, largest: bool = True) -> ValuesAndIndices:
        """The ``k`` largest elements along ``dim``, largest first; of equal ones the first comes first.

        NaN counts as the largest. ``largest=False`` gives the smallest, smallest first.
        """
        along = arguments.dim("topk", dim, self.ndim)
        length = self.shape[along]
        if not 0 <= k <= length:
            raise ValueError(f"topk: k must be from 0 to {length}, the length of dim {dim}, got {k}")
        return ValuesAndIndices(*primitives.topk(self, k=k, dim=along, largest=bool(largest)))

    def all(self) -> Tensor:
        return primitives.all(self)

    def any(self) -> Tensor:
        return primitives.any(self)

    # ---- Elementwise

    def exp(self) -> Tensor:
        return primitives.exp(self)

    def log(self) -> Tensor:
        return primitives.log(self)

    def sqrt(self) -> Tensor:
        return primitives.sqrt(self)

    def abs(self) -> Tensor:
        return primitives.abs(self)

    def clamp(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Each element, moved to the nearest bound if it lies beyond one."""
        return primitives.clamp(self, min=min, max=max)

    def relu(self) -> Tensor:
        """``max(x, 0)``, NaN staying NaN."""
        return primitives.relu(self, inplace=False)

    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-x))``."""
        return primitives.sigmoid(self)

    def softmax(self, dim: int) -> Tensor:
        """``exp(x) / sum(exp(x))`` along ``dim``; the largest x is subtracted first against overflow."""
        return primitives.softmax(self, dim=arguments.dim("softmax", dim, self.ndim), log=False)

    def log_softmax(self, dim: int) -> Tensor:
        """The logarithm of ``softmax``, computed without forming quotients that could be rounded to 0."""
        return primitives.softmax(self, dim=arguments.dim("log_softmax", dim, self.ndim), log=True)


def _plain_index(index: Any) -> tuple[Any, ...]:
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(part.data if isinstance(part, Methods) else part for part in parts)
