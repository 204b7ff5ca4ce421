"""Progress and messages, which the subcommands write to stderr."""

from __future__ import annotations

import io
import sys

import pytest

from lucid.cli import terminal
from lucid.cli.terminal import Progress, one_line, printable, tell


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that goes a second on at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_log_gets_a_line_in_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "time", Clock())
    with Progress("lucid test", 60) as progress:
        for _ in range(60):
            progress.update(1)
            with progress.paused():
                pass
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 7
    assert lines[0].startswith("lucid test: 10/60 images, ")
    assert lines[-1].startswith("lucid test: 60/60 images, ")


@pytest.mark.parametrize(("total", "lines"), [(1, 0), (99, 0), (100, 1)])
def test_short_run_is_told_of_many_images_only(
    capsys: pytest.CaptureFixture[str], total: int, lines: int
) -> None:
    with Progress("lucid test", total) as progress:
        progress.update(total)
    assert capsys.readouterr().err.count("\n") == lines


def test_interrupted_run_ends_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress("lucid test", 1000):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_progress_of_another_process_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lucid.cli.terminal._SECONDS_BETWEEN_LINES", 0.0)
    for shown in (True, False):
        with Progress("lucid test", 1000, shown=shown) as progress:
            progress.update(10)
        assert bool(capsys.readouterr().err) is shown


@pytest.mark.parametrize(("kind", "bar"), [("xterm", True), ("dumb", False)])
def test_terminal_gets_a_bar_if_it_can_show_one(
    monkeypatch: pytest.MonkeyPatch, kind: str, bar: bool
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", kind)
    with Progress("lucid test", 3) as progress:
        progress.update(3)
        with progress.paused():
            print("message", file=stream)
    assert ("\r" in stream.getvalue()) == bar


def test_message_to_a_closed_stream_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    tell("lucid test", "nobody reads this")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a\n  b", "a b"),
        (ValueError("bad"), "bad"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError: "),
        ("red \x1b[31m", "red \\x1b[31m"),
    ],
)
def test_message_is_one_line(message: str | BaseException, line: str) -> None:
    assert one_line(message) == line


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    assert printable("a\tb\u2028c\udcff") == "a\\tb\\u2028c\\udcff"
    assert printable("Gr\u00fc\u00dfe\u00a0\U0001f431") == "Gr\u00fc\u00dfe\u00a0\U0001f431"
