"""Split attention, the layer that makes a ResNeSt."""

from __future__ import annotations

from typing import SupportsIndex

from lucid import arguments
from lucid.arguments import Pair
from lucid.nn import functional as F
from lucid.nn.conv import Conv2d
from lucid.nn.module import Module
from lucid.nn.norm import BatchNorm2d
from lucid.tensor import Tensor


class SplitAttention(Module):
    """A grouped convolution into ``radix`` splits, added with weights that depend on the whole image.

    "ResNeSt: Split-Attention Networks" (Zhang et al., 2020), https://arxiv.org/abs/2004.08955; names of the
    state dict (``conv bn0 fc1 bn1 fc2``) and orders of channels are those of published weights. The splits
    are radix-major; the logits of ``fc2`` are cardinality-major, since it is a convolution with ``groups``
    groups.

    Args:
        padding: None keeps the image's size at stride 1 and an odd ``kernel_size``: half of the window.
        groups: The paper's cardinality. The convolution has ``groups * radix`` groups.
        bias: Whether the convolution has one; no published model does, as batch norm follows.
        radix: Number of splits. With 1 the weight is a sigmoid instead of a softmax over the splits.
        reduction_factor: The attention layers are ``in_channels * radix / reduction_factor`` wide, but at
            least 32.

    Shape:
        ``(n, in_channels, h, w)`` to ``(n, out_channels, h', w')`` as in ``Conv2d``. In training, ``n`` must
        be more than 1: ``bn1`` sees one value per channel and image.
    """

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Pair = 3,
        stride: Pair = 1,
        padding: Pair | None = None,
        dilation: Pair = 1,
        groups: SupportsIndex = 1,
        bias: bool = False,
        radix: SupportsIndex = 2,
        reduction_factor: SupportsIndex = 4,
    ) -> None:
        super().__init__()
        self.radix = arguments.positive("SplitAttention", "radix", radix)
        self.cardinality = arguments.positive("SplitAttention", "groups", groups)
        inputs = arguments.positive("SplitAttention", "in_channels", in_channels)
        outputs = arguments.positive("SplitAttention", "out_channels", out_channels)
        reduction = arguments.positive("SplitAttention", "reduction_factor", reduction_factor)
        window = arguments.pair("SplitAttention", "kernel_size", kernel_size)
        spread = arguments.pair("SplitAttention", "dilation", dilation)
        if padding is None:
            padding = (spread[0] * (window[0] - 1) // 2, spread[1] * (window[1] - 1) // 2)
        width = max(inputs * self.radix // reduction, 32)
        self.conv = Conv2d(
            inputs,
            outputs * self.radix,
            window,
            stride,
            padding,
            spread,
            groups=self.cardinality * self.radix,
            bias=bias,
        )
        self.bn0 = BatchNorm2d(outputs * self.radix)
        self.fc1 = Conv2d(outputs, width, 1, groups=self.cardinality)
        self.bn1 = BatchNorm2d(width)
        self.fc2 = Conv2d(width, outputs * self.radix, 1, groups=self.cardinality)

    def forward(self, input: Tensor) -> Tensor:
        splits = self.bn0(self.conv(input), relu=True)
        pooled = F.radix_sum_pool(splits, self.radix)
        hidden = self.bn1(self.fc1(pooled.reshape(*pooled.shape, 1, 1)), relu=True)
        return F.split_attention(splits, self.fc2(hidden), self.radix, self.cardinality)

    def extra_repr(self) -> str:
        return f"radix={self.radix}, cardinality={self.cardinality}"
