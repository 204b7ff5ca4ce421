"""Engines for a stream of images: one call at a time on all threads, or several calls at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from lucid.benchmark.bfloat16_engines import BFLOAT16_ENGINES
from lucid.benchmark.cases import Array, Case
from lucid.benchmark.engines import ENGINES, Call, Engine, channels_last, openvino_model, openvino_queue
from lucid.inference import InferencePlan

__all__ = ["STREAM_PEERS", "Stream", "StreamEngine", "stream_engines"]

# Those that are not lucid. PyTorch has one number of threads for the process, and no calls of one thread.
STREAM_PEERS = ("openvino", "onnxruntime")


@dataclass(frozen=True)
class Stream:
    """An engine with the input of all its calls.

    Attributes:
        at_once: The most calls in progress at a time.
        run: Makes so many calls, and returns when all are done. Gives their results, or those of the last
            ``at_once`` of them, where an engine keeps no more.
    """

    at_once: int
    run: Callable[[int], Sequence[object]]


StreamEngine: TypeAlias = Callable[[Case, Sequence[Array], int], Stream]


def stream_engines(dtype: str, peers: Sequence[str]) -> dict[str, StreamEngine]:
    """Lucid's plan and some peers in both ways: under its name with one call at a time, and as NAME_streams.

    Args:
        dtype: That they compute in: "float32" or "bfloat16".
        peers: Of ``STREAM_PEERS``; in bfloat16 only "openvino".
    """
    known = BFLOAT16_ENGINES if dtype == "bfloat16" else ENGINES
    found: dict[str, StreamEngine] = {}
    for name in ("plan", *peers):
        found[name] = partial(_one_at_a_time, known[name])
        found[f"{name}_streams"] = partial(_SEVERAL_AT_ONCE[name], dtype)
    return found


def _one_at_a_time(engine: Engine, case: Case, inputs: Sequence[Array], threads: int) -> Stream:
    call = engine(case, inputs, threads)
    return Stream(1, lambda calls: [call() for _ in range(calls)])


def _from_threads(call: Call, threads: int) -> Stream:
    """A function that releases the interpreter's lock, called from as many threads.

    A thread takes the next call when it is done with one. A future for each call would cost 10 to 16 us,
    where one of the networks for digits takes 170.
    """
    pool = ThreadPoolExecutor(threads)

    def run(calls: int) -> list[object]:
        left = iter(range(calls))
        parts = pool.map(lambda _: [call() for _ in left], range(threads))
        return [result for part in parts for result in part]

    return Stream(threads, run)


def _plan(dtype: str, case: Case, inputs: Sequence[Array], threads: int) -> Stream:
    plan = InferencePlan(case.graph, internal_dtype=dtype, threads_per_call=1)
    prepared = [channels_last(x) for x in inputs]
    return _from_threads(lambda: plan(*prepared), threads)


def _openvino(dtype: str, case: Case, inputs: Sequence[Array], threads: int) -> Stream:
    precision = "bf16" if dtype == "bfloat16" else "f32"
    queue = openvino_queue(openvino_model(case, threads, precision, "THROUGHPUT"))
    given = dict(enumerate(inputs))

    def run(calls: int) -> list[object]:
        for _ in range(calls):
            queue.start_async(given, share_inputs=True)
        queue.wait_all()
        return [request.get_output_tensor(0).data for request in queue]

    return Stream(len(queue), run)


def _onnxruntime(dtype: str, case: Case, inputs: Sequence[Array], threads: int) -> Stream:
    """One session that computes each call in the thread that calls."""
    return _from_threads(ENGINES["onnxruntime"](case, inputs, 1), threads)


_SEVERAL_AT_ONCE: Mapping[str, Callable[[str, Case, Sequence[Array], int], Stream]] = {
    "plan": _plan,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
