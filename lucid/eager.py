"""The run column of the primitives: functions from arrays to arrays.

What the kernels compute is computed by them; the rest is NumPy's. Arrays are those of tensors: on the CPU, or
on a GPU, where ``device_array`` stands in for NumPy or refuses. Arguments are normalised. Division by zero
and overflow give infinities and NaN without a warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, device_array
from lucid.autograd.saved import note_change
from lucid.communicator import Communicator, part_in_use
from lucid.device_array import COMPUTED, DeviceArray, not_yet, write

Array: TypeAlias = npt.NDArray[Any]

FLOATING = frozenset(np.dtype(code) for code in "efd")
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def floating(op: str, x: Array) -> Array:
    """``x``, if its dtype is floating and NumPy computes the rest."""
    if not isinstance(x, np.ndarray):
        raise not_yet(op)
    if x.dtype not in FLOATING:
        raise ValueError(f"{op}: dtype must be floating, got {x.dtype}")
    return x


def has_kernel(x: Any) -> bool:
    """Whether the kernels know the dtype: all of a GPU's, and float32 on the CPU."""
    return x.dtype == _FLOAT32 or type(x) is DeviceArray


# ---- Two operands


class Binary:
    """A NumPy function of two operands, of which scalars have no say in the dtype of the result.

    NumPy computes float64 where integers meet floats; PyTorch's rule is kept instead: float32, unless an
    operand holds float64 already. One slip of a network into float64 would otherwise end in the next operator
    refusing its input.
    """

    def __init__(self, function: np.ufunc) -> None:
        self.function = function

    def __call__(self, left: Any, right: Any) -> Array:
        with np.errstate(all="ignore"):
            result = self.function(left, right)
        if type(result) is DeviceArray:
            return result  # type: ignore[return-value]
        result = np.asarray(result)
        if result.dtype == _FLOAT64 and not (_is_float64(left) or _is_float64(right)):
            return result.astype(np.float32)
        return result

    def into(self, op: str, target: Array, other: Any) -> None:
        """Writes the result over ``target``, whose shape and dtype stay.

        Raises:
            TypeError: The result would be floating and ``target`` is not, or no bool and ``target`` is.
            ValueError: The result has another shape, or ``target`` is read-only.
        """
        if not target.flags.writeable:
            raise ValueError(f"{op}: the tensor must be writable to be changed in place, got a read-only one")
        shape = np.broadcast_shapes(target.shape, getattr(other, "shape", ()))
        if shape != target.shape:
            raise ValueError(f"{op}: the result must have the tensor's shape {target.shape}, got {shape}")
        # One element decides the dtype as all of them do.
        like = [np.ones(1, x.dtype) if hasattr(x, "dtype") else x for x in (target, other)]
        dtype = self(*like).dtype
        if _rank(dtype) > _rank(target.dtype):
            raise TypeError(
                f"{op}: the result must fit the tensor's dtype {target.dtype}, which stays, got {dtype}"
            )
        with np.errstate(all="ignore"):
            self.function(target, other, out=target, casting="unsafe")
        note_change(target)


def _is_float64(operand: Any) -> bool:
    return isinstance(operand, np.ndarray) and operand.dtype == _FLOAT64


def _rank(dtype: np.dtype[Any]) -> int:
    """The order of PyTorch's categories of dtypes: bools, integers, floats, of which bfloat16 is one."""
    return {"b": 0, "i": 1, "u": 1}.get(dtype.kind, 2)


class Add(Binary):
    """The sum; of two float32 arrays of one shape it is the kernel's."""

    def __call__(self, left: Any, right: Any) -> Array:
        if (
            isinstance(left, np.ndarray)
            and isinstance(right, np.ndarray)
            and left.shape == right.shape
            and left.dtype == right.dtype == _FLOAT32
        ):
            return _core.add(left, right)
        return super().__call__(left, right)


