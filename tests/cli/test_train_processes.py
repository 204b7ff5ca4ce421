"""``lucid train`` under mpirun: what one process writes, stopping, dying, and one sentence for a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mpi_jobs
import numpy as np
import pytest
from PIL import Image

from lucid.cli.main import main
from lucid.tensor_file import TensorFile
from lucid.train import read_checkpoint

pytestmark = mpi_jobs.needs_mpi

# The last batch of evaluation is smaller than the number of processes; 18 images to train on, 5 held out.
SHORT = (
    "--model",
    "resnext_digits",
    "--recipe",
    "resnext",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--workers",
    "0",
)
LONG = (*SHORT[:5], "200", *SHORT[6:])
# Something that goes wrong in a process, or that it tells the test.
PROGRAM = """
import os, signal, sys, time
from lucid.cli.main import main
from lucid.distributed import started_processes
from lucid.train.loop import Training
rank, what, arguments = started_processes()[0], sys.argv[1], sys.argv[2:]
step = Training._step
def changed(training, group):
    if training.steps_done == 3 and rank == 1:
        if what == "raise":
            raise OSError("the disk is gone")
        if what == "die":
            time.sleep(2)  # rank 0 saves meanwhile, after step 3
            os.kill(os.getpid(), signal.SIGKILL)
    if what == "slow":
        time.sleep(1)
    return step(training, group)
Training._step = changed
sys.exit(main(arguments))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, name in enumerate(("dark", "grey", "light")):
        (root / name).mkdir()
        for number in range(8):
            image = rng.integers(60 * label, 60 * label + 90, (12, 12)).astype(np.uint8)
            Image.fromarray(image).save(root / name / f"{number}.png")
    (root / "grey" / "3.png").write_text("no image")
    return root


def job(processes: int, what: str, *arguments: object) -> subprocess.Popen[str]:
    return mpi_jobs.start(processes, "-c", PROGRAM, what, "train", *arguments)


def finished(processes: int, *arguments: object, what: str = "nothing") -> subprocess.CompletedProcess[Any]:
    with job(processes, what, *arguments) as started:
        return mpi_jobs.ended(started)


