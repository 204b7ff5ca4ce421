"""Train a network on a folder of images.

FOLDER holds a folder of images for each class. Without --weights the network begins with random ones, with
them it is fine-tuned, and gets a new head where they know other classes. Written to --out:
  last.safetensors, best.safetensors   the weights, for lucid classify --weights
  metrics.jsonl                        a line of JSON for each epoch
  curves.png, confusion.png            where matplotlib is installed
  events.out.tfevents.*                where tensorboard is installed
  checkpoint.safetensors               what --resume goes on from, bit for bit
Ctrl-C saves the checkpoint, ends with the exit code 130, and says how to go on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucid.cli.terminal import Progress, UsageError, printable, tell
from lucid.cli.train_arguments import FIXED, Settings, add_arguments

if TYPE_CHECKING:
    from lucid.data import ImageFolder, Loader, Preprocessing
    from lucid.models.resnet import ResNet
    from lucid.train import Evaluation

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid train"
_CHECKPOINT = "checkpoint.safetensors"
_INTERRUPTED = 130


def run(options: argparse.Namespace) -> int:
    """Trains, or goes on training; 130 where it was interrupted and saved."""
    import lucid

    if options.threads:
        lucid.set_num_threads(options.threads)
    folder = Path(options.out)
    checkpoint = folder / _CHECKPOINT
    state: dict[str, Any] | None = None
    if options.resume:
        settings, state = _saved(options, checkpoint)
    else:
        if checkpoint.exists():
            raise UsageError(
                f"--out {folder} must not hold a training: --resume goes on with it, or take another folder"
            )
        settings = Settings.from_options(options)
    session = _Session(settings, folder, options, state)
    with _asked_to_stop() as signals:
        if session.finish(signals):
            return 0
    session.save()
    go_on = f"lucid train --resume --out {shlex.quote(options.out)}"
    tell(_COMMAND, f"stopped and saved after step {session.training.steps_done}; to go on: {go_on}")
    return _INTERRUPTED


def _saved(options: argparse.Namespace, checkpoint: Path) -> tuple[Settings, dict[str, Any]]:
    """The settings and the state in a checkpoint."""
    from lucid.train import read_checkpoint

    given = [name for name in FIXED if getattr(options, name) is not None]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise UsageError(f"--resume takes all settings from the checkpoint, {flag} too: leave it away")
    if not checkpoint.exists():
        raise UsageError(f"--resume needs a checkpoint, and there is no {checkpoint}")
    state = read_checkpoint(checkpoint)
    if "settings" not in state:
        raise ValueError(f"{checkpoint} must be a checkpoint of lucid train")
    settings = Settings.from_dict(state["settings"])
    if options.folder is not None:  # it may have moved
        settings = Settings.from_dict(settings.to_dict() | {"folder": options.folder})
    return settings, state


class _Session:
    """A training with its folders: data, files and what is shown."""

    def __init__(
        self, settings: Settings, out: Path, options: argparse.Namespace, state: dict[str, Any] | None
    ) -> None:
        from lucid import random
        from lucid.train import Recipe, Training
        from lucid.train.datasets import digest
        from lucid.train.events import Events

        self.settings, self.out = settings, out
        self._workers, self._seconds = options.workers, 60.0 * options.save_minutes
        self._history: list[dict[str, Any]] = [] if state is None else state["history"]
        recipe = Recipe.from_dict(settings.recipe)
        images, held_out = _datasets(settings, None if state is None else state["classes"])
        self.classes, self._digest = images.classes, digest(images)
        if state is not None and state["digest"] != self._digest:
            raise ValueError(f"{settings.folder} must hold the images that the training began with")
        random.seed(settings.seed)
        model, self._preprocessing = self._network(recipe, state)
        size = settings.batch_size
        if size == 1:
            raise UsageError(
                "--batch-size must be at least 2: batch norm in training needs several images; --accumulate "
                "adds the gradients of small batches"
            )
        loader = self._loader(images, recipe.augmentation(self._preprocessing), True)
        self._held_out = None if held_out is None else self._loader(held_out, self._prepared, False)
        self.training = Training(model, loader, recipe, settings.epochs)
        if state is not None:
            self.training.load_state_dict(state["training"])
        out.mkdir(parents=True, exist_ok=True)
        self._write_metrics()
        self._events = Events(out)
        self._saved_at = time.monotonic()
        what = "" if held_out is None else f", evaluated on {len(held_out)}"
        tell(_COMMAND, f"{settings.model}: {len(images)} images of {len(self.classes)} classes{what}")

    def _network(self, recipe: Any, state: dict[str, Any] | None) -> tuple[ResNet, Preprocessing]:
        from lucid.data import Preprocessing
        from lucid.train.network import network, network_preprocessing

        settings = self.settings
        if state is not None:  # which has the weights
            prepared = Preprocessing.from_dict(state["preprocessing"])
            model, _ = network(settings.model, None, self.classes, recipe, len(prepared.mean))
            return model.freeze_stages(settings.freeze), prepared
        model, is_new_head = network(settings.model, settings.weights, self.classes, recipe)
        if is_new_head:
            tell(
                _COMMAND,
                f"the weights know other classes: their head gives way to one of {len(self.classes)}",
            )
        prepared = network_preprocessing(settings.model, settings.weights, settings.image_size)
        return model.freeze_stages(settings.freeze), prepared

    def _loader(self, images: ImageFolder, transform: Any, training: bool) -> Loader:
        from lucid.data import Loader

        size = self.settings.batch_size
        return Loader(
            images,
            size,
            transform,
            shuffle=training,
            seed=self.settings.seed,
            # The few images of a last batch would weigh as much as all of a full one, in batch norm as well.
            drop_last=training and len(images) >= size,
            workers=self._workers,
        )

    def _prepared(self, image: Any, _: Any) -> Any:
        return self._preprocessing(image)

    def finish(self, signals: list[int]) -> bool:
        """Trains to the last epoch; False where a signal comes before."""
        try:
            while True:
                if len(self._history) < self.training.epochs_done:
                    if not self._end_epoch(signals):
                        return False
                elif self.training.epochs_done >= self.settings.epochs:
                    self._draw(None)  # the one before may have died in between
                    return True
                elif not self._train_epoch(signals):
                    return False
        finally:
            self._events.close()

    def _train_epoch(self, signals: list[int]) -> bool:
        training = self.training
        size, loader = self.settings.batch_size, training.loader
        number, resumed = training.epochs_done + 1, loader.position < len(loader)
        left = (len(loader) - (loader.position if resumed else 0)) * size
        with Progress(f"{_COMMAND}: epoch {number}/{self.settings.epochs}", left) as progress:
            for step in training.epoch():
                progress.update(step.images)
                self._events.add(step.number, {"step/loss": step.loss, "step/lr": step.lr})
                if signals:
                    return False
                if time.monotonic() - self._saved_at > self._seconds:
                    self.save()
        return True

    def _end_epoch(self, signals: list[int]) -> bool:
        """Evaluates, shows and writes the numbers, and saves."""
        number, training = len(self._history) + 1, self.training
        line = {"epoch": number, "step": training.steps_done, "lr": training.schedule.get_last_lr()[0]}
        line |= {f"train_{name}": value for name, value in training.epoch_means().items()}
        found = None
        if self._held_out is not None:
            found = self._evaluate(signals)
            if found is None:
                return False
            line |= {f"val_{name}": value for name, value in found.to_dict().items() if name != "images"}
        self._history.append(line)
        print(_as_text(line, self.settings.epochs), flush=True)
        self._save_weights(line)
        self.save()
        self._write_metrics()
        self._events.add(training.steps_done, {k: v for k, v in line.items() if k not in ("epoch", "step")})
        self._draw(found)
        return True

    def _evaluate(self, signals: list[int]) -> Evaluation | None:
        """The evaluation of the held-out images; None where a signal came before its end."""
        from lucid.train import evaluate

        assert self._held_out is not None
        batches = _until_signal(self._held_out, signals)
        with Progress(f"{_COMMAND}: evaluation", len(self._held_out.dataset)) as progress:
            try:
                return evaluate(self.training.trained, batches, progress.update)
            except _StoppedError:
                return None

    def save(self) -> None:
        """Writes the checkpoint."""
        from lucid.train import write_checkpoint

        state = {
            "training": self.training.state_dict(),
            "settings": self.settings.to_dict(),
            "classes": self.classes,
            "digest": self._digest,
            "preprocessing": self._preprocessing.to_dict(),
            "history": self._history,
        }
        write_checkpoint(self.out / _CHECKPOINT, state)
        self._saved_at = time.monotonic()

    def _save_weights(self, line: dict[str, Any]) -> None:
        """Before the checkpoint: what stops in between is done again, with the same bits."""
        from lucid.models import save_weights

        metadata = {"labels": self.classes, "preprocessing": self._preprocessing.to_dict(), "training": line}
        kind = "val_top1" if self._held_out is not None else "train_top1"
        save_weights(self.training.trained, self.out / "last.safetensors", metadata)
        if line[kind] >= max(each[kind] for each in self._history):
            save_weights(self.training.trained, self.out / "best.safetensors", metadata)

    def _write_metrics(self) -> None:
        from lucid.train.checkpoint import write_durably

        lines = [json.dumps(line) + "\n" for line in self._history]
        write_durably(self.out / "metrics.jsonl", "".join(lines))

    def _draw(self, found: Evaluation | None) -> None:
        from lucid.train.pictures import draw_confusion, draw_curves

        try:
            draw_curves(self.out / "curves.png", self._history)
            if found is not None:
                draw_confusion(self.out / "confusion.png", found.confusion, self.classes)
        except ImportError:  # no matplotlib, which is not needed for anything else
            return


class _StoppedError(Exception):
    """A signal came."""


def _until_signal(batches: Iterable[Any], signals: list[int]) -> Iterator[Any]:
    for batch in batches:
        if signals:
            raise _StoppedError
        yield batch


def _datasets(settings: Settings, classes: list[str] | None) -> tuple[ImageFolder, ImageFolder | None]:
    """The images to train on, and those to evaluate on."""
    from lucid.train.datasets import split

    images = _readable(settings.folder, classes)
    try:
        share = float(settings.val)
    except ValueError:
        return images, _readable(settings.val, images.classes)
    if share == 0.0:
        return images, None
    if not 0.0 < share < 1.0:
        raise UsageError(f"--val must be a folder or a share from 0 to 1, got {settings.val}")
    return split(images, share, settings.seed)


def _readable(folder: str, classes: list[str] | None) -> ImageFolder:
    """The images of a folder but for those that cannot be decoded, which are named."""
    from lucid.train.datasets import labelled_folder, readable

    images = labelled_folder(folder, classes)
    with Progress(f"{_COMMAND}: looking through {printable(folder)}", len(images)) as progress:
        images, reasons = readable(images, progress.update)
    for reason in reasons:
        tell(_COMMAND, f"left out: {reason}")
    missing = sorted({*range(len(images.classes))} - {*images.labels}) if classes is None else []
    if missing:
        name = images.classes[missing[0]]
        raise ValueError(f"each class must have an image that can be read, {name!r} has none")
    return images


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that gets the number of a signal to stop; the second one stops at once."""
    signals: list[int] = []

    def note(number: int, frame: Any) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_text(line: dict[str, Any], epochs: int) -> str:
    text = f"epoch {line['epoch']}/{epochs}: loss {line['train_loss']:.4f}, top-1 {line['train_top1']:.2%}"
    if "val_loss" in line:
        top5 = f", top-5 {line['val_top5']:.2%}"
        text += f"; held out: loss {line['val_loss']:.4f}, top-1 {line['val_top1']:.2%}{top5}"
    return text
