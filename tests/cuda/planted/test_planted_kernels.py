"""The list of bugs in CUDA kernels fits the tree that it is for."""

from __future__ import annotations

import re
from pathlib import Path

import planted
import pytest

ROOT = Path(__file__).parent.parent.parent.parent
MUTANTS = list(planted.parse((Path(__file__).parent / "kernels.txt").read_text()))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.breaks}")
def test_bug_can_be_planted(mutant: planted.Mutant) -> None:
    assert mutant.applied((ROOT / mutant.file).read_text())


def test_named_tests_exist() -> None:
    sources = [path.read_text() for path in (ROOT / "tests" / "cuda").glob("*_test.cpp")]
    names = {name for text in sources for name in re.findall(r"KERNEL_TEST\((\w+)\)", text)}
    assert {test for mutant in MUTANTS for test in mutant.tests} <= names


def test_every_kind_of_kernel_has_a_bug() -> None:
    kinds = {mutant.file.split("/")[-1].split("_")[0].split(".")[0] for mutant in MUTANTS}
    assert kinds >= {"batch", "conv2d", "linear", "max", "softmax", "split"}
