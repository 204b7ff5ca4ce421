"""Normalisation layers."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np

from lucid import arguments
from lucid.creation import ones, zeros
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn.module import Buffer, Module, Parameter
from lucid.tensor import Tensor, as_tensor


class BatchNorm2d(Module):
    """Each channel of ``(n, num_features, h, w)`` brought to mean 0 and variance 1, then scaled and shifted.

    "Batch Normalization" (Ioffe and Szegedy, 2015), https://arxiv.org/abs/1502.03167. In training the
    statistics are those of the batch, which needs more than one value per channel; in eval mode they are the
    running ones.

    Args:
        eps: Added to the variance.
        momentum: The share of each batch in the running statistics; None weighs all batches so far alike.
        affine: Whether there is a ``weight`` and a ``bias``; they start at 1 and 0.
        track_running_stats: Without, the batch's statistics are used in eval mode as well.
    """

    # Files of other libraries often lack it, and only momentum=None uses it.
    optional_state = frozenset({"num_batches_tracked"})
    # A share of a batch of 16 bits would often be rounded to none.
    float32_state = frozenset({"running_mean", "running_var"})

    def __init__(
        self,
        num_features: SupportsIndex,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = arguments.positive("BatchNorm2d", "num_features", num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        tracked = (self.num_features,) if track_running_stats else None
        self.weight = Parameter(ones(self.num_features)) if affine else None
        self.bias = Parameter(zeros(self.num_features)) if affine else None
        self.running_mean = Buffer(zeros(tracked)) if tracked else None
        self.running_var = Buffer(ones(tracked)) if tracked else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if tracked else None

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def reset_running_stats(self) -> None:
        if (
            self.running_mean is not None
            and self.running_var is not None
            and self.num_batches_tracked is not None
        ):
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def forward(self, input: Tensor, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """In the same pass, cheaper than layers of their own: adds ``residual``, ``relu=True`` clips at 0."""
        input = as_tensor("BatchNorm2d", "input", input)
        if input.ndim != 4:
            raise ValueError(f"BatchNorm2d: input must have rank 4 (n, c, h, w), got shape {input.shape}")
        output = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=self._share_of_batch(),
            eps=self.eps,
            relu=relu,
            residual=residual,
        )
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        return output

    def _share_of_batch(self) -> float:
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1.0 / (int(self.num_batches_tracked) + 1)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
