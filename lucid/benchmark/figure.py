"""Figures of matplotlib, which is not needed for anything else."""

from __future__ import annotations

from typing import Any

__all__ = ["figure", "formats"]


def formats() -> set[str]:
    """The endings of files that a picture can be written to, without their dots.

    Raises:
        ImportError: There is no matplotlib; the message says how to get it.
    """
    return set(figure(1.0, 1.0).canvas.get_supported_filetypes())


def figure(width: float, height: float) -> Any:
    """An empty figure of so many inches.

    Raises:
        ImportError: There is no matplotlib; the message says how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        message = "a plot needs matplotlib: pip install 'lucid-kernels[plot]'"
        raise ImportError(message, name="matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")
