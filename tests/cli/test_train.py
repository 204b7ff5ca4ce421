"""``lucid train`` and ``lucid eval``: what they write, that a training goes on bit for bit, and errors."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lucid.cli.main import main
from lucid.cli.train_arguments import add_arguments
from lucid.data import Preprocessing
from lucid.models import create_from_file, create_model, read_metadata, save_weights
from lucid.models.pretrained import pretrained_path
from lucid.tensor_file import TensorFile
from lucid.train import RECIPES, pictures, read_checkpoint
from lucid.train.events import Events

FILES = ("best.safetensors", "checkpoint.safetensors", "last.safetensors", "metrics.jsonl")
# 20 of 24 images are trained on, in two steps of 8 and a rest that is left out.
SHORT = ("--model", "resnext_digits", "--epochs", "2", "--batch-size", "8", "--workers", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of each of three classes: squares, bars and noise."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in ("bar", "noise", "square"):
        (root / name).mkdir()
        for number in range(8):
            image = rng.integers(0, 60, (12, 12)).astype(np.uint8)
            if name == "noise":
                image = rng.integers(0, 255, (12, 12)).astype(np.uint8)
            elif name == "bar":
                image[:, 5:7] = 255
            else:
                image[3:9, 3:9] = 255
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def in_one_go(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["train", str(folder), *SHORT, "--val", "0.2", "--out", str(out)]) == 0
    return out


@pytest.fixture(autouse=True)
def _without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested once, and drawing them takes longer than these trainings."""
    monkeypatch.setattr(pictures, "draw_curves", lambda *given: None)
    monkeypatch.setattr(pictures, "draw_confusion", lambda path, *given: path.touch())


def weights(out: Path, name: str = "last.safetensors") -> Any:
    """All that a file holds; the package that writes it has no fixed order of the header."""
    with TensorFile("weights", out / name) as file:
        tensors = {name: file.read(name).tobytes() for name in file.tensors}
        return tensors, {key: json.loads(text) for key, text in file.texts.items()}


def test_weights_and_numbers_are_written(in_one_go: Path) -> None:
    assert {path.name for path in in_one_go.iterdir()} >= set(FILES)
    lines = [json.loads(line) for line in (in_one_go / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 2), (2, 4)]
    assert lines[0].keys() == {
        "epoch", "step", "lr", "train_loss", "train_top1", "val_loss", "val_top1", "val_top5",
    }  # fmt: skip
    assert lines[1]["lr"] < lines[0]["lr"]
    known = read_metadata(in_one_go / "last.safetensors")
    assert (known.model, known.labels) == ("resnext_digits", ("bar", "noise", "square"))
    assert create_from_file(in_one_go / "best.safetensors").config.num_classes == 3


