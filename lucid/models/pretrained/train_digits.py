"""Trains the two models that ship with the package, and writes their weights and sample images.

    pip install torch timm scikit-learn
    python -m lucid.models.pretrained.train_digits

takes less than ten minutes on one core. PyTorch does the training, on timm's networks, whose parameter names
and shapes are lucid's. The accuracy that goes into the metadata is measured by lucid on the held-out third,
which has no part in training: the recipe has no early stopping and keeps the last weights.

The data are few, small and all white on black, and users' drawings are not. So each batch is drawn anew:
shifted, scaled down onto an empty margin, turned, sheared, with strokes from soft to crisp, dimmed, noisy,
and one half dark on light.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from timm.models.resnest import ResNestBottleneck
from timm.models.resnet import Bottleneck, ResNet

import lucid
from lucid.models import ResNeSt, ResNeStConfig, ResNeXt, ResNeXtConfig, save_weights
from lucid.models.pretrained.digits import CONFIGS, DATA_LICENSE, LABELS, PREPROCESSING, as_pixels, held_out

BATCH = 64
PEAK_LEARNING_RATE = 5e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05

# (n, 1, 32, 32) images with ink 1 on 0, to the same with what a user might have drawn.
Images: TypeAlias = torch.Tensor


def main(arguments: list[str] | None = None) -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    options = parser.parse_args(arguments)

    digits = load_digits()
    pixels, labels = as_pixels(digits.images), digits.target
    inputs = np.stack([PREPROCESSING(Image.fromarray(image)) for image in pixels])
    test = held_out(labels)
    write_samples(options.output / "digits", pixels, labels, test)
    for name, config in CONFIGS.items():
        torch.manual_seed(options.seed)
        network = build(config)
        train(network, inputs[~test], labels[~test], options.epochs)
        model = to_lucid(network, config)
        check_same_logits(network, model, inputs[test])
        accuracy = float(np.mean(logits(model, inputs[test]).argmax(axis=1) == labels[test]))
        path = options.output / f"{name}.safetensors"
        save_weights(model, path, metadata(name, accuracy))
        print(f"{path}: {100 * accuracy:.2f} % of {test.sum()} held-out digits, {path.stat().st_size} bytes")


def build(config: ResNeXtConfig | ResNeStConfig) -> ResNet:
    """timm's network of the same architecture."""
    shared: dict[str, Any] = {
        "layers": config.layers,
        "num_classes": config.num_classes,
        "in_chans": config.in_channels,
        "cardinality": config.cardinality,
        "base_width": config.base_width,
        "stem_width": config.stem_width,
        "stem_type": config.stem_type or "",
        "avg_down": config.avg_down,
        "channels": config.channels,
    }
    # timm annotates the block as an instance of the class, and means the class.
    block: Any = Bottleneck
    if isinstance(config, ResNeXtConfig):
        return ResNet(block, **shared)
    split_attention = {"radix": config.radix, "avd": config.avd, "avd_first": config.avd_first}
    block = ResNestBottleneck
    return ResNet(block, **shared, block_args=split_attention)


def train(network: ResNet, inputs: NDArray[np.float32], labels: NDArray[np.int64], epochs: int) -> None:
    """AdamW with a one-cycle schedule, in place."""
    # Augmentation works on ink in 0..1; the network sees what PREPROCESSING makes of that.
    mean, std = PREPROCESSING.mean[0], PREPROCESSING.std[0]
    ink, target = torch.from_numpy(inputs) * std + mean, torch.from_numpy(labels)
    batches = len(ink) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * batches
    )
    network.train()
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(ink))[: batches * BATCH].view(batches, BATCH):
            logits = network((augment(ink[batch]) - mean) / std)
            loss: Any = F.cross_entropy(logits, target[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)


def augment(images: Images) -> Images:
    """A new drawing of each image."""
    images = strokes(moved(images))
    n = len(images)
    paper = uniform(n, 0, 0.3) * (torch.rand(n, 1, 1, 1) < 0.5)
    images = paper + images * uniform(n, 0.6, 1) * (1 - paper)
    images = images + torch.randn_like(images) * uniform(n, 0, 0.05)
    return torch.where(torch.rand(n, 1, 1, 1) < 0.5, images, 1 - images)


def moved(images: Images) -> Images:
    """Each image scaled by 0.5 to 1.05, stretched, turned and sheared by up to 14 degrees, and shifted."""
    n = len(images)
    shrink, stretch = uniform(n, math.log(0.95), math.log(1.9)).exp(), uniform(n, -0.2, 0.2).exp()
    turn, shear = uniform(n, -0.25, 0.25), uniform(n, -0.25, 0.25)
    margin = 0.06 + 0.8 * (1 - 1 / shrink).clamp(min=0)
    rows = [
        turn.cos() * shrink * stretch, (shear - turn.sin()) * shrink, uniform(n, -1, 1) * margin * shrink,
        turn.sin() * shrink, turn.cos() * shrink / stretch, uniform(n, -1, 1) * margin * shrink,
    ]  # fmt: skip
    transform = torch.cat(rows, dim=1).view(n, 2, 3)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def strokes(images: Images) -> Images:
    """Six in ten images with a steeper edge between ink and paper, thinner or thicker."""
    n = len(images)
    steepness, threshold = uniform(n, 4, 24), uniform(n, 0.3, 0.6)

    def curve(ink: torch.Tensor | float) -> torch.Tensor:
        return torch.sigmoid(steepness * (ink - threshold))

    crisp = (curve(images) - curve(0.0)) / (curve(1.0) - curve(0.0))
    return torch.where(torch.rand(n, 1, 1, 1) < 0.6, crisp, images)


def uniform(n: int, low: float, high: float) -> torch.Tensor:
    """One number for each of ``n`` images, ``(n, 1, 1, 1)``."""
    return torch.rand(n, 1, 1, 1) * (high - low) + low


def to_lucid(network: ResNet, config: ResNeXtConfig | ResNeStConfig) -> ResNeXt | ResNeSt:
    """lucid's model with the trained weights."""
    model = ResNeXt(config) if isinstance(config, ResNeXtConfig) else ResNeSt(config)
    model.load_state_dict({name: tensor.numpy() for name, tensor in network.state_dict().items()})
    return model.eval()


def check_same_logits(network: ResNet, model: ResNeXt | ResNeSt, inputs: NDArray[np.float32]) -> None:
    """Raises AssertionError where lucid's logits are not those of the network that was trained."""
    network.eval()
    with torch.inference_mode():
        want = network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(logits(model, inputs), want, rtol=0, atol=1e-4 * np.abs(want).max())


def logits(model: ResNeXt | ResNeSt, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """lucid's outputs, ``(n, 10)``."""
    return np.concatenate(
        [model(lucid.tensor(inputs[i : i + 64])).numpy() for i in range(0, len(inputs), 64)]
    )


def metadata(name: str, accuracy: float) -> dict[str, Any]:
    """The metadata that a reader of the weight file needs to use it."""
    return {
        "model": name,
        "labels": list(LABELS),
        "preprocessing": PREPROCESSING.to_dict(),
        "license": DATA_LICENSE,
        "accuracy": round(accuracy, 4),
        "evaluation": "top-1 on the held-out third (599 images, stratified) of scikit-learn's load_digits",
    }


def write_samples(
    folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64], test: NDArray[np.bool_]
) -> None:
    """The first held-out image of each digit as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        index = int(np.flatnonzero(test & (labels == digit))[0])
        Image.fromarray(pixels[index]).save(folder / f"{digit}-{index:04}.png")


if __name__ == "__main__":
    main()
