"""The loop: batches to gradients to steps, and all that another process needs to go on from there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from lucid import random
from lucid.communicator import BatchPart, Communicator, SingleProcess, batch_part
from lucid.data import Loader, cutmix, mixup, one_hot
from lucid.distributed import GradientBuckets
from lucid.nn import Module
from lucid.nn import functional as F
from lucid.optim import ExponentialMovingAverage, clip_grad_norm_, grad_norm
from lucid.train.recipe import Recipe

__all__ = ["DivergedError", "Step", "Training"]

_NAMED_GRADIENTS = 5


class DivergedError(ValueError):
    """A loss or a gradient was not finite; no weight has changed in that step."""


class Step(NamedTuple):
    """A step of the optimizer: number (from 1), mean loss, learning rate, norm of the gradients, images."""

    number: int
    loss: float
    lr: float
    norm: float
    images: int


class Training:
    """A model in training. Each ``epoch()`` gives the steps that are left of the epoch, as they are done.

    Everything that decides on the numbers is in ``state_dict``, so that a training which stops after any step
    and goes on in another process ends with the same bits: weights, statistics, momentum, average, schedule,
    the place of the loader, and ``lucid.random``'s generator, which draws dropout and mixtures.

    With a communicator each process computes a part of every batch, and numbers are those of whole batches.
    The steps are those of one process, up to rounding; a state of any number of processes goes on with any
    other, and with the same one bit for bit.

    Args:
        model: A network whose outputs are logits. It is trained in place.
        loader: Batches of images and class indices; of the rank and the size of the communicator.
        recipe: Everything else.
        epochs: How many the schedule is made for.
        communicator: That of the processes that train together, all of which make the same calls. They begin
            with the weights and the generator of rank 0.

    Attributes:
        average: The average of weights, where the recipe has one.
        steps_per_epoch: Steps of the optimizer.

    Raises:
        ValueError: A number is out of its range; or the loader has no batch.
    """

    def __init__(
        self,
        model: Module,
        loader: Loader,
        recipe: Recipe,
        epochs: int,
        communicator: Communicator | None = None,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"Training: epochs must be at least 1, got {epochs}")
        if len(loader) == 0:
            raise ValueError("Training: the loader must have a full batch, got fewer images than one holds")
        self.communicator = communicator or SingleProcess()
        self._check_parts(loader)
        self.model, self.loader, self.recipe, self.epochs = model, loader, recipe, epochs
        if self.communicator.size > 1:
            self._begin_alike()
        self.steps_per_epoch = -(-len(loader) // recipe.accumulate)
        self.optimizer = recipe.make_optimizer(model, loader.batch_size * recipe.accumulate)
        self.schedule = recipe.make_schedule(self.optimizer, epochs, self.steps_per_epoch)
        self.average = ExponentialMovingAverage(model, recipe.average) if recipe.average else None
        self._gradients = GradientBuckets(model.parameters(), self.communicator)
        self._sums = {"loss": 0.0, "right": 0, "images": 0}

    def _check_parts(self, loader: Loader) -> None:
        rank, size = self.communicator.rank, self.communicator.size
        if (loader.rank, loader.num_replicas) != (rank, size):
            raise ValueError(
                f"Training: the loader must be number {rank} of {size}, as the communicator is, "
                f"got number {loader.rank} of {loader.num_replicas}"
            )
        rest = len(loader.dataset) % loader.batch_size
        smallest = rest if rest and not (loader.drop_last and len(loader)) else loader.batch_size
        if smallest < size:
            raise ValueError(
                f"Training: each of {size} processes must have an image of every batch, "
                f"got a batch of {smallest}"
            )

    def _begin_alike(self) -> None:
        arrays = {name: value.numpy() for name, value in self.model.state_dict().items()}
        arrays, state = self.communicator.broadcast((arrays, random.generator().bit_generator.state))
        self.model.load_state_dict(arrays)
        random.generator().bit_generator.state = state

    @property
    def steps_done(self) -> int:
        """Steps since the beginning."""
        return self.schedule.last_epoch

    @property
    def epochs_done(self) -> int:
        """Epochs that are complete."""
        return self.loader.epoch + (self.loader.position >= len(self.loader))

    @property
    def trained(self) -> Module:
        """The network to evaluate and keep: the average, or else the model."""
        return self.model if self.average is None else self.average.module

    def epoch(self) -> Iterator[Step]:
        """Trains to the end of the epoch; begins another one where the last is complete.

        Raises:
            DivergedError: A loss or a gradient is not finite.
        """
        self.model.train()
        if self.epochs_done > self.loader.epoch or self.loader.position == 0:
            self._sums = {"loss": 0.0, "right": 0, "images": 0}
        batches = iter(self.loader)
        while group := list(islice(batches, self.recipe.accumulate)):
            with np.errstate(over="ignore", invalid="ignore"):  # an error below says more
                step = self._step(group)
            yield step

    def epoch_means(self) -> dict[str, float]:
        """Loss and share of right answers over the images of the epoch so far, as they were computed.

        Images that are mixed with others count as right where the answer is their own class.
        """
        images = max(self._sums["images"], 1)
        return {"loss": self._sums["loss"] / images, "top1": self._sums["right"] / images}

    def _step(self, group: list[tuple[Any, Any]]) -> Step:
        self.optimizer.zero_grad()
        parts = self._parts([len(labels) for _, labels in group])
        images, lr = sum(part.whole for part in parts), self.schedule.get_last_lr()[0]
        sums = np.zeros(2)  # the loss, and images whose answer is right
        for number, ((inputs, labels), part) in enumerate(zip(group, parts, strict=True), 1):
            mixed, target = self._mixed(inputs, labels, part)
            complete = self._gradients.reducing() if number == len(group) else nullcontext()
            with batch_part(part), complete:
                logits = self.model(mixed)
                loss = F.cross_entropy(logits, target, label_smoothing=self.recipe.label_smoothing)
                share = part.count / images  # a last batch may be smaller
                (loss if share == 1.0 else loss * share).backward()
            sums += loss.item() * share, (logits.numpy().argmax(1) == labels).sum()
        self.communicator.all_reduce(sums)
        total = float(sums[0])
        norm = self._checked_norm(total)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.model)
        self._sums["right"] += int(sums[1])
        self._sums["loss"] += total * images
        self._sums["images"] += images
        return Step(self.steps_done, total, lr, norm, images)

    def _parts(self, counts: list[int]) -> list[BatchPart]:
        """The places of batches, of which this process has so many images, in the whole batches."""
        rank = self.communicator.rank
        table = np.zeros((self.communicator.size, len(counts)), np.int64)
        table[rank] = counts
        self.communicator.all_reduce(table)
        return [
            BatchPart(self.communicator, int(column[:rank].sum()), int(column[rank]), int(column.sum()))
            for column in table.T
        ]

    def _mixed(self, images: Any, labels: Any, part: BatchPart) -> tuple[Any, Any]:
        """A part of a batch as it is, or of the batch mixed with itself in another order."""
        recipe, rng = self.recipe, random.generator()
        if not recipe.mixup and not recipe.cutmix:
            return images, labels
        images, target = part.gathered(images), one_hot(part.gathered(labels), self._classes())
        if recipe.cutmix and (not recipe.mixup or rng.random() < 0.5):
            mixed, target = cutmix(images, target, rng, recipe.cutmix)
        else:
            mixed, target = mixup(images, target, rng, recipe.mixup)
        return mixed[part.slice], target[part.slice]

    def _classes(self) -> int:
        config: Any = getattr(self.model, "config", None)
        if config is None:
            raise ValueError("Training: mixup and cutmix need a model with config.num_classes")
        return int(config.num_classes)

    def _checked_norm(self, loss: float) -> float:
        """The norm of the gradients, which are clipped."""
        parameters = list(self.model.parameters())
        clipped = self.recipe.clip_norm
        norm = clip_grad_norm_(parameters, clipped) if clipped else grad_norm(parameters)
        if math.isfinite(loss) and math.isfinite(norm):
            return norm
        sizes = {name: grad_norm([each]) for name, each in self.model.named_parameters()}
        worst = sorted(sizes, key=lambda name: (math.isfinite(sizes[name]), -np.nan_to_num(sizes[name])))
        largest = ", ".join(f"{name} {sizes[name]:.3g}" for name in worst[:_NAMED_GRADIENTS])
        what = (
            f"loss {loss:.4g}"
            if not math.isfinite(loss)
            else f"loss {loss:.4g} with gradients of norm {norm}"
        )
        raise DivergedError(
            f"Training: loss and gradients must stay finite, got {what} in step {self.steps_done + 1} "
            f"(epoch {self.loader.epoch + 1}); the largest gradients: {largest}. "
            "A lower learning rate, a longer warm-up or clipping may help"
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors, and values that JSON can hold."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "loader": self.loader.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "random": random.generator().bit_generator.state,
            "sums": dict(self._sums),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another training of the same model, data and recipe was.

        Raises:
            ValueError: The state is that of another model, optimizer or recipe.
        """
        if (state["average"] is None) != (self.average is None):
            raise ValueError("load_state_dict: the average must be in both trainings or in neither")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.loader.load_state_dict(state["loader"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        random.generator().bit_generator.state = state["random"]
        self._sums = dict(state["sums"])
