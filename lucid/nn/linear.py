"""Layers of matrices, and the ones that only pass values on."""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

from lucid import arguments
from lucid.creation import empty
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn.module import Module, Parameter
from lucid.tensor import Tensor, as_tensor


class Linear(Module):
    """``input @ weight.T + bias``, from ``(..., in_features)`` to ``(..., out_features)``.

    Weight ``(out_features, in_features)`` and bias start evenly spread over ``+-1 / sqrt(in_features)``, as
    in PyTorch.
    """

    def __init__(self, in_features: SupportsIndex, out_features: SupportsIndex, bias: bool = True) -> None:
        super().__init__()
        self.in_features = arguments.positive("Linear", "in_features", in_features)
        self.out_features = arguments.positive("Linear", "out_features", out_features)
        self.weight = Parameter(empty(self.out_features, self.in_features))
        self.bias = Parameter(empty(self.out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(
            self.weight, a=math.sqrt(5)
        )  # a gain that makes the bound 1 / sqrt(in_features)
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class Flatten(Module):
    """Joins the dimensions from ``start_dim`` to ``end_dim``, both included, into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        x: Tensor = as_tensor("Flatten", "input", input)
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Returns its input. Takes and ignores any arguments, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
