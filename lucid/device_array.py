"""NumPy's protocols for arrays on a GPU, so that functions of NumPy's arrays take these as well.

``_core.DeviceArray`` owns memory, and can copy, convert and lend it. What NumPy does with an array (shapes,
views, indices, arithmetic) the class is given here. What has no kernel raises NotImplementedError and names
the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from lucid import _core, cuda
from lucid._core import DeviceArray as DeviceArray

_FLOAT32 = np.dtype(np.float32)
# Of those that the kernels of a GPU compute; bfloat16 is no dtype of NumPy's own, and compared by name.
COMPUTED = ("float32", "float16", "bfloat16")
_CONVERTED = {*COMPUTED, "bool", "uint8", "int8", "int16", "int32", "int64"}
_FUNCTIONS = frozenset(
    {np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum}  # kernels of the same names
)
_NAMES: Mapping[str, str] = {"absolute": "abs", "invert": "~", "matmul": "@"}


class Flags(NamedTuple):
    """The flags of an array that NumPy's users ask for."""

    c_contiguous: bool
    writeable: bool


def not_yet(op: str, detail: str = "") -> NotImplementedError:
    """The error for what has no kernel."""
    return NotImplementedError(f"{op}: not on cuda yet{detail and ' '}{detail}; move the tensor by .cpu()")


# ---- Between the host and devices


def full(shape: tuple[int, ...], value: float | None, dtype: npt.DTypeLike, device: int) -> DeviceArray:
    """An array of one value, which alone is copied from the host; of any values for None."""
    if value is None:
        return _core.cuda_empty(shape, dtype, device)
    one = _core.device_array(np.full((), value, dtype), device)
    return one.as_strided(shape, (0,) * len(shape), 0).convert(one.dtype, "C")


def moved(x: Any, *, device: int | None) -> Any:
    """``x`` on a device, or on the host for None; between two devices by way of the host."""
    host = x.to_host() if isinstance(x, DeviceArray) else x
    return host if device is None else _core.device_array(host, device)


def on_host(x: Any) -> Any:
    """The NumPy array itself, or a copy of what a device holds."""
    return x.to_host() if isinstance(x, DeviceArray) else x


def write(target: Any, value: Any, index: Any = ...) -> None:
    """``target[index] = value``, which is brought to where ``target`` is."""
    target[index] = on_host(value) if isinstance(target, np.ndarray) else value


def _restored(host: npt.NDArray[Any], device: int) -> DeviceArray:
    cuda.require("unpickle a tensor of cuda")
    return _core.device_array(host, device if device < cuda.device_count() else 0)


# ---- Views


