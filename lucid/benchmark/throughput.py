"""Images a second of a case on all engines that take a stream of calls: checked first, then timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from lucid.benchmark.cases import Case
from lucid.benchmark.comparison import Comparison, checked, pauses_after, tolerance_in
from lucid.benchmark.engines import OWN
from lucid.benchmark.streams import Stream, StreamEngine
from lucid.benchmark.timing import alternate_turns

__all__ = ["Throughput", "compare_throughput", "turn"]


@dataclass(frozen=True)
class Throughput(Comparison):
    """The result of one case, whose timings are milliseconds from the end of a call to that of the next.

    Attributes:
        at_once: Calls that an engine has in progress at a time, by engine.
    """

    at_once: Mapping[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Those of a call."""
        return next(iter(self.case.graph.inputs.values()))[0]

    def images_per_second(self, engine: str) -> float:
        """The rate at the engine's median time."""
        return 1000.0 * self.images / self.timings[engine].median

    def to_best_peer(self, engine: str) -> float | None:
        """How many times as many images as the fastest that is not lucid; None where there is no such engine.

        The median over the rounds of the quotient with what was the fastest in that round.
        """
        peers = [timing.rounds for name, timing in self.timings.items() if name not in OWN]
        if not peers:
            return None
        return float(np.median(np.min(peers, axis=0) / np.asarray(self.timings[engine].rounds)))


def compare_throughput(
    case: Case,
    engines: Mapping[str, StreamEngine],
    threads: int,
    rounds: int = 7,
    seconds: float = 0.5,
    limit: float = math.inf,
    dtype: str = "float32",
) -> Throughput:
    """Times a stream of calls on every engine that computes the case right.

    Args:
        threads: Of each engine, for all of its calls together; lucid has ``lucid.set_num_threads``, too.
        rounds, seconds, limit, dtype: As for ``compare``.
    """
    inputs = case.inputs()
    makers = {name: partial(engine, case, inputs, threads) for name, engine in engines.items()}
    streams, refused = checked(makers, _results, case.expected(*inputs), tolerance_in(dtype))
    turns = {name: partial(turn, stream, seconds) for name, stream in streams.items()}
    timings = alternate_turns(turns, rounds, limit=limit, pauses=pauses_after(streams, limit))
    at_once = {name: stream.at_once for name, stream in streams.items()}
    return Throughput(case, timings, refused, at_once=at_once)


def _results(stream: Stream) -> Sequence[object]:
    """Those of one call for each that may be in progress."""
    return stream.run(stream.at_once)


def turn(stream: Stream, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call in a burst: from the first's beginning to the last's end, over their number.

    A burst is as many calls as last for ``seconds``, the same number for each of those at once, since a
    processor that has nothing left to do counts as well. One of the fewest calls goes before, and is not
    counted, because what ran before has filled the caches. It is the turn where it lasts long enough.
    """

    def trial(calls: int) -> float:
        start = clock()
        stream.run(calls)
        return clock() - start

    first = trial(stream.at_once)
    if first >= seconds:
        return first / stream.at_once
    calls = stream.at_once * max(1, math.ceil(seconds / max(first, 1e-9)))
    return trial(calls) / calls
