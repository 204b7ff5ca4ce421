"""Tensor: an n-dimensional array of numbers.

A CPU tensor holds a NumPy array of any strides; one on a GPU a ``_core.DeviceArray``, which ``device_array``
lets answer as a NumPy array would. Results of the operators in ``lucid.nn.functional`` have NCHW shapes but
lie channels-last in memory; no method depends on the strides. ``Methods``, ``Operators`` and ``Conversions``
hold the methods that compute; this module knows the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core, cuda, exchange
from lucid.conversions import Conversions
from lucid.device_array import DeviceArray, on_host
from lucid.differentiable import Differentiable
from lucid.methods import Methods, ValuesAndIndices
from lucid.operators import Operators

__all__ = ["Array", "Tensor", "ValuesAndIndices", "as_tensor"]

Array: TypeAlias = npt.NDArray[Any]

# Native byte order only: a big-endian dtype compares unequal to these.
_DTYPES = frozenset(np.dtype(code) for code in "?bBhHiIlLqQefd")

# ndarray.__dlpack__ takes the arguments of DLPack 1.0 (max_version, dl_device, copy) from NumPy 2.1 on.
_NUMPY_SPEAKS_DLPACK_1 = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 1)
# Attributes that tie a tensor to the graph that computed it.
_OF_THE_GRAPH = frozenset({"_hooks", "_hooks_after", "_is_view", "_place", "_requires_grad", "grad_fn"})
# Looked up once, for Tensor.wrap, which every call of an operator ends with.
_new_tensor, _hold, _ndarray = _core.TensorBase.__new__, _core.TensorBase.__init__, np.ndarray


class Tensor(Differentiable, Methods, Operators, Conversions, _core.TensorBase):
    """A NumPy array, or one on a GPU, with PyTorch's method names.

    ``Tensor(array)`` shares the array's memory, and so do ``data``, ``numpy()``, the buffer protocol and
    DLPack; the array stays the same one for the tensor's life, so memory that was handed out never moves. The
    parameters and buffers of a module alone change it, in ``Module.to``. ``lucid.tensor`` copies.

    NumPy's functions (``np.mean(tensor)``) see the array, and return arrays.

    Raises:
        TypeError: ``array`` is no ndarray, or holds anything but booleans, integers and floats in native byte
            order.
    """

    def __init__(self, array: Array | DeviceArray) -> None:
        if type(array) is DeviceArray:
            super().__init__(array)
            return
        if not isinstance(array, np.ndarray) or array.dtype not in _DTYPES:
            super().__init__(np.empty(0))  # debuggers print also an object whose __init__ fails
            raise _refusal("Tensor", "array", array)
        super().__init__(np.asarray(array))

    @staticmethod
    def wrap(result: Any) -> Any:
        """A tensor of the array, or of each array, that a primitive computed. It needs no checks."""
        if type(result) is tuple:
            return tuple([Tensor.wrap(array) for array in result])
        tensor = _new_tensor(Tensor)
        _hold(
            tensor, result if type(result) is _ndarray or type(result) is DeviceArray else np.asarray(result)
        )
        return tensor

    def _replace_data(self, array: Array | DeviceArray) -> None:
        """Lets all who hold the tensor see another array. Memory that was lent before is the old one."""
        self._hold(array)

    # ---- What it holds

    def _keep_data(self, array: object) -> None:
        """Accepts the array that is there, so that ``x.data *= 2`` works."""
        if array is not self.data:
            raise AttributeError("Tensor: data cannot be replaced; write into it: x.data[...] = array")

    data = property(vars(_core.TensorBase)["data"].fget, _keep_data, doc="The array, never another one.")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.data.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.data.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> str:  # type: ignore[override]
        """``"cpu"``, or ``"cuda:0"`` and the like."""
        return "cpu" if type(self.data) is not DeviceArray else cuda.name_of(self.data.device_index)

    @property
    def is_cuda(self) -> bool:
        return type(self.data) is DeviceArray

    def numpy(self) -> Array:
        """The array itself, not a copy; TypeError if it is on a GPU."""
        if type(self.data) is DeviceArray:
            raise TypeError(
                f"numpy: the tensor must be on the CPU, got one on {self.device}; move it by .cpu()"
            )
        return self.data  # type: ignore[no-any-return]

    def item(self) -> Any:
        """The only element, as a Python number; ValueError if there are more or none."""
        if self.data.size != 1:
            raise ValueError(f"item: the tensor must have one element, got shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        return self.data.tolist()

    def contiguous(self) -> Tensor:
        return self if self.data.flags.c_contiguous else super().contiguous()

    # ---- Exchange with others

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        self.numpy()  # refuses what is on a GPU
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if copy:
            return np.array(self.data, dtype=wanted)
        if copy is False and wanted != self.dtype:
            raise ValueError(f"Tensor: converting {self.dtype} to {wanted} needs a copy, got copy=False")
        return np.asarray(self.data, dtype=wanted)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """NumPy's DLPack capsule, versioned (with a read-only flag) if consumer and NumPy know of that.

        That of a tensor on a GPU may be used on ``stream``, given by its number in DLPack; what was enqueued
        for the tensor comes first there.
        """
        if _NUMPY_SPEAKS_DLPACK_1 or self.is_cuda:
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

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The protocol of Numba and CuPy. On the CPU there is none, which ``hasattr`` tells."""
        if not self.is_cuda:
            raise AttributeError("'Tensor' object on the CPU has no attribute '__cuda_array_interface__'")
        return self.data.__cuda_array_interface__  # type: ignore[no-any-return]

    def __array_function__(
        self, function: Callable[..., Any], types: object, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Makes ``np.mean(tensor)``, ``np.concatenate([tensor, array])`` and the like work."""
        return function(*_plain(args), **{name: _plain(value) for name, value in kwargs.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is a leaf, without hooks; one of what was computed requires no gradient."""
        state = {name: value for name, value in vars(self).items() if name not in _OF_THE_GRAPH}
        if self.grad_fn is None and "_requires_grad" in vars(self):
            state["_requires_grad"] = self._requires_grad
        return type(self), (self.data,), state or None

    # ---- Python's protocols

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
        array = on_host(self.data)
        text = np.array2string(array, separator=", ", prefix="tensor(", precision=4)
        if array.size == 0:
            text += f", shape={self.shape}"
        if self.dtype.name not in ("float32", "int64", "bool"):
            text += f", dtype={self.dtype.name}"
        if self.is_cuda:
            text += f", device={self.device!r}"
        return f"tensor({text})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.ndim == 0 else format(repr(self), spec)


def as_tensor(op: str, name: str, value: Any) -> Any:
    """``value`` as a tensor that shares its memory; a tensor or symbol is returned as it is.

    Raises:
        TypeError: ``value`` is no array, nor one of another library on a device that can be used.
    """
    if isinstance(value, Methods):
        return value
    array = exchange.array_of(op, name, value)
    if type(array) is not DeviceArray and array.dtype not in _DTYPES:
        raise _refusal(op, name, array)
    return Tensor(array)


def _refusal(op: str, name: str, value: Any) -> TypeError:
    if isinstance(value, np.ndarray):
        given = f"dtype {value.dtype!r}"
        return TypeError(
            f"{op}: {name} must hold bools, integers or floats in native byte order, got {given}"
        )
    return TypeError(f"{op}: {name} must be a numpy.ndarray, got {exchange.type_name(value)}")


def _plain(value: Any) -> Any:
    """``value`` with arrays in place of tensors, also inside of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.data
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    return {name: _plain(each) for name, each in value.items()} if type(value) is dict else value
