"""The machinery underneath: the instruction set, the number of threads, and how the library was built.

The environment variable ``LUCID_ISA`` pins the instruction set when lucid is imported. A name that this build
or this machine cannot run is an error, never a silent fallback: whoever pins one wants to measure or test
exactly that.
"""

from __future__ import annotations

import os
from typing import SupportsIndex

from lucid import _core, arguments

_MOST_THREADS = 2**31 - 1  # the C interface counts in 32 bits


def isa() -> str:
    """The instruction set whose kernels run now."""
    return _core.isa()


def isas() -> list[str]:
    """The instruction sets of this build that this machine can run, best first."""
    return _core.isas()


def set_isa(name: str) -> None:
    """Switches all kernels to the instruction set ``name``; ValueError if it is not one of ``isas()``.

    For the whole process. Not meant to be called while another thread computes.
    """
    if not isinstance(name, str):
        raise TypeError(f"set_isa: name must be a str, got {name!r}")
    usable = isas()
    if name not in usable:
        raise ValueError(f"set_isa: name must be one of {', '.join(usable)} on this machine, got {name!r}")
    _core.set_isa(name)


def get_num_threads() -> int:
    """The number of threads an operator may use.

    Unless it was set, the least of: the CPUs that the calling thread may run on now, the CPU quota of the
    cgroup, ``OMP_NUM_THREADS``. Fewer where the system gave no more threads.
    """
    return _core.num_threads()


def set_num_threads(n: SupportsIndex) -> None:
    """Changes the number of threads for the whole process. Results do not depend on it, to the last bit."""
    threads = arguments.integer("set_num_threads", "n", n)
    if not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"set_num_threads: n must be from 1 to {_MOST_THREADS}, got {threads}")
    _core.set_num_threads(threads)


def release_memory() -> None:
    """Gives the memory of freed results, which is kept for the next ones, back to the operating system.

    As much is kept as was in use at once in the last 30 to 60 seconds, and 512 MiB: a step of training finds
    the memory of the one before.
    """
    _core.release_memory()


def fma_peak() -> float:
    """The most that the instruction set and the threads in use reach, in GFLOP/s.

    Two operations a fused multiply-add, which run in registers alone: the best of 20 trials, each of 1 to
    2 ms.
    """
    return _core.fma_peak()


def matrix_peak() -> float:
    """The most that the matrix unit and the threads in use reach, in GFLOP/s; 0 without such a unit.

    Two operations a multiply-add of bfloat16, six of which make one of float32. The best of 20 trials, each
    of less than a millisecond.
    """
    return _core.matrix_peak()


def memory_bandwidth() -> float:
    """The most that the threads in use read from memory, in GB/s (10**9 bytes); takes half a second.

    The best of 10 passes over 256 MiB, of which a large L3 cache may hold a part.

    Raises:
        MemoryError: There are not so many bytes.
    """
    return _core.memory_bandwidth()


def config() -> dict[str, str]:
    """The facts that ``show_config`` prints, as a dict."""
    return {
        "version": _core.version(),
        "isa": isa(),
        "usable isas": " ".join(isas()),
        "threads": str(get_num_threads()),
        **{f"build {key}": value for key, value in _core.build_info().items()},
    }


def show_config() -> None:
    """Prints version, instruction sets in use, usable and built, threads and build flags."""
    facts = config()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def _pin_isa_from_environment() -> None:
    name = os.environ.get("LUCID_ISA")
    if name and name not in isas():
        raise ValueError(f"LUCID_ISA: must be one of {', '.join(isas())} on this machine, got {name!r}")
    if name:
        _core.set_isa(name)


_pin_isa_from_environment()
