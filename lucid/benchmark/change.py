"""Two reports of ``lucid bench`` beside each other: what became slower, beyond what noise explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lucid.benchmark.engines import OWN
from lucid.benchmark.timing import Timing
from lucid.inference.report import table

__all__ = ["TOLERANCE", "Change", "changes", "changes_table"]

# Between two runs of the same program the clock and the placement of memory differ, which the rounds of
# one run do not show.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Change:
    """One engine on one case, before and after.

    Attributes:
        before: Its rounds in the first report.
        after: Those in the second.
        tolerance: The part by which it may become slower all the same.
    """

    case: str
    engine: str
    before: Timing
    after: Timing
    tolerance: float = TOLERANCE

    @property
    def ratio(self) -> float:
        """The median after to the median before: above 1 it became slower."""
        return self.after.median / self.before.median

    @property
    def bounds(self) -> tuple[float, float]:
        """The ratios of the opposite quartiles: of fast rounds after to slow ones before, and the reverse.

        Rounds of two runs were not measured in turns, so they are not divided one by one.
        """
        (low, high), (low_after, high_after) = self.before.quartiles, self.after.quartiles
        return low_after / high, high_after / low

    @property
    def verdict(self) -> str:
        """``slower`` or ``faster`` where the bound nearer to 1 passes the tolerance too, else empty."""
        low, high = self.bounds
        return "slower" if low > 1 + self.tolerance else "faster" if high < 1 / (1 + self.tolerance) else ""

    @property
    def is_regression(self) -> bool:
        """Whether lucid became slower. An engine of others that did tells of the machine."""
        return self.engine in OWN and self.verdict == "slower"


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float = TOLERANCE
) -> list[Change]:
    """The engines and cases that both reports have, in the order of the second.

    Args:
        before, after: Read from what ``--json`` wrote.
        tolerance: See ``Change``.

    Raises:
        ValueError: The reports are of different computations, or have no case in common.
        KeyError: One is no report of ``lucid bench``.
    """
    for name in ("kind", "batch", "size"):
        old, new = before["settings"][name], after["settings"][name]
        if old != new:
            raise ValueError(f"bench compare: both reports must have the same {name}, got {old} and {new}")
    known = {case["name"]: case["engines"] for case in before["cases"]}
    found = [
        Change(case["name"], engine, _timing(known[case["name"]][engine]), _timing(measured), tolerance)
        for case in after["cases"]
        for engine, measured in case["engines"].items()
        if engine in known.get(case["name"], {})
    ]
    if not found:
        raise ValueError("bench compare: the reports must have a case in common, got none")
    return found


def _timing(measured: Mapping[str, Any]) -> Timing:
    return Timing(tuple(measured["rounds"]))


def changes_table(before: Mapping[str, Any], after: Mapping[str, Any], found: Sequence[Change]) -> str:
    """A line for each change, and below it where the machines differ and how many cases became slower."""
    rows = [
        [
            change.case,
            change.engine,
            f"{change.before.median:.3f}",
            f"{change.after.median:.3f}",
            f"{change.ratio:.2f}",
            "{:.2f} to {:.2f}".format(*change.bounds),
            change.verdict or "-",
        ]
        for change in found
    ]
    lines = [table(["case", "engine", "ms", "ms after", "ratio", "spread", "change"], rows, left=2)]
    old, new = before["machine"], after["machine"]
    lines += [
        f"{name} differs: {old.get(name)} and {new.get(name)}"
        for name in sorted((old.keys() | new.keys()) - {"date", "bandwidth", "peak_gflops", "matrix_gflops"})
        if old.get(name) != new.get(name)
    ]
    regressions = sum(change.is_regression for change in found)
    lines.append(f"{regressions} of {len(found)} are regressions: slower beyond the spread and the tolerance")
    return "\n".join(lines)
