"""Planted bugs: the list in ``planted.txt``, and how one is applied to a source tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).parent / "planted.txt"


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        file: Path from the top of the repository.
        breaks: The mistake, in words.
        tests: Arguments of pytest; one of these tests must fail.
        text: Lines of the file, or a part of one line, that occur once.
        replacement: Lines instead of them.
    """

    file: str
    breaks: str
    tests: tuple[str, ...]
    text: str
    replacement: str

    def applied(self, source: str) -> str:
        """``source`` with the bug.

        Raises:
            ValueError: The text that it replaces does not occur exactly once.
        """
        if source.count(self.text) != 1:
            found = source.count(self.text)
            raise ValueError(f"{self.file}: the text of {self.breaks!r} must occur once, found {found} times")
        return source.replace(self.text, self.replacement)


def mutants() -> list[Mutant]:
    return list(parse(LIST.read_text()))


def parse(text: str) -> Iterator[Mutant]:
    """The bugs of a list, which ``planted.txt`` explains in its first lines."""
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines if line[0] not in "-+")
        parts = ["\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+"]
        if fields.keys() != {"file", "breaks", "tests"} or not parts[0]:
            raise ValueError(f"a bug must have a file, what it breaks, tests and lines, got\n{paragraph}")
        yield Mutant(fields["file"], fields["breaks"], tuple(fields["tests"].split()), parts[0], parts[1])
