"""Times of several functions, measured in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

__all__ = ["Timing", "alternate", "alternate_turns"]

_FEWEST_CALLS = 3

# Seconds before each turn: the threads of the engine before it still spin, ONNX Runtime's for 60 ms.
_PAUSE = 0.08


@dataclass(frozen=True)
class Timing:
    """The times that one function took.

    Attributes:
        rounds: Milliseconds of a call in each round: the median of the calls of its turn, or their mean where
            single calls are not waited for, or where several are in progress at once.
    """

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Milliseconds, over the rounds."""
        return float(np.median(self.rounds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Milliseconds that a quarter of the rounds is below, and above."""
        low, high = np.percentile(self.rounds, [25, 75])
        return float(low), float(high)

    @property
    def spread(self) -> float:
        """The distance of the quartiles, as a part of the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    def ratio(self, own: Timing) -> float:
        """How many times as long as ``own`` it took: the median over the rounds of the two's quotient.

        A drift of the machine's speed from round to round changes both times alike, and not their quotient.
        """
        return float(np.median(np.divide(self.rounds, own.rounds)))


def alternate(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    limit: float = math.inf,
    pauses: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """Times each function in every round, one after the other.

    A turn is one call that is not counted, because what ran before has filled the caches, and then calls for
    ``seconds``, at least three.

    Args:
        synchronize: For functions that return before they are done: waits until they are. The calls of a turn
            then follow each other unwaited for, between two such waits.
        limit: Seconds in which a further round must be over, if it takes as long as the one before, to begin.
        pauses: As for ``alternate_turns``.
    """

    def turn(call: Callable[[], object]) -> float:
        call()
        if synchronize is None:
            return float(np.median(list(_turn(call, seconds, clock))))
        return _unwaited_turn(call, seconds, synchronize, clock)

    turns = {name: partial(turn, call) for name, call in calls.items()}
    return alternate_turns(turns, rounds, clock, limit, pauses)


def alternate_turns(
    turns: Mapping[str, Callable[[], float]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    limit: float = math.inf,
    pauses: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """Takes each turn in every round, one after the other.

    Args:
        turns: Each measures by itself, and gives the seconds of a call.
        limit: As for ``alternate``.
        pauses: Seconds without work after a turn; the longest that is needed where not given.
    """
    rounds_of: dict[str, list[float]] = {name: [] for name in turns}
    end, taken_by_round, pause = clock() + limit, 0.0, _PAUSE
    for done in range(rounds):
        start = clock()
        if done and start + taken_by_round >= end:
            break
        for name, turn in turns.items():
            time.sleep(pause)
            pause = (pauses or {}).get(name, _PAUSE)
            rounds_of[name].append(1000.0 * turn())
        taken_by_round = clock() - start
    return {name: Timing(tuple(values)) for name, values in rounds_of.items()}


def _turn(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> Iterator[float]:
    """Seconds of each call of a turn."""
    start = now = clock()
    for calls in count(1):
        call()
        before, now = now, clock()
        yield now - before
        if calls >= _FEWEST_CALLS and now - start >= seconds:
            return


def _unwaited_turn(
    call: Callable[[], object], seconds: float, synchronize: Callable[[], None], clock: Callable[[], float]
) -> float:
    """Seconds of a call, of as many as fill the turn by the time that the fewest took."""

    def trial(calls: int) -> float:
        synchronize()
        start = clock()
        for _ in range(calls):
            call()
        synchronize()
        return (clock() - start) / calls

    calls = seconds / max(trial(_FEWEST_CALLS), 1e-9)
    return trial(max(_FEWEST_CALLS, int(calls)))
