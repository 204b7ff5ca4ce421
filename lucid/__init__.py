"""ResNeXt and ResNeSt on hand-written kernels, under a layer API with PyTorch's names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# First: it explains a broken installation, before the imports below fail for reasons that explain nothing.
from lucid import installation as installation

# isort: split

from lucid import cuda, late_names, random, runtime
from lucid._core import version
from lucid.autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from lucid.creation import arange, empty, from_dlpack, from_numpy, full, ones, tensor, zeros
from lucid.runtime import get_num_threads, set_num_threads, show_config
from lucid.tensor import Tensor

if TYPE_CHECKING:
    from lucid import data, distributed, inference, models, nn, onnx, optim, train
    from lucid.classifier import Classifier
    from lucid.config import get_cmake_dir, get_include, get_library_dir
    from lucid.inference import compile, load_plan

__version__ = version()

__all__ = [
    "Classifier",
    "Tensor",
    "__version__",
    "arange",
    "compile",
    "cuda",
    "data",
    "distributed",
    "empty",
    "enable_grad",
    "from_dlpack",
    "from_numpy",
    "full",
    "get_cmake_dir",
    "get_include",
    "get_library_dir",
    "get_num_threads",
    "inference",
    "is_grad_enabled",
    "load_plan",
    "models",
    "nn",
    "no_grad",
    "ones",
    "onnx",
    "optim",
    "random",
    "runtime",
    "set_grad_enabled",
    "set_num_threads",
    "show_config",
    "tensor",
    "train",
    "zeros",
]

# Imported at the first use, so that `import lucid` costs no more than NumPy and the kernels.
_SUBPACKAGES = ("data", "distributed", "inference", "models", "nn", "onnx", "optim", "train")
_MODULES = {
    "Classifier": "lucid.classifier",
    "compile": "lucid.inference",
    "get_cmake_dir": "lucid.config",
    "get_include": "lucid.config",
    "get_library_dir": "lucid.config",
    "load_plan": "lucid.inference",
}
_NETWORKS = ("ResNeSt", "ResNeStConfig", "ResNeXt", "ResNeXtConfig")


def _network(name: str) -> Any:
    return getattr(importlib.import_module("lucid.models"), name)


late_names.lend("lucid.nn", _NETWORKS, _network)


def _function(name: str) -> Any:
    return getattr(importlib.import_module("lucid.function"), name)


late_names.lend("lucid.autograd", ("Context", "Function"), _function)


def _onnx(name: str) -> Any:
    return getattr(importlib.import_module("lucid.onnx"), "load" if name == "load_onnx" else name)


late_names.lend("lucid.inference", ("load_onnx", "to_onnx"), _onnx)

if not TYPE_CHECKING:  # seen by a type checker, it would let any misspelt attribute pass

    def __getattr__(name: str) -> Any:
        if name in _SUBPACKAGES:
            return importlib.import_module(f"lucid.{name}")
        if name in _MODULES:
            return getattr(importlib.import_module(_MODULES[name]), name)
        raise AttributeError(f"module 'lucid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES, *_MODULES})
