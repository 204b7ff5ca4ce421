"""The package onnx, which is optional, and the sentence where it is not installed."""

from __future__ import annotations

from types import ModuleType

__all__ = ["require_onnx"]


def require_onnx(op: str) -> ModuleType:
    """The module ``onnx``.

    Raises:
        ImportError: It is not installed; the message says how it is.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"{op} needs the package onnx: pip install 'lucid-kernels[onnx]'") from error
    module: ModuleType = onnx
    return module
