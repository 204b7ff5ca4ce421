"""Losses."""

from __future__ import annotations

from lucid.nn import functional as F
from lucid.nn.functional import Input
from lucid.nn.module import Buffer, Module
from lucid.tensor import Tensor, as_tensor


class CrossEntropyLoss(Module):
    """The cross entropy of logits and targets; see ``lucid.nn.functional.cross_entropy``."""

    def __init__(
        self,
        weight: Input | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = None if weight is None else Buffer(as_tensor("CrossEntropyLoss", "weight", weight))
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
