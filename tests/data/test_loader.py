"""The loader: what batches hold, in which order, whatever the threads, and from where it goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lucid.data import ImageFolder, Loader

ITEMS = [(np.full((2, 3), i, np.float32), i % 4) for i in range(23)]


def noisy(image: Any, rng: np.random.Generator) -> Any:
    return image + rng.random()


def numbers(loader: Loader) -> list[float]:
    return [float(x) for images, _ in loader for x in images[:, 0, 0]]


def test_batches_are_arrays() -> None:
    batches = list(Loader(ITEMS, 8))
    assert [images.shape for images, _ in batches] == [(8, 2, 3), (8, 2, 3), (7, 2, 3)]
    images, labels = batches[1]
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    assert labels.tolist() == [i % 4 for i in range(8, 16)]
    assert images[:, 0, 0].tolist() == list(range(8, 16))
    assert len(Loader(ITEMS, 8)) == 3
    assert len(Loader(ITEMS, 8, drop_last=True)) == len(list(Loader(ITEMS, 8, drop_last=True))) == 2


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_threads_change_nothing(workers: int) -> None:
    one, many = (Loader(ITEMS, 4, noisy, shuffle=True, seed=5, workers=n) for n in (0, workers))
    for _ in range(3):
        assert numbers(one) == numbers(many)


def test_each_epoch_has_an_order_and_views_of_its_own() -> None:
    loader = Loader(ITEMS, 5, noisy, shuffle=True)
    epochs = [numbers(loader) for _ in range(3)]
    assert loader.epoch == 2
    for numbers_of_epoch in epochs:
        assert sorted(int(x) for x in numbers_of_epoch) == list(range(23))
    assert len({tuple(map(int, each)) for each in epochs}) == 3
    assert len({x for each in epochs for x in each}) == 3 * 23
    assert numbers(Loader(ITEMS, 5, noisy, shuffle=True, seed=1)) != epochs[0]
    for _ in loader:  # an epoch that is left
        break
    assert (loader.epoch, loader.position) == (3, 1)
    assert len(numbers(loader)) == 23


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_replicas_share_each_batch(replicas: int) -> None:
    """With the views that one loader gives, in its order, and from the place where it stopped."""
    loaders = [
        Loader(ITEMS, 9, noisy, shuffle=True, seed=2, num_replicas=replicas, rank=rank)
        for rank in range(replicas)
    ]
    whole = Loader(ITEMS, 9, noisy, shuffle=True, seed=2)
    for loader in [*loaders, whole]:
        next(iter(loader))
        state = loader.state_dict()
        assert state == {"seed": 2, "epoch": 0, "position": 1}  # that of all replicas
        loader.load_state_dict(state)
    for batch, *parts in zip(whole, *loaders, strict=True):
        counts = [len(labels) for _, labels in parts]
        assert max(counts) - min(counts) <= 1
        for place in (0, 1):
            np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), batch[place])


def test_a_replica_without_an_item_is_refused() -> None:
    loader = Loader(ITEMS[:9], 8, num_replicas=2, rank=0)  # the last batch of one item
    with pytest.raises(ValueError, match="each replica must have an item of every batch, got fewer items"):
        list(loader)
    with pytest.raises(ValueError, match="Loader: rank must be from 0 to 1, got 2"):
        Loader(ITEMS, 8, num_replicas=2, rank=2)
    with pytest.raises(ValueError, match="Loader: num_replicas must be at least 1, got 0"):
        Loader(ITEMS, 8, num_replicas=0)


def test_it_goes_on_from_its_state() -> None:
    whole = Loader(ITEMS, 4, noisy, shuffle=True, seed=9)
    want = [numbers(whole) for _ in range(3)]
    for given in (1, 3, 6):
        first = Loader(ITEMS, 4, noisy, shuffle=True, seed=9)
        assert numbers(first) == want[0]
        found = []
        for (images, _), _ in zip(first, range(given), strict=False):
            found += [float(x) for x in images[:, 0, 0]]
            if len(found) >= 4 * given:
                break
        second = Loader(ITEMS, 4, noisy, shuffle=True)
        second.load_state_dict(first.state_dict())
        if given < 6:
            found += numbers(second)
        assert found == want[1]
        assert numbers(second) == want[2]


def test_items_may_be_dicts() -> None:
    ((images, labels),) = Loader([{"image": np.zeros(2), "label": 7, "more": "x"}], 4)
    assert images.tolist() == [[0, 0]]
    assert labels.tolist() == [7]


def test_errors_of_items_come_through() -> None:
    def fails(image: Any, rng: np.random.Generator) -> Any:
        if image[0, 0] == 9:
            raise ValueError("no. 9 is damaged")
        return image

    loader = Loader(ITEMS, 4, fails, workers=3)
    with pytest.raises(ValueError, match=r"no\. 9 is damaged"):
        list(loader)
    with pytest.raises(ValueError, match=r"images of a batch must have one shape, got \[\(1,\), \(2,\)\]"):
        list(Loader([(np.zeros(1), 0), (np.zeros(2), 0)], 2))
    assert not [each for each in threading.enumerate() if each.name.startswith("lucid-loader")]


def test_wrong_numbers_are_refused() -> None:
    for options, said in (
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1, "workers": -1}, "workers must be at least 0, got -1"),
        ({"batch_size": 1, "prefetch": 0}, "prefetch must be at least 1, got 0"),
        ({"batch_size": 1, "seed": -3}, "seed must be at least 0, got -3"),
    ):
        with pytest.raises(ValueError, match=f"Loader: {said}"):
            Loader(ITEMS, **options)
    with pytest.raises(ValueError, match="Loader: dataset must hold items, got none"):
        Loader([], 1)


# ---- Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, shades in (("cat", (10, 20)), ("ant", (30,)), (".hidden", (40,))):
        (tmp_path / name).mkdir()
        for shade in shades:
            Image.new("L", (6, 5), shade).save(tmp_path / name / f"{shade}.png")
    (tmp_path / "notes.txt").write_text("no class")
    return tmp_path


def test_a_folder_has_a_class_for_each_subfolder(folder: Path) -> None:
    data = ImageFolder(folder)
    assert data.classes == ["ant", "cat"]
    assert data.labels == [0, 1, 1]
    assert repr(data) == f"ImageFolder({str(folder)!r}): 3 images of 2 classes"
    image, label = data[1]
    assert (image.size, image.getpixel((0, 0)), label) == ((6, 5), 10, 1)
    ((images, labels),) = Loader(data, 9)
    assert images[:, 0, 0].tolist() == [30, 10, 20]
    assert labels.tolist() == [0, 1, 1]


def test_classes_may_be_those_of_another_set(folder: Path) -> None:
    assert ImageFolder(folder, ["dog", "cat", "ant"]).labels == [2, 1, 1]
    with pytest.raises(ValueError, match="ImageFolder: folders must be among the classes, got cat"):
        ImageFolder(folder, ["ant"])


def test_wrong_folders_are_refused(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ImageFolder: root must be a folder, got '.*notes.txt'"):
        ImageFolder(folder / "notes.txt")
    with pytest.raises(ValueError, match="ImageFolder: root must hold a folder for each class, got none in"):
        ImageFolder(folder / "ant")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"a folder must hold images, found none in '.*empty'"):
        ImageFolder(folder)
