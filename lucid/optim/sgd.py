"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lucid.optim.optimizer import Array, Group, Optimizer

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

    def _new_state(self, group: Group, like: Array) -> dict[str, Any]:
        return {"momentum_buffer": self._zeros(like)} if group["momentum"] else {}

    def _update(
        self, group: Group, p: Array, g: Array, arrays: dict[str, Array], state: dict[str, Any], is_new: bool
    ) -> None:
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        v = arrays.get("momentum_buffer")
        if v is not None and group["momentum"]:
            if is_new:
                v[:] = g
            else:
                v *= group["momentum"]
                v += g if group["dampening"] == 0 else (1 - group["dampening"]) * g
            g = g + group["momentum"] * v if group["nesterov"] else v
        p -= group["lr"] * g
