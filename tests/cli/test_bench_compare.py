"""lucid bench compare: exit codes and messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lucid.cli.main import main


def written(path: Path, *rounds: float) -> str:
    """A report of one case, as a file."""
    settings = {"kind": "kernel", "batch": 1, "size": [8, 8]}
    cases = [{"name": "3x3", "engines": {"plan": {"rounds": rounds}}}]
    path.write_text(json.dumps({"machine": {"cpu": "one"}, "settings": settings, "cases": cases}))
    return str(path)


def test_exit_code_tells_of_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = written(tmp_path / "a.json", 1.0, 1.0), written(tmp_path / "b.json", 1.5, 1.5)
    assert main(["bench", "compare", before, after]) == 1
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "slower"
    assert main(["bench", "compare", after, before]) == 0
    assert main(["bench", "compare", before, after, "--tolerance", "60"]) == 0


def test_sections_are_compared_with_those_of_the_same_batch_and_threads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(path: Path, **rounds: float) -> str:
        sections = []
        for name, value in rounds.items():
            section = json.loads(Path(written(path, value)).read_text())
            section["machine"]["threads"] = int(name.removeprefix("threads"))
            sections.append(section)
        path.write_text(json.dumps({"sections": sections}))
        return str(path)

    before = report(tmp_path / "a.json", threads1=1.0, threads2=1.0)
    after = report(tmp_path / "b.json", threads2=1.0, threads1=2.0, threads4=9.0)
    assert main(["bench", "compare", before, after]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("3x3")] == ["-", "slower"]
    alone = report(tmp_path / "c.json", threads4=1.0)
    assert main(["bench", "compare", before, alone]) == 2
    assert "a batch with the same threads in common, got none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must be reports of lucid bench"),
        ("[", "must be readable JSON"),
        (None, "must be readable JSON"),
    ],
)
def test_what_is_no_report_is_one_line(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = written(tmp_path / "a.json", 1.0), tmp_path / "b.json"
    if content is not None:
        after.write_text(content)
    assert main(["bench", "compare", before, str(after)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