class Assign:
    """Writes a value into an array, in the dtype of that."""

    def __call__(self, target: Array, value: Any, *, index: Any) -> Array:
        """A copy of ``target`` with the value in it."""
        result: Array = target.copy()
        self.into("assign", result, value, index=index)
        return result

    def into(self, op: str, target: Array, value: Any, *, index: Any) -> None:
        write(target, value, index)
        note_change(target)


# ---- Elementwise


def elementwise(op: str, function: np.ufunc) -> Callable[[Array], Array]:
    """A function of floating values."""

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            result: Array = function(floating(op, x))
        return result

    return run


def relu(x: Array, *, inplace: bool) -> Array:
    y = _core.relu(x, inplace)
    if inplace:
        note_change(x)
    return y


def sigmoid(x: Array) -> Array:
    """Where exp overflows, the quotient is 0 as it should be."""
    if has_kernel(x):
        return _core.sigmoid(x)
    one = floating("sigmoid", x).dtype.type(1)
    with np.errstate(all="ignore"):
        result: Array = one / (one + np.exp(-x))
    return result


def softmax(x: Array, *, dim: int, log: bool) -> Array:
    """The result does not depend on strides: the kernel and the copy made here see to that."""
    if has_kernel(x) and x.ndim:
        return _core.softmax(x, dim, log)
    x = np.asarray(floating("log_softmax" if log else "softmax", x), order="C")
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis=dim, keepdims=True, initial=-np.inf)
        powers = np.exp(shifted)
        sums = powers.sum(axis=dim, keepdims=True)
        return np.asarray(shifted - np.log(sums) if log else powers / sums)


def dropout(x: Any, *, p: float, generator: np.random.Generator, inplace: bool, samples: bool = False) -> Any:
    return masked(x, survivors(x, p, generator, samples), p, inplace)


def survivors(x: Any, p: float, generator: np.random.Generator, samples: bool) -> Array:
    """Which elements dropout keeps. It draws one number for each, on the CPU for any device.

    With ``samples`` one for each entry of the first dimension, all of which stays or goes.
    """
    if type(x) is not DeviceArray:
        floating("drop_path" if samples else "dropout", x)
    drawn = (*x.shape[:1], *(1 for _ in x.shape[1:])) if samples else x.shape
    part = part_in_use()
    if part is None or drawn[:1] != (part.count,):
        kept: Array = generator.random(drawn, dtype=np.float32) >= p
    else:  # the generators of all processes stay in step, and the draws are those of one process
        kept = generator.random((part.whole, *drawn[1:]), dtype=np.float32)[part.slice] >= p
    return np.broadcast_to(kept, x.shape)


def masked(x: Any, kept: Array, p: float, inplace: bool) -> Any:
    """The elements that are kept, scaled so that the mean stays; zeros for the rest."""
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    if type(x) is DeviceArray:
        return device_array.masked(x, kept, scale, inplace)
    result = x if inplace else np.empty_like(x)
    np.multiply(x, scale, out=result, where=kept)
    result[~kept] = 0
    if inplace:
        note_change(x)
    return result


# ---- Shape and memory


def contiguous(x: Array) -> Array:
    return x if x.flags.c_contiguous else x.copy(order="C")


def view(x: Array, *, shape: tuple[int, ...]) -> Array:
    result = x.reshape(shape)
    if result.size and not np.may_share_memory(result, x):
        raise ValueError(f"view: {x.shape} with strides {x.strides} has no view of shape {result.shape}")
    return result


def index(x: Array, *, index: tuple[Any, ...]) -> Array:
    """Keeps a single element a view, where NumPy would return a copied scalar."""
    if not any(part is Ellipsis for part in index):
        index = (*index, Ellipsis)
    part: Array = x[index]
    return part


def pad(x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
    """Negative widths cut off, as in PyTorch."""
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))
    added = [(max(a, 0), max(b, 0)) for a, b in widths]
    return np.pad(x[cut], added, constant_values=value)


# ---- Reductions; sums of floats are formed in float64, whose rounding no result shows


def _wide(x: Array) -> np.dtype[Any] | None:
    return _FLOAT64 if x.dtype in FLOATING else None


