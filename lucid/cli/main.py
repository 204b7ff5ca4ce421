"""Entry point of the command: picks the subcommand, and turns what goes wrong into one line and an exit code.

Exit codes: 0 all went well; 1 something failed, such as one image among many; 2 the command line is wrong;
130 interrupted by Ctrl-C; 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import lucid
from lucid.cli import bench, classify, demo, evaluation, explain, info, summary, train
from lucid.cli.terminal import UsageError, discard, open_closed_streams, reason, tell

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["main"]

_COMMANDS = {
    "bench": bench,
    "classify": classify,
    "demo": demo,
    "eval": evaluation,
    "explain": explain,
    "info": info,
    "summary": summary,
    "train": train,
}

FAILED, WRONG_USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


class _Parser(argparse.ArgumentParser):
    """argparse, with errors on one line."""

    def error(self, message: str) -> NoReturn:
        tell(self.prog, f"{message} (see {self.prog} --help)")
        raise SystemExit(WRONG_USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse would pass over a full disk.
        print(message, end="", file=file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lucid", description="ResNeXt and ResNeSt on hand-written kernels.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lucid {lucid.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        description = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line ``arguments`` (those of the process by default) and returns the exit code.

    Failures are one line on stderr; with ``LUCID_TRACEBACK=1`` in the environment they are raised instead.
    Where standard output or error is closed, what would be written to it is dropped.
    """
    open_closed_streams()
    # A file name that the terminal cannot show is shown escaped; it must not end the run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _guarded(arguments)
    if not _flushed(sys.stderr):
        discard(sys.stderr)
    return code


def _guarded(arguments: Sequence[str] | None) -> int:
    """The exit code of a command line, whatever it raises."""
    command = "lucid"
    try:
        options = _parsed(arguments)
        if isinstance(options, argparse.Namespace):
            command = options.parser.prog
            code = _run(options)
        else:
            code = options
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        tell(command, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("LUCID_TRACEBACK"):
            raise
        tell(command, reason(error))
        if not _flushed(sys.stdout):  # a full disk, perhaps, and the error that was told
            discard(sys.stdout)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace | int:
    """The options; the exit code after --help, --version and wrong arguments."""
    try:
        return _parser().parse_args(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


def _run(options: argparse.Namespace) -> int:
    def tell_warning(message: Warning | str, *_: Any, **__: Any) -> None:
        translate: Callable[[str], str] = getattr(options, "translate", str)
        tell(options.parser.prog, f"warning: {translate(str(message))}")

    with warnings.catch_warnings():
        warnings.showwarning = tell_warning
        # Warnings of metadata and sizes of images are none of the user's business.
        warnings.filterwarnings("ignore", module=r"PIL\b")
        code: int = options.run(options)
        return code


def _flushed(stream: TextIO) -> bool:
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
