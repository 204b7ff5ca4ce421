"""An average of a model's weights over the steps of its training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lucid.autograd.mode import no_grad
from lucid.nn.module import Module, Parameter
from lucid.optim.update import average_update

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """A copy of a model whose weights follow it: ``average = decay * average + (1 - decay) * weight``.

    It is often better than the last weights, which move with every batch. Buffers, such as the statistics of
    batch norm, are the model's own. "Acceleration of Stochastic Approximation by Averaging" (Polyak and
    Juditsky, 1992).

    Args:
        model: The model that is trained.
        decay: How much of the average stays at each ``update``: 0.9999 averages over some ten thousand steps.
        warm_up: Whether the first steps weigh more, ``decay = (1 + step) / (10 + step)`` at most, so that the
            average forgets the untrained weights.

    Attributes:
        module: The copy, in eval mode, without gradients.

    Raises:
        ValueError: ``decay`` is not between 0 and 1.
    """

    def __init__(self, model: Module, decay: float = 0.9999, warm_up: bool = True) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"ExponentialMovingAverage: decay must be at least 0 and below 1, got {decay}")
        self.decay, self.warm_up, self.updates = decay, warm_up, 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    def update(self, model: Module) -> None:
        """Takes the model's weights into the average; to be called after each step of the optimizer."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warm_up else self.decay
        self.updates += 1
        theirs = model.state_dict()
        trained = {name for name, value in self.module.named_parameters() if isinstance(value, Parameter)}
        with no_grad():
            for name, mine in self.module.state_dict().items():
                if name in trained:
                    average_update(mine.data, theirs[name].data, decay=decay)
                else:
                    mine.copy_(theirs[name])

    def state_dict(self) -> dict[str, Any]:
        """``module``, its state dict, and the number of ``updates``."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over another average."""
        self.module.load_state_dict(state_dict["module"])
        self.updates = int(state_dict["updates"])
