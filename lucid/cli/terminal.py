"""Standard output and error: messages of one line, progress, and streams that nobody reads."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm import tqdm

__all__ = [
    "Progress",
    "UsageError",
    "discard",
    "one_line",
    "open_closed_streams",
    "printable",
    "reason",
    "tell",
]

# From here on the end of a run is worth a line in a log file.
_MANY, _SECONDS_BETWEEN_LINES = 100, 10.0

# Control characters, halves of letters, and separators of lines and paragraphs.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


class UsageError(Exception):
    """The arguments do not make sense together; exit code 2."""


def tell(command: str, message: str) -> None:
    """One line on stderr, after the name of the command; nothing where stderr is closed."""
    try:
        print(f"{command}: {one_line(message)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        discard(sys.stderr)


def one_line(message: str | BaseException) -> str:
    """A message or an exception without line breaks.

    An exception whose text does not say what it is (``KeyError: 'x'``) is shown with its name.
    """
    text = printable(" ".join(str(message).split()))
    speaking = (str, ValueError, OSError, ImportError, NotImplementedError, UsageError)
    return text if text and isinstance(message, speaking) else f"{type(message).__name__}: {text}"


def reason(error: Exception) -> str:
    """The message of an error, where it is the library's without the function that the user did not call."""
    from lucid.data.image_file import complaint

    speaks = isinstance(error, (ValueError, OSError, ImportError, NotImplementedError)) and str(error)
    return one_line(complaint(error) if speaks else error)


def printable(text: str) -> str:
    """A text whose line breaks and control characters, which a terminal would obey, are escaped."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _UNPRINTABLE else letter
        for letter in text
    )


def open_closed_streams() -> None:
    """Gives a process that was started with closed standard streams some that lead nowhere.

    Otherwise the next file that it opens would become its standard output.
    """
    if sys.stdout is not None and sys.stderr is not None:
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest number that is free
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def discard(stream: TextIO) -> None:
    """Lets what is still to be written to a stream go nowhere; Python writes it once more when it ends."""
    with suppress(OSError, ValueError):
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, stream.fileno())
        os.close(target)


class Progress:
    """Progress on stderr: a bar on a terminal; elsewhere a line in ten seconds, and one after many.

    One that is not ``shown`` writes nothing.
    """

    def __init__(self, command: str, total: int, things: str = "images", shown: bool = True) -> None:
        self._command, self._total, self._things = command, total, things
        self._done, self._told = 0, False
        self._start = self._last = time.monotonic()
        self._shown = shown
        self._bar = _bar(total, things) if shown and total > 1 and _is_terminal(sys.stderr) else None

    def update(self, count: int) -> None:
        """Adds what has been done since the last call."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._tell()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A time for other output, which must not share a line with the bar."""
        if self._bar is None:
            yield
        else:
            with self._bar.external_write_mode():
                yield

    def _tell(self) -> None:
        if not self._shown:
            return
        self._last, self._told = time.monotonic(), True
        rate = self._done / max(self._last - self._start, 1e-9)
        things = self._things
        tell(self._command, f"{self._done}/{self._total} {things}, {rate:.3g} {things}/s")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and (self._told or self._total >= _MANY):
            self._tell()


def _is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can go back to the beginning of a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _bar(total: int, things: str) -> tqdm[None]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # a thread of its own, which lucid does not need
    return tqdm(total=total, unit=f" {things}", file=sys.stderr, dynamic_ncols=True)
