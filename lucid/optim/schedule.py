"""Schedules: the learning rate as a function of the step, a factor of that which the optimizer began with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lucid.optim.optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "LRScheduler", "StepLR", "WarmUp"]


class LRScheduler:
    """Base of schedules: ``step()`` counts, and sets each group's ``lr`` to its first one times ``factor``.

    A step is what the caller counts, a batch or an epoch.

    Attributes:
        last_epoch: How often ``step`` was called.
        base_lrs: The learning rate that each group had at first.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.last_epoch = 0
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._set()

    def factor(self, step: int) -> float:
        """The part of the first learning rate that is left after so many steps."""
        raise NotImplementedError(f"{type(self).__name__}: a subclass must define factor, got none")

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * self.factor(self.last_epoch)

    def step(self) -> None:
        """Counts one step, and changes the learning rates."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on where another schedule of this kind was."""
        self.last_epoch, self.base_lrs = int(state_dict["last_epoch"]), list(state_dict["base_lrs"])
        self._set()


class StepLR(LRScheduler):
    """Divides the rate every ``step_size`` steps: by 10 every 30 epochs in the article of ResNeXt.

    "Aggregated Residual Transformations for Deep Neural Networks" (Xie et al., 2017),
    https://arxiv.org/abs/1611.05431.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return float(self.gamma ** (step // self.step_size))


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first rate to ``eta_min`` in ``T_max`` steps, where it stays.

    "SGDR: Stochastic Gradient Descent with Warm Restarts" (Loshchilov & Hutter, 2017),
    https://arxiv.org/abs/1608.03983, without restarts; the schedule of ResNeSt.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1.0 + math.cos(math.pi * min(step, self.T_max) / self.T_max)) / 2.0

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.eta_min + (base - self.eta_min) * self.factor(self.last_epoch)


class WarmUp(LRScheduler):
    """A line from ``start`` times the first rate to the rate itself in ``steps`` steps, and then another.

    Large batches need it: "Accurate, Large Minibatch SGD" (Goyal et al., 2017),
    https://arxiv.org/abs/1706.02677.

    Args:
        after: The schedule that goes on; it begins when the line ends. None: the rate stays.
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, start: float = 0.0, after: LRScheduler | None = None
    ) -> None:
        if steps < 1:
            raise ValueError(f"WarmUp: steps must be at least 1, got {steps}")
        self.duration, self.start, self.after = steps, start, after
        super().__init__(optimizer)
        if after is not None:
            self.base_lrs = list(after.base_lrs)
            self._set()

    def factor(self, step: int) -> float:
        return self.start + (1.0 - self.start) * min(step / self.duration, 1.0)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if self.after is not None:
            self.after.base_lrs = list(state_dict["base_lrs"])
        super().load_state_dict(state_dict)

    def _set(self) -> None:
        if self.after is None or self.last_epoch < self.duration:
            super()._set()
        else:
            self.after.last_epoch = self.last_epoch - self.duration
            self.after._set()
