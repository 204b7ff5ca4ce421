"""Conversions: a tensor in another dtype, on another device, or cut off from gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lucid import arguments, cuda, primitives

if TYPE_CHECKING:
    from lucid.tensor import Tensor


class Conversions:
    """Methods with PyTorch's names, some of them those of Python's types; hence a class of their own."""

    dtype: np.dtype[Any]
    device: str

    def to(
        self, *targets: Any, dtype: npt.DTypeLike | None = None, device: object = None, **options: Any
    ) -> Tensor:
        """The tensor in another dtype or on another device; itself if it has that one and is there.

        ``to(np.float64)``, ``to("cuda")``, ``to("cuda:1", "float16")`` or ``to(other)``, whose dtype and
        device are taken. On a GPU, dtypes may be bfloat16 as well. Of PyTorch's options ``copy`` has an
        effect; ``non_blocking`` and ``memory_format`` are accepted.

        Raises:
            RuntimeError: The device cannot be used; the message gives the reason.
            NotImplementedError: Nothing computes on the device, or it cannot convert these dtypes.
            TypeError: A target is no dtype, device or tensor; bfloat16 is asked for on the CPU.
        """
        arguments.transfer_options("to", options)
        for target in targets:
            if arguments.is_device(target):
                device = target
            elif isinstance(target, Conversions):
                dtype, device = target.dtype, target.device
            else:
                dtype = arguments.dtype_target("to", target)
        if device is not None:
            index = cuda.device_index("to", device)
            place = cuda.name_of(index)
            if place != self.device:
                return self._moved(place, index, dtype)
        on_device = self.device != "cpu"
        wanted = self.dtype if dtype is None else arguments.dtype("to", dtype, on_device=on_device)
        if self.dtype == wanted:
            return primitives.clone(self) if options.get("copy") else self  # type: ignore[return-value]
        return primitives.cast(self, dtype=wanted)

    def _moved(self, place: str, index: Any, dtype: npt.DTypeLike | None) -> Tensor:
        """Converted on the host where that knows the dtypes, since it knows more of them than a GPU does."""
        wanted = self.dtype if dtype is None else arguments.dtype("to", dtype, on_device=index is not None)
        if index is None and "bfloat16" in (self.dtype.name, wanted.name):
            if wanted.name == "bfloat16":
                raise TypeError(
                    "to: a tensor on the CPU must have a dtype of NumPy's, got bfloat16; "
                    "convert it as well: x.to('cpu', 'float32')"
                )
            return primitives.move(primitives.cast(self, dtype=wanted), device=None)
        if self.device == "cpu" and wanted != self.dtype and wanted.name != "bfloat16":
            return primitives.move(primitives.cast(self, dtype=wanted), device=index)
        moved: Tensor = primitives.move(self, device=index)
        return moved if wanted == self.dtype else primitives.cast(moved, dtype=wanted)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """The tensor on a GPU: the current one, or that of a number or name."""
        index = cuda.device_index("cuda", cuda.as_device("cuda", device))
        return self.to(cuda.name_of(index))

    def float(self) -> Tensor:
        return self.to(np.float32)

    def double(self) -> Tensor:
        return self.to(np.float64)

    def half(self) -> Tensor:
        return self.to(np.float16)

    def bfloat16(self) -> Tensor:
        """TypeError on the CPU, whose dtypes are NumPy's."""
        return self.to("bfloat16")

    def long(self) -> Tensor:
        return self.to(np.int64)

    def int(self) -> Tensor:
        return self.to(np.int32)

    def bool(self) -> Tensor:
        return self.to(np.bool_)

    def detach(self) -> Tensor:
        """A tensor of the same memory that no gradient reaches."""
        return primitives.detach(self)
