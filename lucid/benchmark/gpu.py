"""The GPU that was measured, its roofs, and how what it computes is checked and timed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lucid import _core, cuda, runtime
from lucid.benchmark.cases import Case
from lucid.benchmark.machine import now, version_of

__all__ = ["Gpu", "driver"]

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
class Gpu:
    """Where, in which dtype and when a benchmark ran, and the roofs over it.

    Attributes:
        gpu: Its name, as its maker calls it.
        device: Its name in lucid, such as "cuda:0".
        dtype: That of activations and weights.
        capability: The compute capability, such as (9, 0).
        driver: The kernel module's version, as Linux shows it.
        plugin: The version of lucid's kernels, and the CUDA that they were built with.
        simulation: Whether the kernels run on a CPU; times say nothing then.
        peak_gflops: By its clock, for the dtype; None for an architecture that is not known here.
        bandwidth: By its memory's clock, in GB/s; None where the driver does not tell.
        versions: Versions of lucid and of the engines that are installed.
        date: In UTC, to the minute.
    """

    gpu: str
    device: str
    dtype: str
    capability: tuple[int, int]
    driver: str
    plugin: str
    simulation: bool
    peak_gflops: float | None
    bandwidth: float | None
    versions: dict[str, str]
    date: str

    @classmethod
    def found(cls, device: str, dtype: str, engines: tuple[str, ...] = ()) -> Gpu:
        """The GPU of a name, now."""
        facts, plugin = cuda.get_device_properties(device), _core.cuda_backend()
        units = _MACS_A_CYCLE.get((facts.major, facts.minor))
        cycles = facts.multi_processor_count * facts.clock_rate * 1e-6
        # Two transfers a cycle.
        bandwidth = 2e-6 * facts.memory_clock_rate * facts.memory_bus_width / 8
        return cls(
            gpu=facts.name,
            device=device,
            dtype=dtype,
            capability=(facts.major, facts.minor),
            driver=driver(),
            plugin=plugin["cuda"],
            simulation=plugin["simulation"],
            peak_gflops=2 * units[dtype != "float32"] * cycles if units and cycles else None,
            bandwidth=bandwidth or None,
            versions={
                "lucid": runtime.config()["version"],
                **{name: number for name in engines if (number := version_of(name))},
            },
            date=now(),
        )

    def remeasured(self) -> Gpu:
        """The same: its roofs were not measured."""
        return self

    @property
    def name(self) -> str:
        """The GPU, which of several, and the dtype."""
        return f"{self.gpu}, {self.device}, {self.dtype}"

    @property
    def itemsize(self) -> int:
        """Bytes of a value in its dtype."""
        return 4 if self.dtype == "float32" else 2

    def synchronize(self) -> None:
        """Waits until all is done that anybody in this process gave to it."""
        cuda.synchronize(self.device)

    def roofline(self, case: Case) -> float | None:
        """The greater of the milliseconds for arithmetic and for memory at the peaks; None without those."""
        if self.peak_gflops is None or self.bandwidth is None:
            return None
        return 1e-6 * max(2 * case.macs / self.peak_gflops, case.bytes / self.bandwidth)

    def __str__(self) -> str:
        names = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        peak, bandwidth = (
            "not known" if roof is None else f"{roof:.1f} {unit}"
            for roof, unit in ((self.peak_gflops, "GFLOP/s"), (self.bandwidth, "GB/s"))
        )
        return (
            f"{self.name}, {self.date} UTC; {names}\n"
            f"plugin {self.plugin}, driver {self.driver}; peak {peak}, memory {bandwidth}, by its clocks"
        )


def driver() -> str:
    """The kernel module's version, as Linux shows it."""
    path = Path("/proc/driver/nvidia/version")
    return path.read_text().splitlines()[0] if path.is_file() else "none found"
