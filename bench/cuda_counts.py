"""The launches of a plan, which the simulator of CUDA writes, and what a block of each does in PTX."""

from __future__ import annotations

import functools
import math
import os
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.cuda_gpus import GPUS, Counted
from bench.cuda_work import Work, work_of

TESTS = Path(__file__).parent.parent / "tests"
# Where the executor of PTX is, and what it takes from the tests of kernels.
EXECUTOR = [str(TESTS / "cuda" / "ptx"), str(TESTS / "cuda")]
FOLDER = "LUCID_SIM_LAUNCHES"
MULTIPROCESSORS, CAPABILITY = "LUCID_SIM_MULTIPROCESSORS", "LUCID_SIM_CAPABILITY"

# Of each step of a plan, its launches; those that import and export come first and last.
Steps = list[list[Counted]]


def simulator() -> Path:
    """The plugin that records launches; ends the program if something is missing.

    From here on the executor of PTX can be imported.
    """
    from lucid import _core

    built = Path(_core.__file__).parent / "lib" / "liblucid_cuda_sim.so"
    found = Path(os.environ.setdefault("LUCID_CUDA_LIBRARY", str(built)))
    if not found.is_file():
        sys.exit(
            "bench: counts need the simulator: build lucid with -C cmake.define.LUCID_CUDA_SIM=ON "
            "-C install.strip=false"
        )
    sys.path += EXECUTOR
    import nvcc_build
    import ptx_records

    if missing := nvcc_build.missing_tools():
        sys.exit(f"bench: counts need {' and '.join(missing)}")

    if not ptx_records.symbols(found):
        sys.exit(f"bench: {found} has no symbols: build lucid with -C install.strip=false")
    return found


@functools.cache
def kernels() -> Mapping[str, Any]:
    """All kernels by their names; workers have them from the process that forks them."""
    import nvcc_build
    import ptx_kernels

    with tempfile.TemporaryDirectory() as folder:
        return ptx_kernels.kernels_of(nvcc_build.built(Path(folder), (ptx_kernels.ARCHITECTURE,)))


@functools.lru_cache(maxsize=1)
def memory_of(path: Path, allocations: tuple[tuple[int, int], ...]) -> Any:
    import ptx_memory
    import ptx_records

    return ptx_memory.DeviceMemory(ptx_records.contents(path, list(allocations)))


def count(launch: Any, path: Path, allocations: tuple[tuple[int, int], ...]) -> Work:
    """Work of the block in the middle of a launch, which has its whole share."""
    import ptx_records

    middle = math.prod(launch.grid) // 2
    device = memory_of(path, allocations)
    return work_of(ptx_records.run(launch, kernels()[launch.kernel], device, [middle]), 1)


@contextmanager
def workers() -> Any:
    """Processes that count; to be made before the plugin is opened, whose locks must not be forked."""
    kernels()
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:
        pool.submit(abs, 0).result()  # forks all of them
        yield pool


@dataclass
class Recorder:
    """Counts the launches of plans. ``pool``: what ``workers()`` gives; ``program``: the simulator."""

    pool: Executor
    program: Path

    def steps(self, model: str, batch: int, dtype: str) -> dict[str, Steps]:
        """The steps of a model's plan on each GPU, by the GPU's name."""
        import ptx_records

        with tempfile.TemporaryDirectory() as folder:
            described = self.record(model, batch, dtype, folder)
            launches = ptx_records.described(Path(folder) / "launches.txt", self.program)
            entries = len(described) + 2  # the first imports, the last exports
            places = [divmod(launch.event - launches[0].event, entries + 1) for launch in launches]
            sizes = [None, *((step.shape, step.macs, step.bytes) for step in described), None]
            # Steps of the same sizes do the same, if they are launched alike.
            keys = [
                (launch.kernel, launch.grid, launch.block, launch.shared, sizes[entry])
                for launch, (_, entry) in zip(launches, places, strict=True)
            ]
            distinct = dict(zip(keys, launches, strict=True))
            works = self.count(distinct, Path(folder) / "memory.bin", f"{model}, {dtype}")
        found: dict[str, Steps] = {gpu.name: [[] for _ in range(entries)] for gpu in GPUS}
        for launch, key, (gpu, entry) in zip(launches, keys, places, strict=True):
            counted = Counted(launch.kernel, math.prod(launch.grid), math.prod(launch.block), works[key])
            found[GPUS[gpu].name][entry].append(counted)
        return found

    def record(self, model: str, batch: int, dtype: str, folder: str) -> Any:
        """Lets the simulator write the launches of a profile as on every GPU; returns the plan's steps."""
        import numpy as np

        import lucid
        from lucid import models, nn

        shape = (batch, 3, 224, 224)
        with nn.init.skip_init():
            network = models.create_model(model).eval()
        plan = lucid.compile(network, shape, device="cuda", dtype=dtype)
        images = lucid.Tensor(np.zeros(shape, np.float32)).to("cuda").data
        for gpu in GPUS:
            settings = {
                FOLDER: folder,
                MULTIPROCESSORS: str(gpu.multiprocessors),
                CAPABILITY: str(gpu.capability),
            }
            os.environ |= settings
            plan._plan.profile([images])
            for name in settings:
                del os.environ[name]
        return plan.steps

    def count(self, launches: Mapping[Any, Any], memory: Path, title: str) -> dict[Any, Work]:
        """Work of a block of each launch."""
        from tqdm import tqdm

        allocations = tuple(next(iter(launches.values())).allocations)
        futures = {
            key: self.pool.submit(count, launch, memory, allocations) for key, launch in launches.items()
        }
        bar = tqdm(futures.items(), desc=title, unit="launch", mininterval=1)
        return {key: future.result() for key, future in bar}
