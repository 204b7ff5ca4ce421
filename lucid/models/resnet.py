"""The parts that ResNeXt and ResNeSt share: stem, four stages of bottlenecks, head, constructor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

from lucid import nn
from lucid.models.config import ModelConfig, StemType, reported_by
from lucid.nn import functional as F
from lucid.nn import init
from lucid.tensor import Tensor

__all__ = ["ResNet"]

_Config = TypeVar("_Config", bound=ModelConfig)

# A plain stem has 64 channels whatever stem_width says, in every published network.
_PLAIN_STEM_CHANNELS = 64


class ResNet(nn.Module):
    """A residual network of bottleneck blocks; base of ``ResNeXt`` and ``ResNeSt``.

    The strides sit in the 3x3 convolutions. Parameters are named as torchvision and timm name them, so every
    published weight file loads as it is.

    Args:
        block: Class of the blocks. It is called with ``(in_channels, channels, stride, downsample)`` and
            ``config.block_arguments()``, and with ``drop_path`` where the config has one. It gives
            ``channels * block.expansion`` channels, and applies ``downsample``, where that is not None, to
            its shortcut.
        config: Everything else.

    Attributes:
        config: The config that the network was built from.
        block: The class of the blocks.
        name: Name of the preset that ``create_model`` built it from, else None.
        frozen: The parts that ``freeze_stages`` froze.

    Shape:
        ``(n, in_channels, h, w)`` to ``(n, num_classes)``.
    """

    def __init__(self, block: type[nn.Module], config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.block = block
        self.name: str | None = None
        self.frozen: tuple[nn.Module, ...] = ()
        self.conv1, in_channels = _stem(config.in_channels, config.stem_type, config.stem_width)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, in_channels = self._stage(in_channels, 0, stride=1)
        self.layer2, in_channels = self._stage(in_channels, 1, stride=2)
        self.layer3, in_channels = self._stage(in_channels, 2, stride=2)
        self.layer4, in_channels = self._stage(in_channels, 3, stride=2)
        self.fc = nn.Linear(in_channels, config.num_classes)
        # The variance that He et al. derive and torchvision uses, which the layers' own default lacks. Even
        # and not normal numbers: a third of the time to draw.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, in_channels: int, stage: int, stride: int) -> tuple[nn.Sequential, int]:
        """A stage, whose first block has the stride and the projection shortcut, and its channels."""
        channels = self.config.channels[stage]
        out_channels = channels * _expansion(self.block)
        shortcut = None
        if stride != 1 or in_channels != out_channels:
            shortcut = _shortcut(in_channels, out_channels, stride, self.config.avg_down)
        make = cast(Callable[..., nn.Module], self.block)
        arguments = self.config.block_arguments()
        places: list[tuple[int, int, nn.Module | None]] = [(in_channels, stride, shortcut)]
        places += [(out_channels, 1, None)] * (self.config.layers[stage] - 1)
        blocks = [
            make(inputs, channels, step, projection, **arguments, **self._drop_path(stage, number))
            for number, (inputs, step, projection) in enumerate(places)
        ]
        return nn.Sequential(*blocks), out_channels

    def _drop_path(self, stage: int, number: int) -> dict[str, float]:
        """A block's probability by its place; none where no block is dropped: others' blocks may lack it."""
        if self.config.drop_path == 0.0:
            return {}
        before, blocks = sum(self.config.layers[:stage]), sum(self.config.layers)
        return {"drop_path": self.config.drop_path * (before + number) / (blocks - 1)}

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the head by a fresh one, e.g. to fine-tune published weights on other classes."""
        self.config = dataclasses.replace(cast(Any, self.config), num_classes=num_classes)
        self.fc = nn.Linear(self.fc.in_features, num_classes)

    def freeze_stages(self, count: int) -> ResNet:
        """Freezes the stem and the first ``count`` stages, from 0 to 4.

        Their parameters require no gradient, so that nothing of them is kept for ``backward``, and their
        batch norm keeps its statistics, in ``train()`` as well. To fine-tune with few images.

        Raises:
            ValueError: There are not so many stages.
        """
        stages = len(self.layers)
        if not 0 <= count <= stages:
            raise ValueError(f"freeze_stages: count must be from 0 to {stages}, got {count}")
        self.requires_grad_()
        self.frozen = (self.conv1, self.bn1, *self.layers[:count])
        for part in self.frozen:
            part.requires_grad_(False)
        self.train(self.training)
        return self

    def train(self, mode: bool = True) -> Any:
        """As of any module; parts that ``freeze_stages`` froze stay in the mode for inference."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    @property
    def layers(self) -> list[nn.Sequential]:
        """The four stages, first to last; ``config.layers`` has their depths."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    @property
    def cardinality(self) -> int:
        """Groups of the 3x3 convolutions."""
        return self.config.cardinality

    @property
    def base_width(self) -> int:
        """Channels of one group where a stage has 64 channels; it grows with the stage's channels."""
        return self.config.base_width

    def features(self, x: Tensor) -> list[Tensor]:
        """Each stage's output, at 1/4, 1/8, 1/16 and 1/32 of the image's height and width (rounded up)."""
        return list(self._stage_outputs(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's output, which the head averages, ``(n, channels[3] * expansion, h', w')``."""
        for output in self._stage_outputs(x):
            x = output  # lets go of the stage before
        return x

    def _stage_outputs(self, x: Tensor) -> Iterator[Tensor]:
        x = self.maxpool(self.bn1(self.conv1(x), relu=True))
        for layer in self.layers:
            x = layer(x)
            yield x

    def forward_head(self, x: Tensor) -> Tensor:
        """The logits of ``forward_features``' output."""
        return self.fc(F.dropout(F.global_avg_pool2d(x), self.config.dropout, self.training))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def end_of_block(norm: nn.Module, branch: Tensor, shortcut: Tensor, drop_path: float) -> Tensor:
    """``relu(norm(branch) + shortcut)``; an image's branch is dropped with probability ``drop_path``."""
    if drop_path == 0.0:
        return norm(branch, relu=True, residual=shortcut)
    return F.relu(F.drop_path(norm(branch), drop_path) + shortcut, inplace=True)


def _stem(in_channels: int, stem_type: StemType, width: int) -> tuple[nn.Module, int]:
    """The stem up to its last convolution, and its channels; the norm after it is the network's ``bn1``."""
    if stem_type is None:
        conv = nn.Conv2d(in_channels, _PLAIN_STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        return conv, _PLAIN_STEM_CHANNELS
    convs = nn.Sequential(
        nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
    )
    return convs, 2 * width


def _shortcut(in_channels: int, out_channels: int, stride: int, avg_down: bool) -> nn.Sequential:
    """The projection of a shortcut: a strided 1x1 convolution, or with ``avg_down`` a mean and then a 1x1."""
    if not avg_down:
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    # ceil_mode keeps the last row of an odd map, as the padded 3x3 does. Where there is nothing to pool, the
    # identity holds index 0, so that the convolution is number 1 in every stage, as in the published files.
    pool: nn.Module = nn.Identity()
    if stride != 1:
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(
        pool,
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _expansion(block: type[nn.Module]) -> int:
    expansion = getattr(block, "expansion", None)
    if not isinstance(expansion, int):
        raise TypeError(
            f"block must have an integer attribute expansion, got {block.__name__} with {expansion!r}"
        )
    return expansion


def parse_constructor(
    owner: str,
    config_type: type[_Config],
    default_block: type[nn.Module],
    positional: tuple[str, ...],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[type[nn.Module], _Config]:
    """Block and config from the arguments of either form of a network's constructor.

    Args:
        owner: Name of the network's class, for messages.
        config_type: Its config.
        default_block: The block of the config form, for which ``"bottleneck"`` stands.
        positional: Config fields after ``block`` in the order of the positional form; all others are
            keyword-only.
        args: The constructor's positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        TypeError: The forms are mixed, or an argument is unknown, missing or given twice.
    """
    named = dict(kwargs)
    if "config" in named or (args and isinstance(args[0], ModelConfig)):
        config = named.pop("config") if "config" in named else args[0]
        extra = len(args) + len(kwargs) - 1
        if extra:
            raise TypeError(
                f"{owner}: a config stands alone, got {extra} more arguments; put them into the config"
            )
        if not isinstance(config, config_type):
            raise TypeError(f"{owner}: config must be a {config_type.__name__}, got {type(config).__name__}")
        return default_block, config
    names = ("block", *positional)
    if len(args) > len(names):
        raise TypeError(
            f"{owner}: at most {len(names)} positional arguments ({', '.join(names)}), got {len(args)}"
        )
    for name, value in zip(names, args, strict=False):
        if name in named:
            raise TypeError(f"{owner}: {name} given twice, by position and by keyword")
        named[name] = value
    if "block" not in named:
        raise TypeError(f"{owner}: a {config_type.__name__}, or block and its arguments, must be given")
    block = _resolve_block(owner, default_block, named.pop("block"))
    with reported_by(owner):
        return block, config_type(**named)


def _resolve_block(owner: str, default: type[nn.Module], block: Any) -> type[nn.Module]:
    if isinstance(block, str):
        if block.lower().lstrip("_") in ("bottleneck", default.__name__.lower()):
            return default
        raise ValueError(f"{owner}: block must be 'bottleneck' or a Module class, got {block!r}")
    if not (isinstance(block, type) and issubclass(block, nn.Module)):
        raise TypeError(f"{owner}: block must be a Module class or its name, got {block!r}")
    return block
