"""README.md: its examples run, and print what it says they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Each block of Python, and the next block of output."""
    blocks = [(match[1], match[2]) for match in FENCED.finditer(README.read_text())]
    pairs = []
    for i, (language, code) in enumerate(blocks):
        if language == "python":
            pairs.append((code, next(text for kind, text in blocks[i:] if kind == "output")))
    return pairs


def test_there_are_examples() -> None:
    assert len(examples()) == 3


@pytest.mark.parametrize("example", examples(), ids=["classifier", "threads_per_call", "models"])
def test_example_prints_what_it_says(example: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, output = example
    exec(compile(code, str(README), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == output
