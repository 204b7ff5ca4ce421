"""What the subcommands write to stderr: messages of one line, and a progress bar."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["UsageError", "one_line", "progress_bar", "tell"]

# From here on a bar is worth having in a log file, too, where each of its updates is a line.
_MANY, _SECONDS_BETWEEN_LINES = 100, 10.0


class UsageError(Exception):
    """The arguments do not make sense together; exit code 2."""


def tell(command: str, message: str) -> None:
    """One line on stderr, after the name of the command."""
    print(f"{command}: {one_line(message)}", file=sys.stderr, flush=True)


def one_line(message: str | BaseException) -> str:
    """A message or an exception without line breaks.

    An exception whose text does not say what it is (``KeyError: 'x'``) is shown with its name.
    """
    text = " ".join(str(message).split())
    speaking = (str, ValueError, OSError, ImportError, NotImplementedError, UsageError)
    return text if text and isinstance(message, speaking) else f"{type(message).__name__}: {text}"


def progress_bar(total: int, things: str = "images") -> tqdm[None]:
    """A bar over ``total`` things on stderr: on a terminal for more than one, elsewhere only for many."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=f" {things}",
        file=sys.stderr,
        disable=total < (2 if terminal else _MANY),
        mininterval=0.1 if terminal else _SECONDS_BETWEEN_LINES,
        dynamic_ncols=True,
    )
