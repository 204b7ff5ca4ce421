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
from typing import Any, NoReturn

import lucid
from lucid.cli import bench, classify, demo, info, summary
from lucid.cli.terminal import UsageError, one_line, tell

__all__ = ["main"]

_COMMANDS = {"bench": bench, "classify": classify, "demo": demo, "info": info, "summary": summary}

FAILED, WRONG_USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


class _Parser(argparse.ArgumentParser):
    """argparse, with errors on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


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
    """
    # A file name that the terminal cannot show is shown escaped; it must not end the run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:  # --help, --version and wrong arguments
        return stop.code if isinstance(stop.code, int) else 0
    return _guarded(options.run, options, options.parser.prog)


def _guarded(run: Callable[[argparse.Namespace], int], options: argparse.Namespace, command: str) -> int:
    """``run(options)``, with whatever it raises as an exit code."""

    def tell_warning(message: Warning | str, *_: Any, **__: Any) -> None:
        tell(command, f"warning: {message}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell_warning
            code = run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        tell(command, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("LUCID_TRACEBACK"):
            raise
        tell(command, one_line(error))
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED
