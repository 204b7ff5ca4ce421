"""The communicator of processes that mpirun, mpiexec or srun has started, by mpi4py."""

from __future__ import annotations

import os
import time
from typing import Any

from numpy.typing import NDArray

from lucid.communicator import Request

__all__ = ["MPICommunicator", "started_processes"]

# Numbers of processes and of this one, by who starts them: Open MPI; MPICH and Intel MPI; MVAPICH; Slurm.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
_POLLING_SECONDS = 0.01


def started_processes() -> tuple[int, int]:
    """The rank of this process and the number of those that were started with it; 0 and 1 for one on its own.

    It reads the environment alone, and needs no mpi4py.
    """
    for size, rank in _LAUNCHERS:
        if os.environ.get(size, "").isdecimal() and os.environ.get(rank, "").isdecimal():
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


class MPICommunicator:
    """All processes of a job, or those of a communicator of mpi4py's.

    Sums in the background have a communicator of their own, so that others may come in between. With the
    same processes a sum has the same bits wherever the MPI library adds in a fixed order, as Open MPI and
    MPICH do unless a network card adds.

    Args:
        comm: A communicator of mpi4py's; all processes of the job for None.

    Raises:
        ImportError: There is no mpi4py, or it finds no MPI library.
        ValueError: mpi4py belongs to another MPI than the one that started the processes.
    """

    def __init__(self, comm: Any = None) -> None:
        _, size = started_processes()
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ImportError(
                f"MPICommunicator: {size} processes that train together need mpi4py: "
                f"pip install 'lucid-kernels[mpi]' ({error})"
            ) from None
        if comm is None and 1 != size != MPI.COMM_WORLD.size:
            raise ValueError(
                f"MPICommunicator: mpi4py must be built for the MPI that started {size} processes, got one "
                f"that sees {MPI.COMM_WORLD.size}: {MPI.Get_library_version().splitlines()[0]}"
            )
        comm = comm or MPI.COMM_WORLD
        self._in_place = MPI.IN_PLACE
        self._comm, self._background, self._failures = comm.Dup(), comm.Dup(), comm.Dup()
        self.rank, self.size = int(comm.rank), int(comm.size)

    def all_reduce(self, array: NDArray[Any]) -> None:
        self._comm.Allreduce(self._in_place, array)

    def start_all_reduce(self, array: NDArray[Any]) -> Request:
        request: Request = self._background.Iallreduce(self._in_place, array)
        return request

    def all_gather(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def broadcast(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def all_failed(self, seconds: float) -> bool:
        """Whether all processes call this within that time: then they have one mistake in common."""
        request, end = self._failures.Ibarrier(), time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > end:
                return False
            time.sleep(_POLLING_SECONDS)
        return True

    def abort(self, code: int) -> None:
        """Ends all processes at once, also those that wait for this one."""
        self._comm.Abort(code)
