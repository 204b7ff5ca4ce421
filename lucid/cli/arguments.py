"""Types of arguments that several subcommands take, with messages for argparse."""

from __future__ import annotations

import argparse

__all__ = ["image_size", "positive", "positives"]

# Far beyond what the networks are made for; without a limit a typing error could fill the memory.
_LARGEST_SIDE = 4096


def positive(text: str) -> int:
    """An integer of at least 1."""
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def positives(text: str) -> tuple[int, ...]:
    """Integers of at least 1, with commas between them, each once."""
    return tuple(dict.fromkeys(map(positive, text.split(","))))


def image_size(text: str) -> tuple[int, int]:
    """Height and width from ``224`` or ``193x225``."""
    height, cross, width = text.lower().partition("x")
    size = positive(height), positive(width if cross else height)
    if max(size) > _LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"must be at most {_LARGEST_SIDE}, got {max(size)}")
    return size


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {text!r}") from None
