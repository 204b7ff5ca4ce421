"""Classes that a bfloat16 plan decides for: those of float32, where the margin exceeds what errors may move.

The error of a logit may be RELATIVE_ERROR of the largest logit of its image. So the first of an image's
classes stays the first if it leads by more than twice as much: its margin is clear.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from networks import randomize, settle
from PIL import Image
from small_networks import small_models

import lucid
from lucid.models import create_model
from lucid.models.pretrained.digits import CONFIGS, PREPROCESSING, as_pixels, held_out
from lucid.nn import Module

Array = npt.NDArray[Any]

RELATIVE_ERROR = 3e-2
NETWORKS = small_models()


def logits_of(model: Module, images: Array) -> tuple[Array, Array]:
    """Those of the float32 plan, whose own error is a thousandth of the other's, and of the bfloat16 plan."""
    exact, rounded = (lucid.compile(model, images.shape, dtype=dtype) for dtype in ("float32", "bfloat16"))
    return exact(images), rounded(images)  # type: ignore[return-value]


def relative_errors(got: Array, want: Array) -> Array:
    """The largest error of each row, of the largest value of that row."""
    return np.asarray(np.abs(got - want).max(1) / np.abs(want).max(1))


def clear(logits: Array) -> Array:
    """True for a row whose margin is clear."""
    second, first = np.sort(logits, 1)[:, -2:].T
    return np.asarray(first - second > 2 * RELATIVE_ERROR * np.abs(logits).max(1))


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Images and labels of the 599 digits that no training of the shipped networks saw."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    data = datasets.load_digits()
    mask = held_out(data.target)
    pixels = as_pixels(data.images)[mask]
    return np.stack([PREPROCESSING(Image.fromarray(image)) for image in pixels]), data.target[mask]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_trained_networks_keep_their_classes(isa: str, name: str, digits: tuple[Array, Array]) -> None:
    """Every clear one, and no more than one image becomes right or wrong."""
    images, labels = (array[:: 20 if isa.startswith("emulated") else 1] for array in digits)
    exact, rounded = logits_of(create_model(name, weights="pretrained").eval(), images)
    assert relative_errors(rounded, exact).max() <= RELATIVE_ERROR
    margin = clear(exact)
    assert margin.mean() >= 0.99
    np.testing.assert_array_equal(rounded.argmax(1)[margin], exact.argmax(1)[margin])
    right = [int((logits.argmax(1) == labels).sum()) for logits in (exact, rounded)]
    assert abs(right[1] - right[0]) <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_random_networks_keep_their_classes(isa: str, name: str, rng: np.random.Generator) -> None:
    """99 of 100 clear ones, and as many logits within the error: it is random, and has no bound."""
    model: Any = NETWORKS[name][0]
    randomize(model, rng)
    settle(model, rng)
    images = rng.standard_normal(
        (20 if isa.startswith("emulated") else 200, *NETWORKS[name][1][1:]), dtype=np.float32
    )
    exact, rounded = logits_of(model, images)
    assert np.mean(relative_errors(rounded, exact) <= RELATIVE_ERROR) >= 0.99
    margin = clear(exact)
    assert margin.mean() >= 0.5
    assert np.mean(rounded.argmax(1)[margin] == exact.argmax(1)[margin]) >= 0.99
