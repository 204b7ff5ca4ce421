"""TF32 is used where the user allows it, and errs by its rounding; else float32 means float32."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference

import lucid
from lucid import _core, cuda, nn
from lucid.nn import functional as F

pytestmark = pytest.mark.cuda

CHANNELS = 64, 32
# Of the sum of the products' magnitudes: roundings of float32 sums, and of both factors to 11 bits.
FLOAT32 = CHANNELS[0] * 2.0**-23
TF32 = 2 * 2.0**-11 + 2.0**-22 + FLOAT32


@pytest.fixture(autouse=True)
def restored(device: str) -> Iterator[None]:
    if cuda.get_device_capability(device) < (8, 0):
        pytest.skip("the device has no TF32")
    assert not cuda.get_allow_tf32()
    yield
    cuda.set_allow_tf32(False)


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    return rng.standard_normal((1, CHANNELS[0], 5, 7), dtype=np.float32)


@pytest.fixture
def layer(rng: np.random.Generator) -> nn.Conv2d:
    made = nn.Conv2d(*CHANNELS, 1, bias=False).eval()
    made.weight.data[...] = rng.standard_normal(made.weight.shape, dtype=np.float32)
    return made


def largest_error(layer: nn.Conv2d, x: Any, got: Any) -> float:
    """As a part of the sum of the products' magnitudes."""
    weight = layer.weight.numpy()
    want, magnitude = (
        reference.conv2d(*(part.astype(np.float64) for part in pair), None)
        for pair in ((x, weight), (np.abs(x), np.abs(weight)))
    )
    return float((np.abs(got - want) / magnitude).max())


def eager(layer: nn.Conv2d, x: Any) -> Any:
    weight = lucid.tensor(layer.weight.numpy(), device="cuda")
    return F.conv2d(lucid.tensor(x, device="cuda"), weight).cpu().numpy()


def test_convolutions_are_exact_unless_tf32_is_allowed(layer: nn.Conv2d, x: Any) -> None:
    exact = eager(layer, x)
    assert largest_error(layer, x, exact) <= FLOAT32
    cuda.set_allow_tf32(True)
    assert cuda.get_allow_tf32()
    assert FLOAT32 < largest_error(layer, x, eager(layer, x)) <= TF32
    cuda.set_allow_tf32(False)
    np.testing.assert_array_equal(eager(layer, x), exact)


def test_algorithms_are_those_that_would_run(layer: nn.Conv2d, x: Any) -> None:
    there = [lucid.tensor(part, device="cuda").data for part in (x, layer.weight.numpy())]
    geometry: Any = ((1, 1), (0, 0, 0, 0), (1, 1), 1)
    assert "tensor_gemm_tf32" not in _core.conv2d_algorithms(*there, *geometry)
    cuda.set_allow_tf32(True)
    assert _core.conv2d_algorithms(*there, *geometry)[0] == "tensor_gemm_tf32"


def test_what_has_no_kernel_for_it_stays_exact(x: Any, rng: np.random.Generator) -> None:
    weight = lucid.tensor(rng.standard_normal((CHANNELS[0], 4, 3, 3), dtype=np.float32), device="cuda")
    there = lucid.tensor(x, device="cuda")
    before = F.conv2d(there, weight, groups=16).cpu().numpy()
    cuda.set_allow_tf32(True)
    np.testing.assert_array_equal(F.conv2d(there, weight, groups=16).cpu().numpy(), before)


def test_the_setting_is_that_of_all_threads() -> None:
    thread = threading.Thread(target=cuda.set_allow_tf32, args=(True,))
    thread.start()
    thread.join()
    assert cuda.get_allow_tf32()
    with pytest.raises(TypeError, match=r"^set_allow_tf32: allowed must be a bool, got 'yes'$"):
        cuda.set_allow_tf32("yes")  # type: ignore[arg-type]


def test_plans_are_told_or_follow_the_setting(layer: nn.Conv2d, x: Any) -> None:
    def compiled(**options: Any) -> Any:
        return lucid.compile(layer, x.shape, device="cuda", **options)

    exact, rounded = compiled(), compiled(allow_tf32=True)
    assert (exact.allow_tf32, rounded.allow_tf32) == (False, True)
    for _ in range(3):  # the first run, the one that is captured, and one that is replayed
        assert largest_error(layer, x, exact(x)) <= FLOAT32
        assert FLOAT32 < largest_error(layer, x, rounded(x)) <= TF32
    assert compiled(allow_tf32=False) is exact
    assert compiled(allow_tf32=True) is rounded
    cuda.set_allow_tf32(True)
    assert compiled() is rounded
    assert compiled(allow_tf32=False) is exact
    np.testing.assert_array_equal(exact(x), compiled(allow_tf32=False)(x))
    assert not compiled(dtype="float16").allow_tf32
    assert not lucid.compile(layer, x.shape).allow_tf32


def test_a_loaded_plan_is_told_anew(layer: nn.Conv2d, x: Any, tmp_path: Path) -> None:
    plan: Any = lucid.compile(layer, x.shape, device="cuda", allow_tf32=True)
    plan.save(tmp_path / "p.lucid")
    for allowed in (False, True):
        loaded = lucid.load_plan(tmp_path / "p.lucid", device="cuda", allow_tf32=allowed)
        assert loaded.allow_tf32 is allowed
        assert (largest_error(layer, x, loaded(x)) > FLOAT32) is allowed
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan))(x), plan(x))
