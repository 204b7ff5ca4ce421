"""Times of convolutions and networks on a device, beside its roofline and beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lucid import cuda
from lucid.benchmark.cases import Case, conv2d_cases, model_case
from lucid.creation import tensor
from lucid.inference import InferencePlan

NETWORKS = ("resnext50_32x4d", "resnest50")
BATCH = 32
_TRIALS = 5
_MILLISECONDS = 40.0  # of a trial, which is as many runs as fit in

# Multiply-adds that one multiprocessor does in a cycle, by compute capability, from NVIDIA's descriptions of
# the architectures: of float32, and of 16 bits with sums in float32 by the matrix units.
_MACS_A_CYCLE = {
    (7, 5): (64, 256),
    (8, 0): (64, 1024),
    (8, 6): (128, 256),
    (8, 9): (128, 256),
    (9, 0): (128, 2048),
    (10, 0): (128, 4096),
    (12, 0): (128, 256),
}


@dataclass(frozen=True)
class Time:
    """A computation, timed.

    Attributes:
        name: The convolution or network. dtype: In which it is computed. milliseconds: Of a run on the
        device: the median of the trials. roofline: The least milliseconds that arithmetic and memory need at
        the device's peaks; None if those of
            its architecture are not known here.
        torch: PyTorch's milliseconds for the same graph, in channels_last; None without PyTorch for CUDA.
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
    plan = InferencePlan(case.graph, device=device, internal_dtype=dtype)
    x = tensor(case.input(), device=device)
    own = milliseconds(lambda: plan(x), device)
    return Time(case.name, dtype, own, roofline(case, dtype, device), _torch(case, dtype, device))


def milliseconds(call: Callable[[], object], device: str) -> float:
    """The median of the trials, each of which is timed by events around as many calls as fill its time."""

    def trial(calls: int) -> float:
        begin, end = cuda.Event(device), cuda.Event(device)
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        return begin.elapsed_time(end) / calls

    trial(3)  # allocates, captures a graph, raises the clock
    calls = max(1, int(_MILLISECONDS / max(trial(3), 1e-3)))
    return float(np.median([trial(calls) for _ in range(_TRIALS)]))


def roofline(case: Case, dtype: str, device: str) -> float | None:
    """The greater of the times for arithmetic and for memory, where every value has the dtype."""
    facts = cuda.get_device_properties(device)
    units = _MACS_A_CYCLE.get((facts.major, facts.minor))
    # Two transfers a cycle.
    bandwidth = 2e3 * facts.memory_clock_rate * facts.memory_bus_width / 8
    if units is None or bandwidth == 0 or facts.clock_rate == 0:
        return None
    macs = units[dtype != "float32"] * facts.multi_processor_count * facts.clock_rate * 1e3
    size = case.bytes if dtype == "float32" else case.bytes / 2
    return 1e3 * max(case.macs / macs, size / bandwidth)


def _torch(case: Case, dtype: str, device: str) -> float | None:
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    from lucid.benchmark.torch_graph import TorchGraph

    kind = getattr(torch, dtype)
    graph = TorchGraph(case.graph, device=device, dtype=kind)
    x = torch.from_numpy(case.input()).to(device, kind).contiguous(memory_format=torch.channels_last)

    def trial(calls: int) -> Any:
        event: Any = torch.cuda.Event
        begin, end = event(enable_timing=True), event(enable_timing=True)
        begin.record()
        for _ in range(calls):
            graph(x)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / calls

    # Its sums of float32 are FMAs as well, and its algorithms the best of those that it tries.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        trial(3)
        calls = max(1, int(_MILLISECONDS / max(trial(3), 1e-3)))
        return float(np.median([trial(calls) for _ in range(_TRIALS)]))
