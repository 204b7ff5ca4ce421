"""Train a network on a folder of images.

FOLDER holds a folder of images for each class. Without --weights the network begins with random ones, with
them it is fine-tuned, and gets a new head where they know other classes. Written to --out:
  last.safetensors, best.safetensors   the weights, for lucid classify --weights
  metrics.jsonl                        a line of JSON for each epoch
  curves.png, confusion.png            where matplotlib is installed
  events.out.tfevents.*                where tensorboard is installed
  checkpoint.safetensors               what --resume goes on from, bit for bit
Ctrl-C saves the checkpoint, ends with the exit code 130, and says how to go on.
Several processes train one model where mpirun starts them: each computes a part of every batch, and the
losses are those of one process. SIGUSR1 to mpirun then does what Ctrl-C does to one.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucid.cli.processes import Processes, asked_to_stop, connected
from lucid.cli.terminal import UsageError, printable
from lucid.cli.train_arguments import FIXED, Settings, add_arguments

if TYPE_CHECKING:
    from lucid.data import ImageFolder, Preprocessing
    from lucid.models.resnet import ResNet
    from lucid.train import Evaluation

__all__ = ["add_arguments", "run"]

_COMMAND = "lucid train"
_CHECKPOINT = "checkpoint.safetensors"
_INTERRUPTED = 130


def run(options: argparse.Namespace) -> int:
    """Trains, or goes on training; 130 where it was interrupted and saved."""
    return connected(_COMMAND, lambda processes: _train(options, processes))


def _train(options: argparse.Namespace, processes: Processes) -> int:
    import lucid

    threads = options.threads or processes.threads(lucid.get_num_threads())
    if threads is not None:
        lucid.set_num_threads(threads)
    settings, state = processes.from_leader(lambda: _begun(options))
    session = _Session(settings, options, state, processes)
    with asked_to_stop(processes, session.last_words) as signals:
        if session.finish(signals):
            return 0
    session.save()
    done = session.training.steps_done
    processes.tell(f"stopped and saved after step {done}; to go on: {session.go_on}")
    return _INTERRUPTED


def _begun(options: argparse.Namespace) -> tuple[Settings, dict[str, Any] | None]:
    """The settings, and with --resume the state to go on from."""
    folder = Path(options.out)
    if options.resume:
        return _saved(options, folder / _CHECKPOINT)
    if (folder / _CHECKPOINT).exists():
        raise UsageError(
            f"--out {folder} must not hold a training: --resume goes on with it, or take another folder"
        )
    return Settings.from_options(options), None


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
        self,
        settings: Settings,
        options: argparse.Namespace,
        state: dict[str, Any] | None,
        processes: Processes,
    ) -> None:
        from lucid import random
        from lucid.data import Loader
        from lucid.runtime import get_num_threads
        from lucid.train import Recipe, Training
        from lucid.train.datasets import digest, part_of
        from lucid.train.events import Events

        self.settings, self.out, self._processes = settings, Path(options.out), processes
        self.go_on = processes.line(f"train --resume --out {shlex.quote(options.out)}")
        self._workers, self._seconds = options.workers, 60.0 * options.save_minutes
        self._history: list[dict[str, Any]] = [] if state is None else state["history"]
        recipe = Recipe.from_dict(settings.recipe)
        images, held_out = _datasets(settings, None if state is None else state["classes"], processes)
        self.classes, self._digest = images.classes, digest(images)
        if processes.any(processes.communicator.broadcast(self._digest) != self._digest):
            raise ValueError(f"{settings.folder} must hold the same images for all processes")
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
        loader = Loader(
            images,
            size,
            recipe.augmentation(self._preprocessing),
            shuffle=True,
            seed=settings.seed,
            # The few images of a last batch would weigh as much as all of a full one, in batch norm as well.
            drop_last=len(images) >= size,
            workers=self._workers,
            num_replicas=processes.size,
            rank=processes.rank,
        )
        self._held_out = None if held_out is None else part_of(held_out, processes.communicator)
        self.training = Training(model, loader, recipe, settings.epochs, processes.communicator)
        if state is not None:
            self.training.load_state_dict(state["training"])
        if processes.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            self._write_metrics()
        self._events = Events(self.out if processes.leads else None)
        self._saved_at = time.monotonic()
        what = "" if held_out is None else f", evaluated on {len(held_out)}"
        by = f", by {processes.size} processes of {get_num_threads()} threads" if processes.size > 1 else ""
        processes.tell(f"{settings.model}: {len(images)} images of {len(self.classes)} classes{what}{by}")

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
            self._processes.tell(
                f"the weights know other classes: their head gives way to one of {len(self.classes)}"
            )
        prepared = network_preprocessing(settings.model, settings.weights, settings.image_size)
        return model.freeze_stages(settings.freeze), prepared

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
                    if self._processes.leads:
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
        with self._processes.progress(f"epoch {number}/{self.settings.epochs}", left) as progress:
            for step in training.epoch():
                progress.update(step.images)
                self._events.add(step.number, {"step/loss": step.loss, "step/lr": step.lr})
                if self._processes.any(bool(signals)):
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
        if self._processes.leads:
            print(_as_text(line, self.settings.epochs), flush=True)
            self._save_weights(line)
            self.save()
            self._write_metrics()
            scalars = {name: value for name, value in line.items() if name not in ("epoch", "step")}
            self._events.add(training.steps_done, scalars)
            self._draw(found)
        return True

    def _evaluate(self, signals: list[int]) -> Evaluation | None:
        """The evaluation of the held-out images; None where a signal came before its end."""
        from lucid.data import Loader
        from lucid.train import evaluate

        assert self._held_out is not None
        images, processes, model = self._held_out, self._processes, self.training.trained
        batches: Iterable[Any] = ()
        if len(images) > 0:
            size = -(-self.settings.batch_size // processes.size)
            batches = _until_signal(Loader(images, size, self._prepared, workers=self._workers), signals)
        with processes.progress("evaluation", len(images)) as progress:
            found = evaluate(model, batches, progress.update, processes.communicator)
        return None if self._processes.any(bool(signals)) else found

    def save(self) -> None:
        """Writes the checkpoint."""
        from lucid.train import write_checkpoint

        if not self._processes.leads:
            return
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

    def last_words(self) -> str:
        """The sentence for a process that may not see the end of the step."""
        has_saved = (self.out / _CHECKPOINT).exists()
        then = f"what was saved last goes on with: {self.go_on}" if has_saved else "nothing was saved yet"
        return f"a process has died, or the job is to end; {then}"

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


def _until_signal(batches: Iterable[Any], signals: list[int]) -> Iterator[Any]:
    """One batch in any case, whose answers tell how many classes there are."""
    for batch in batches:
        yield batch
        if signals:
            return


def _datasets(
    settings: Settings, classes: list[str] | None, processes: Processes
) -> tuple[ImageFolder, ImageFolder | None]:
    """The images to train on, and those to evaluate on."""
    from lucid.train.datasets import split

    images = _readable(settings.folder, classes, processes)
    try:
        share = float(settings.val)
    except ValueError:
        return images, _readable(settings.val, images.classes, processes)
    if share == 0.0:
        return images, None
    if not 0.0 < share < 1.0:
        raise UsageError(f"--val must be a folder or a share from 0 to 1, got {settings.val}")
    return split(images, share, settings.seed)


def _readable(folder: str, classes: list[str] | None, processes: Processes) -> ImageFolder:
    """The images of a folder but for those that cannot be decoded, which are named."""
    from lucid.train.datasets import labelled_folder, readable

    images = labelled_folder(folder, classes)
    with processes.progress(f"looking through {printable(folder)}", len(images)) as progress:
        images, reasons = readable(images, progress.update, processes.communicator)
    for reason in reasons:
        processes.tell(f"left out: {reason}")
    missing = sorted({*range(len(images.classes))} - {*images.labels}) if classes is None else []
    if missing:
        name = images.classes[missing[0]]
        raise ValueError(f"each class must have an image that can be read, {name!r} has none")
    return images


def _as_text(line: dict[str, Any], epochs: int) -> str:
    text = f"epoch {line['epoch']}/{epochs}: loss {line['train_loss']:.4f}, top-1 {line['train_top1']:.2%}"
    if "val_loss" in line:
        top5 = f", top-5 {line['val_top5']:.2%}"
        text += f"; held out: loss {line['val_loss']:.4f}, top-1 {line['val_top1']:.2%}{top5}"
    return text
