"""Whole networks for tests: random weights that exercise everything, and the forward pass in float64.

The forward pass follows the published definition, written down a second time and as plainly as possible; it
reads parameters by their published names, so it checks the names as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference

from lucid.models import ResNeStConfig, ResNet, ResNeXtConfig
from lucid.nn import BatchNorm2d, Module

Array = npt.NDArray[Any]
State = Mapping[str, Array]


def randomize(model: Module, rng: np.random.Generator) -> dict[str, Array]:
    """Fills all parameters and buffers of a model in place, and returns them by name.

    Every tensor matters: biases and running statistics are not those of a fresh network, in which half of
    the mistakes would not show. The last norm of each block is small, or the activations would double with
    each block and the first block's part drown.
    """
    state = {name: tensor.data for name, tensor in model.state_dict().items()}
    for name, array in state.items():
        if name.endswith("num_batches_tracked"):
            array[...] = rng.integers(1, 1000)
        elif name.endswith("running_var"):
            uniform(rng, array, 0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            uniform(rng, array, -0.3, 0.3)
        elif array.ndim == 1:
            uniform(rng, array, *((0.1, 0.4) if name.endswith("bn3.weight") else (0.5, 1.5)))
        else:
            bound = float(np.sqrt((3 if name == "fc.weight" else 6) / np.prod(array.shape[1:])))
            uniform(rng, array, -bound, bound)
    return state


def settle(model: ResNet, rng: np.random.Generator) -> None:
    """Running statistics anew: random, but near those of the values that reach each norm, as in training.

    Otherwise the values of a network of 200 layers grow until its attention saturates, and rounding errors
    decide between its splits: PyTorch's float32 logits are then 5 % from its float64 ones, and here 3e-7.
    """
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this one batch
    model.train()(rng.standard_normal((4, model.config.in_channels, 64, 64), dtype=np.float32))
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        mean, var = norm.running_mean.data, norm.running_var.data
        # Channels that hardly vary, as those of pooled images, are not blown up.
        floor = 0.2 * (mean**2 + (mean**2 + var).mean())
        mean *= rng.uniform(0.8, 1.2, mean.shape).astype(np.float32)
        var[...] = (var + floor) * rng.uniform(0.5, 1.5, var.shape)


def uniform(rng: np.random.Generator, array: Array, low: float, high: float) -> None:
    """Fills a float32 array evenly over [low, high), without a second copy of a large one."""
    if array.flags.c_contiguous:
        rng.random(out=array, dtype=np.float32)
    else:
        array[...] = rng.random(array.shape, dtype=np.float32)
    array *= high - low
    array += low


def logits(config: ResNeXtConfig | ResNeStConfig, state: State, images: Array) -> Array:
    """The network's outputs for images (n, c, h, w), in float64."""
    x = stem(config, state, reference.float64(images))
    for stage in range(4):
        for index in range(config.layers[stage]):
            name = f"layer{stage + 1}.{index}"
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(config, state, name, x, stride)
    return reference.linear(reference.global_avg_pool2d(x), state["fc.weight"], state["fc.bias"])


def stem(config: ResNeXtConfig | ResNeStConfig, state: State, x: Array) -> Array:
    if config.stem_type == "deep":
        x = reference.relu(norm(state, "conv1.1", conv(state, "conv1.0", x, stride=2, padding=1)))
        x = reference.relu(norm(state, "conv1.4", conv(state, "conv1.3", x, padding=1)))
        x = conv(state, "conv1.6", x, padding=1)
    else:
        x = conv(state, "conv1", x, stride=2, padding=3)
    return reference.max_pool2d(reference.relu(norm(state, "bn1", x)), 3, 2, 1)


def block(config: ResNeXtConfig | ResNeStConfig, state: State, name: str, x: Array, stride: int) -> Array:
    pooled = isinstance(config, ResNeStConfig) and config.avd and stride > 1
    first = pooled and config.avd_first
    out = reference.relu(norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", x)))
    if first:
        out = reference.avg_pool2d(out, 3, stride, 1)
    out = middle(config, state, name, out, stride=1 if pooled else stride)
    if pooled and not first:
        out = reference.avg_pool2d(out, 3, stride, 1)
    out = norm(state, f"{name}.bn3", conv(state, f"{name}.conv3", out))
    return reference.relu(out + shortcut(config, state, name, x, stride))


def middle(config: ResNeXtConfig | ResNeStConfig, state: State, name: str, x: Array, stride: int) -> Array:
    """The 3x3 convolution of a block, with or without split attention."""
    groups = config.cardinality
    if isinstance(config, ResNeXtConfig) or config.radix == 0:
        x = conv(state, f"{name}.conv2", x, stride=stride, padding=1, groups=groups)
        return reference.relu(norm(state, f"{name}.bn2", x))
    name = f"{name}.conv2"
    splits = conv(state, f"{name}.conv", x, stride=stride, padding=1, groups=groups * config.radix)
    splits = reference.relu(norm(state, f"{name}.bn0", splits))
    gap = reference.radix_sum_pool(splits, config.radix)[:, :, None, None]
    hidden = reference.relu(norm(state, f"{name}.bn1", conv(state, f"{name}.fc1", gap, groups=groups)))
    scores = conv(state, f"{name}.fc2", hidden, groups=groups)[:, :, 0, 0]
    return reference.split_attention(splits, scores, config.radix, groups)


def shortcut(config: ResNeXtConfig | ResNeStConfig, state: State, name: str, x: Array, stride: int) -> Array:
    name = f"{name}.downsample"
    if f"{name}.1.weight" not in state:
        return x
    if not config.avg_down:
        return norm(state, f"{name}.1", conv(state, f"{name}.0", x, stride=stride))
    if stride > 1:
        x = reference.avg_pool2d(x, stride, stride, 0, ceil_mode=True, count_include_pad=False)
    return norm(state, f"{name}.2", conv(state, f"{name}.1", x))


def conv(state: State, name: str, x: Array, stride: int = 1, padding: int = 0, groups: int = 1) -> Array:
    bias = state.get(f"{name}.bias")
    return reference.conv2d(x, state[f"{name}.weight"], bias, stride, padding, 1, groups)


def norm(state: State, name: str, x: Array) -> Array:
    kinds = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, var = (state[f"{name}.{kind}"] for kind in kinds)
    return reference.batch_norm(x, mean, var, weight, bias)


def timm_network(config: ResNeXtConfig | ResNeStConfig) -> Any:
    """timm's network of a config, also of those that timm has no name for."""
    resnet = pytest.importorskip("timm.models.resnet", reason="parity needs timm")
    resnest = pytest.importorskip("timm.models.resnest", reason="parity needs timm")
    shared: dict[str, Any] = {
        "layers": config.layers,
        "channels": config.channels,
        "num_classes": config.num_classes,
        "in_chans": config.in_channels,
        "cardinality": config.cardinality,
        "base_width": config.base_width,
        "stem_width": config.stem_width,
        "stem_type": config.stem_type or "",
        "avg_down": config.avg_down,
    }
    if isinstance(config, ResNeXtConfig):
        return resnet.ResNet(resnet.Bottleneck, **shared)
    attention = {"radix": config.radix, "avd": config.avd, "avd_first": config.avd_first}
    return resnet.ResNet(resnest.ResNestBottleneck, **shared, block_args=attention)
