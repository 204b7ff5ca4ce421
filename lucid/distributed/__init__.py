"""Data-parallel training: processes that each compute a part of every batch, and step alike.

The processes hold the same model. Each loads its part of a batch (``lucid.data.Loader`` with ``num_replicas``
and ``rank``), computes the gradients of its part of the mean loss, and steps by their sum over all processes:

communicator = lucid.distributed.MPICommunicator()  # in a program that mpirun has started
gradients = lucid.distributed.GradientBuckets(model.parameters(), communicator)
...
part = lucid.distributed.BatchPart(communicator, first, len(labels), whole)
with lucid.distributed.batch_part(part), gradients.reducing():
    loss = lucid.nn.functional.cross_entropy(model(images), labels)
    (loss * (part.count / part.whole)).backward()
optimizer.step()

The command is ``mpirun -n 4 python -m mpi4py program.py``, where ``-m mpi4py`` ends all processes with the
first one that fails. ``lucid.train.Training`` works so, and ``lucid train`` under mpirun. Losses are those
of one process with the same batches, up to rounding: batch norm and dropout see the whole batch.
"""

from lucid.communicator import BatchPart, Communicator, Request, SingleProcess, batch_part, share
from lucid.distributed.gradients import GradientBuckets
from lucid.distributed.mpi import MPICommunicator, started_processes

__all__ = [
    "BatchPart",
    "Communicator",
    "GradientBuckets",
    "MPICommunicator",
    "Request",
    "SingleProcess",
    "batch_part",
    "share",
    "started_processes",
]
