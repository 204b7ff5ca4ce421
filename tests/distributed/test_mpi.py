"""Training under mpirun: the curve of one process, the same bits again, and what is said of a wrong start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpi_jobs
import numpy as np
import pytest

from lucid.communicator import share
from lucid.distributed import MPICommunicator, started_processes

PROGRAM = Path(__file__).with_name("training_program.py")
# Sums are rounded in another order. One process whose weights begin half a bit off is 3e-6 away in the end.
CURVE = 1e-4


def trained(folder: Path, processes: int, recipe: str) -> Any:
    path = folder / f"{recipe}-{processes}.json"
    if processes == 1:
        subprocess.run([sys.executable, PROGRAM, path, recipe], check=True, timeout=240)
    else:
        done = mpi_jobs.run(processes, PROGRAM, path, recipe)
        assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(path.read_text())


@mpi_jobs.needs_mpi
@pytest.mark.parametrize("recipe", ["plain", "everything"])
def test_the_curve_is_that_of_one_process(recipe: str, tmp_path: Path) -> None:
    """With 22 images in batches of 8, of which 4 processes have parts of 2 and then of 1 and 2."""
    alone = trained(tmp_path, 1, recipe)
    losses = [loss for loss, _, _ in alone["steps"]]
    assert len(losses) >= 4
    assert np.ptp(losses) > 100 * CURVE  # steps that did nothing would agree, too
    for processes in (2, 4):
        found = trained(tmp_path, processes, recipe)
        np.testing.assert_allclose(found["steps"], alone["steps"], rtol=CURVE)
        assert found["means"]["top1"] == alone["means"]["top1"]
        assert found["means"]["loss"] == pytest.approx(alone["means"]["loss"], rel=CURVE)
        assert found["weights"].keys() == alone["weights"].keys()


@mpi_jobs.needs_mpi
def test_the_same_processes_give_the_same_bits(tmp_path: Path) -> None:
    assert trained(tmp_path, 3, "plain") == trained(tmp_path, 3, "plain")


@pytest.mark.parametrize(("items", "size"), [(8, 4), (7, 4), (22, 3), (2, 3)])
def test_shares_are_consecutive_and_even(items: int, size: int) -> None:
    parts = [share(items, rank, size) for rank in range(size)]
    assert [item for part in parts for item in range(items)[part]] == list(range(items))
    counts = [part.stop - part.start for part in parts]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("size", "rank"),
    [("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK")],
)
def test_processes_are_known_without_mpi4py(size: str, rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert started_processes() == (0, 1)
    monkeypatch.setenv(size, "4")
    monkeypatch.setenv(rank, "2")
    assert started_processes() == (2, 4)


def test_absent_mpi4py_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"4 processes that train together need mpi4py: pip install 'lucid"):
        MPICommunicator()


@mpi_jobs.needs_mpi
def test_mpi4py_of_another_mpi_is_named(tmp_path: Path) -> None:
    """Each process would train the whole model, and all would write the same files."""
    program = "from lucid.distributed import MPICommunicator; MPICommunicator()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PMI_SIZE": "3", "PMI_RANK": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "must be built for the MPI that started 3 processes, got one that sees 1: " in done.stderr
