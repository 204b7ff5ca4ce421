"""Streams of calls: how a burst is timed, who has how many calls at once, and that nothing wrong is timed."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from some_machine import MACHINE

from lucid import runtime
from lucid.benchmark import (
    STREAM_PEERS,
    Case,
    Throughput,
    Timing,
    as_json,
    compare_throughput,
    engines,
    model_case,
    stream_engines,
    streams,
    throughput_table,
)
from lucid.benchmark.streams import Stream
from lucid.benchmark.throughput import turn

NEEDS = {"plan": [], "openvino": ["openvino", "onnx"], "onnxruntime": ["onnxruntime", "onnx"]}


@pytest.fixture(scope="module")
def case() -> Case:
    return model_case("resnest_digits", batch=3, size=(32, 32))


def needs(name: str) -> None:
    for package in NEEDS[name.removesuffix("_streams")]:
        pytest.importorskip(package, reason=f"{package} is not installed")


class FakeStream:
    """Bursts that take a second for each call of those at once, on a clock of their own."""

    def __init__(self, at_once: int) -> None:
        self.now, self.bursts = 0.0, list[int]()
        self.stream = Stream(at_once, self.run)

    def run(self, calls: int) -> list[object]:
        self.bursts.append(calls)
        self.now += calls / self.stream.at_once
        return [None] * calls

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "bursts"),
    [(0.0, [3]), (1.0, [3]), (1.5, [3, 6]), (5.0, [3, 15])],
)
def test_a_burst_lasts_as_long_as_asked_for(seconds: float, bursts: list[int]) -> None:
    """And has as many calls for each of those at once; a first one that lasts long enough is all there is."""
    fake = FakeStream(3)
    assert turn(fake.stream, seconds, fake.clock) == pytest.approx(1 / 3)
    assert fake.bursts == bursts


def test_the_first_burst_is_not_counted() -> None:
    now, durations = [0.0], iter([4.0, 1.0])

    def run(calls: int) -> list[object]:
        now[0] += next(durations)
        return []

    assert turn(Stream(2, run), 8.0, lambda: now[0]) == 1 / 4


TIMINGS = {
    "plan": Timing((40.0, 20.0, 30.0)),
    "plan_streams": Timing((20.0, 10.0, 15.0)),
    "openvino": Timing((50.0, 20.0, 45.0)),
    "openvino_streams": Timing((30.0, 25.0, 90.0)),
}
AT_ONCE = {"plan": 1, "plan_streams": 2, "openvino": 1, "openvino_streams": 4}


def test_rates_and_ratios_by_hand(case: Case) -> None:
    result = Throughput(case, TIMINGS, {}, at_once=AT_ONCE)
    assert result.fastest == "plan_streams"
    assert result.images_per_second("plan") == pytest.approx(3 / 0.030)
    # The fastest peer took 30, 20 and 45 ms.
    assert result.to_best_peer("plan_streams") == pytest.approx(2.0)  # of 1.5, 2 and 3
    assert result.to_best_peer("openvino") == pytest.approx(1.0)
    own = {name: timing for name, timing in TIMINGS.items() if name.startswith("plan")}
    assert Throughput(case, own, {}, at_once=AT_ONCE).to_best_peer("plan") is None


def test_the_table_has_a_line_for_each_way(case: Case) -> None:
    result = Throughput(case, TIMINGS, {"onnxruntime": "no memory"}, at_once=AT_ONCE)
    title, head, *lines = throughput_table(MACHINE, result).splitlines()
    assert title == f"resnest_digits: {case.macs / 3e9:.3f} GMACs an image, batch 3"
    assert " ".join(head.split()) == "engine calls at once images/s spread GFLOP/s of peak to best peer"
    rows = [line.split() for line in lines[:4]]
    assert [row[:3] for row in rows] == [
        ["plan", "1", "100.0"],
        ["plan_streams", "2", "200.0"],
        ["openvino", "1", "66.7"],
        ["openvino_streams", "4", "100.0"],
    ]
    gflops = 2e-6 * case.macs / 15
    assert rows[1][3:] == ["33", "%", f"{gflops:.1f}", f"{gflops:.0f}", "%", "2.00x"]
    assert lines[4].startswith("Some Processor, avx2, 2 threads")
    assert lines[6].startswith("above 1.00x an engine gives more images a second")
    assert lines[-1] == "onnxruntime: no memory (resnest_digits)"
    alone = Throughput(case, {"plan": TIMINGS["plan"]}, {}, at_once=AT_ONCE)
    assert "above 1.00x" not in throughput_table(MACHINE, alone)


def test_json_holds_rates_and_calls_at_once(case: Case) -> None:
    result = Throughput(case, TIMINGS, {}, at_once=AT_ONCE)
    report = json.loads(json.dumps(as_json(MACHINE, [result], {"batch": 3}), allow_nan=False))
    measured = report["cases"][0]["engines"]["plan_streams"]
    assert measured["images_per_second"] == pytest.approx(200)
    assert (measured["calls_at_once"], measured["to_best_peer"]) == (2, pytest.approx(2.0))
    assert measured["rounds"] == [20.0, 10.0, 15.0]


def test_as_many_calls_at_once_as_threads() -> None:
    """Each waits for two others; then there is a fourth at no time."""
    together, lock, now, most = threading.Barrier(3, timeout=30), threading.Lock(), [0], [0]

    def call() -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait()
        with lock:
            now[0] -= 1
        return 7

    stream = streams._from_threads(call, 3)
    assert stream.at_once == 3
    assert stream.run(12) == [7] * 12
    assert most == [3]


def test_a_stream_of_lucid_is_calls_of_one_thread(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def plan(graph: object, **options: Any) -> Any:
        made.append(options)
        return lambda x: x

    monkeypatch.setattr(streams, "InferencePlan", plan)
    stream = stream_engines("bfloat16", [])["plan_streams"](case, case.inputs(), 2)
    assert made == [{"internal_dtype": "bfloat16", "threads_per_call": 1}]
    assert stream.at_once == 2


@pytest.mark.parametrize("hint", ["LATENCY", "THROUGHPUT"])
def test_openvino_is_given_the_hint_and_the_threads(case: Case, hint: str) -> None:
    needs("openvino")
    compiled = engines.openvino_model(case, 2, "f32", hint)
    assert str(compiled.get_property("PERFORMANCE_HINT")).endswith(hint)
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    queue = engines.openvino_queue(compiled)
    assert len(queue) == compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")


@pytest.mark.parametrize("name", stream_engines("float32", STREAM_PEERS))
def test_every_call_of_a_stream_is_right(case: Case, name: str) -> None:
    needs(name)
    inputs = case.inputs()
    stream = stream_engines("float32", STREAM_PEERS)[name](case, inputs, 2)
    want = case.expected(*inputs)
    assert stream.at_once == 1 or name.endswith("_streams")
    results = stream.run(2 * stream.at_once)
    assert len(results) >= stream.at_once
    for result in results:
        assert np.abs(np.asarray(result) - want).max() <= 1e-4 * np.abs(want).max()


def test_lucid_is_right_on_every_instruction_set(case: Case, isa: str) -> None:
    before = runtime.get_num_threads()
    runtime.set_num_threads(2)
    try:
        result = compare_throughput(case, stream_engines("float32", []), 2, rounds=2, seconds=0.0)
    finally:
        runtime.set_num_threads(before)
    assert result.refused == {}
    assert result.at_once == {"plan": 1, "plan_streams": 2}
    assert [len(timing.rounds) for timing in result.timings.values()] == [2, 2]


def test_one_wrong_call_of_those_at_once_is_enough(case: Case) -> None:
    """The stream is refused, and an absent package named; neither is run again."""
    runs: dict[str, list[int]] = {"right": [], "wrong": []}

    def engine(name: str, case: Case, inputs: Sequence[np.ndarray], threads: int) -> Stream:
        want = case.expected(*inputs)

        def run(calls: int) -> list[object]:
            runs[name].append(calls)
            return [want] * (calls - 1) + [want if name == "right" else 1.1 * want]

        return Stream(threads, run)

    def absent(case: Case, inputs: Sequence[np.ndarray], threads: int) -> Stream:
        import lucid_benchmark_of_another_world  # noqa: F401

        return Stream(1, lambda calls: [])

    makers = {name: partial(engine, name) for name in runs}
    result = compare_throughput(case, {**makers, "absent": absent}, threads=2, rounds=2, seconds=0.0)
    assert list(result.timings) == ["right"]
    assert result.refused["wrong"].startswith("wrong: error 1.0e-01")
    assert result.refused["absent"] == "lucid_benchmark_of_another_world is not installed"
    assert runs == {"right": [2, 2, 2], "wrong": [2]}
