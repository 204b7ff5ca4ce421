"""The machine that was measured; without it a figure means nothing."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

from lucid import runtime

__all__ = ["Machine", "now", "version_of"]

# Of the parts of two float32 numbers: high, mid and low of each, without the three smallest products.
_BFLOAT16_PRODUCTS = 6


@dataclass(frozen=True)
class Machine:
    """Where and when a benchmark ran, and the roofs over it.

    Attributes:
        cpu: Its model, as the system calls it.
        isa: The instruction set that lucid used.
        threads: That every engine was given.
        peak_gflops: ``lucid.runtime.fma_peak()``.
        bandwidth: ``lucid.runtime.memory_bandwidth()``, in GB/s.
        compiler: That lucid's kernels were built with.
        versions: Versions of lucid, of Python and NumPy, and of the engines that are installed.
        date: In UTC, to the minute.
        matrix_gflops: The float32 peak of the matrix unit: a sixth of ``lucid.runtime.matrix_peak()``, since
            a product takes six of bfloat16. 0 without such a unit.
    """

    cpu: str
    isa: str
    threads: int
    peak_gflops: float
    bandwidth: float
    compiler: str
    versions: dict[str, str]
    date: str
    matrix_gflops: float = 0.0

    @classmethod
    def measured(cls, engines: tuple[str, ...]) -> Machine:
        """This machine, now, with the instruction set and the threads that are set. Takes half a second."""
        facts = runtime.config()
        return cls(
            cpu=_cpu(),
            isa=runtime.isa(),
            threads=runtime.get_num_threads(),
            peak_gflops=runtime.fma_peak(),
            bandwidth=runtime.memory_bandwidth(),
            compiler=facts["build compiler"],
            versions={
                "lucid": facts["version"],
                "python": platform.python_version(),
                **{name: number for name in ("numpy", *engines) if (number := version_of(name))},
            },
            date=now(),
            matrix_gflops=_matrix_gflops(),
        )

    def remeasured(self) -> Machine:
        """The same with the higher of the roofs then and now: another process may have been in the way."""
        return replace(
            self,
            peak_gflops=max(self.peak_gflops, runtime.fma_peak()),
            bandwidth=max(self.bandwidth, runtime.memory_bandwidth()),
            matrix_gflops=max(self.matrix_gflops, _matrix_gflops()),
        )

    @property
    def name(self) -> str:
        """Processor, instruction set and threads."""
        return f"{self.cpu}, {self.isa}, {self.threads} thread{'s'[: self.threads != 1]}"

    def __str__(self) -> str:
        names = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        peak = f"peak {self.peak_gflops:.1f} GFLOP/s"
        if self.matrix_gflops:
            peak += f", matrix unit {self.matrix_gflops:.1f} GFLOP/s"
        return (
            f"{self.name}, {self.date} UTC; {names}\n"
            f"{peak}, memory {self.bandwidth:.1f} GB/s, measured in this run"
        )


def _matrix_gflops() -> float:
    return runtime.matrix_peak() / _BFLOAT16_PRODUCTS


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # another system, or a processor without a name
        return platform.machine()


def now() -> str:
    """The time in UTC, to the minute."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")


def version_of(distribution: str) -> str | None:
    """The version of what is installed under a name; None if nothing is."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
