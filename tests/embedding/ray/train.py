"""A training by two workers of a local Ray cluster, one of which is killed: ``train.py FOLDER``.

FOLDER gets result.json, its checkpoint, and an empty file began-N where workers went on after step N.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train

import lucid
import lucid.ray
from lucid.communicator import Communicator

TESTS = str(Path(__file__).parents[2])


class Mortal(lucid.train.Training):
    """Rank 1 is killed in the second epoch by step 3, unless it was before."""

    folder: Path

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        (self.folder / f"began-{self.steps_done}").touch()

    def epoch(self) -> Iterator[lucid.train.Step]:
        for step in super().epoch():
            yield step
            if step.number == 3 and self.communicator.rank == 1 and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                time.sleep(10)  # Ray asks for reports now and then, and has the first one's checkpoint by now
                os.kill(os.getpid(), signal.SIGKILL)


def training(config: Mapping[str, Any], communicator: Communicator) -> lucid.train.Training:
    sys.path.insert(0, TESTS)
    from small_trainings import training

    run = training(batch_size=8, communicator=communicator)
    run.__class__ = Mortal
    run.folder = Path(config["folder"])
    return run


def main(folder: str) -> None:
    ray.init(num_cpus=3, include_dashboard=False)
    trainer = lucid.ray.trainer(
        training,
        train_loop_config={"folder": folder},
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(
            name="training",
            storage_path=folder,
            failure_config=ray.train.FailureConfig(max_failures=1),
        ),
    )
    result = trainer.fit()
    with result.checkpoint.as_directory() as kept:
        shutil.copy(Path(kept) / "checkpoint.safetensors", folder)
    (Path(folder) / "result.json").write_text(json.dumps(dict(result.metrics)))


if __name__ == "__main__":
    main(sys.argv[1])
