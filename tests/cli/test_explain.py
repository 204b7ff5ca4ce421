"""``lucid explain``: the picture, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucid.cli.main import main
from lucid.models.pretrained.digits import sample_images

PATH, DIGIT = sample_images()[3]


def test_picture_has_the_image_and_its_heat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(PATH)]) == 0
    name = f"{PATH.stem}-explained.png"
    assert capsys.readouterr().out == f"3 (98.3%): {name}\n"
    picture = np.asarray(Image.open(tmp_path / name), np.int64)
    assert picture.shape == (224, 2 * 224 + 8, 3)
    plain, hot = picture[:, :224], picture[:, -224:]
    assert (plain == plain[..., :1]).all()  # a grey image
    warm = hot[..., 0] - hot[..., 2]
    assert warm.max() > 100
    assert warm.min() < 20


def test_class_by_name_or_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("8", "08"):
        assert main(["explain", str(PATH), "--class", text, "--out", str(tmp_path / "eight.jpg")]) == 0
        assert capsys.readouterr().out.startswith("8 (")
    with Image.open(tmp_path / "eight.jpg") as picture:
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.png"], 1, "missing.png"),
        (
            [str(PATH), "--class", "cat"],
            2,
            "--class must be one of the 10 classes (0, 1, 2, 3, ...)",
        ),
        ([str(PATH), "--out", "heat.txt"], 2, "--out must be a file that Pillow can write, such as .png"),
        ([str(PATH), "--model", "resnet"], 1, "resnet"),
        ([str(PATH), "--out", "no/folder/heat.png"], 1, "no/folder/heat.png"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explain", *arguments]) == code
    *before, shown = capsys.readouterr().err.splitlines()
    assert message in shown
    assert all("no --model given, so resnext_digits" in line for line in before)
