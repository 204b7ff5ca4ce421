"""Adam with weight decay apart from the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lucid.optim.optimizer import Array, Group, Optimizer
from lucid.optim.update import adamw_update

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

    def _update(self, group: Group, parameter: Array, gradient: Array, state: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(parameter), exp_avg_sq=np.zeros_like(parameter))
        step = state["step"] + 1
        adamw_update(
            parameter,
            gradient,
            state["exp_avg"],
            state["exp_avg_sq"],
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            step=step,
        )
        state["step"] = step
