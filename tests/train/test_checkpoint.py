"""Checkpoints: what is written is read, and a process that is killed leaves a whole file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import lucid
from lucid.train import read_checkpoint, write_checkpoint
from lucid.train.checkpoint import write_durably

WRITER = """
import sys
import numpy as np
from lucid.train.checkpoint import write_checkpoint
for number in range(1000000):
    array = np.full(200_000, number, np.float32)
    write_checkpoint(sys.argv[1], {"number": number, "array": array})
    if number == 1:
        print("began", flush=True)
"""


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    state = {
        "numbers": {0: {"step": 3, "mean": lucid.tensor([1.0, 2.0])}, 1: {}},
        "list": [1, None, 2.5, "text", {"array": np.arange(4)}],
        "large": 2**127 + 1,
        "rate": 0.1 + 0.2,
        "scalar": lucid.tensor(np.array(7, np.int64)),
    }
    write_checkpoint(path, state)
    found = read_checkpoint(path)
    assert found["numbers"][0]["step"] == 3
    assert found["numbers"][0]["mean"].tolist() == [1.0, 2.0]
    assert found["numbers"][1] == {}
    assert found["list"][:4] == [1, None, 2.5, "text"]
    assert found["list"][4]["array"].tolist() == [0, 1, 2, 3]
    assert (found["large"], found["rate"]) == (2**127 + 1, 0.1 + 0.2)
    assert (found["scalar"].shape, found["scalar"].item()) == ((), 7)
    assert os.listdir(tmp_path) == ["state.safetensors"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_checkpoint(path, {"number": 1})
    with pytest.raises(TypeError):
        write_checkpoint(path, {"number": object()})
    assert read_checkpoint(path) == {"number": 1}
    with pytest.raises(OSError, match=r"write_checkpoint: .* cannot be written"):
        write_checkpoint(tmp_path / "none" / "state.safetensors", {})


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="read_checkpoint: "):
        read_checkpoint(tmp_path / "none.safetensors")
    path = tmp_path / "weights.safetensors"
    lucid.models.save_weights(lucid.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"must be a checkpoint of a training by lucid"):
        read_checkpoint(path)
    write_durably(path, "text")
    with pytest.raises(ValueError, match="undamaged safetensors file"):
        read_checkpoint(path)


def test_data_reach_the_disk_before_the_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        order.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        order.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    write_checkpoint(tmp_path / "a.safetensors", {})
    assert order == ["fsync .a.safetensors.part", "rename", f"fsync {tmp_path.name}"]


def test_kill_9_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path, rng, seen = tmp_path / "a.safetensors", np.random.default_rng(), []
    package = str(Path(lucid.__file__).parents[1])
    for _ in range(5):
        line = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": package}, cwd=tmp_path
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"began\n"
            time.sleep(rng.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
        state = read_checkpoint(path)
        assert set(state["array"].numpy().tolist()) == {state["number"]}
        seen.append(state["number"])
    assert min(seen) >= 1
