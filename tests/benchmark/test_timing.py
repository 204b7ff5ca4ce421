"""Alternating rounds, on a clock that moves only when a function is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lucid.benchmark import Timing, alternate, timing


class FakeClock:
    """Each call of a function takes as long as it says, and is recorded."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def function(self, name: str, *seconds: float) -> Callable[[], None]:
        durations = iter(seconds) if len(seconds) > 1 else None

        def call() -> None:
            self.calls.append(name)
            self.now += next(durations) if durations else seconds[0]

        return call


def test_every_engine_has_its_turn_in_every_round() -> None:
    clock = FakeClock()
    calls = {"a": clock.function("a", 1.0), "b": clock.function("b", 2.0)}
    timings = alternate(calls, rounds=2, seconds=0.0, clock=clock)
    assert clock.calls == [*"aaaabbbb"] * 2  # one that is not counted, and three
    assert timings == {"a": Timing((1000.0, 1000.0)), "b": Timing((2000.0, 2000.0))}


def test_a_turn_lasts_as_long_as_asked_for() -> None:
    clock = FakeClock()
    alternate({"a": clock.function("a", 0.25)}, rounds=1, seconds=2.0, clock=clock)
    assert len(clock.calls) == 1 + 8


def test_no_round_begins_that_would_end_after_the_limit() -> None:
    # A round takes four seconds: one call that is not counted, and three.
    for limit, rounds in ((0.0, 1), (8.0, 1), (8.5, 2), (99.0, 3)):
        clock = FakeClock()
        timings = alternate({"a": clock.function("a", 1.0)}, 3, 0.0, clock=clock, limit=limit)
        assert len(timings["a"].rounds) == rounds


def test_the_first_call_of_a_turn_is_not_counted() -> None:
    clock = FakeClock()
    [timing] = alternate({"a": clock.function("a", 9.0, 1.0, 2.0, 3.0)}, 1, 0.0, clock=clock).values()
    assert timing.rounds == (2000.0,)


def test_calls_that_are_not_waited_for_end_with_a_wait() -> None:
    """Each call leaves a quarter of a second to do, which passes when it is waited for."""
    clock, left = FakeClock(), [0.0]

    def call() -> None:
        clock.calls.append("call")
        left[0] += 0.25

    def synchronize() -> None:
        clock.calls.append("wait")
        clock.now += left[0]
        left[0] = 0.0

    timings = alternate({"a": call}, rounds=2, seconds=2.0, synchronize=synchronize, clock=clock)
    assert timings == {"a": Timing((250.0, 250.0))}
    waited = " ".join(clock.calls).split("wait")
    assert [part.split().count("call") for part in waited] == [1, 3, 0, 8, 1, 3, 0, 8, 0]


def test_figures() -> None:
    timing = Timing((4.0, 1.0, 3.0, 2.0, 5.0))
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)
    assert timing.spread == pytest.approx(2 / 3)


def test_ratio_is_taken_round_by_round() -> None:
    # The machine slows down, and something delays the other's last turn: the quotient of the medians is 3.
    assert Timing((2.0, 6.0, 40.0)).ratio(Timing((1.0, 3.0, 2.0))) == 2.0


def test_pauses_follow_the_functions_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("lucid.benchmark.timing.time.sleep", slept.append)
    clock = FakeClock()
    calls = {"spins long": clock.function("spins long", 1.0), "short": clock.function("short", 1.0)}
    alternate(calls, 2, 0.0, clock=clock, pauses={"short": 0.5})
    assert slept == [timing._PAUSE, timing._PAUSE, 0.5, timing._PAUSE]
