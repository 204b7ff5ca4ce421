"""Print what changed between two reports of lucid bench, and end with 1 where lucid became slower.

Both come from ``lucid bench ... --json``. A ratio is the median after to the median before, with those of the
opposite quartiles as its spread; slower is what passes the tolerance even at the nearer end of the spread.
Engines that are not lucid are shown, and never are a regression: if they changed, the machine did.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lucid.cli.terminal import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lucid bench compare``."""
    parser.add_argument("before", metavar="A.json", help="a report of lucid bench")
    parser.add_argument("after", metavar="B.json", help="a later one of the same cases")
    parser.add_argument(
        "--tolerance",
        type=_percent,
        default=5.0,
        metavar="PERCENT",
        help="by which a case may become slower beyond the spread (default 5)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the table; 1 where there is a regression."""
    from lucid.benchmark.change import changes, changes_table

    before, after = _report(options.before), _report(options.after)
    try:
        found = changes(before, after, options.tolerance / 100)
    except ValueError as error:
        raise UsageError(str(error).removeprefix("bench compare: ")) from None
    except (KeyError, TypeError):
        raise UsageError(
            f"both files must be reports of lucid bench, got {options.before} and {options.after}"
        ) from None
    print(changes_table(before, after, found))
    return 1 if any(change.is_regression for change in found) else 0


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 0 and finite, got {text}")
    return value


def _report(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"a report must be readable JSON, got {path}: {error}") from None
