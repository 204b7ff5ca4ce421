"""Small networks: of both families, and others of lucid's layers that ``lucid.compile`` must take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid import Tensor, models, nn
from lucid.nn import functional as F


class PlainCnn(nn.Module):
    """Convolutions with biases and without norms, max pooling, flatten, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 20, 5, padding=2)
        self.conv2 = nn.Conv2d(20, 33, 3)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.5)
        self.fc1 = nn.Linear(33 * 5 * 6, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(self.dropout(x.flatten(1))))
        return F.softmax(self.fc2(x), 1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, of ResNet-18 (He et al., 2015, https://arxiv.org/abs/1512.03385)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            convolution = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


def resnet18(width: int = 16, classes: int = 10) -> nn.Module:
    """ResNet-18, as wide as a test needs."""
    stages: list[nn.Module] = []
    channels = width
    for stage in range(4):
        stages.append(BasicBlock(channels, width << stage, 1 if stage == 0 else 2))
        channels = width << stage
        stages.append(BasicBlock(channels, channels, 1))
    stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def depthwise_net(width: int = 24) -> nn.Module:
    """Depthwise-separable convolutions, one of them of an even size and padded by name."""

    def separable(channels: int, out_channels: int, **window: Any) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, channels, groups=channels, bias=False, **window),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        ]

    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.ReLU(),
        *separable(width, 2 * width, kernel_size=3, padding=1),
        *separable(2 * width, 2 * width, kernel_size=(4, 5), padding="same", dilation=(3, 1)),
        *separable(2 * width, 4 * width, kernel_size=3, stride=2, padding=1),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 7),
    )


class TwoOutputs(nn.Module):
    """A class for the image, and one for each place of it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.dense = nn.Conv2d(16, 5, 1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        return self.fc(x.mean((2, 3))), self.dense(x).sigmoid()


class SqueezeExcite(nn.Module):
    """Channels weighted by a small network of their means (Hu et al., 2017, https://arxiv.org/abs/1709.01507)."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.fc1 = nn.Conv2d(channels, 8, 1)
        self.bn = nn.BatchNorm2d(8)
        self.fc2 = nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        pooled = x.mean((2, 3), keepdim=True)
        return x * self.fc2(F.relu(self.bn(self.fc1(pooled)))).sigmoid()


class Normalizing(nn.Module):
    """Arithmetic with constants before and behind a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", np.array([0.4, 0.5, 0.6], np.float32).reshape(1, 3, 1, 1))
        self.register_buffer("std", np.array([0.2, 0.3, 0.1], np.float32).reshape(3, 1, 1))
        self.mean: nn.Buffer
        self.std: nn.Buffer
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return 1.0 - 2.0 * self.conv((x - self.mean) / self.std) + np.float32(0.5)


def small_networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Each by a name, with a shape of input."""
    return {
        "plain_cnn": (PlainCnn(), (2, 3, 25, 29)),
        "resnet18": (resnet18(), (1, 3, 63, 50)),
        "depthwise": (depthwise_net(), (2, 3, 33, 31)),
        "two_outputs": (TwoOutputs(), (1, 3, 9, 7)),
        "squeeze_excite": (SqueezeExcite(), (2, 3, 8, 11)),
        "normalizing": (Normalizing(), (2, 3, 7, 6)),
        "one_pixel": (
            nn.Sequential(
                nn.Conv2d(3, 20, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(20, 5, 3, padding=1), nn.ReLU()
            ),
            (2, 3, 6, 5),
        ),
        "strided_to_one_pixel": (
            nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1, stride=2)),
            (3, 3, 2, 2),
        ),
        "perceptron": (nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3), nn.Sigmoid()), (5, 6)),
    }


def small_models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Both families, with cardinality, radix and every place of the pooling, at odd sizes."""
    small = {"layers": (1, 1, 1, 2), "num_classes": 6, "channels": (8, 16, 24, 32), "base_width": 64}
    resnest: dict[str, Any] = {**small, "stem_width": 8}
    configs = {
        "resnext": models.ResNeXtConfig(**small, cardinality=2),
        "resnext_deep": models.ResNeXtConfig(
            **small, cardinality=4, stem_type="deep", stem_width=8, avg_down=True
        ),
        "resnest": models.ResNeStConfig(**resnest),
        "resnest_cardinality": models.ResNeStConfig(**resnest, cardinality=2, radix=2),
        "resnest_radix_1": models.ResNeStConfig(**resnest, cardinality=2, radix=1, avd_first=True),
        "resnest_avd_first": models.ResNeStConfig(**resnest, radix=4, avd_first=True, avg_down=False),
        "resnest_radix_0": models.ResNeStConfig(**resnest, radix=0, avd=False, cardinality=2),
    }
    build: Any = {models.ResNeXtConfig: models.ResNeXt, models.ResNeStConfig: models.ResNeSt}
    return {name: (build[type(config)](config), (2, 3, 45, 37)) for name, config in configs.items()}


def most_layers() -> nn.Module:
    """A network with most kinds of steps, for (1, 2, 4, 4)."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.SplitAttention(4, 4, 3, groups=2),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def randomize(model: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Random numbers in all parameters and buffers, of which none is without effect; in eval mode."""
    for name, tensor in model.state_dict().items():
        array: NDArray[Any] = tensor.data
        if array.dtype != np.float32 or name in ("mean", "std"):
            continue
        if name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 1.5, array.shape)
        elif array.ndim == 1:
            array[...] = rng.uniform(0.4, 0.8, array.shape) * rng.choice([-1.0, 1.0], array.shape)
        else:
            array[...] = rng.standard_normal(array.shape) / np.sqrt(array[0].size)
    return model.eval()
