"""The command as a whole: help, usage errors, exit codes, closed pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lucid
from lucid.cli import info
from lucid.cli.main import main
from lucid.cli.terminal import UsageError

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_lists_the_commands(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    assert not done.stderr
    for name in ("classify", "demo", "info", "summary"):
        assert f"    {name} " in done.stdout


@pytest.mark.parametrize("name", ["classify", "demo", "info", "summary"])
def test_every_command_has_help(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: lucid {name}")


def test_version(command: Command) -> None:
    assert command("--version").stdout == f"lucid {lucid.__version__}\n"


def test_help_imports_little(environment: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys; from lucid.cli.main import main; main(['--help']); "
        "sys.exit(str({'PIL', 'tqdm', 'safetensors', 'lucid.models', 'lucid.nn'} & set(sys.modules) or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "lucid: the following arguments are required: COMMAND"),
        (["paint"], "lucid: argument COMMAND: invalid choice: 'paint'"),
        (["info", "--colour"], "lucid: unrecognized arguments: --colour"),
        (["classify"], "lucid classify: the following arguments are required: IMAGE"),
        (["classify", "--top", "3", "x.png"], "lucid: unrecognized arguments: --top"),
        (["classify", "x.png", "--topk", "0"], "lucid classify: argument --topk: must be at least 1, got 0"),
        (
            ["classify", "x.png", "--topk", "many"],
            "lucid classify: argument --topk: must be an integer, got 'many'",
        ),
        (
            ["summary", "resnet", "--input-size", "2x"],
            "lucid summary: argument --input-size: must be an integer, got ''",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    command: Command, arguments: list[str], message: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_failure_is_one_line_and_exit_code_1(command: Command) -> None:
    done = command("summary", "resnext50")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("lucid summary: ")
    assert "resnext50_32x4d" in done.stderr  # what may have been meant
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("create_model: name must be another"), "name must be another"),
        (UsageError("a: b"), "a: b"),
        (OSError(28, "No space left"), "[Errno 28] No space left"),
        (ValueError(), "ValueError:"),
        (KeyError("a: b"), "KeyError: 'a: b'"),
    ],
)
def test_failure_names_the_command_and_no_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(info, "run", fail)
    assert main(["info"]) == (2 if isinstance(error, UsageError) else 1)
    assert capsys.readouterr().err == f"lucid info: {line}\n"


def test_traceback_on_demand(command: Command) -> None:
    assert "Traceback" in command("summary", "resnext50", LUCID_TRACEBACK="1").stderr


def test_reader_that_goes_away_is_no_error(environment: dict[str, str], tmp_path: Path) -> None:
    line = [sys.executable, "-m", "lucid", "summary", "resnext_digits"]
    with subprocess.Popen(
        line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


COMMANDS = [
    "info",
    "summary resnext_digits",
    "classify absent.png",
    "--help",
    "classify --help",
    "--version",
    "",
]


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_streams_that_lead_nowhere_end_no_run(
    environment: dict[str, str], tmp_path: Path, arguments: str, redirection: str
) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    line = f"exec {sys.executable} -m lucid {arguments} {redirection}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("\n") <= 3
    expected = {"": 2, "classify absent.png": 1}.get(arguments, int(redirection == ">/dev/full"))
    assert done.returncode == expected


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["info", "--models"], ["bench", "--help"]])
def test_help_for_a_reader_that_went_away(
    environment: dict[str, str], tmp_path: Path, arguments: list[str], unbuffered: str
) -> None:
    line = [sys.executable, "-m", "lucid", *arguments]
    reader, writer = os.pipe()
    os.close(reader)
    variables = environment | {"PYTHONUNBUFFERED": unbuffered}
    try:
        done = subprocess.run(
            line, cwd=tmp_path, env=variables, stdout=writer, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("columns", ["0", "1", "7", "20", "wide", "100000"])
def test_width_of_the_terminal_plays_no_part(command: Command, columns: str) -> None:
    for arguments in (["--help"], ["classify", "--help"], ["bench", "kernel", "--help"]):
        done = command(*arguments, COLUMNS=columns, NO_COLOR="1", TERM="dumb")
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout


def test_main_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert main(["--version"]) == 0
    assert main(["nothing"]) == 2
    assert capsys.readouterr().out
