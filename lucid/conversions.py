"""Conversions: a tensor in another dtype, on another device, or cut off from gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lucid import arguments, primitives

if TYPE_CHECKING:
    from lucid.tensor import Tensor


class Conversions:
    """Methods with PyTorch's names, some of them those of Python's types; hence a class of their own."""

    dtype: np.dtype[Any]

    # A note of the program that training will heed; nothing computes gradients yet.
    requires_grad = False

    def to(
        self, *targets: Any, dtype: npt.DTypeLike | None = None, device: object = None, **options: Any
    ) -> Tensor:
        """The tensor in another dtype; itself if it has that one.

        ``to(np.float64)``, ``to("cpu")``, ``to("cpu", "float16")`` or ``to(other)``, whose dtype is taken.
        Of PyTorch's options ``copy`` has an effect; ``non_blocking`` and ``memory_format`` are accepted.

        Raises:
            NotImplementedError: The device is not the CPU.
            TypeError: A target is no dtype, device or tensor.
        """
        arguments.transfer_options("to", options)
        for target in targets:
            if arguments.is_device(target):
                device = target
            elif isinstance(target, Conversions):
                dtype = target.dtype
            else:
                dtype = target
        arguments.device("to", device)
        wanted = self.dtype if dtype is None else arguments.dtype("to", dtype)
        if self.dtype == wanted:
            return primitives.clone(self) if options.get("copy") else self  # type: ignore[return-value]
        return primitives.cast(self, dtype=wanted)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self, device: object = None) -> Tensor:
        """NotImplementedError: lucid computes on the CPU only."""
        arguments.device("cuda", "cuda" if device is None else f"cuda:{device}")
        return self.cpu()

    def float(self) -> Tensor:
        return self.to(np.float32)

    def double(self) -> Tensor:
        return self.to(np.float64)

    def half(self) -> Tensor:
        return self.to(np.float16)

    def long(self) -> Tensor:
        return self.to(np.int64)

    def int(self) -> Tensor:
        return self.to(np.int32)

    def bool(self) -> Tensor:
        return self.to(np.bool_)

    def detach(self) -> Tensor:
        """A tensor of the same memory that no gradient reaches."""
        return primitives.detach(self)

    def requires_grad_(self, requires_grad: Any = True) -> Any:
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = requires_grad is True
        return self
