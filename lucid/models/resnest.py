"""ResNeSt: bottlenecks whose 3x3 convolution is a split attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, overload

from lucid import nn
from lucid.models.config import ModelConfig, StemType, integer
from lucid.models.registry import Preset, register, register_family
from lucid.models.resnet import ResNet, end_of_block, parse_constructor
from lucid.tensor import Tensor

__all__ = ["ResNeSt", "ResNeStBottleneck", "ResNeStConfig"]


@dataclass(frozen=True)
class ResNeStConfig(ModelConfig):
    """Everything that determines a ResNeSt (Zhang et al., 2020, https://arxiv.org/abs/2004.08955).

    The first eight fields stand in the order of the positional constructor's arguments.

    Args:
        layers: Blocks in each of the four stages.
        num_classes: Outputs of the head.
        base_width: Channels of one group in a stage of 64 channels; it grows with the stage.
        stem_width: Channels of the first two convolutions of the deep stem, and half of its third's.
        cardinality: Groups of the 3x3 convolutions, each of which attends by itself.
        radix: Splits that the attention weighs against each other. With 1 the weight is a sigmoid; 0 is a
            grouped convolution without attention.
        avd: Where a block halves the map, a 3x3 mean does it and not the stride of the convolution
            ("average-pool downsampling").
        avd_first: That mean stands before the 3x3 convolution, which then works on a quarter of the map (the
            "fast" networks), and not after it.
        in_channels: Channels of the images.
        stem_type: ``"deep"`` is three 3x3 convolutions, None one 7x7 of 64 channels.
        avg_down: Shortcuts halve the map by a 2x2 mean and not by a stride. All published networks have it;
            lucid 2.x, whose default was False, does not give their outputs.
        channels: Width of each stage; its output has four times as many.
        block_args: More keyword arguments for each block.
        drop_path: In training, the probability that an image skips the last block, leaving its shortcut; it
            grows evenly from 0 at the first block (Huang et al., 2016, https://arxiv.org/abs/1603.09382).
        dropout: In training, the probability that the head does not see a feature.

    Raises:
        TypeError, ValueError: A field has the wrong type or value.
    """

    layers: Sequence[int]
    num_classes: int = 1000
    base_width: int = 64
    stem_width: int = 32
    cardinality: int = 1
    radix: int = 2
    avd: bool = True
    avd_first: bool = False
    in_channels: int = 3
    stem_type: StemType = "deep"
    avg_down: bool = True
    channels: Sequence[int] = (64, 128, 256, 512)
    block_args: dict[str, Any] = field(default_factory=dict, hash=False)
    drop_path: float = 0.0
    dropout: float = 0.0

    _boolean_fields: ClassVar[tuple[str, ...]] = ("avg_down", "avd", "avd_first")
    _block_fields: ClassVar[tuple[str, ...]] = ("cardinality", "base_width", "radix", "avd", "avd_first")

    def _check(self) -> None:
        super()._check()
        radix = integer("radix", self.radix)
        if radix < 0:
            raise ValueError(f"radix must not be negative, got {radix}")
        self._set("radix", radix)


class ResNeStBottleneck(nn.Module):
    """1x1 reduction, split attention, 1x1 expansion, added to the shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Width of the stage; the output has ``expansion`` times as many.
        stride: How much the map shrinks.
        downsample: Layers of the shortcut; None is the input itself.
        cardinality: Groups of the 3x3 convolution.
        base_width: Channels of a group per 64 of ``channels``.
        radix: Splits of the attention; 0 is a grouped convolution with batch norm and ReLU instead.
        avd: A strided block shrinks the map by a 3x3 mean.
        avd_first: That mean stands before the 3x3 convolution.
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
        radix: int = 2,
        avd: bool = True,
        avd_first: bool = False,
        dilation: int = 1,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        width = channels * base_width // 64 * cardinality
        self.avd_first = avd_first
        self.avd: nn.Module | None = None
        if avd and stride > 1:
            # The zeros of the padding count (always / 9): 2 % of the output of a ResNeSt-50.
            self.avd, stride = nn.AvgPool2d(3, stride, padding=1), 1
        window: dict[str, Any] = {"stride": stride, "padding": dilation, "dilation": dilation, "bias": False}
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2: nn.Module
        self.bn2: nn.Module | None = None
        if radix == 0:
            self.conv2 = nn.Conv2d(width, width, 3, groups=cardinality, **window)
            self.bn2 = nn.BatchNorm2d(width)
        else:
            self.conv2 = nn.SplitAttention(width, width, 3, groups=cardinality, radix=radix, **window)
        self.conv3 = nn.Conv2d(width, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x), relu=True)
        if self.avd is not None and self.avd_first:
            out = self.avd(out)
        out = self.conv2(out)
        if self.bn2 is not None:
            out = self.bn2(out, relu=True)
        if self.avd is not None and not self.avd_first:
            out = self.avd(out)
        shortcut = x if self.downsample is None else self.downsample(x)
        return end_of_block(self.bn3, self.conv3(out), shortcut, self.drop_path if self.training else 0.0)


class ResNeSt(ResNet):
    """ResNeSt, from a config or from a block and its depths.

    ``ResNeSt(config)``, or ``ResNeSt(block, layers, num_classes=1000, base_width=64, stem_width=32,
    cardinality=1, radix=2, avd=True)`` with the config's other fields as keywords. ``block`` is a Module
    class (``ResNeStBottleneck``) or the name ``"bottleneck"``.

    Raises:
        TypeError: The two forms are mixed, or an argument is unknown, missing or of the wrong type.
        ValueError: A value is out of its range.
    """

    @overload
    def __init__(self, config: ResNeStConfig) -> None: ...
    @overload
    def __init__(
        self,
        block: type[nn.Module] | str,
        layers: Sequence[int],
        num_classes: int = 1000,
        base_width: int = 64,
        stem_width: int = 32,
        cardinality: int = 1,
        radix: int = 2,
        avd: bool = True,
        *,
        avd_first: bool = False,
        in_channels: int = 3,
        stem_type: StemType = "deep",
        avg_down: bool = True,
        channels: Sequence[int] = (64, 128, 256, 512),
        block_args: dict[str, Any] = ...,
        drop_path: float = ...,
        dropout: float = ...,
    ) -> None: ...
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        positional = ("layers", "num_classes", "base_width", "stem_width", "cardinality", "radix", "avd")
        super().__init__(
            *parse_constructor("ResNeSt", ResNeStConfig, ResNeStBottleneck, positional, args, kwargs)
        )


_50 = (3, 4, 6, 3)


def _fast(radix: int, cardinality: int, base_width: int) -> Preset:
    """A network of the paper's ablation: the mean stands before the 3x3 convolutions, the splits vary."""
    division = f"{radix}s{cardinality}x{base_width}d"
    config = ResNeStConfig(_50, base_width=base_width, cardinality=cardinality, radix=radix, avd_first=True)
    spellings = (f"resnest_50_fast_{division}", f"resnest50d_{division}", f"resnest_50_{division}")
    return Preset(f"resnest50_fast_{division}", config, spellings)


register_family(
    ResNeSt,
    ResNeStConfig,
    ResNeStBottleneck,
    fixed=("layers", "base_width", "stem_width", "cardinality", "radix", "avd", "avd_first"),
)

register(
    Preset("resnest14", ResNeStConfig((1, 1, 1, 1)), ("resnest_14", "resnest14d")),
    Preset("resnest26", ResNeStConfig((2, 2, 2, 2)), ("resnest_26", "resnest26d")),
    Preset("resnest50", ResNeStConfig(_50), ("resnest_50", "resnest50d")),
    Preset("resnest101", ResNeStConfig((3, 4, 23, 3), stem_width=64), ("resnest_101", "resnest101e")),
    Preset("resnest200", ResNeStConfig((3, 24, 36, 3), stem_width=64), ("resnest_200", "resnest200e")),
    Preset("resnest269", ResNeStConfig((3, 30, 48, 8), stem_width=64), ("resnest_269", "resnest269e")),
    _fast(1, 1, 64),
    _fast(2, 1, 64),
    _fast(4, 1, 64),
    _fast(1, 2, 40),
    _fast(2, 2, 40),
    _fast(4, 2, 40),
    _fast(1, 4, 24),
)
