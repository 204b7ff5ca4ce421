"""Class-activation maps: where in an image a network sees a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lucid.autograd import enable_grad, no_grad
from lucid.models.resnet import ResNet
from lucid.nn import functional as F
from lucid.tensor import Tensor

__all__ = ["ActivationMap", "activation_map"]


# Rows and columns that a map has at least, where a stage has so many: of 224x224 pixels the last one has 7,
# of the digits' 32x32 it has 1.
_LEAST_PLACES = 4


@dataclass(frozen=True)
class ActivationMap:
    """Evidence for a class, by place.

    Attributes:
        index: The class.
        probability: Its softmax probability.
        heat: ``(h', w')``, the size of the stage's output, from 0 to 1, float32; all 0 where nothing speaks
            for the class.
    """

    index: int
    probability: float
    heat: NDArray[np.float32]


def activation_map(
    model: ResNet, image: NDArray[np.float32], index: int | None = None, stage: int | None = None
) -> ActivationMap:
    """The gradient-weighted class-activation map of a stage.

    Each channel counts by the mean of the logit's gradient over its places; of their sum the positive part is
    divided by its largest value: "Grad-CAM" (Selvaraju et al., 2017), https://arxiv.org/abs/1610.02391. The
    gradients of the model's parameters stay as they are; meanwhile these require none, so the model must not
    be trained by another thread.

    Args:
        model: A network of either family, in eval mode, on the CPU.
        image: One image as the model takes it, ``(channels, height, width)``, float32.
        index: The class; None takes the most probable one.
        stage: From 0; None takes the last whose output has 4 rows and columns, or else the first.

    Raises:
        ValueError: The model is in training mode, the image has another shape, or there is no such class or
            stage.
    """
    if model.training:
        raise ValueError("activation_map: model must be in eval mode, got one in training mode")
    if image.ndim != 3:
        raise ValueError(f"activation_map: image must be (channels, height, width), got shape {image.shape}")
    with no_grad():
        outputs = model.features(Tensor(image[None]))
    stage = _stage_of(outputs, stage)
    features = outputs[stage].requires_grad_()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with enable_grad():
            x = features
            for layer in model.layers[stage + 1 :]:
                x = layer(x)
            logits = model.forward_head(x)
            index = _class_of(logits, index)
            logits[0, index].backward()
    finally:
        for parameter in trained:
            parameter.requires_grad_()
    assert features.grad is not None
    weights = features.grad.numpy()[0].mean((1, 2))
    heat = np.maximum(np.tensordot(weights, features.detach().numpy()[0], 1), 0.0)
    probability = F.softmax(logits.detach(), dim=1).numpy()[0, index]
    return ActivationMap(index, float(probability), (heat / (heat.max() or 1.0)).astype(np.float32))


def _stage_of(outputs: list[Tensor], stage: int | None) -> int:
    if stage is None:
        large = [i for i, output in enumerate(outputs) if min(output.shape[2:]) >= _LEAST_PLACES]
        return large[-1] if large else 0
    if not 0 <= stage < len(outputs):
        raise ValueError(f"activation_map: stage must be from 0 to {len(outputs) - 1}, got {stage}")
    return stage


def _class_of(logits: Tensor, index: int | None) -> int:
    count = logits.shape[1]
    if index is None:
        return int(logits.detach().numpy()[0].argmax())
    if not 0 <= index < count:
        raise ValueError(f"activation_map: index must be from 0 to {count - 1}, got {index}")
    return index
