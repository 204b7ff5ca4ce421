"""Pooling layers."""

from __future__ import annotations

from lucid import arguments
from lucid.arguments import Pair
from lucid.nn import functional as F
from lucid.nn.module import Module
from lucid.tensor import Tensor


class MaxPool2d(Module):
    """The largest value of each window; see ``lucid.nn.functional.max_pool2d``.

    ``return_indices`` must be False: it is here because PyTorch has it before ``ceil_mode``.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices:
            raise NotImplementedError(f"MaxPool2d: return_indices must be False, got {return_indices!r}")
        self.kernel_size = arguments.pair("MaxPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else arguments.pair("MaxPool2d", "stride", stride)
        self.padding = arguments.pair("MaxPool2d", "padding", padding)
        self.dilation = arguments.pair("MaxPool2d", "dilation", dilation)
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window; see ``lucid.nn.functional.avg_pool2d``."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = arguments.pair("AvgPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else arguments.pair("AvgPool2d", "stride", stride)
        self.padding = arguments.pair("AvgPool2d", "padding", padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
        )


class AdaptiveAvgPool2d(Module):
    """Average pooling to a given height and width, which must divide those of the input, as 1 always does."""

    def __init__(self, output_size: Pair) -> None:
        super().__init__()
        self.output_size = arguments.pair("AdaptiveAvgPool2d", "output_size", output_size)

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
