"""GPUs by their data sheets, and how long a launch takes on one if nothing but its units bounds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cuda_work import Work


@dataclass(frozen=True)
class Gpu:
    """Peaks of a data sheet, of dense matrices.

    Attributes:
        fp32: 1e12 operations a second of the CUDA cores.
        tf32: Of the tensor cores.
        fp16: Of the tensor cores, with sums in float32; the same for bfloat16.
        bandwidth: 1e9 bytes a second.
        l2: MB.
        multiprocessors: How many; each has 4 schedulers, 64 lanes for integers and 16 for special functions.
        lanes: Of a multiprocessor, for float32.
        capability: Of CUDA, 89 for 8.9.
        wmma: The part of the tensor cores' peak that wmma, as ``mma.sync``, reaches: assumed.
        l2_bandwidth: 1e9 bytes a second: assumed, no data sheet has it.
    """

    name: str
    fp32: float
    tf32: float
    fp16: float
    bandwidth: float
    l2: float
    multiprocessors: int
    lanes: int
    capability: int
    wmma: float
    l2_bandwidth: float
    source: str

    @property
    def clock(self) -> float:
        """1e6 cycles a second, at which the peak of float32 holds."""
        return 1e6 * self.fp32 / (2 * self.multiprocessors * self.lanes)


# Data sheets print sparse rates first, twice the dense ones. GeForce cards have half the rate of tensor cores
# where sums are in float32.
GPUS = [
    Gpu(
        "H100 SXM",
        66.9,
        494.7,
        989.4,
        3350,
        50,
        132,
        128,
        90,
        0.62,
        5500,
        "NVIDIA H100 Tensor Core GPU Architecture, white paper, table 2",
    ),
    Gpu(
        "A100 SXM 80 GB",
        19.5,
        156,
        312,
        2039,
        40,
        108,
        64,
        80,
        1,
        4500,
        "NVIDIA A100 Tensor Core GPU, data sheet",
    ),
    Gpu(
        "RTX 4090",
        82.6,
        82.6,
        165.2,
        1008,
        72,
        128,
        128,
        89,
        1,
        5000,
        "NVIDIA Ada GPU Architecture, white paper, appendix A",
    ),
]


@dataclass(frozen=True)
class Counted:
    """A launch: its kernel, blocks and threads of a block, and what one block does."""

    kernel: str
    blocks: int
    threads: int
    work: Work


def cycles(gpu: Gpu, work: Work) -> dict[str, float]:
    """Cycles of each unit of a multiprocessor for a block, if it is never idle."""
    products_a_cycle = gpu.wmma * 1e6 * gpu.fp16 / (2 * gpu.multiprocessors * gpu.clock)
    return {
        "issue": work.issued / 4,
        "FMA": work.fp32 * 32 / gpu.lanes,
        "integer": work.alu * 32 / 64,
        "special": work.special * 32 / 16,
        "tensor": work.products / products_a_cycle,
        "L1, shared": work.l1,
    }


def launch_time(gpu: Gpu, launch: Counted) -> dict[str, float]:
    """Microseconds of every unit: the multiprocessor that has most blocks is the last to end."""
    most = math.ceil(launch.blocks / gpu.multiprocessors)
    found = {unit: most * count / gpu.clock for unit, count in cycles(gpu, launch.work).items()}
    found["L2"] = 1e-3 * launch.blocks * launch.work.distinct * 32 / gpu.l2_bandwidth
    return found


def predicted(gpu: Gpu, launches: Sequence[Counted], memory: float) -> tuple[float, str]:
    """Microseconds of launches after each other, and what bounds the longest of them.

    ``memory``: the microseconds that the traffic of all of them takes at least.
    """
    units = [max(launch_time(gpu, launch).items(), key=lambda unit: unit[1]) for launch in launches]
    total = sum(time for _, time in units)
    if memory >= total:
        return memory, "memory"
    return total, max(units, key=lambda unit: unit[1])[0]
