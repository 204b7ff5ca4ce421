"""One case on all engines: checked first, then timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from lucid.benchmark.cases import Array, Case
from lucid.benchmark.engines import OWN, Call, Engine
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.timing import Timing, alternate

__all__ = ["TOLERANCE", "Comparison", "checked", "compare", "pauses_after", "tolerance_in"]

Made = TypeVar("Made")

# Relative to the largest value. Winograd's algorithm stays below a tenth of it; bfloat16 is far above.
TOLERANCE = 1e-4
# In 16 bits the output of each layer is rounded: to 11 bits in float16, to 8 in bfloat16.
_TOLERANCES_OF_16_BITS = {"float16": 1e-2, "bfloat16": 3e-2}

# Seconds after a turn in which the threads of most engines stop to spin: OpenMP's do within 15 ms.
_SHORT_PAUSE = 0.02


@dataclass(frozen=True)
class Comparison:
    """The result of one case: timings, or why an engine was not timed.

    Attributes:
        timings: By engine.
        refused: Reasons, by the engine that was not timed.
        on_gpu: Whether they computed on a GPU.
        settings: By an engine that was timed in several settings, the timings of all of them by their names.
    """

    case: Case
    timings: dict[str, Timing]
    refused: dict[str, str]
    on_gpu: bool = False
    settings: Mapping[str, Mapping[str, Timing]] = field(default_factory=dict)

    def setting(self, engine: str) -> str | None:
        """The setting that the engine's timing is of: the fastest; None for an engine without settings."""
        ways = self.settings.get(engine, {})
        return min(ways, key=lambda way: ways[way].median, default=None)

    def gflops(self, engine: str) -> float | None:
        """The rate that the engine attained at its median time: 1e9 operations a second, two a MAC.

        None for a case without MACs: only what multiplies matrices has its operations counted.
        """
        return 2e-6 * self.case.macs / self.timings[engine].median if self.case.macs else None

    def bandwidth(self, engine: str) -> float:
        """GB/s, if each step read and wrote memory no more than it must."""
        return 1e-6 * self.case.bytes / self.timings[engine].median

    @property
    def fastest(self) -> str | None:
        """The fastest of lucid's ways; None where none was timed."""
        own = [engine for engine in OWN if engine in self.timings]
        return min(own, key=lambda engine: self.timings[engine].median, default=None)

    def ratio(self, engine: str) -> float | None:
        """How many times as long as lucid the engine took; None where either was not timed.

        Like is compared with like. With a single convolution, the best of an engine's settings is compared
        with the faster of lucid's two ways, and eager PyTorch without settings with eager lucid; other
        engines have a plan, and convert the image into a layout of their own and back, as lucid's plan does,
        but for XNNPACK, whose image is in channels_last at both ends: the faster way counts for it, too.
        Other operators alone need no layout of their own, so the faster of lucid's two ways counts. A whole
        model is compared with lucid's plan, and so is PyTorch on a GPU, where it is captured as a graph.
        """
        own, other = self.timings.get(self._beside(engine) or "plan"), self.timings.get(engine)
        return other.ratio(own) if own is not None and other is not None else None

    def _beside(self, engine: str) -> str | None:
        """The way of lucid's that an engine is compared with."""
        kinds = [node.kind for node in self.case.graph.nodes]
        if self.on_gpu or len(kinds) > 1 or engine in ("plan", "eager"):
            return "plan"
        if kinds != ["conv2d"] or engine in self.settings or engine == "ai-edge-litert":
            return self.fastest
        return "eager" if engine == "torch" else "plan"


def compare(
    case: Case,
    engines: Mapping[str, Engine],
    threads: int,
    rounds: int = 7,
    seconds: float = 0.05,
    gpu: Gpu | None = None,
    limit: float = math.inf,
    dtype: str = "float32",
) -> Comparison:
    """Times a case on every engine that computes it right.

    Args:
        threads: For the engines that are not lucid, which has ``lucid.set_num_threads``.
        rounds: In each, every engine has its turn.
        seconds: The least time of a turn.
        gpu: Where the engines compute, if that is not the CPU. What is right is computed by the CPU.
        limit: Seconds in which the rounds should be over; the first one is not left out. If there is one, the
            pauses are shorter, too.
        dtype: That they compute in, on the CPU.
    """
    inputs = case.inputs()
    tolerance = tolerance_in(dtype if gpu is None else gpu.dtype)
    makers = {name: partial(engine, case, inputs, threads) for name, engine in engines.items()}
    calls, refused = checked(makers, _single_result, case.expected(*inputs), tolerance)
    synchronize = None if gpu is None else gpu.synchronize
    pauses = pauses_after(calls, limit)
    timings = alternate(calls, rounds, seconds, synchronize, limit=limit, pauses=pauses)
    return Comparison(case, timings, refused, gpu is not None)


def _single_result(call: Call) -> list[object]:
    return [call()]


def tolerance_in(dtype: str) -> float:
    """The error that an engine may have, relative to the largest value, if it computes in a dtype."""
    return _TOLERANCES_OF_16_BITS.get(dtype, TOLERANCE)


def pauses_after(engines: Iterable[str], limit: float) -> dict[str, float]:
    """Seconds after a turn of each engine, where there is a limit; none are given where there is not."""
    return dict.fromkeys(set(engines) - {"onnxruntime"}, _SHORT_PAUSE) if math.isfinite(limit) else {}


def checked(
    makers: Mapping[str, Callable[[], Made]],
    results: Callable[[Made], Iterable[Any]],
    expected: Array,
    tolerance: float,
) -> tuple[dict[str, Made], dict[str, str]]:
    """Those of some engines that compute what is expected, and why the others do not.

    Args:
        makers: Make what is to be timed.
        results: What it gives, all of which is checked.
        tolerance: The error that is allowed, relative to the largest value.
    """
    right: dict[str, Made] = {}
    refused: dict[str, str] = {}
    for name, make in makers.items():
        try:
            made = make()
            problems = (_problem(_on_host(result), expected, tolerance) for result in results(made))
            problem = next(filter(None, problems), None)
        except ImportError as error:
            problem = f"{error.name or error} is not installed"
        except Exception as error:  # an engine of others may fail in any way, and the others still count
            problem = " ".join(f"{type(error).__name__}: {error}".split())
        if problem is None:
            right[name] = made
        else:
            refused[name] = problem
    return right, refused


def _on_host(y: Any) -> Array:
    """An engine's result as an array; those of PyTorch and of lucid on a GPU are brought by their methods."""
    return np.asarray(y.float().cpu() if getattr(y, "is_cuda", False) else y)


def _problem(got: Array, expected: Array, tolerance: float) -> str | None:
    """Why a result is not right."""
    if got.shape != expected.shape:
        return f"wrong: shape {got.shape}, expected {expected.shape}"
    error = float(np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max())
    # A NaN compares false.
    return (
        None
        if error <= tolerance
        else f"wrong: error {error:.1e} of the largest value, allowed {tolerance:g}"
    )
