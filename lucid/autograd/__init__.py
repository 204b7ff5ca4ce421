"""Reverse-mode differentiation: what operators record, and how gradients flow back.

``Tensor.backward`` walks the tape; ``Function`` puts an operator of the user's own on it.
"""

from __future__ import annotations

from typing import Any

from lucid import late_names
from lucid.autograd.mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled

__all__ = ["enable_grad", "is_grad_enabled", "no_grad", "set_grad_enabled"]


def __getattr__(name: str) -> Any:
    return late_names.find("lucid.autograd", name)


def __dir__() -> list[str]:
    return sorted({*globals(), *late_names.names("lucid.autograd")})
