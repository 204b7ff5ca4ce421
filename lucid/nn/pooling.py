"""Pooling layers."""

from __future__ import annotations

from typing import Any, SupportsIndex

from lucid import arguments
from lucid.arguments import Padding, Pair
from lucid.nn import functional as F
from lucid.nn.module import Module
from lucid.tensor import Tensor


class MaxPool2d(Module):
    """The largest value of each window; see ``lucid.nn.functional.max_pool2d``.

    With ``return_indices`` the output is a pair, the values and the place of each.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = arguments.pair("MaxPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else arguments.pair("MaxPool2d", "stride", stride)
        self.padding = arguments.padding("MaxPool2d", padding)
        self.dilation = arguments.pair("MaxPool2d", "dilation", dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        pool: Any = F.max_pool2d
        return pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

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
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: SupportsIndex | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = arguments.pair("AvgPool2d", "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else arguments.pair("AvgPool2d", "stride", stride)
        self.padding = arguments.padding("AvgPool2d", padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
            + (f", divisor_override={self.divisor_override}" if self.divisor_override is not None else "")
        )


class AdaptiveAvgPool2d(Module):
    """Average pooling to a given height and width, of which None keeps the input's."""

    def __init__(self, output_size: Pair | tuple[int | None, int | None]) -> None:
        super().__init__()
        arguments.output_size("AdaptiveAvgPool2d", output_size, ())  # its type; an image decides the rest
        both = not isinstance(output_size, (tuple, list))
        self.output_size: Any = (output_size, output_size) if both else tuple(output_size)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
