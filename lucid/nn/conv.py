"""Convolution layers."""

from __future__ import annotations

import math
from typing import SupportsIndex

from lucid import arguments
from lucid.arguments import Padding, Pair
from lucid.creation import empty
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn.module import Module, Parameter
from lucid.tensor import Tensor


class Conv2d(Module):
    """Grouped 2-D convolution.

    The input channels are cut into ``groups`` equal slices, and each slice is convolved with its own
    ``out_channels / groups`` filters.

    Args:
        kernel_size: Height and width of the window; an int means a square.
        padding: Zeros added on every side, or on each side, ``((top, bottom), (left, right))``; or ``"same"``
            (output as large as the input, stride 1) or ``"valid"`` (none).
        groups: Number of slices; ``in_channels`` makes the convolution depthwise.
        padding_mode: Only ``"zeros"``.

    Shape:
        ``(n, in_channels, h, w)`` to ``(n, out_channels, h', w')`` with
        ``h' = (h + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``.

    The weight ``(out_channels, in_channels / groups, kh, kw)`` and the bias start evenly spread over
    ``+-1 / sqrt(in_channels / groups * kh * kw)``, as in PyTorch.
    """

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding | str = 0,
        dilation: Pair = 1,
        groups: SupportsIndex = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise NotImplementedError(f"Conv2d: padding_mode must be 'zeros', got {padding_mode!r}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(
                f"Conv2d: padding must be an int, a pair of ints, 'same' or 'valid', got {padding!r}"
            )
        self.in_channels = arguments.positive("Conv2d", "in_channels", in_channels)
        self.out_channels = arguments.positive("Conv2d", "out_channels", out_channels)
        self.groups = arguments.positive("Conv2d", "groups", groups)
        self.kernel_size = arguments.pair("Conv2d", "kernel_size", kernel_size)
        self.stride = arguments.pair("Conv2d", "stride", stride)
        self.padding = padding if isinstance(padding, str) else arguments.padding("Conv2d", padding)
        self.dilation = arguments.pair("Conv2d", "dilation", dilation)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"Conv2d: groups ({self.groups}) must divide in_channels ({self.in_channels}) "
                f"and out_channels ({self.out_channels})"
            )
        if min(self.kernel_size) < 1:
            raise ValueError(f"Conv2d: kernel_size must be positive, got {self.kernel_size}")
        self.weight = Parameter(empty(self.out_channels, self.in_channels // self.groups, *self.kernel_size))
        self.bias = Parameter(empty(self.out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # a gain that makes the bound 1 / sqrt(fan_in)
        if self.bias is not None:
            bound = 1.0 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding!r}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)
