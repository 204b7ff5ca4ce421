"""Recipes: everything that a training is made of besides the network, the images and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lucid.data import Augmentation, Preprocessing
from lucid.nn import Module
from lucid.optim import SGD, AdamW, CosineAnnealingLR, LRScheduler, Optimizer, StepLR, WarmUp, decay_groups

__all__ = ["RECIPES", "Recipe"]

_PARTS = 3  # of a training with the schedule "step"; warm-up is one of them at most
_CHOICES = {"optimizer": ("sgd", "adamw"), "schedule": ("step", "cosine")}


@dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule, regularisation and augmentation. The defaults are those of the ResNeXt article.

    Attributes:
        optimizer: ``"sgd"`` or ``"adamw"``.
        lr: The learning rate for batches of ``reference_batch``.
        reference_batch: The rate grows in proportion to the batch from here: "Accurate, Large Minibatch SGD"
            (Goyal et al., 2017), https://arxiv.org/abs/1706.02677. 0: it does not.
        momentum: Of SGD.
        weight_decay: Of weights; of biases and norms only with ``decay_vectors``.
        decay_vectors: Whether vectors decay as well; see ``lucid.optim.decay_groups``.
        schedule: ``"step"`` divides the rate by 10 after each third of the training, ``"cosine"`` follows
            half a cosine down to zero.
        warm_up: Epochs in which the rate rises from zero, a third of all at most.
        label_smoothing: Share of the target that is spread over all classes.
        mixup, cutmix: Their alpha, 0 for none; with both, each batch has one of them by chance.
        dropout, drop_path: Fields of the network's config.
        operations, magnitude, scale, flip: As of ``lucid.data.Augmentation``.
        average: Decay of the average of weights that is evaluated and kept, 0 for none.
        clip_norm: The largest norm of a step's gradients, 0 for no limit.
        accumulate: Batches whose gradients make one step.

    Raises:
        ValueError: A field is out of its range.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    reference_batch: int = 256
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_vectors: bool = True
    schedule: str = "step"
    warm_up: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    operations: int = 0
    magnitude: float = 9.0
    scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    average: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                known = " or ".join(map(repr, choices))
                raise ValueError(f"Recipe: {name} must be {known}, got {getattr(self, name)!r}")
        for name in ("lr", "reference_batch", "momentum", "weight_decay", "warm_up", "mixup", "cutmix"):
            self._at_least(name, 0)
        for name, least in (("clip_norm", 0), ("average", 0), ("accumulate", 1), ("label_smoothing", 0)):
            self._at_least(name, least)
        if self.label_smoothing > 1:
            raise ValueError(f"Recipe: label_smoothing must be at most 1, got {self.label_smoothing}")
        object.__setattr__(self, "scale", tuple(self.scale))
        self.augmentation(Preprocessing())

    def _at_least(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if not least <= value < math.inf:
            raise ValueError(f"Recipe: {name} must be a number of at least {least}, got {value}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that ``to_dict`` wrote."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return asdict(self) | {"scale": list(self.scale)}

    def augmentation(self, preprocessing: Preprocessing) -> Augmentation:
        """The views of an image that a network with this preprocessing is trained on."""
        return Augmentation(
            preprocessing, self.scale, flip=self.flip, operations=self.operations, magnitude=self.magnitude
        )

    def make_optimizer(self, model: Module, batch_size: int) -> Optimizer:
        """The optimizer of the parameters that require a gradient, for steps of ``batch_size`` images."""
        lr = self.lr * batch_size / self.reference_batch if self.reference_batch else self.lr
        groups: Any = decay_groups(model, self.weight_decay)
        if self.decay_vectors:
            groups = [each for each in model.parameters() if each.requires_grad]
        if self.optimizer == "adamw":
            return AdamW(groups, lr, weight_decay=self.weight_decay)
        return SGD(groups, lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def make_schedule(self, optimizer: Optimizer, epochs: int, steps: int) -> LRScheduler:
        """The schedule of ``epochs`` epochs of ``steps`` steps each, to be counted in steps."""
        rising = min(round(self.warm_up * steps), epochs * steps // _PARTS)
        left = epochs * steps - rising
        after: LRScheduler
        if self.schedule == "cosine":
            after = CosineAnnealingLR(optimizer, left)
        else:
            after = StepLR(optimizer, -(-left // _PARTS))
        # From a step's worth and not from zero, so that the first step does something.
        return WarmUp(optimizer, rising, 1.0 / (rising + 1), after) if rising else after


RECIPES: dict[str, Recipe] = {
    # "Aggregated Residual Transformations for Deep Neural Networks" (Xie et al., 2017), section 4.
    "resnext": Recipe(),
    # "ResNeSt: Split-Attention Networks" (Zhang et al., 2020), section 5; drop_path for its DropBlock.
    "resnest": Recipe(
        decay_vectors=False,
        schedule="cosine",
        warm_up=5.0,
        label_smoothing=0.1,
        mixup=0.2,
        dropout=0.2,
        drop_path=0.1,
        operations=2,
    ),
    # Weights that are good already want small steps, and larger parts of fewer images.
    "fine_tune": Recipe(
        lr=0.04,
        decay_vectors=False,
        schedule="cosine",
        warm_up=0.5,
        label_smoothing=0.1,
        scale=(0.25, 1.0),
        clip_norm=5.0,
    ),
    # Small images of signs, which a mirror or a cut would make others of.
    "digits": Recipe(
        optimizer="adamw",
        lr=5e-3,
        reference_batch=0,
        weight_decay=0.05,
        decay_vectors=False,
        schedule="cosine",
        warm_up=5.0,
        label_smoothing=0.05,
        scale=(0.8, 1.0),
        flip=0.0,
        operations=1,
        magnitude=5.0,
    ),
}
