"""The plugin that holds the kernels: where it lies, and why it cannot be used.

It is opened at the first use of a device, so that a program for the CPU pays nothing for it.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path

from lucid import _core

_PACKAGE = "lucid_kernels_cuda13"
_FILE = "liblucid_cuda.so"
_VARIABLE = "LUCID_CUDA_LIBRARY"


class _Plugin:
    """Whether the plugin was opened, and what came of it; None before the first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._why_not: str | None = None
        self.device_count = 0

    def why_not(self) -> str:
        if self._why_not is None:
            with self._lock:
                if self._why_not is None:
                    self._why_not = self._opened()
        return self._why_not

    def _opened(self) -> str:
        path = _place()
        if path is None:
            return f"no plugin is installed: pip install lucid-kernels-cuda13, or name one in {_VARIABLE}"
        if not path.is_file():
            return f"{_VARIABLE} must name a file, got {str(path)!r}"
        try:
            _core.cuda_load(str(path))
            self.device_count = _core.cuda_device_count()
        except (RuntimeError, ValueError) as error:
            return _hidden(str(error))
        return ""


def _hidden(reason: str) -> str:
    """``reason``; where there is no device, the variable by which a program sees none of several."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible not in ("", "-1") or not reason.endswith("has no CUDA device"):
        return reason
    return f"{reason} that CUDA_VISIBLE_DEVICES={visible!r} lets lucid see"


def _place() -> Path | None:
    """The file that the user names, one in this package, or that of the package of plugins."""
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named)
    own = Path(_core.__file__).parent / "lib" / _FILE
    if own.is_file():
        return own
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations or []) if package else []:
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    return None


_plugin = _Plugin()


def why_not() -> str:
    """The reason why no device can be used, in one sentence; an empty text if one can."""
    return _plugin.why_not()


def is_available() -> bool:
    """Whether there is a device, and a plugin with kernels for it."""
    return not why_not()


def device_count() -> int:
    """The number of devices that can be used, 0 without a plugin."""
    return _plugin.device_count if is_available() else 0


def require(op: str) -> None:
    """RuntimeError with the reason if no device can be used."""
    reason = why_not()
    if reason:
        raise RuntimeError(f"{op}: cuda must be available, got: {reason}")
