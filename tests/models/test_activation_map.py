"""Class-activation maps: their definition, and a model that stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucid
from lucid.models import ActivationMap, ResNeStConfig, ResNet, ResNeXtConfig, activation_map
from lucid.models.registry import build
from lucid.nn import functional as F

SMALL: dict[str, Any] = {"layers": (1, 1, 1, 1), "num_classes": 5, "channels": (8, 16, 16, 16)}


@pytest.fixture(params=["resnext", "resnest"])
def model(request: pytest.FixtureRequest) -> ResNet:
    lucid.random.seed(2017)
    if request.param == "resnext":
        return build(ResNeXtConfig(**SMALL, cardinality=4, base_width=32)).eval()
    return build(ResNeStConfig(**SMALL, stem_width=8)).eval()


@pytest.fixture
def image(rng: np.random.Generator) -> Any:
    return rng.standard_normal((3, 130, 140), dtype=np.float32)


def test_last_stage_is_weighted_by_the_classifier(model: ResNet, image: Any) -> None:
    """The mean is linear: a logit's gradient is the class's row of weights, by the number of places."""
    found = activation_map(model, image, 3)
    features = model.forward_features(lucid.tensor(image[None])).numpy()[0]
    wanted = np.maximum(np.einsum("k,khw->hw", model.fc.weight.numpy()[3], features, dtype=np.float64), 0)
    assert found.heat.shape == (5, 5)
    np.testing.assert_allclose(found.heat, wanted / wanted.max(), atol=1e-5)
    probabilities = F.softmax(model(image[None]), dim=1).numpy()[0]
    assert (found.index, found.probability) == (3, pytest.approx(probabilities[3], rel=1e-5))


def test_earlier_stage_is_weighted_by_gradients(model: ResNet, image: Any) -> None:
    """Against finite differences: all values of a channel moved at once."""
    found = activation_map(model, image, stage=2)
    features = model.features(lucid.tensor(image[None]))[2].numpy()

    def logit(values: Any) -> float:
        return float(model.forward_head(model.layer4(lucid.tensor(values))).numpy()[0, found.index])

    slopes = np.zeros(features.shape[1])
    for channel in range(len(slopes)):
        step = np.zeros_like(features)
        step[:, channel] = 1e-2
        slopes[channel] = (logit(features + step) - logit(features - step)) / 2e-2
    wanted = np.maximum(np.einsum("k,khw->hw", slopes, features[0]), 0)
    assert wanted.max() > 0
    np.testing.assert_allclose(found.heat, wanted / wanted.max(), atol=0.02)


def test_most_probable_class_is_the_default(model: ResNet, image: Any) -> None:
    assert activation_map(model, image).index == model(image[None]).numpy()[0].argmax()


def test_small_image_has_the_map_of_an_earlier_stage(model: ResNet, image: Any) -> None:
    assert activation_map(model, image[:, :32, :40]).heat.shape == (4, 5)


def test_model_stays_as_it_was(model: ResNet, image: Any) -> None:
    model.fc.weight.grad = lucid.ones(*model.fc.weight.shape)
    model.conv1.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    with lucid.no_grad():
        activation_map(model, image, stage=0)
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert (model.fc.weight.grad.numpy() == 1).all()
    assert model.fc.bias.grad is None


def test_nothing_that_speaks_for_a_class_is_no_heat(model: ResNet, image: Any) -> None:
    model.fc.weight.data[...] = -1.0
    found = activation_map(model, image, 0)
    assert isinstance(found, ActivationMap)
    assert (found.heat == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": 5}, "index must be from 0 to 4, got 5"),
        ({"index": -1}, "index must be from 0 to 4, got -1"),
        ({"stage": 4}, "stage must be from 0 to 3, got 4"),
    ],
)
def test_wrong_arguments_are_named(model: ResNet, image: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"activation_map: {message}"):
        activation_map(model, image, **options)


def test_wrong_model_or_image_is_named(model: ResNet, image: Any) -> None:
    with pytest.raises(ValueError, match=r"image must be \(channels, height, width\), got shape \(1, 3, 130"):
        activation_map(model, image[None])
    with pytest.raises(ValueError, match="model must be in eval mode"):
        activation_map(model.train(), image)