def _strides_of_view(x: DeviceArray, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides under which the elements of ``x``, in row-major order, have another shape; None if none do.

    The dimensions of both shapes are used up from the last one on: a new one must divide what is left of an
    old one, or of several that lie as one, and takes its stride.
    """
    if x.size == 0:
        return (x.dtype.itemsize,) * len(shape)
    old = [(length, stride) for length, stride in zip(x.shape, x.strides, strict=True) if length != 1]
    strides: list[int] = []
    left, stride = 1, x.dtype.itemsize
    for length in reversed(shape):
        if length != 1 and left == 1:
            left, stride = old.pop()
        while left % length and old and old[-1][1] == left * stride:
            left *= old.pop()[0]
        if left % length:
            return None
        strides.append(stride)
        left //= length
        stride *= length
    return tuple(reversed(strides))


def _phantom(x: DeviceArray) -> npt.NDArray[Any]:
    """An array of these shape and strides, without the memory. NumPy makes views of it, and reads nothing."""
    return np.lib.stride_tricks.as_strided(np.empty(1, f"V{x.dtype.itemsize}"), x.shape, x.strides)


def _view_by_index(x: DeviceArray, index: Any) -> DeviceArray:
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if not (part is None or part is ... or isinstance(part, (int, np.integer, slice))) or part is True:
            raise not_yet("indexing", f"by {type(part).__name__}")
    if ... not in parts:
        parts = (*parts, ...)  # a single element stays a view
    phantom = _phantom(x)
    part = phantom[parts]
    return x.as_strided(part.shape, part.strides, part.ctypes.data - phantom.ctypes.data if part.size else 0)


# ---- Arithmetic


def _operand(op: str, value: Any, dtype: np.dtype[Any], device: DeviceArray) -> Any:
    """An operand as the kernel takes it: an array of ``dtype``, or a number."""
    if isinstance(value, DeviceArray):
        return value if value.dtype == dtype else value.convert(dtype, "K")
    if isinstance(value, np.ndarray) and value.ndim:
        name = cuda.name_of(device.device_index)
        raise ValueError(
            f"{op}: all tensors must be on one device, got one on {name} and one on the CPU; "
            f"move that by .to({name!r})"
        )
    return float(value)


def _common_dtype(op: str, inputs: tuple[Any, ...]) -> np.dtype[Any]:
    """That of the arrays, or float32 where they differ; numbers have no say."""
    dtypes = [value.dtype for value in inputs if isinstance(value, DeviceArray)]
    for dtype in dtypes:
        if dtype.name not in COMPUTED:
            raise not_yet(op, f"for {dtype}")
    return dtypes[0] if all(dtype == dtypes[0] for dtype in dtypes) else _FLOAT32


def _clip(x: DeviceArray, min: Any = None, max: Any = None) -> DeviceArray:
    if min is not None:
        x = np.maximum(x, min)  # type: ignore[call-overload]
    return x if max is None else np.minimum(x, max)  # type: ignore[call-overload]


def _zeros_like(x: DeviceArray) -> DeviceArray:
    return full(x.shape, 0.0, x.dtype, x.device_index)


def _share_memory(a: DeviceArray, b: DeviceArray) -> bool:
    """Enough for an array and a reshaped one, which begin at the same element."""
    return bool(a.data_ptr == b.data_ptr)


_ARRAY_FUNCTIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    np.clip: _clip,
    np.may_share_memory: _share_memory,
    np.zeros_like: _zeros_like,
}


def masked(x: DeviceArray, kept: npt.NDArray[np.bool_], scale: float, inplace: bool) -> DeviceArray:
    """``x * scale`` where ``kept``, and 0 elsewhere (NaN where ``x`` is not finite)."""
    _common_dtype("dropout", (x,))
    factors = _core.device_array(kept * np.float32(scale), x.device_index).convert(x.dtype)
    return np.multiply(x, factors, out=x if inplace else None)  # type: ignore[call-overload, no-any-return]


# ---- What the class is given


class Protocols(NDArrayOperatorsMixin):
    """Methods of DeviceArray; ``self`` is one."""

    def __array_ufunc__(
        self: Any, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        if ufunc is np.negative:
            ufunc, inputs = np.multiply, (*inputs, -1.0)
        name = _NAMES.get(ufunc.__name__, ufunc.__name__)
        if ufunc not in _FUNCTIONS or method != "__call__" or options.keys() - {"casting"}:
            raise not_yet(name)
        dtype = _common_dtype(name, inputs)
        a, b = (_operand(name, value, dtype, self) for value in inputs)
        if out is None:
            return _core.cuda_elementwise(name, a, b)
        (target,) = out
        if isinstance(target, DeviceArray) and target.dtype == dtype:
            return _core.cuda_elementwise(name, a, b, out=target)
        target[...] = _core.cuda_elementwise(name, a, b)
        return target

    def __array_function__(
        self: Any, function: Callable[..., Any], types: object, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if function not in _ARRAY_FUNCTIONS:
            raise not_yet(function.__name__)
        return _ARRAY_FUNCTIONS[function](*args, **kwargs)

    def __array__(
        self: Any, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        name = cuda.name_of(self.device_index)
        raise TypeError(f"numpy: the tensor must be on the CPU, got one on {name}; move it by .cpu()")

    def __getattr__(self: Any, name: str) -> Any:
        if hasattr(np.ndarray, name) and not name.startswith("_"):
            raise not_yet(name)
        raise AttributeError(f"'DeviceArray' object has no attribute {name!r}")

    @property
    def itemsize(self: Any) -> int:
        return self.dtype.itemsize  # type: ignore[no-any-return]

    @property
    def flags(self: Any) -> Flags:
        stride, dense = self.itemsize, True
        for length, own in zip(reversed(self.shape), reversed(self.strides), strict=True):
            dense = dense and (length == 1 or own == stride)
            stride *= length
        return Flags(c_contiguous=dense or self.size == 0, writeable=not self.read_only)

    def reshape(self: Any, *shape: Any) -> DeviceArray:
        wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        strides = _strides_of_view(self, wanted)
        if strides is None:
            return self.convert(self.dtype, "C").reshape(wanted)  # type: ignore[no-any-return]
        return self.as_strided(wanted, strides, 0)  # type: ignore[no-any-return]

    def transpose(self: Any, dims: tuple[int, ...]) -> DeviceArray:
        shape, strides = ([lengths[dim] for dim in dims] for lengths in (self.shape, self.strides))
        return self.as_strided(tuple(shape), tuple(strides), 0)  # type: ignore[no-any-return]

    def __getitem__(self: Any, index: Any) -> DeviceArray:
        return _view_by_index(self, index)

    def __setitem__(self: Any, index: Any, value: Any) -> None:
        target = _view_by_index(self, index)
        if not isinstance(value, DeviceArray):
            value = _core.device_array(np.asarray(value, self.dtype), self.device_index)
        if value.shape != target.shape:
            broadcast = np.broadcast_to(_phantom(value), target.shape)
            value = value.as_strided(broadcast.shape, broadcast.strides, 0)
        if (value.data_ptr, value.strides, value.dtype) != (target.data_ptr, target.strides, target.dtype):
            target.assign(value)

    def __contains__(self: Any, value: object) -> bool:
        raise not_yet("in")

    def astype(self: Any, dtype: npt.DTypeLike, order: str = "K") -> DeviceArray:
        wanted: Any = np.dtype(dtype)
        if wanted != self.dtype and not {wanted.name, self.dtype.name} <= _CONVERTED:
            raise not_yet("to", f"from {self.dtype} to {wanted}")
        return self.convert(wanted, order)  # type: ignore[no-any-return]

    def copy(self: Any, order: str = "C") -> DeviceArray:
        return self.convert(self.dtype, order)  # type: ignore[no-any-return]

    def fill(self: Any, value: float) -> None:
        self[...] = value

    def item(self: Any) -> Any:
        return self.to_host().item()

    def tolist(self: Any) -> Any:
        return self.to_host().tolist()

    def __deepcopy__(self: Any, memo: object) -> DeviceArray:
        return self.convert(self.dtype, "K")  # type: ignore[no-any-return]

    def __reduce__(self: Any) -> tuple[Any, ...]:
        return _restored, (self.to_host(), self.device_index)


def _give_protocols() -> None:
    """Sets the methods on the compiled class, since its instances are made by compiled functions."""
    taken = {"__module__", "__dict__", "__weakref__", "__doc__", "__slots__", "__firstlineno__"}
    for source in (NDArrayOperatorsMixin, Protocols):
        for name, member in vars(source).items():
            if name not in taken and not name.startswith("__static"):
                setattr(DeviceArray, name, member)


_give_protocols()
