"""The network to train: which head stays, dropouts of the recipe, and images of another size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lucid.models import create_model, save_weights
from lucid.models.pretrained import pretrained_path
from lucid.train import RECIPES
from lucid.train.network import network, network_preprocessing

DIGITS = list("0123456789")


def test_the_head_of_the_same_classes_stays() -> None:
    weights = str(pretrained_path("resnest_digits"))
    given = create_model("resnest_digits", "pretrained")
    for source in (weights, "pretrained"):
        model, is_new = network("resnest_digits", source, DIGITS, RECIPES["resnest"])
        assert not is_new
        np.testing.assert_array_equal(model.fc.weight.numpy(), given.fc.weight.numpy())
        assert (model.config.dropout, model.config.drop_path) == (0.2, 0.1)


@pytest.mark.parametrize("classes", [["a", "b"], [f"class {digit}" for digit in DIGITS], DIGITS[::-1]])
def test_other_classes_get_a_new_head(classes: list[str]) -> None:
    weights = str(pretrained_path("resnext_digits"))
    given = create_model("resnext_digits", "pretrained").state_dict()
    model, is_new = network("resnext_digits", weights, classes, RECIPES["fine_tune"])
    assert is_new
    assert model.config.num_classes == len(classes)
    changed = {k for k, v in model.state_dict().items() if not np.array_equal(v.numpy(), given[k].numpy())}
    assert changed == {"fc.weight", "fc.bias"}


def test_weights_without_labels_are_taken_at_their_number_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_weights(create_model("resnext_digits", num_classes=3), path)
    assert not network("resnext_digits", str(path), ["x", "y", "z"], RECIPES["resnext"])[1]


def test_another_size_crops_as_large_a_part() -> None:
    usual = network_preprocessing("resnext50_32x4d", None, None)
    small = network_preprocessing("resnext50_32x4d", None, 112)
    assert (usual.size, small.size) == (224, 112)
    assert small.resize == round(usual.resize / 2)
    assert network_preprocessing("resnext50_32x4d", None, 224) == usual