def test_pictures_are_drawn(in_one_go: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("curves.png", "confusion.png"):
        with Image.open(in_one_go / name) as picture:
            assert min(picture.size) > 200


def test_events_are_for_tensorboard(in_one_go: Path) -> None:
    loaders = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    (path,) = in_one_go.glob("events.out.tfevents.*")
    tags = {
        (event.step, value.tag)
        for event in loaders.EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }
    assert {(1, "step/loss"), (4, "step/lr"), (2, "val_top1"), (4, "train_loss")} <= tags


@pytest.mark.parametrize("step", [1, 3])
def test_interrupted_training_goes_on_bit_for_bit(
    step: int,
    folder: Path,
    in_one_go: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Events, "add", lambda _, at, values: at == step and signal.raise_signal(signal.SIGINT))
        assert main(["train", str(folder), *SHORT, "--val", "0.2", "--out", str(tmp_path)]) == 130
    told = capsys.readouterr().err
    assert f"stopped and saved after step {step}; to go on: lucid train --resume --out {tmp_path}" in told
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(in_one_go)
    assert weights(tmp_path, "checkpoint.safetensors") == weights(in_one_go, "checkpoint.safetensors")
    assert (tmp_path / "metrics.jsonl").read_bytes() == (in_one_go / "metrics.jsonl").read_bytes()


def test_a_signal_while_evaluating_loses_nothing(
    folder: Path, in_one_go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, called = Preprocessing.__call__, []

    def interrupted(*given: Any) -> Any:
        if not called:
            called.append(signal.raise_signal(signal.SIGTERM))
        return prepare(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Preprocessing, "__call__", interrupted)
        assert main(["train", str(folder), *SHORT, "--val", "0.2", "--out", str(tmp_path)]) == 130
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(in_one_go)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (in_one_go / "metrics.jsonl").read_bytes()


def test_a_training_that_died_goes_on_from_what_was_saved_within_the_epoch(
    folder: Path, in_one_go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(_: Events, step: int, values: Any) -> None:
        if step == 4:
            raise OSError("gone")

    line = ["train", str(folder), *SHORT, "--val", "0.2", "--out", str(tmp_path), "--save-minutes", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(Events, "add", died)
        assert main(line) == 1
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["training"]["schedule"]["last_epoch"] == 3
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(in_one_go)


def test_eval_gives_the_numbers_of_the_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["train", str(folder), *SHORT, "--val", str(folder), "--out", str(out)]) == 0
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    source = ["--weights", str(out / "last.safetensors")]
    capsys.readouterr()
    assert main(["eval", str(folder), *source, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["images"]) == ("resnext_digits", 24)
    assert (found["top1"], found["top5"]) == (line["val_top1"], line["val_top5"])
    assert found["loss"] == pytest.approx(line["val_loss"], rel=1e-5)
    assert np.mean(list(found["classes"].values())) == pytest.approx(found["top1"])
    assert main(["eval", str(folder), *source]) == 0
    assert capsys.readouterr().out.startswith(f"24 images: top-1 {found['top1']:.2%}, top-5 ")


def test_eval_draws_the_confusion(in_one_go: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    source = ["--weights", str(in_one_go / "last.safetensors")]
    assert main(["eval", str(folder), *source, "--confusion", str(tmp_path / "c.svg")]) == 0
    assert (tmp_path / "c.svg").exists()


def test_images_that_cannot_be_read_are_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a training goes on when they have been deleted meanwhile."""
    images = shutil.copytree(folder, tmp_path / "images")
    cut = (images / "bar" / "0.png").read_bytes()[:60]
    (images / "bar" / "1.png").write_bytes(cut)
    (images / "noise" / "2.png").write_text("no image")
    out = tmp_path / "out"
    assert main(["train", str(images), *SHORT, "--val", "0.2", "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert "left out: " in told
    assert "bar/1.png" in told
    assert "noise/2.png" in told
    assert "18 images of 3 classes, evaluated on 4" in told
    (images / "bar" / "1.png").unlink()
    assert main(["train", "--resume", "--out", str(out)]) == 0


def test_class_without_an_image_that_can_be_read_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shutil.copytree(folder, tmp_path / "images")
    for path in (images / "bar").iterdir():
        path.write_text("no image")
    assert main(["train", str(images), *SHORT, "--out", str(tmp_path / "out")]) == 1
    assert "each class must have an image that can be read, 'bar' has none" in capsys.readouterr().err


def test_eval_refuses_folders_of_other_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(folder), "--model", "resnext_digits"]) == 1
    told = capsys.readouterr().err
    assert "must be named as the model's 10 classes (0, 1, 2, 3, ...), got bar, noise, square" in told
    assert main(["eval", str(folder)]) == 2


def test_other_classes_than_the_weights_get_a_new_head(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", str(folder), *SHORT, "--weights", "pretrained", "--freeze", "4", "--val", "0"]
    assert main([*line, "--average", "0.9", "--clip", "1", "--accumulate", "2", "--out", str(tmp_path)]) == 0
    assert "the weights know other classes: their head gives way to one of 3" in capsys.readouterr().err
    trained, given = create_from_file(tmp_path / "last.safetensors"), pretrained_path("resnext_digits")
    for name, value in create_from_file(given).state_dict().items():
        if not name.startswith("fc."):
            np.testing.assert_array_equal(trained.state_dict()[name].numpy(), value.numpy())
    assert len(json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])) == 5


def test_a_loss_that_is_not_finite_names_step_and_gradients(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(folder), *SHORT, "--lr", "1e38", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("lucid train: loss and gradients must stay finite, got loss ")
    assert " (epoch " in told
    assert "the largest gradients: " in told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "resnext_digits"], 2, "FOLDER must be given, unless --resume goes on"),
        (["FOLDER"], 2, "--model must be given, unless --resume goes on"),
        (["none", *SHORT], 1, "root must be a folder, got 'none'"),
        (["EMPTY", *SHORT], 1, "root must hold a folder for each class, got none in "),
        (["HOLLOW", *SHORT], 1, "a folder must hold images, found none in "),
        (["ONE", *SHORT], 1, "must hold two classes or more, got 'cat' alone"),
        (["FOLDER", *SHORT, "--val", "none"], 1, "root must be a folder, got 'none'"),
        (["FOLDER", *SHORT, "--val", "1.5"], 2, "--val must be a folder or a share from 0 to 1, got 1.5"),
        (["FOLDER", *SHORT, "--batch-size", "1"], 2, "must be at least 2: batch norm in training needs"),
        (["FOLDER", *SHORT, "--weights", "none.safetensors"], 1, "none.safetensors"),
        (["FOLDER", *SHORT, "--model", "resnext51"], 1, "resnext51"),
        (["FOLDER", *SHORT, "--lr", "-1"], 2, "--lr: must be a number that is not negative, got '-1'"),
        (["FOLDER", *SHORT, "--average", "1.5"], 1, "decay must be at least 0 and below 1, got 1.5"),
        (["--resume"], 2, "--resume needs a checkpoint, and there is no "),
        (["--resume", "--lr", "0.1"], 2, "--resume takes all settings from the checkpoint, --lr too"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    code: int,
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "FOLDER": folder,
        "EMPTY": tmp_path / "empty",
        "ONE": tmp_path / "one",
        "HOLLOW": tmp_path / "hollow",
    }
    for path in (places["EMPTY"], places["ONE"] / "cat", places["HOLLOW"] / "a", places["HOLLOW"] / "b"):
        path.mkdir(parents=True)
    Image.new("L", (4, 4)).save(places["ONE"] / "cat" / "1.png")
    line = [str(places.get(argument, argument)) for argument in arguments]
    assert main(["train", *line, "--out", str(tmp_path / "out")]) == code
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "images of" not in line]
    assert message in told


def test_a_folder_that_holds_a_training_is_not_written_to(
    folder: Path, in_one_go: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(folder), *SHORT, "--out", str(in_one_go)]) == 2
    assert "must not hold a training: --resume goes on with it" in capsys.readouterr().err
    weights_alone = tmp_path / "checkpoint.safetensors"
    weights_alone.write_bytes((in_one_go / "last.safetensors").read_bytes())
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 1
    assert "must be a checkpoint of a training by lucid" in capsys.readouterr().err


def test_a_training_does_not_go_on_with_other_images(
    folder: Path, in_one_go: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "moved")
    assert main(["train", str(tmp_path / "moved"), "--resume", "--out", str(in_one_go)]) == 0
    shutil.copy(folder / "bar" / "0.png", tmp_path / "moved" / "bar" / "8.png")
    capsys.readouterr()
    assert main(["train", str(tmp_path / "moved"), "--resume", "--out", str(in_one_go)]) == 1
    assert "moved must hold the images that the training began with" in capsys.readouterr().err


def test_images_of_other_channels_are_those_of_the_weights(folder: Path, tmp_path: Path) -> None:
    model, colour = create_model("resnext_digits", num_classes=3, in_channels=3), tmp_path / "a.safetensors"
    prepared = Preprocessing(size=32, resize=32)
    save_weights(model, colour, {"preprocessing": prepared.to_dict()})
    line = [str(folder), *SHORT, "--weights", str(colour), "--out", str(tmp_path / "out")]
    assert main(["train", *line]) == 0
    assert main(["train", "--resume", "--out", str(tmp_path / "out")]) == 0
    assert read_metadata(tmp_path / "out" / "last.safetensors").preprocessing == prepared


def test_a_finished_training_has_nothing_left_to_do(in_one_go: Path) -> None:
    before = weights(in_one_go)
    assert main(["train", "--resume", "--out", str(in_one_go)]) == 0
    assert weights(in_one_go) == before


def test_every_recipe_can_be_chosen() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    (option,) = [action for action in parser._actions if action.dest == "recipe"]
    assert list(option.choices or ()) == list(RECIPES)
