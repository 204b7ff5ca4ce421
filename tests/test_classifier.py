"""Classifier: from images of every kind to labels, alone, in lists, and in streams."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import photograph
from PIL import Image

import lucid
from lucid import nn
from lucid.classifier import Classification, Classifier, Prediction
from lucid.data import ImageSizeError, Preprocessing
from lucid.models import ResNeXt, ResNeXtConfig, create_model, save_weights
from lucid.models.pretrained import pretrained_path
from lucid.models.pretrained.digits import sample_images

DIGITS = [path for path, _ in sample_images()]
SMALL = ResNeXtConfig((1, 1, 1, 1), 2, 32, num_classes=3, channels=(8, 8, 8, 8))


@pytest.fixture(scope="module")
def digits() -> Classifier:
    return Classifier("resnext_digits")


def colours() -> ResNeXt:
    """A small RGB network."""
    return ResNeXt(SMALL).eval()


def test_is_public() -> None:
    assert lucid.Classifier is Classifier
    assert "Classifier" in dir(lucid)


def test_image_gives_ranked_predictions(digits: Classifier) -> None:
    predictions = digits(DIGITS[3])
    assert [type(prediction) for prediction in predictions] == [Prediction] * 5
    label, probability, index = predictions[0]
    assert (label, index) == ("3", 3)
    assert probability == predictions[0].probability > 0.9
    assert sum(p.probability for p in digits(DIGITS[3], topk=10)) == pytest.approx(1)
    assert [len(digits(DIGITS[3], topk=k)) for k in (1, 3, 99)] == [1, 3, 10]
    assert predictions == sorted(predictions, key=lambda p: -p.probability)


def test_probabilities_are_the_softmax_of_the_logits(digits: Classifier) -> None:
    model = create_model("resnext_digits", "pretrained").eval()
    logits = model(lucid.tensor(digits.preprocessing.load(DIGITS[2])[None]))
    expected = nn.functional.softmax(logits, dim=1).numpy()[0]
    got = {p.index: p.probability for p in digits(DIGITS[2], topk=10)}
    np.testing.assert_allclose([got[i] for i in range(10)], expected, rtol=1e-4)


def test_every_kind_of_image_gives_the_same(digits: Classifier) -> None:
    path = DIGITS[7]
    expected = digits(path)
    image = Image.open(path)
    for source in (str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, np.asarray(image)):
        assert digits(source) == expected


def test_collections_give_a_list_for_each_image(digits: Classifier) -> None:
    def best(results: list[list[Prediction]]) -> str:
        return "".join(predictions[0].label for predictions in results)

    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in DIGITS])
    for images in (DIGITS, tuple(DIGITS), iter(DIGITS), [Image.open(path) for path in DIGITS], pixels):
        assert best(digits(images)) == "0123456789"
    assert digits([]) == []
    assert digits(DIGITS)[4] == digits(DIGITS[4]) == digits([DIGITS[4]])[0]


@pytest.mark.parametrize("image", [3, None, {"a": 1}, np.zeros((4, 4), complex)])
def test_other_things_are_no_images(digits: Classifier, image: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^Classifier: an (image|array) must be "):
        digits([image])


def test_call_raises_for_the_first_bad_image(
    digits: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.png").write_bytes(DIGITS[0].read_bytes()[:60])
    with pytest.raises(ValueError, match=r"^Classifier: .*cut\.png must be an undamaged image: "):
        digits([DIGITS[0], tmp_path / "cut.png"])
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        digits("absent.png")
    with pytest.raises(IsADirectoryError):
        digits(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    with pytest.raises(ImageSizeError, match=r"^Classifier: .* PIL\.Image\.MAX_IMAGE_PIXELS"):
        digits(DIGITS[0])


def test_stream_goes_on_past_bad_images(digits: Classifier, tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(DIGITS[5].read_bytes())
    (tmp_path / "b.png").write_text("no image")
    found = list(digits.stream(tmp_path, topk=1, batch_size=2))
    assert [result.source for result in found] == [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    assert [result.error is None for result in found] == [True, False, True]
    assert [len(result.predictions) for result in found] == [1, 0, 1]
    assert str(found[1].error).startswith(f"Classifier: {tmp_path / 'b.png'} must be an image, found")

    mixed: list[Any] = [tmp_path, "absent.png", Image.open(DIGITS[1]), 7]
    results = list(digits.stream(mixed))
    assert [type(result.error) for result in results[3:]] == [FileNotFoundError, type(None), TypeError]
    assert results[3].source == "absent.png"
    assert results[4].predictions[0].label == "1"


def test_whatever_goes_wrong_with_an_image_is_its_own_error(
    digits: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Preprocessing.load_pixels

    def fail(self: Preprocessing, source: Any) -> Any:
        if source == DIGITS[1]:
            raise MemoryError("no room")
        return load(self, source)

    monkeypatch.setattr(Preprocessing, "load_pixels", fail)
    results = list(digits.stream(DIGITS[:3]))
    assert [type(result.error) for result in results] == [type(None), MemoryError, type(None)]


def test_stream_is_lazy(digits: Classifier) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield DIGITS[taken % 10]

    results = list(islice(digits.stream(endless(), batch_size=2), 5))
    assert [result.predictions[0].label for result in results] == list("12345")
    assert taken == 6


def test_stream_of_nothing_is_an_error_at_once(digits: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^Classifier\.stream: a folder must hold images"):
        digits.stream(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^Classifier\.stream: no such file or folder"):
        digits.stream("absent")


def test_few_plans_serve_all_batches() -> None:
    classifier = Classifier("resnext_digits", batch_size=4)
    for count in (1, 2, 3, 4, 5, 9):
        assert len(classifier(DIGITS[:count])) == count
    assert set(classifier._plans) <= {1, 2, 4}


def test_threads_share_a_classifier() -> None:
    classifier = Classifier("resnext_digits")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(classifier, DIGITS * 4))
    assert [predictions[0].label for predictions in results] == list("0123456789") * 4


@pytest.mark.parametrize("duplicate", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy])
def test_copies_classify_alike(digits: Classifier, duplicate: Any) -> None:
    assert duplicate(digits)(DIGITS[6]) == digits(DIGITS[6])


def test_module_with_its_own_preprocessing_and_labels() -> None:
    prepare = Preprocessing(32, 36)
    classifier = Classifier(colours(), labels=["red", "green", "blue"], preprocessing=prepare, topk=3)
    assert repr(classifier) == "Classifier('ResNeXt', 3 classes)"
    got = classifier(photograph(50, 40))
    assert sorted(p.label for p in got) == ["blue", "green", "red"]
    logits = classifier.model(lucid.tensor(prepare(photograph(50, 40))[None])).numpy()[0]
    assert got[0].index == logits.argmax()


def test_module_of_any_class_is_asked_for_its_classes() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).eval()
    classifier = Classifier(model, preprocessing=Preprocessing(16, 16))
    assert classifier.labels == ("class 0", "class 1", "class 2", "class 3")
    assert len(classifier(photograph(20, 20))) == 4
    with pytest.raises(
        ValueError, match=r"^Classifier: Conv2d must return one tensor of shape \(n, classes\)"
    ):
        Classifier(nn.Conv2d(3, 4, 1).eval(), preprocessing=Preprocessing(16, 16))


def test_weights_say_labels_and_number_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "colours.safetensors"
    save_weights(colours(), path, {"labels": ["r", "g", "b"], "preprocessing": Preprocessing(32, 32)})
    classifier = Classifier(weights=path)
    assert classifier.labels == ("r", "g", "b")
    assert classifier.preprocessing.size == 32
    assert Classifier(weights=path, labels=["x", "y", "z"]).labels == ("x", "y", "z")
    names = tmp_path / "names.txt"
    names.write_text("eins\nzwei\ndrei\n")
    assert Classifier(weights=path, labels=names).labels == ("eins", "zwei", "drei")


def test_state_dict_is_a_source_of_weights(digits: Classifier) -> None:
    model = create_model("resnext_digits", "pretrained")
    classifier = Classifier("resnext_digits", model.state_dict())
    assert classifier(DIGITS[8])[0].label == "class 8"
    assert classifier(DIGITS[8])[0].probability == digits(DIGITS[8])[0].probability


def test_outputs_that_are_not_finite_are_no_prediction() -> None:
    model = colours()
    model.fc.bias.numpy()[1] = np.nan
    classifier = Classifier(model, preprocessing=Preprocessing(32, 32))
    with pytest.raises(ValueError, match=r"^Classifier: the outputs of ResNeXt must be finite"):
        classifier(photograph(40, 40))
    [result] = classifier.stream(photograph(40, 40))
    assert isinstance(result, Classification)
    assert isinstance(result.error, ValueError)


def test_network_of_unknown_preparation_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="ResNeXt does not say how images must be prepared"):
        Classifier(colours())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "model or weights must be given"),
        ({"model": "resnext_digit"}, ValueError, "name must be one of .* did you mean 'resnext_digits'"),
        ({"model": "resnext50_32x4d"}, ValueError, "resnext50_32x4d ships without weights.* give weights="),
        ({"model": 3}, TypeError, "model must be a name or a Module, got int"),
        ({"model": ResNeXt(SMALL)}, ValueError, r"model must be in eval mode.*model\.eval\(\)"),
        ({"labels": ["a", "b"]}, ValueError, "labels must hold one label for each of 10 classes, got 2"),
        ({"labels": [1, 2]}, TypeError, "labels must be strings or the path of a file"),
        ({"labels": 3}, TypeError, "labels must be strings or the path of a file"),
        ({"topk": 0}, ValueError, "topk must be positive, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be positive, got 0"),
        ({"preprocessing": Preprocessing()}, ValueError, "must take as many channels .* got 1"),
        (
            {"model": "resnest_digits", "weights": pretrained_path("resnext_digits")},
            ValueError,
            "must fit resnest_digits",
        ),
    ],
)
def test_constructor_names_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    if arguments:
        arguments = {"model": "resnext_digits"} | arguments
    with pytest.raises(error, match=f"^Classifier: .*{message}") as caught:
        Classifier(**arguments)
    assert "--" not in str(caught.value)


def test_stream_that_does_not_expand_answers_each_source_once(tmp_path: Path) -> None:
    path = sample_images()[0][0]
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(path.read_bytes())
    classifier = Classifier("resnext_digits")
    sources = [tmp_path, tmp_path / "a.png", str(tmp_path / "*.png")]
    found = list(classifier.stream(sources, expand=False))
    assert [result.source for result in found] == sources
    assert [result.error is None for result in found] == [False, True, False]
    assert len(list(classifier.stream(sources))) == 5