def told(done: subprocess.CompletedProcess[Any]) -> list[str]:
    """The lines that are lucid's; others are mpirun's."""
    given = [line.lstrip("\0") for line in done.stderr.splitlines()]  # which Open MPI ends its own texts with
    return [line for line in given if line.startswith("lucid train: ")]


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def tensors(out: Path, name: str = "last.safetensors") -> dict[str, bytes]:
    with TensorFile("tensors", out / name) as file:
        return {name: file.read(name).tobytes() for name in file.tensors}


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    assert main(["train", str(folder), *SHORT, "--val", "0.2", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def by_four(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("four")
    done = finished(4, folder, *SHORT, "--val", "0.2", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_numbers_are_those_of_one_process(alone: Path, by_four: tuple[Path, Any]) -> None:
    out, done = by_four
    for mine, want in zip(lines(out), lines(alone), strict=True):
        assert mine == pytest.approx(want, rel=1e-4)
    assert {path.name for path in out.iterdir()} >= {
        path.name for path in alone.iterdir() if "event" not in path.name
    }
    assert len(list(out.glob("events.*"))) == len(list(alone.glob("events.*")))  # those of rank 0
    assert [line.split("/")[0] for line in done.stdout.splitlines()] == ["epoch 1", "epoch 2"]
    assert len([line for line in told(done) if "left out: " in line]) == 1
    assert told(done)[-1].endswith("18 images of 3 classes, evaluated on 5, by 4 processes of 1 threads")


def test_a_training_goes_on_with_another_number_of_processes(
    folder: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with job(2, "slow", folder, *SHORT, "--val", "0.2", "--save-minutes", "0", "--out", out) as started:
        wait_for(started, lambda: (out / "checkpoint.safetensors").exists())
        started.send_signal(signal.SIGUSR1)
        done = mpi_jobs.ended(started)
    assert done.returncode == 130, done.stderr
    (said,) = [line for line in told(done) if "stopped" in line]
    assert said.endswith(f"to go on: mpirun -n 2 lucid train --resume --out {out}")
    step = read_checkpoint(out / "checkpoint.safetensors")["training"]["schedule"]["last_epoch"]
    assert f"stopped and saved after step {step};" in said
    assert 1 <= step < 4
    assert main(["train", "--resume", "--out", str(out)]) == 0
    for mine, want in zip(lines(out), lines(alone), strict=True):
        assert mine == pytest.approx(want, rel=1e-4)


def wait_for(started: subprocess.Popen[str], condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_process_ends_the_others_and_the_checkpoint_goes_on(
    folder: Path, by_four: tuple[Path, Any], tmp_path: Path
) -> None:
    """To the same bits that four processes reach which nobody kills."""
    out = tmp_path / "out"
    given = (folder, *SHORT, "--val", "0.2", "--save-minutes", "0", "--out", out)
    done = finished(4, *given, what="die")
    assert done.returncode != 0
    if mpi_jobs.is_open_mpi():  # MPICH ends the others without a signal that they could see
        (said,) = [line for line in told(done) if "images" not in line and "left out" not in line]
        assert said.startswith("lucid train: a process has died, or the job is to end; what was saved last")
        assert said.endswith(f" goes on with: mpirun -n 4 lucid train --resume --out {out}")
    assert read_checkpoint(out / "checkpoint.safetensors")["training"]["schedule"]["last_epoch"] == 3
    done = finished(4, "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    assert tensors(out) == tensors(by_four[0])
    assert tensors(out, "checkpoint.safetensors") == tensors(by_four[0], "checkpoint.safetensors")
    assert lines(out) == lines(by_four[0])


def test_an_error_of_one_process_is_one_sentence_and_ends_the_others(folder: Path, tmp_path: Path) -> None:
    done = finished(3, folder, *LONG, "--out", tmp_path / "out", what="raise")
    assert done.returncode == 1, done.stderr
    assert "lucid train: the disk is gone (in process 1 of 3; the others stop)" in told(done), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none", *SHORT], 1, "root must be a folder, got 'none'"),
        (["--resume"], 2, "--resume needs a checkpoint, and there is no "),
        (["FOLDER", *SHORT, "--lr", "1e38"], 1, "loss and gradients must stay finite, got loss "),
        (
            ["FOLDER", *SHORT, "--batch-size", "2"],
            1,
            "each of 3 processes must have an image of every batch, got a b",
        ),
    ],
)
def test_mistakes_of_all_are_one_line(
    arguments: list[str], code: int, message: str, folder: Path, tmp_path: Path
) -> None:
    line = [str(folder) if argument == "FOLDER" else argument for argument in arguments]
    done = finished(3, *line, "--out", tmp_path / "out")
    assert done.returncode == code, done.stderr
    (said,) = [line for line in told(done) if "images of" not in line and "left out" not in line]
    assert message in said
    assert "Traceback" not in done.stderr


def test_processes_that_share_processors_share_them_out(folder: Path, tmp_path: Path) -> None:
    program = (
        "import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1]); "
        "from lucid.cli.processes import Processes; from lucid.distributed import MPICommunicator; "
        "print(Processes('train', MPICommunicator()).threads(7))"
    )
    done = mpi_jobs.run(3, "-c", program)
    # The ends of lines may come late.
    assert done.stdout.replace("\n", "") == "222", done.stderr


@pytest.mark.parametrize("rank", [0, 2])
def test_absent_mpi4py_is_said_by_one_process(rank: int, folder: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['mpi4py'] = None; from lucid.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", str(folder), *SHORT, "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        env={**os.environ, "OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": str(rank)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    said = "lucid train: 3 processes that train together need mpi4py: pip install 'lucid-kernels[mpi]' ("
    assert done.stderr.startswith(said) if rank == 0 else done.stderr == ""
