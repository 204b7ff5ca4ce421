"""The list of planted bugs fits the tree that it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import planted
import pytest

ROOT = Path(__file__).parent.parent.parent
MUTANTS = planted.mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.breaks}")
def test_bug_can_be_planted(mutant: planted.Mutant) -> None:
    changed = mutant.applied((ROOT / mutant.file).read_text())
    if mutant.file.endswith(".py"):
        ast.parse(changed)
    assert mutant.tests
    for argument in mutant.tests:
        assert (ROOT / argument.split("::")[0]).exists(), argument


def test_no_bug_is_listed_twice() -> None:
    changes = [(mutant.file, mutant.text, mutant.replacement) for mutant in MUTANTS]
    assert len(changes) == len(set(changes))
    assert len({(mutant.file, mutant.breaks) for mutant in MUTANTS}) == len(MUTANTS)


def test_a_list_is_read_as_it_is_written() -> None:
    text = "# said first\n\nfile: a.py\nbreaks: x: y\ntests: b c::d\n- one\n-   two\n+ three\n\n"
    assert list(planted.parse(text)) == [planted.Mutant("a.py", "x: y", ("b", "c::d"), "one\n  two", "three")]
    assert next(planted.parse(text)).applied("zero\none\n  two\n") == "zero\nthree\n"
    with pytest.raises(ValueError, match="must occur once, found 0 times"):
        next(planted.parse(text)).applied("one\ntwo\n")
    with pytest.raises(ValueError, match="a bug must have a file"):
        list(planted.parse("file: a.py\n- one\n"))
