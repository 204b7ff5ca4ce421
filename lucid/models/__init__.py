"""ResNeXt and ResNeSt: networks, published variants by name, weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lucid.data.transforms import Preprocessing
from lucid.models.activation_map import ActivationMap, activation_map
from lucid.models.build import create_from_file, create_model
from lucid.models.metadata import WeightMetadata
from lucid.models.pretrained import digits as digits
from lucid.models.registry import get_config, list_models, list_tags
from lucid.models.resnest import ResNeSt, ResNeStBottleneck, ResNeStConfig
from lucid.models.resnet import ResNet
from lucid.models.resnext import Bottleneck, ResNeXt, ResNeXtConfig
from lucid.models.tags import WeightTag
from lucid.models.weights import (
    LicenseWarning,
    class_count,
    load_weights,
    preprocessing,
    read_metadata,
    save_weights,
)

__all__ = [
    "ActivationMap",
    "Bottleneck",
    "LicenseWarning",
    "Preprocessing",
    "ResNeSt",
    "ResNeStBottleneck",
    "ResNeStConfig",
    "ResNeXt",
    "ResNeXtConfig",
    "ResNet",
    "WeightMetadata",
    "WeightTag",
    "_Bottleneck",
    "_ResNeStBottleneck",
    "activation_map",
    "class_count",
    "create_from_file",
    "create_model",
    "get_config",
    "list_models",
    "list_tags",
    "load_weights",
    "preprocessing",
    "read_metadata",
    "save_weights",
]

# The names that lucid 2.x documents.
_Bottleneck = Bottleneck
_ResNeStBottleneck = ResNeStBottleneck

if not TYPE_CHECKING:  # seen by a type checker, it would let any misspelt attribute pass

    def __getattr__(name: str) -> Any:
        """A preset in any spelling, as a function: ``lucid.models.resnext50_32x4d(num_classes=10)``."""
        if name in list_models(aliases=True):
            return partial(create_model, name)
        raise AttributeError(f"module 'lucid.models' has no attribute {name!r}")
