"""lucid.ray in a real local cluster of Ray, and alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_trainings import training

pytest.importorskip("ray")

import lucid
import lucid.ray
from lucid.models.pretrained.digits import sample_images
from lucid.train import read_checkpoint

HERE = Path(__file__).parent / "ray"


def run(program: str, *arguments: object) -> str:
    """The output of a program, in a process of its own: a cluster leaves threads and signal handlers."""
    command = [sys.executable, HERE / program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=HERE)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Failed to convert column" not in done.stderr  # Arrow takes each column as it is
    return done.stdout


def test_every_image_is_answered_once_though_a_worker_is_killed(tmp_path: Path) -> None:
    run("killed_worker.py", tmp_path)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert sorted(row["id"] for row in rows) == list(range(2000))
    assert (tmp_path / "killed").exists()
    threads = [path.read_text() for path in tmp_path.glob("threads-*")]
    assert threads == ["1"] * 3, "two workers of one CPU, and the one that took the place of the killed"
    alone = lucid.ray.Classifier(model="resnext_digits", topk=2)
    sys.path.insert(0, str(HERE))
    try:
        from killed_worker import images
    finally:
        sys.path.remove(str(HERE))
    rows.sort(key=lambda row: row["id"])
    wanted = alone(images({"id": np.arange(2000)}))
    for name in ("index", "indices", "error"):
        assert [row[name] for row in rows] == wanted[name].tolist()
    assert sum(bool(row["error"]) for row in rows) == 20


def test_example(tmp_path: Path) -> None:
    images = dict(sample_images())
    for path in images:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.png").write_text("no image")
    lines = run("classify.py", tmp_path).splitlines()  # among those of Ray itself
    found = dict(line.rsplit("/", 1)[1].split(": ", 1) for line in lines if str(tmp_path) in line)
    assert "no known image format" in found.pop("broken.png")
    assert found == {path.name: str(digit) for path, digit in images.items()}


def test_training_is_that_of_one_process_though_a_worker_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray.train", reason="Ray Train needs packages of its own", exc_type=ImportError)
    run("train.py", tmp_path)
    assert (tmp_path / "killed").exists()
    assert [path.name for path in tmp_path.glob("began-*")] == ["began-2"]
    found = json.loads((tmp_path / "result.json").read_text())
    alone = training(batch_size=8)
    while alone.epochs_done < alone.epochs:
        for _ in alone.epoch():
            pass
    assert (found["epoch"], found["step"]) == (2, 4)
    means = alone.epoch_means()
    assert found["loss"] == pytest.approx(means["loss"], rel=1e-4)
    assert found["top1"] == means["top1"]
    state = read_checkpoint(tmp_path / "checkpoint.safetensors")
    for name, value in alone.model.state_dict().items():
        largest = float(np.abs(value.numpy()).max())
        np.testing.assert_allclose(state["model"][name].numpy(), value.numpy(), rtol=0, atol=1e-4 * largest)


def batch_of(values: list[Any]) -> dict[str, Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return {"image": column, "id": np.arange(len(values))}


def test_a_batch_keeps_its_other_columns_and_its_order() -> None:
    classifier = lucid.ray.Classifier(model="resnext_digits", batch_size=4)
    paths, digits = zip(*sample_images(), strict=True)
    found = classifier(batch_of([str(path) for path in paths]))
    assert set(found) == {"id", "label", "probability", "index", "error"}
    assert found["label"].tolist() == [str(digit) for digit in digits]
    assert found["index"].dtype == np.int64
    assert found["probability"].dtype == np.float32
    assert found["id"].tolist() == list(range(len(paths)))


def test_a_folder_is_one_image_that_cannot_be_read(tmp_path: Path) -> None:
    path = sample_images()[0][0]
    (tmp_path / path.name).write_bytes(path.read_bytes())
    found = lucid.ray.Classifier(model="resnext_digits")(batch_of([str(tmp_path), str(path), "*.png"]))
    assert [bool(error) for error in found["error"]] == [True, False, True]
    assert np.isnan(found["probability"][[0, 2]]).all()


def test_one_plan_computes_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    compile = lucid.classifier.compile
    monkeypatch.setattr(
        lucid.classifier, "compile", lambda *args, **options: made.append(args) or compile(*args, **options)
    )
    classifier = lucid.ray.Classifier(model="resnext_digits", batch_size=8)
    image = np.zeros((8, 8), np.uint8)
    for count in (8, 3, 0, 17):
        assert len(classifier(batch_of([image] * count))["label"]) == count
    assert [shape[0] for _, shape, _ in made] == [8]


def test_what_does_not_fit_is_named() -> None:
    classifier = lucid.ray.Classifier(model="resnext_digits", column="photo")
    with pytest.raises(ValueError, match="must have a column 'photo', got image, id"):
        classifier(batch_of([]))
    with pytest.raises(ValueError, match="topk"):
        lucid.ray.Classifier(model="resnext_digits", topk=0)
