"""Adam with weight decay apart from the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from lucid.optim.optimizer import Array, Group, Optimizer

__all__ = ["AdamW"]


class AdamW(Optimizer):
    """Steps of about ``lr``, whatever the size of gradients; weights decay by ``lr * weight_decay`` apart.

    ``p *= 1 - lr * weight_decay``, then ``p -= lr * m / (sqrt(v) + eps)`` with ``m`` and ``v`` the running
    means of the gradient and its square, corrected for beginning at zero. "Decoupled Weight Decay
    Regularization" (Loshchilov & Hutter, 2019), https://arxiv.org/abs/1711.05101.

    Raises:
        ValueError: A setting is negative, or one of ``betas`` is 1 or more.
    """

    _NUMBERS = frozenset({"step"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check(self, settings: Group) -> None:
        for name in ("lr", "eps", "weight_decay"):
            self._in_range(settings, name)
        for place, beta in enumerate(settings["betas"]):
            self._in_range({f"betas[{place}]": beta}, f"betas[{place}]", below=1.0)

    def _new_state(self, group: Group, like: Array) -> dict[str, Any]:
        return {
            "step": 0,
            "exp_avg": self._zeros(like),
            "exp_avg_sq": self._zeros(like),
        }

    def _count(self, state: dict[str, Any]) -> None:
        state["step"] += 1

    def _update(
        self, group: Group, p: Array, g: Array, arrays: dict[str, Array], state: dict[str, Any], is_new: bool
    ) -> None:
        first, second = group["betas"]
        mean, square = arrays["exp_avg"], arrays["exp_avg_sq"]
        p *= 1 - group["lr"] * group["weight_decay"]
        mean *= first
        mean += (1 - first) * g
        square *= second
        square += (1 - second) * (g * g)
        size = np.sqrt(square)
        size /= math.sqrt(1 - second ** state["step"])
        size += group["eps"]
        np.divide(mean, size, out=size)
        size *= group["lr"] / (1 - first ** state["step"])
        p -= size
