"""The result of one comparison."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        name: The operator or network, and the case.
        dtype: In which the device computed.
        status: Skipped is what cannot run without a package that is missing.
        error: The largest error as a part of the tolerance, so that more than 1 fails; None without figures.
        detail: The reason for anything but "passed".
    """

    name: str
    dtype: str
    status: Status
    error: float | None = None
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def outcome_of(name: str, dtype: str, compare: Callable[[], float]) -> Outcome:
    """The outcome of ``compare``, which returns the largest error as a part of the tolerance."""
    try:
        error = compare()
    except Exception as problem:
        if isinstance(problem, TypeError) and "ml_dtypes" in str(problem):
            return Outcome(name, dtype, "skipped", detail=str(problem))
        where = traceback.extract_tb(problem.__traceback__)[-1]
        text = f"{type(problem).__name__}: {problem} ({where.filename}:{where.lineno})"
        return Outcome(name, dtype, "failed", detail=text)
    if error <= 1.0:
        return Outcome(name, dtype, "passed", error)
    return Outcome(name, dtype, "failed", error, f"the error is {error:.3g} times the tolerance")


def largest_error(got: Iterable[Array], want: Iterable[Array], tolerance: float) -> float:
    """The largest difference as a part of ``tolerance``; infinite for other shapes or a NaN on one side."""
    worst = 0.0
    for one, other in zip(got, want, strict=True):
        if one.shape != other.shape or not np.array_equal(np.isnan(one), np.isnan(other)):
            return float("inf")
        if one.size:
            difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
            worst = max(worst, float(np.nanmax(difference, initial=0.0)) / tolerance)
    return worst
