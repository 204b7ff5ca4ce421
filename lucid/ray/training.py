"""A training as the loop of each worker of Ray Train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lucid import runtime
from lucid.communicator import Communicator
from lucid.ray.cluster import assigned_cpus
from lucid.ray.communicator import RayCommunicator
from lucid.train import Training, read_checkpoint, write_checkpoint

__all__ = ["train_loop", "trainer"]

_CHECKPOINT = "checkpoint.safetensors"


def train_loop(
    training: Callable[[Mapping[str, Any], Communicator], Training],
) -> Callable[[dict[str, Any]], None]:
    """The ``train_loop_per_worker`` of a ``DataParallelTrainer``.

    It reports the numbers of each epoch, ``epoch``, ``step``, ``loss`` and ``top1``, with a checkpoint from
    which workers go on that Ray has started again, bit for bit where there are as many. Each worker computes
    with as many threads as it has CPUs.

    Args:
        training: ``training(train_loop_config, communicator)`` makes the training, in each worker.
    """

    def loop(config: dict[str, Any]) -> None:
        import ray.train

        runtime.set_num_threads(assigned_cpus() or 1)
        communicator = RayCommunicator()
        run = training(config, communicator)
        saved = ray.train.get_checkpoint()
        if saved is not None:
            with saved.as_directory() as folder:
                run.load_state_dict(read_checkpoint(Path(folder) / _CHECKPOINT))
        while run.epochs_done < run.epochs:
            for _ in run.epoch():
                pass
            numbers = {"epoch": run.epochs_done, "step": run.steps_done, **run.epoch_means()}
            with TemporaryDirectory() as folder:
                checkpoint = None
                if communicator.rank == 0:
                    write_checkpoint(Path(folder) / _CHECKPOINT, run.state_dict())
                    checkpoint = ray.train.Checkpoint.from_directory(folder)
                ray.train.report(numbers, checkpoint=checkpoint)

    return loop


def trainer(training: Callable[[Mapping[str, Any], Communicator], Training], **options: Any) -> Any:
    """Ray's ``DataParallelTrainer`` whose workers run ``train_loop(training)``; ``fit()`` starts it.

    Args:
        training: As of ``train_loop``.
        **options: The other arguments of Ray's class: ``train_loop_config``, ``scaling_config``, ...
    """
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    return DataParallelTrainer(train_loop(training), **options)
