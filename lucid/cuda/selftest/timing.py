"""Times of convolutions and networks on a device, beside its roofline and beside PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from lucid.benchmark.cases import Case, conv2d_cases, model_case
from lucid.benchmark.cuda_engines import cuda_engines
from lucid.benchmark.gpu import Gpu
from lucid.benchmark.timing import alternate

NETWORKS = ("resnext50_32x4d", "resnest50")
BATCH = 32
_ROUNDS = 5
_SECONDS = 0.04  # of a turn, which is as many runs as fit in


@dataclass(frozen=True)
class Time:
    """A computation, timed.

    Attributes:
        name: The convolution or network.
        dtype: In which it is computed.
        milliseconds: Of a run on the device: the median of the rounds.
        roofline: The least milliseconds that arithmetic and memory need at the device's peaks; None if those
            are not known here.
        torch: PyTorch's milliseconds for the same graph, in channels_last and as a CUDA graph; None without
            PyTorch for CUDA.
    """

    name: str
    dtype: str
    milliseconds: float
    roofline: float | None
    torch: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(device: str) -> Iterator[Time]:
    """The times, one by one: the distinct convolutions of both families, then whole networks."""
    cases = [*conv2d_cases(NETWORKS, BATCH), *[model_case(name, BATCH) for name in NETWORKS]]
    for dtype in ("float32", "float16"):
        for case in cases:
            yield timed(case, dtype, device)


def timed(case: Case, dtype: str, device: str) -> Time:
    gpu = Gpu.found(device, dtype)
    case = replace(case, itemsize=gpu.itemsize)
    engines, calls = cuda_engines(device, dtype), {}
    for name in ("plan", "torch"):
        with suppress(ImportError):
            calls[name] = engines[name](case, case.inputs(), 1)
    times = {
        name: timing.median for name, timing in alternate(calls, _ROUNDS, _SECONDS, gpu.synchronize).items()
    }
    return Time(case.name, dtype, times["plan"], gpu.roofline(case), times.get("torch"))
