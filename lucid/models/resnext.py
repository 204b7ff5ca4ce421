"""ResNeXt: residual networks whose 3x3 convolutions are grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from lucid import nn
from lucid.models.config import ModelConfig, StemType
from lucid.models.registry import Preset, register, register_family
from lucid.models.resnet import ResNet, end_of_block, parse_constructor
from lucid.tensor import Tensor

__all__ = ["Bottleneck", "ResNeXt", "ResNeXtConfig"]


@dataclass(frozen=True)
class ResNeXtConfig(ModelConfig):
    """Everything that determines a ResNeXt (Xie et al., 2017, https://arxiv.org/abs/1611.05431).

    Args:
        layers: Blocks in each of the four stages.
        cardinality: Groups of the 3x3 convolutions.
        base_width: Channels of one group in a stage of 64 channels; it grows with the stage.
        num_classes: Outputs of the head.
        in_channels: Channels of the images.
        stem_width: Channels of the first two convolutions of a deep stem, and half of its third's. A plain
            stem has 64 channels whatever stands here.
        stem_type: None is a 7x7 convolution, ``"deep"`` three 3x3 ones (He et al., 2018,
            https://arxiv.org/abs/1812.01187, ResNet-C).
        avg_down: Shortcuts halve the map by a 2x2 mean and not by a stride (there, ResNet-D).
        channels: Width of each stage; its output has four times as many.
        block_args: More keyword arguments for each block.
        drop_path: In training, the probability that an image skips the last block, leaving its shortcut; it
            grows evenly from 0 at the first block (Huang et al., 2016, https://arxiv.org/abs/1603.09382).
        dropout: In training, the probability that the head does not see a feature.

    Raises:
        TypeError, ValueError: A field has the wrong type or value.
    """

    layers: Sequence[int]
    cardinality: int
    base_width: int
    num_classes: int = 1000
    in_channels: int = 3
    stem_width: int = 64
    stem_type: StemType = None
    avg_down: bool = False
    channels: Sequence[int] = (64, 128, 256, 512)
    block_args: dict[str, Any] = field(default_factory=dict, hash=False)
    drop_path: float = 0.0
    dropout: float = 0.0


class Bottleneck(nn.Module):
    """1x1 reduction, grouped 3x3, 1x1 expansion, added to the shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Width of the stage; the output has ``expansion`` times as many.
        stride: Of the 3x3 convolution.
        downsample: Layers of the shortcut; None is the input itself.
        cardinality: Groups of the 3x3 convolution.
        base_width: Channels of a group per 64 of ``channels``.
        dilation: Of the 3x3 convolution, which is padded by as much.
        drop_path: Probability in training that an image leaves with its shortcut alone.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        cardinality: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        width = channels * base_width // 64 * cardinality
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width,
            width,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            groups=cardinality,
            bias=False,
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x), relu=True)
        out = self.bn2(self.conv2(out), relu=True)
        shortcut = x if self.downsample is None else self.downsample(x)
        return end_of_block(self.bn3, self.conv3(out), shortcut, self.drop_path if self.training else 0.0)


class ResNeXt(ResNet):
    """ResNeXt, from a config or from a block and its depths.

    ``ResNeXt(config)``, or ``ResNeXt(block, layers, cardinality, base_width, num_classes=1000)`` with the
    config's other fields as keywords. ``block`` is a Module class (``Bottleneck``) or the name
    ``"bottleneck"``.

    Raises:
        TypeError: The two forms are mixed, or an argument is unknown, missing or of the wrong type.
        ValueError: A value is out of its range.
    """

    @overload
    def __init__(self, config: ResNeXtConfig) -> None: ...
    @overload
    def __init__(
        self,
        block: type[nn.Module] | str,
        layers: Sequence[int],
        cardinality: int,
        base_width: int,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        stem_width: int = 64,
        stem_type: StemType = None,
        avg_down: bool = False,
        channels: Sequence[int] = (64, 128, 256, 512),
        block_args: dict[str, Any] = ...,
        drop_path: float = ...,
        dropout: float = ...,
    ) -> None: ...
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        positional = ("layers", "cardinality", "base_width", "num_classes")
        super().__init__(*parse_constructor("ResNeXt", ResNeXtConfig, Bottleneck, positional, args, kwargs))


_50, _101, _152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)

register_family(ResNeXt, ResNeXtConfig, Bottleneck, fixed=("layers", "cardinality", "base_width"))

register(
    Preset("resnext50_32x4d", ResNeXtConfig(_50, 32, 4), ("resnext_50_32x4d",)),
    Preset(
        "resnext50d_32x4d",
        ResNeXtConfig(_50, 32, 4, stem_width=32, stem_type="deep", avg_down=True),
        ("resnext_50d_32x4d",),
    ),
    # The three narrower divisions of the same work, table 2 of the paper.
    Preset("resnext50_2x40d", ResNeXtConfig(_50, 2, 40), ("resnext_50_2x40d",)),
    Preset("resnext50_4x24d", ResNeXtConfig(_50, 4, 24), ("resnext_50_4x24d",)),
    Preset("resnext50_8x14d", ResNeXtConfig(_50, 8, 14), ("resnext_50_8x14d",)),
    Preset("resnext101_32x4d", ResNeXtConfig(_101, 32, 4), ("resnext_101_32x4d",)),
    Preset("resnext101_32x8d", ResNeXtConfig(_101, 32, 8), ("resnext_101_32x8d",)),
    Preset("resnext101_32x16d", ResNeXtConfig(_101, 32, 16), ("resnext_101_32x16d",)),
    Preset("resnext101_32x32d", ResNeXtConfig(_101, 32, 32), ("resnext_101_32x32d",)),
    Preset("resnext101_32x48d", ResNeXtConfig(_101, 32, 48), ("resnext_101_32x48d",)),
    Preset("resnext101_64x4d", ResNeXtConfig(_101, 64, 4), ("resnext_101_64x4d",)),
    Preset("resnext152_32x4d", ResNeXtConfig(_152, 32, 4), ("resnext_152_32x4d",)),
    Preset("resnext152_64x4d", ResNeXtConfig(_152, 64, 4), ("resnext_152_64x4d",)),
)
