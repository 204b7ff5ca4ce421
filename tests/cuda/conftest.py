"""The device that these tests compute on: a GPU, or the simulator where the build has it."""

from __future__ import annotations

import cuda_plugin
import pytest

import lucid

cuda_plugin.choose()


@pytest.fixture(scope="session")
def device() -> str:
    """The name of a device; the test is skipped where there is none."""
    if not lucid.cuda.is_available():
        pytest.skip(lucid.cuda.why_not())
    return "cuda:0"
