"""Changes from report to report: what noise explains, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from lucid.benchmark import changes, changes_table


def report(batch: int = 1, threads: int = 1, **rounds: list[float]) -> dict[str, Any]:
    """One of a single case; a keyword is an engine."""
    engines = {name: {"rounds": values} for name, values in rounds.items()}
    return {
        "machine": {"cpu": "one", "threads": threads, "date": "today"},
        "settings": {"kind": "kernel", "batch": batch, "size": [8, 8], "rounds": 3},
        "cases": [{"name": "3x3", "engines": engines}],
    }


def test_ratio_and_bounds_by_hand() -> None:
    # Quartiles 1.5 and 2.5 before, 3.5 and 4.5 after.
    [change] = changes(report(plan=[1.0, 2.0, 3.0]), report(plan=[3.0, 4.0, 5.0]))
    assert change.ratio == 2
    assert change.bounds == pytest.approx((3.5 / 2.5, 4.5 / 1.5))
    assert change.verdict == "slower"


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([1.0, 1.0, 1.0], ""),
        ([1.04, 1.04, 1.04], ""),
        ([1.06, 1.06, 1.06], "slower"),
        ([0.9, 0.9, 0.9], "faster"),
        ([0.8, 1.3, 2.0], ""),  # the median is slower, its spread is wider than that
    ],
)
def test_verdict_needs_more_than_spread_and_tolerance(after: list[float], verdict: str) -> None:
    [change] = changes(report(plan=[1.0, 1.0, 1.0]), report(plan=after))
    assert change.verdict == verdict
    assert change.is_regression == (verdict == "slower")


def test_tolerance_is_the_caller_s() -> None:
    [change] = changes(report(plan=[1.0]), report(plan=[1.4]), tolerance=0.5)
    assert not change.is_regression


def test_another_engine_is_shown_and_no_regression() -> None:
    before, after = report(plan=[1.0], torch=[1.0]), report(threads=2, torch=[9.0], plan=[1.0], eager=[1.0])
    found = changes(before, after)
    assert [(change.engine, change.verdict) for change in found] == [("torch", "slower"), ("plan", "")]
    text = changes_table(before, after, found)
    assert "threads differs: 1 and 2" in text
    assert "0 of 2 are regressions" in text


def test_reports_of_different_computations_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the same batch, got 1 and 8"):
        changes(report(plan=[1.0]), report(batch=8, plan=[1.0]))
    with pytest.raises(ValueError, match="must have a case in common, got none"):
        changes(report(plan=[1.0]), report(eager=[1.0]))
