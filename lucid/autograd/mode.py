"""Whether operators record what gradients need, for each thread."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator


class _Mode(threading.local):
    enabled = True


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operators on this thread record what gradients need; True unless ``no_grad`` says otherwise."""
    return _mode.enabled


class set_grad_enabled(ContextDecorator):
    """Whether operators record what gradients need: in a ``with`` block, or in a function decorated so."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_mode.enabled)
        _mode.enabled = self.mode

    def __exit__(self, *raised: object) -> None:
        _mode.enabled = self._before.pop()

    def _recreate_cm(self) -> set_grad_enabled:
        """One of its own for each call of a decorated function, which several threads may call."""
        return set_grad_enabled(self.mode)


class no_grad(set_grad_enabled):
    """Records nothing: for inference, and to change parameters in place. Saves memory and time."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Records again inside of ``no_grad``."""

    def __init__(self) -> None:
        super().__init__(True)
