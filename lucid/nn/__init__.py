"""Layers and the functions under them, with PyTorch's names.

``ResNeXt``, ``ResNeXtConfig``, ``ResNeSt`` and ``ResNeStConfig`` belong to ``lucid.models``; they are lent to
programs that look for them among the layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lucid import late_names
from lucid.nn import functional, init
from lucid.nn.activation import ReLU, Sigmoid, Softmax
from lucid.nn.container import ModuleList, Sequential
from lucid.nn.conv import Conv2d
from lucid.nn.dropout import Dropout
from lucid.nn.linear import Flatten, Identity, Linear
from lucid.nn.loss import CrossEntropyLoss
from lucid.nn.module import Buffer, Module, Parameter
from lucid.nn.norm import BatchNorm2d
from lucid.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from lucid.nn.split_attention import SplitAttention

if TYPE_CHECKING:
    ResNeSt: Any
    ResNeStConfig: Any
    ResNeXt: Any
    ResNeXtConfig: Any

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "ResNeSt",
    "ResNeStConfig",
    "ResNeXt",
    "ResNeXtConfig",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "SplitAttention",
    "functional",
    "init",
]

if not TYPE_CHECKING:  # seen by a type checker, it would let any misspelt attribute pass

    def __getattr__(name: str) -> Any:
        return late_names.find(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *late_names.names(__name__)})
