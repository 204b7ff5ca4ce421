"""Fixtures that every test may use: a seeded generator, and each instruction set of this build in turn."""

from __future__ import annotations

from collections.abc import Iterator

import instruction_sets
import numpy as np
import pytest

import lucid


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-parity",
        action="store_true",
        help="take every published network at full depth and width: beside timm, on every instruction set "
        "(half an hour), and as ONNX files",
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every run and every test, whatever ran before."""
    return np.random.default_rng(20170411)


@pytest.fixture(params=instruction_sets.TESTED)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test on one of the instruction sets, and restores the one in use."""
    name: str = request.param
    before = lucid.runtime.isa()
    lucid.runtime.set_isa(name)
    yield name
    lucid.runtime.set_isa(before)


def _on_threads(count: int) -> Iterator[None]:
    before = lucid.get_num_threads()
    lucid.set_num_threads(count)
    yield
    lucid.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    yield from _on_threads(1)


@pytest.fixture
def three_threads() -> Iterator[None]:
    yield from _on_threads(3)
