"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lucid.optim.optimizer import Array, Group, Optimizer
from lucid.optim.update import sgd_update

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent: ``g += weight_decay * p; v = momentum * v + (1 - dampening) * g; p -= lr * v``.

    ``v`` begins as the first ``g``. With ``nesterov`` the parameter moves by ``g + momentum * v`` instead:
    "On the importance of initialization and momentum in deep learning" (Sutskever et al., 2013),
    https://proceedings.mlr.press/v28/sutskever13.html, in the form of PyTorch, whose learning rate is outside
    of ``v``.

    Raises:
        ValueError: A setting is negative; or ``nesterov`` without momentum, or with dampening.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def _check(self, settings: Group) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            self._in_range(settings, name)
        if settings["nesterov"] and (settings["momentum"] == 0 or settings["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov needs momentum and no dampening, "
                f"got momentum {settings['momentum']} and dampening {settings['dampening']}"
            )

    def _update(self, group: Group, parameter: Array, gradient: Array, state: dict[str, Any]) -> None:
        is_first_step = "momentum_buffer" not in state
        if group["momentum"] and is_first_step:
            state["momentum_buffer"] = np.zeros_like(parameter)
        sgd_update(
            parameter,
            gradient,
            state["momentum_buffer"] if group["momentum"] else None,
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            is_first_step=is_first_step,
        )
