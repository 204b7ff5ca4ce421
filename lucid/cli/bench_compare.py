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
        compared = [
            (old, new, changes(old, new, options.tolerance / 100)) for old, new in _pairs(before, after)
        ]
    except ValueError as error:
        raise UsageError(str(error).removeprefix("bench compare: ")) from None
    except (KeyError, TypeError):
        raise UsageError(
            f"both files must be reports of lucid bench, got {options.before} and {options.after}"
        ) from None
    print("\n\n".join(changes_table(old, new, found) for old, new, found in compared))
    return 1 if any(change.is_regression for _, _, found in compared for change in found) else 0


def _pairs(before: Any, after: Any) -> list[tuple[Any, Any]]:
    """The sections that two reports share, by batch and threads; two plain reports are a pair as they are."""
    if "sections" not in before and "sections" not in after:
        return [(before, after)]
    old, new = ({_key(part): part for part in report.get("sections", [report])} for report in (before, after))
    pairs = [(old[key], part) for key, part in new.items() if key in old]
    if not pairs:
        raise ValueError("the reports must have a batch with the same threads in common, got none")
    return pairs


def _key(section: Any) -> tuple[Any, Any]:
    return section["settings"]["batch"], section["machine"].get("threads")


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