def total(x: Array, *, dim: tuple[int, ...], keepdim: bool) -> Array:
    with np.errstate(all="ignore"):
        result = np.asarray(x.sum(axis=dim, keepdims=keepdim, dtype=_wide(x)))
        return result.astype(x.dtype) if _wide(x) else result


def mean(x: Array, *, dim: tuple[int, ...], keepdim: bool) -> Array:
    """The mean over height and width of images is the kernel's."""
    if x.ndim == 4 and dim == (2, 3) and x.dtype.name in COMPUTED and has_kernel(x) and x.size:
        pooled = _core.radix_sum_pool(x, 1)
        return pooled[:, :, None, None] if keepdim else pooled
    count = math.prod(x.shape[axis] for axis in dim)
    with np.errstate(all="ignore"):
        sums = np.asarray(floating("mean", x).sum(axis=dim, keepdims=keepdim, dtype=np.float64))
        return np.asarray(sums / np.float64(count)).astype(x.dtype)


def var(x: Array, *, dim: tuple[int, ...], keepdim: bool, correction: int) -> Array:
    return _variance("var", x, dim, keepdim, correction).astype(x.dtype)


def std(x: Array, *, dim: tuple[int, ...], keepdim: bool, correction: int) -> Array:
    return np.asarray(np.sqrt(_variance("std", x, dim, keepdim, correction))).astype(x.dtype)


def _variance(op: str, x: Array, dim: tuple[int, ...], keepdim: bool, correction: int) -> Array:
    count = math.prod(x.shape[axis] for axis in dim)
    wide = floating(op, x).astype(np.float64)
    with np.errstate(all="ignore"):
        center = wide.sum(axis=dim, keepdims=True) / np.float64(count)
        squares = np.square(wide - center).sum(axis=dim, keepdims=keepdim)
        return np.asarray(squares / np.float64(max(count - correction, 0)))


def place(op: str) -> Callable[..., Array]:
    """``argmax`` or ``argmin``, the first of several places; NaN goes before any number."""

    def run(x: Array, *, dim: int | None, keepdim: bool) -> Array:
        return np.asarray(getattr(x, op)() if dim is None else getattr(x, op)(axis=dim, keepdims=keepdim))

    return run


def extreme(op: str) -> Callable[..., Array]:
    """``max`` or ``min``; NaN where one is."""

    def run(x: Array, *, dim: int | None, keepdim: bool) -> Array:
        return np.asarray(getattr(x, op)(axis=dim, keepdims=keepdim))

    return run


def sort(x: Array, *, dim: int, descending: bool) -> tuple[Array, Array]:
    """Values and places. NaN counts as the largest, and equal elements keep their order."""
    if not isinstance(x, np.ndarray):
        raise not_yet("sort")
    if descending:  # ascending from behind, since NumPy puts NaN last
        order = x.shape[dim] - 1 - np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)
    else:
        order = np.argsort(x, axis=dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


def topk(x: Array, *, k: int, dim: int, largest: bool) -> tuple[Array, Array]:
    values, order = sort(x, dim=dim, descending=largest)
    return np.take(values, range(k), axis=dim), np.take(order, range(k), axis=dim)


# ---- Layers


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    residual: Array | None,
    *,
    eps: float,
    relu: bool,
    communicator: Communicator | None = None,
) -> Array:
    """The kernel's; in training, whose the statistics are is for the gradient to know."""
    return _core.batch_norm(x, weight, bias, mean, var, eps, relu, residual)


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """The kernel's; by position, since the compiled function takes 0.9 us to sort keywords."""
    return _core.conv2d(x, weight, bias, stride, padding, dilation, groups)


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """The kernel's, of rows; other ranks than 2 are brought to that."""
    if x.ndim == 2:
        return _core.linear(x, weight, bias)
    if x.ndim == 0:
        raise ValueError(f"linear: input must have rank 1 or more, got shape {x.shape}")
    rows = _core.linear(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), weight, bias)
    return rows.reshape(*x.shape[:-1], rows.shape[-1])
