"""The device that these tests compute on, a GPU or the simulator where the build has it, and dtypes."""

from __future__ import annotations

import cuda_plugin
import pytest
from device_arrays import DTYPES

import lucid

cuda_plugin.choose()


@pytest.fixture(scope="session")
def device() -> str:
    """The name of a device; the test is skipped where there is none."""
    if not lucid.cuda.is_available():
        pytest.skip(lucid.cuda.why_not())
    return "cuda:0"


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    """The name of each dtype that kernels compute in."""
    return request.param  # type: ignore[no-any-return]
