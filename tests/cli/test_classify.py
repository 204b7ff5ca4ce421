"""lucid classify: what users give it, good and bad."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lucid.models import ResNeXt, ResNeXtConfig, load_weights, save_weights
from lucid.models.pretrained import pretrained_path
from lucid.models.pretrained.digits import sample_images

Command = Callable[..., "subprocess.CompletedProcess[str]"]

DIGITS = pretrained_path("resnext_digits").parent / "digits"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with the ten shipped digits."""
    return Path(shutil.copytree(DIGITS, tmp_path / "digits"))


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small RGB network with labels of its own."""
    config = ResNeXtConfig((1, 1, 1, 1), 2, 32, num_classes=3, channels=(8, 8, 8, 8))
    path = tmp_path_factory.mktemp("colours") / "colours.safetensors"
    save_weights(ResNeXt(config), path, {"labels": ["red", "green", "blue"], "license": "CC-BY-NC-4.0"})
    return path


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def best(record: dict[str, Any]) -> str:
    label: str = record["predictions"][0]["label"]
    return label


@pytest.mark.parametrize("model", ["resnext_digits", "resnest_digits"])
def test_reads_the_shipped_digits(command: Command, digits: Path, model: str) -> None:
    done = command("classify", digits, "--model", model, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = records(done)
    assert [record["path"] for record in found] == [str(digits / path.name) for path, _ in sample_images()]
    assert [best(record) for record in found] == [str(truth) for _, truth in sample_images()]


def test_record_has_path_model_and_ranked_classes(command: Command, digits: Path) -> None:
    [record] = records(command("classify", sorted(digits.iterdir())[0], "--json", "--topk", "99"))
    assert set(record) == {"path", "model", "predictions"}
    assert record["model"] == "resnext_digits"
    probabilities = [p["probability"] for p in record["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1)
    assert all(p["label"] == str(p["class"]) for p in record["predictions"])


def test_text_shows_the_best_classes(command: Command, digits: Path) -> None:
    path = sorted(digits.iterdir())[7]
    lines = command("classify", path, "--topk", "2").stdout.splitlines()
    assert lines[0] == str(path)
    assert len(lines) == 3
    assert lines[1].endswith(" %  7")


def test_default_model_says_what_it_is(command: Command, digits: Path) -> None:
    done = command("classify", digits)
    assert done.returncode == 0
    assert "resnext_digits: it reads handwritten digits and knows nothing else" in done.stderr
    assert done.stderr.count("\n") == 1


def test_patterns_files_and_folders_together(command: Command, digits: Path) -> None:
    done = command("classify", f"{digits}/[78]-*.png", next(digits.glob("0-*")), digits, "--json")
    assert [best(record) for record in records(done)] == list("7801234569")


def test_batch_size_changes_nothing(command: Command, digits: Path) -> None:
    one, four = (command("classify", digits, "--json", "--batch-size", n).stdout for n in ("1", "4"))
    assert one == four


def test_dtype(command: Command, digits: Path) -> None:
    exact, rounded = (
        records(command("classify", digits, "--json", "--dtype", name)) for name in ("float32", "bfloat16")
    )
    assert [best(record) for record in rounded] == [best(record) for record in exact]
    assert rounded != exact
    done = command("classify", digits, "--dtype", "float16")
    assert (done.returncode, "invalid choice: 'float16'" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["Gr\u00fc\u00dfe 5.png", "\U0001f431 [5].png", "a\nb.png", "-5.png"])
def test_unusual_names(command: Command, digits: Path, name: str) -> None:
    folder = digits / "with space" / "\u00e9t\u00e9"
    folder.mkdir(parents=True)
    path = Path(shutil.copy(next(digits.glob("5-*")), folder / name))
    done = command("classify", path, folder, "--json")
    assert done.returncode == 0
    assert [(record["path"], best(record)) for record in records(done)] == [(str(path), "5")]


def test_terminal_that_lacks_a_letter_gets_it_escaped(command: Command, digits: Path) -> None:
    path = Path(shutil.copy(next(digits.glob("5-*")), digits / "\u4e94.png"))
    done = command("classify", path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "\\u4e94.png" in done.stdout


def test_bad_images_among_good_ones_are_skipped(command: Command, digits: Path) -> None:
    good = sorted(digits.iterdir())
    (digits / "5-cut.png").write_bytes(good[5].read_bytes()[:60])
    (digits / "5-text.png").write_text("no image")
    (digits / "5-empty.png").touch()
    done = command("classify", digits, digits / "absent.png", "--json")
    assert done.returncode == 1
    assert [best(record) for record in records(done)] == list("0123456789")
    lines = done.stderr.splitlines()[1:]  # after the note on the default model
    assert len(lines) == 5
    assert "no such file or folder" in lines[0]
    for line, name in zip(lines[1:4], ("5-cut.png", "5-empty.png", "5-text.png"), strict=True):
        assert line.startswith(f"lucid classify: skipped {digits / name}: ")
    assert lines[4] == "lucid classify: 10 images classified, 4 failed"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.png", "no such file or folder: 'absent.png'"),
        ("empty", "a folder must hold images, found none in 'empty'"),
        ("*.bmp", "no file matches '*.bmp'"),
    ],
)
def test_nothing_to_classify_is_an_error(command: Command, tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    done = command("classify", source, "--model", "resnext_digits")
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_large_model_without_weights_is_refused(command: Command, digits: Path) -> None:
    done = command("classify", digits, "--model", "resnext50_32x4d")
    assert (done.returncode, done.stdout) == (2, "")
    assert "resnext50_32x4d ships without weights" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "resnext_digit"], 1, "did you mean 'resnext_digits'"),
        (["--weights", "absent.safetensors"], 1, "absent.safetensors must be a file"),
        (["--weights", "hub:nobody"], 1, "a hub address must be hub:OWNER/NAME"),
        (
            ["--model", "resnest_digits", "--weights", str(pretrained_path("resnext_digits"))],
            1,
            "must fit resnest_digits",
        ),
        (
            ["--model", "resnest50d.in1k"],
            1,
            "classify: hub:timm/resnest50d.in1k ",
        ),  # and why: no cache, or no hub
        (["--labels", "absent.txt"], 1, "No such file or directory: 'absent.txt'"),
    ],
)
def test_wrong_model_weights_or_labels(
    command: Command, digits: Path, arguments: list[str], code: int, message: str
) -> None:
    done = command("classify", digits, *arguments, HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_weights_alone_name_their_network(command: Command, digits: Path, tmp_path: Path) -> None:
    weights = shutil.copy(pretrained_path("resnest_digits"), tmp_path / "mine.safetensors")
    done = command("classify", digits, "--weights", weights, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert {record["model"] for record in records(done)} == {"resnest_digits"}
    assert [best(record) for record in records(done)] == list("0123456789")


def test_weights_of_unknown_origin_want_a_name(command: Command, digits: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    bare = tmp_path / "bare.safetensors"
    save_file(load_file(pretrained_path("resnext_digits")), bare)
    done = command("classify", digits, "--weights", bare)
    assert done.returncode == 2
    assert "give --model NAME" in done.stderr
    done = command("classify", digits, "--weights", bare, "--model", "resnext_digits", "--json")
    assert [best(record) for record in records(done)] == [f"class {digit}" for digit in range(10)]


def test_labels_of_the_weights_and_their_licence(command: Command, colours: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (300, 200), (200, 0, 0, 128)).save(tmp_path / "red.png")
    done = command("classify", "red.png", "--weights", colours, "--json", "--topk", "3")
    assert done.returncode == 0
    [record] = records(done)
    assert sorted(p["label"] for p in record["predictions"]) == ["blue", "green", "red"]
    warnings = done.stderr.splitlines()
    assert len(warnings) == 2
    assert all(line.startswith("lucid classify: warning: ") for line in warnings)
    assert "CC-BY-NC-4.0" in warnings[0]
    assert "taking ImageNet's usual 224 from 256 pixels" in warnings[1]


def test_labels_from_a_file(command: Command, digits: Path, tmp_path: Path) -> None:
    names = ["null", "eins", "zwei", "drei", "vier", "f\u00fcnf", "sechs", "sieben", "acht", "neun"]
    (tmp_path / "german.txt").write_text("\n".join(names), encoding="utf-8")
    done = command("classify", digits, "--labels", "german.txt", "--json")
    assert [best(record) for record in records(done)] == names
    (tmp_path / "german.txt").write_text("null\neins", encoding="utf-8")
    done = command("classify", digits, "--labels", "german.txt")
    assert done.returncode == 2
    assert "--labels must hold one label for each of 10 classes, got 2" in done.stderr


def test_damaged_weights_are_no_prediction(command: Command, digits: Path, tmp_path: Path) -> None:
    model = ResNeXt(ResNeXtConfig((1, 1, 1, 1), 8, 16, 10, in_channels=1, channels=(16, 32, 64, 96)))
    load_weights(model, pretrained_path("resnext_digits"))
    model.fc.bias.numpy()[3] = np.nan
    save_weights(model, tmp_path / "nan.safetensors", {"model": "resnext_digits"})
    done = command("classify", digits, "--weights", "nan.safetensors", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the outputs of resnext_digits must be finite" in done.stderr


def test_progress_of_many_images_is_on_stderr(command: Command, digits: Path) -> None:
    original = next(digits.glob("3-*"))
    for i in range(100):
        shutil.copy(original, digits / f"3-copy{i}.png")
    done = command("classify", digits, "--model", "resnext_digits", "--json")
    assert done.returncode == 0
    # In a log file a line every ten seconds is enough, and one at the end.
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("lucid classify: 110/110 images, ")
    assert "\r" not in done.stderr
    assert len(records(done)) == 110


def test_formats_and_files_that_cannot_be_read_are_told(command: Command, digits: Path) -> None:
    os.mkfifo(digits / "a.jpg")
    for name in ("b.heic", "c.heic"):
        (digits / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    block = "import sys; sys.modules['pillow_heif'] = None"
    (digits.parent / "sitecustomize.py").write_text(block)
    done = command("classify", digits, "--model", "resnext_digits", "--json")
    assert done.returncode == 1
    assert len(records(done)) == 10
    assert done.stderr.splitlines() == [
        f"lucid classify: skipped {digits / 'a.jpg'}: it is a FIFO, not a regular file",
        (
            "lucid classify: skipped 2 .heic files: "
            "reading this format takes pillow-heif (pip install pillow-heif)"
        ),
        "lucid classify: 10 images classified, 3 failed",
    ]


def test_fifo_and_device_by_name_do_not_hang(command: Command, digits: Path) -> None:
    os.mkfifo(digits.parent / "fifo.png")
    done = command("classify", "fifo.png", "/dev/zero", next(digits.glob("7-*")), "--json")
    assert done.returncode == 1
    assert [best(record) for record in records(done)] == ["7"]
    assert "got a FIFO: 'fifo.png'" in done.stderr
    assert "got a device: '/dev/zero'" in done.stderr


def test_size_limit_is_an_option(command: Command, digits: Path) -> None:
    path = next(digits.glob("7-*"))
    done = command("classify", path, "--model", "resnext_digits", "--max-pixels", "16")
    assert done.returncode == 1
    assert "PIL.Image.MAX_IMAGE_PIXELS" in done.stderr
    assert "--max-pixels" in done.stderr
    done = command("classify", path, "--model", "resnext_digits", "--max-pixels", "64")  # 8x8 pixels
    assert (done.returncode, done.stderr) == (0, "")


def test_control_characters_do_not_reach_the_terminal(command: Command, digits: Path) -> None:
    path = Path(shutil.copy(next(digits.glob("5-*")), digits / "a\x1b[31m\nb.png"))
    (digits / "c\n\x1b[0m.png").touch()
    done = command("classify", path, digits / "c\n\x1b[0m.png", "--topk", "1")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[0].endswith("a\\x1b[31m\\nb.png")
    assert len(done.stdout.splitlines()) == 2
    assert "c\\n\\x1b[0m.png: must be an image, found an empty file" in done.stderr


def test_strict_warnings_and_odd_files(environment: dict[str, str], digits: Path) -> None:
    # Pillow warns of the palette; the file is good.
    image = Image.open(next(digits.glob("5-*"))).convert("P")
    image.save(digits / "5-p.png", transparency=bytes([128] * 256))
    line = [sys.executable, "-W", "error", "-m", "lucid", "classify", str(digits / "5-p.png")]
    # Not in the source tree, whose lucid/ has no compiled module.
    done = subprocess.run(line, env=environment, cwd=digits, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_number_of_classes_comes_from_the_weights(command: Command, digits: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    state = load_file(pretrained_path("resnext_digits"))
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][:7], state["fc.bias"][:7]
    save_file(state, tmp_path / "seven.safetensors")
    arguments = ("classify", digits, "--model", "resnext_digits", "--weights", "seven.safetensors", "--json")
    done = command(*arguments)
    assert done.returncode == 0
    assert {len(record["predictions"]) for record in records(done)} == {5}
    assert [best(record) for record in records(done)][:7] == [f"class {digit}" for digit in range(7)]
    (tmp_path / "names.txt").write_text("a\nb\n")
    done = command(*arguments, "--labels", "names.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("lucid classify: --labels must hold one label for each of 7 classes, got 2\n")


def test_interrupt_keeps_what_is_done(environment: dict[str, str], digits: Path) -> None:
    original = next(digits.glob("3-*"))
    for i in range(3000):
        (digits / f"copy{i:04}.png").hardlink_to(original)
    line = [
        sys.executable,
        "-m",
        "lucid",
        "classify",
        str(digits),
        "--json",
        "--batch-size",
        "1",
        "--model",
        "resnext_digits",
    ]
    with subprocess.Popen(
        line,
        cwd=digits.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    done = [json.loads(text) for text in (first + rest).splitlines()]
    assert 1 <= len(done) < 3000
    assert errors.splitlines()[-1] == "lucid classify: interrupted"
    assert "Traceback" not in errors
