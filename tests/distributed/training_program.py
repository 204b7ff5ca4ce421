"""A small training by all processes that mpirun starts; rank 0 writes each step to a file.

training_program.py FILE RECIPE
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_trainings import RECIPE, training

from lucid.communicator import Communicator, SingleProcess
from lucid.distributed import MPICommunicator, started_processes

RECIPES = {
    "everything": RECIPE,  # mixtures, both dropouts, accumulation, an average, clipping
    # A small rate: large steps without clipping turn weights that differ by a rounding into others.
    "plain": replace(RECIPE, lr=0.005, mixup=0.0, cutmix=0.0, average=0.0, clip_norm=0.0, accumulate=1),
}


def main(path: str, recipe: str) -> None:
    communicator: Communicator = SingleProcess() if started_processes()[1] == 1 else MPICommunicator()
    run = training(RECIPES[recipe], batch_size=8, communicator=communicator)
    steps = []
    while run.epochs_done < run.epochs:
        steps += [[step.loss, step.norm, step.images] for step in run.epoch()]
    weights = {name: value.numpy().tobytes().hex() for name, value in run.model.state_dict().items()}
    assert all(other == weights for other in communicator.all_gather(weights)), "the models must stay alike"
    if communicator.rank == 0:
        found = {"steps": steps, "means": run.epoch_means(), "weights": weights}
        Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
