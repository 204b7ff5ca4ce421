"""Batches of a data set, decoded ahead by threads, in an order that a seed decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lucid.communicator import share

__all__ = ["Dataset", "Loader"]

Batch: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int64]]"
Transform: TypeAlias = Callable[[Any, np.random.Generator], Any]


class Dataset(Protocol):
    """Anything of a length whose items are pairs of an image and a label, or dicts of both."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class Loader:
    """Gives an epoch of batches: images ``(n, ...)``, as the transform makes them, and int64 labels ``(n,)``.

    The items of the next batches are loaded by threads, meanwhile; Pillow decodes without the interpreter's
    lock. What a batch holds depends on ``seed``, the epoch and its number alone, not on threads or on whether
    the loader began anew: the order is drawn from the seed and the epoch, and each item's transform has a
    generator of its own. So processes that train one model each load a part of every batch.

    Args:
        dataset: Items with a length, such as an ``ImageFolder``, a list of pairs, or a data set of PyTorch's
            or Hugging Face's. An item is ``(image, label)`` or ``{"image": ..., "label": ...}``.
        batch_size: Items in a batch, in all replicas together; the last one of an epoch has the rest.
        transform: ``transform(image, rng)`` makes the array; None takes images as they are.
        shuffle: Whether each epoch has an order of its own.
        seed: Decides on orders and transforms.
        drop_last: Whether a last batch that is not full is left out.
        workers: Threads that load; 0 loads in the calling one.
        prefetch: Batches that are loaded ahead.
        num_replicas: Loaders that share each batch, one in each process; see ``lucid.distributed``.
        rank: The number of this one, from 0. Those of all ranks, one behind the other, are the batch.

    Attributes:
        epoch: The number of the epoch that was iterated last; each ``iter`` begins another one.
        position: Batches of it that were given.

    Raises:
        ValueError: A number is out of its range, or the data set is empty.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        transform: Transform | None = None,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        workers: int = 2,
        prefetch: int = 2,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("workers", workers, 0),
            ("prefetch", prefetch, 1),
            ("num_replicas", num_replicas, 1),
        ):
            if value < least:
                raise ValueError(f"Loader: {name} must be at least {least}, got {value}")
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Loader: rank must be from 0 to {num_replicas - 1}, got {rank}")
        if len(dataset) == 0:
            raise ValueError("Loader: dataset must hold items, got none")
        self.dataset, self.batch_size, self.transform = dataset, batch_size, transform
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.workers, self.prefetch = workers, prefetch
        self.num_replicas, self.rank = num_replicas, rank
        self.epoch = self.position = 0
        self._resumed = False

    def __len__(self) -> int:
        """Batches of an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the next epoch; behind ``load_state_dict``, those that are left of that one."""
        if self.position and not self._resumed:
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        size, left = self.batch_size, range(self.position, len(self))
        batches = [order[number * size : (number + 1) * size] for number in left]
        batches = [batch[share(len(batch), self.rank, self.num_replicas)] for batch in batches]
        for batch in self._ahead(batches) if self.workers else map(self._loaded, batches):
            self.position += 1
            yield batch

    def _ahead(self, batches: list[NDArray[np.int64]]) -> Iterator[Batch]:
        waiting: deque[list[Future[tuple[Any, int]]]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="lucid-loader") as pool:
            try:
                for batch in batches:
                    waiting.append([pool.submit(self._item, int(index)) for index in batch])
                    if len(waiting) > self.prefetch:
                        yield _stacked([item.result() for item in waiting.popleft()])
                while waiting:
                    yield _stacked([item.result() for item in waiting.popleft()])
            finally:  # an error, or nobody wants the rest
                pool.shutdown(wait=False, cancel_futures=True)

    def _loaded(self, batch: NDArray[np.int64]) -> Batch:
        return _stacked([self._item(int(index)) for index in batch])

    def _item(self, index: int) -> tuple[Any, int]:
        item = self.dataset[index]
        image, label = (item["image"], item["label"]) if isinstance(item, Mapping) else item
        if self.transform is not None:
            image = self.transform(image, np.random.default_rng((self.seed, self.epoch, index)))
        return np.asarray(image, dtype=np.float32), int(label)

    def state_dict(self) -> dict[str, int]:
        """Where it is, for another loader of the same data to go on from."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from where another loader was: the next ``iter`` gives the batch behind its last one."""
        self.seed, self.epoch, self.position = (int(state[name]) for name in ("seed", "epoch", "position"))
        if self.position >= len(self):
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = True


def _stacked(items: list[tuple[Any, int]]) -> Batch:
    if not items:
        raise ValueError("Loader: each replica must have an item of every batch, got fewer items")
    images, labels = zip(*items, strict=True)
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(f"Loader: images of a batch must have one shape, got {sorted(shapes)}")
    return np.stack(images), np.array(labels, np.int64)
