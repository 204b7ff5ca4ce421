"""Optimizers, and schedules of their learning rates, under PyTorch's names."""

from lucid.optim.adamw import AdamW
from lucid.optim.averaging import ExponentialMovingAverage
from lucid.optim.clipping import clip_grad_norm_, grad_norm
from lucid.optim.optimizer import Optimizer, decay_groups
from lucid.optim.schedule import CosineAnnealingLR, LRScheduler, StepLR, WarmUp
from lucid.optim.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialMovingAverage",
    "LRScheduler",
    "Optimizer",
    "StepLR",
    "WarmUp",
    "clip_grad_norm_",
    "decay_groups",
    "grad_norm",
]
