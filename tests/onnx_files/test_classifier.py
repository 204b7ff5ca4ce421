"""Classifier and ``lucid classify`` with ONNX files."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucid
from lucid.cli.main import main
from lucid.data import Preprocessing
from lucid.models import create_model, preprocessing
from lucid.models.pretrained.digits import sample_images

pytest.importorskip("onnx")


def exported(folder: Path, name: str = "resnext_digits", **options: Any) -> Path:
    """The digits' model as an ONNX file of that name."""
    model = create_model("resnext_digits", weights="pretrained").eval()
    path = folder / f"{name}.onnx"
    lucid.onnx.export(model, path, shape=options.pop("shape", (1, 1, 32, 32)), **options)
    return path


@pytest.mark.parametrize("options", [{"symbolic_batch": True}, {"shape": (3, 1, 32, 32)}, {}], ids=str)
def test_a_file_gives_the_classes_of_its_model(tmp_path: Path, options: dict[str, Any]) -> None:
    """Whatever batch the file is for, in batches of it."""
    classifier = lucid.Classifier(exported(tmp_path, **options), batch_size=4)
    images = [path for path, _ in sample_images()]
    found, wanted = (
        c(images, topk=3) for c in (classifier, lucid.Classifier("resnext_digits", batch_size=4))
    )
    assert classifier.name == "resnext_digits"
    assert classifier.preprocessing == preprocessing("resnext_digits")
    for ours, theirs in zip(found, wanted, strict=True):
        assert [p.index for p in ours] == [p.index for p in theirs]
        np.testing.assert_allclose([p.probability for p in ours], [p.probability for p in theirs], rtol=1e-4)
    again = pickle.loads(pickle.dumps(classifier))
    assert again(images[0])[0].index == found[0][0].index


def test_a_file_of_another_name_is_prepared_as_images_usually_are(tmp_path: Path) -> None:
    path = exported(tmp_path, "mine")
    with pytest.warns(UserWarning, match="mine does not say how images must be prepared"):
        classifier = lucid.Classifier(path)
    assert classifier.preprocessing == Preprocessing(size=32, resize=37, mean=(0.5,), std=(0.5,))
    own = Preprocessing(size=32, resize=32, mean=(0.5,), std=(0.5,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lucid.Classifier(path, preprocessing=own).preprocessing == own


def test_what_does_not_fit_is_explained(tmp_path: Path) -> None:
    path = exported(tmp_path)
    with pytest.raises(ValueError, match=r"Classifier: weights must be None for .*\.onnx"):
        lucid.Classifier(path, "weights.safetensors")
    with pytest.raises(ValueError, match="must take as many channels as its preprocessing gives"):
        lucid.Classifier(path, preprocessing=Preprocessing(size=32))
    with pytest.raises(ValueError, match=r"shape must be that of the input 'input', \(1, 1, 32, 32\)"):
        lucid.Classifier(path, preprocessing=Preprocessing(size=48, mean=(0.5,), std=(0.5,)))
    with pytest.raises(FileNotFoundError):
        lucid.Classifier(tmp_path / "absent.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"Classifier: .*must be an ONNX model"):
        lucid.Classifier(tmp_path / "bad.onnx")


def command(*arguments: str) -> tuple[int, str, str]:
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        code = main(list(arguments))
    return code, out.getvalue(), error.getvalue()


def test_lucid_classify(tmp_path: Path) -> None:
    path, digit = sample_images()[3]
    code, out, error = command("classify", str(path), "--model", str(exported(tmp_path)), "--json")
    assert (code, error) == (0, "")
    assert json.loads(out)["predictions"][0]["class"] == digit
    code, out, error = command("classify", str(path), "--model", str(tmp_path / "absent.onnx"))
    assert code != 0
    assert error.count("\n") == 1
    assert "absent.onnx" in error
