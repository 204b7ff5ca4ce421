"""tests/embedding/c: a program in C that runs a plan of Python, built outside the tree as by its reader."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from consumer import build
from small_networks import randomize

import lucid
from lucid import nn
from lucid.models import create_model, preprocessing
from lucid.models.pretrained.digits import sample_images

SHAPE = (2, 3, 8, 8)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("c", tmp_path_factory.mktemp("c")) / "lucid-run"


@pytest.fixture
def plan(rng: np.random.Generator, tmp_path: Path) -> lucid.inference.InferencePlan:
    layers = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7)
    made = lucid.compile(randomize(nn.Sequential(*layers), rng), SHAPE)
    made.save(tmp_path / "plan.lucid")
    return made


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def largest(logits: npt.NDArray[np.float32]) -> list[tuple[int, np.float32]]:
    order = [np.argsort(-row, kind="stable")[:5] for row in logits]
    return [(int(index), row[index]) for row, indices in zip(logits, order, strict=True) for index in indices]


def printed(output: str) -> list[tuple[int, np.float32]]:
    pairs = [line.split() for line in output.splitlines()]
    return [(int(index), np.float32(value)) for index, value in pairs]


def test_a_classifier_gives_the_logits_of_python(program: Path, tmp_path: Path) -> None:
    model = create_model("resnext_digits", weights="pretrained").eval()
    prepare = preprocessing("resnext_digits")
    plan = lucid.compile(model, (1, 1, prepare.size, prepare.size))
    plan.save(tmp_path / "digits.lucid")
    for path, digit in sample_images()[:3]:
        image = prepare.load(path)[None]
        np.save(tmp_path / "image.npy", image)
        done = run(program, tmp_path / "digits.lucid", tmp_path / "image.npy")
        assert (done.returncode, done.stderr) == (0, "")
        assert printed(done.stdout) == largest(plan(image))
        assert printed(done.stdout)[0][0] == digit


def test_a_batch_of_bytes(
    program: Path, plan: lucid.inference.InferencePlan, rng: np.random.Generator, tmp_path: Path
) -> None:
    images = rng.integers(0, 256, SHAPE).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    done = run(program, tmp_path / "plan.lucid", tmp_path / "images.npy")
    assert (done.returncode, done.stderr) == (0, "")
    assert printed(done.stdout) == largest(plan(images.astype(np.float32)))


def whole(path: Path) -> None:
    np.save(path, np.zeros(SHAPE, np.float32))


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda p: p.unlink(), "must be a file that can be read"),
    "empty": (lambda p: p.write_bytes(b""), "must be an array that numpy.save wrote"),
    "text": (lambda p: p.write_text("x" * 300), "must be an array that numpy.save wrote"),
    "long header": (
        lambda p: p.write_bytes(b"\x93NUMPY\1\0\xff\xff" + bytes(70000)),
        "must be an array that numpy.save wrote",
    ),
    "no header": (lambda p: p.write_bytes(p.read_bytes()[:20]), "must be an array that numpy.save wrote"),
    "no shape": (lambda p: rewrite(p, b"'shape'", b"'Shape'"), "must be an array that numpy.save wrote"),
    "no number": (lambda p: rewrite(p, b"(2, 3", b"(2; 3"), "must be an array that numpy.save wrote"),
    "negative": (lambda p: rewrite(p, b"(2, 3, ", b"(-2, 3,"), "must be an array that numpy.save wrote"),
    "beyond memory": (
        lambda p: rewrite(p, b"(2, 3, 8, 8), }" + 18 * b" ", b"(4294967296, 4294967296, 4), }   "),
        "must be an array that numpy.save wrote",
    ),
    "nine dimensions": (
        lambda p: np.save(p, np.zeros((1,) * 9, np.float32)),
        "must be an array that numpy.save wrote",
    ),
    "dtype": (lambda p: np.save(p, np.zeros(SHAPE)), "the array must be of float32 or uint8"),
    "order": (
        lambda p: np.save(p, np.zeros(SHAPE[::-1], np.float32).T),
        "the array must be in C order",
    ),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "must hold the array that it describes"),
    "too long": (lambda p: p.write_bytes(p.read_bytes() + b"\0"), "must hold the array that it describes"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("plan")
def test_a_wrong_array_is_one_sentence(name: str, program: Path, tmp_path: Path) -> None:
    change, message = WRONG[name]
    image = tmp_path / "image.npy"
    whole(image)
    change(image)
    done = run(program, tmp_path / "plan.lucid", image)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"lucid-run: {image}: {message}\n"


@pytest.mark.parametrize("shape", [(2, 3, 8, 80), (1, 3, 8, 8), (2, 3, 8, 8, 1), (2, 192), (384,), (), (0,)])
@pytest.mark.usefixtures("plan")
def test_an_array_of_another_shape_is_refused_by_lucid(
    shape: tuple[int, ...], program: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.npy"
    np.save(image, np.zeros(shape, np.float32))
    done = run(program, tmp_path / "plan.lucid", image)
    assert (done.returncode, done.stdout) == (1, "")
    wanted = "shape (2, 3, 8, 8)" if len(shape) == 4 else "4 dimensions"
    assert done.stderr.startswith(f"lucid-run: lucid: plan: input must have {wanted}, got ")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("plan")
def test_a_wrong_plan_is_one_sentence(program: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.npy"
    whole(image)
    for path, reason in (
        (tmp_path / "none.lucid", "it must be a file that can be read, got 'No such file or directory'"),
        (image, "it must be a safetensors file, got "),
    ):
        done = run(program, path, image)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"lucid-run: lucid: plan_load: {str(path)[-200:]}: {reason}")
        assert done.stderr.count("\n") == 1
    done = run(program)
    assert (done.returncode, done.stderr) == (1, "lucid-run: usage: lucid-run plan.lucid image.npy\n")


def test_a_plan_of_two_outputs_is_not_for_this_program(program: Path, tmp_path: Path) -> None:
    class Both(nn.Module):
        def forward(self, x: lucid.Tensor) -> tuple[lucid.Tensor, lucid.Tensor]:
            return x, nn.functional.relu(x)

    lucid.compile(Both().eval(), SHAPE).save(tmp_path / "plan.lucid")
    whole(tmp_path / "image.npy")
    done = run(program, tmp_path / "plan.lucid", tmp_path / "image.npy")
    assert done.returncode == 1
    assert done.stderr.endswith("plan.lucid: must be a plan of one input and one output\n")
