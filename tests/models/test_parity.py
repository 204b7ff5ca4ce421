"""The logits of timm and torchvision at the same random weights, batch norm statistics included.

A quick selection always runs, at small sizes. ``pytest --full-parity tests/models/test_parity.py`` runs every
published network at 224 pixels and at two odd sizes, one image and three, on every instruction set: some 30
TFLOP.

Both sides share one copy of the weights: PyTorch's networks are made without memory and given lucid's arrays.
So each network is built once, and PyTorch computes each input once for all instruction sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import networks
import numpy as np
import pytest

import lucid
from lucid import models
from lucid.models import ResNet
from lucid.models.registry import build

# max|got - want| / max|want|: what published weights need to give the published logits.
RELATIVE_ERROR = 1e-4

PUBLISHED = [name for name in models.list_models() if not name.endswith("_digits")]
# One of each kind: groups of 4 channels, deep stem, wide groups, radix 2, radix 4 in 2 groups of 10 n
# channels, sigmoid.
QUICK = [
    "resnext50_32x4d",
    "resnext50d_32x4d",
    "resnext50_2x40d",
    "resnest14",
    "resnest50_fast_4s2x40d",
    "resnest50_fast_1s4x24d",
]
TORCHVISION = ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "published" in metafunc.fixturenames:
        skipped = pytest.mark.skip(
            reason=f"--full-parity compares all {len(PUBLISHED)} networks at full size"
        )
        full = metafunc.config.getoption("--full-parity")
        metafunc.parametrize("published", PUBLISHED if full else [pytest.param("all", marks=skipped)])


@pytest.fixture(autouse=True)
def torch(request: pytest.FixtureRequest) -> Iterator[Any]:
    """PyTorch without gradients, and with one thread at small sizes, where two cost more than they gain."""
    torch = pytest.importorskip("torch", reason="parity needs PyTorch")
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if request.config.getoption("--full-parity") else 1)
    with torch.inference_mode():
        yield torch
    torch.set_num_threads(threads)


@pytest.fixture
def instruction_set() -> Iterator[None]:
    """Restores the instruction set in use."""
    before = lucid.runtime.isa()
    yield
    lucid.runtime.set_isa(before)


def make_pair(torch: Any, name: str, make_other: Any, rng: np.random.Generator) -> tuple[ResNet, Any]:
    """lucid's network with random weights, and the other library's on the same memory."""
    config = models.get_config(name)
    model = build(config, initialize=False).eval()
    state = networks.randomize(model, rng)
    networks.settle(model, rng)
    with torch.device("meta"):
        other = make_other(config)
    assert list(state) == list(other.state_dict())
    other.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, assign=True)
    return model, other.eval()


def compare(model: ResNet, other: Any, torch: Any, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
    """Every size, one image and three, on every instruction set."""
    for size in sizes:
        images = rng.standard_normal((3, model.config.in_channels, size, size), dtype=np.float32)
        want = other(torch.from_numpy(images)).numpy()
        assert np.isfinite(want).all()
        assert np.abs(want).max() > 0.1
        for isa in lucid.runtime.isas():
            lucid.runtime.set_isa(isa)
            for batch in (1, 3):
                got = model(images[:batch]).numpy()
                error = np.abs(got - want[:batch]).max() / np.abs(want[:batch]).max()
                assert error <= RELATIVE_ERROR, f"{isa}, {batch} x {size} pixels: relative error {error:.2e}"


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", QUICK)
def test_gives_timms_logits_at_small_sizes(torch: Any, rng: np.random.Generator, name: str) -> None:
    model, other = make_pair(torch, name, networks.timm_network, rng)
    compare(model, other, torch, (64, 97), rng)


@pytest.mark.usefixtures("instruction_set")
def test_gives_timms_logits(torch: Any, rng: np.random.Generator, published: str) -> None:
    model, other = make_pair(torch, published, networks.timm_network, rng)
    compare(model, other, torch, (224, 193, 225), rng)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", TORCHVISION)
def test_gives_torchvisions_logits(torch: Any, rng: np.random.Generator, name: str) -> None:
    torchvision = pytest.importorskip("torchvision", reason="parity needs torchvision")
    model, other = make_pair(torch, name, lambda config: torchvision.models.get_model(name), rng)
    compare(model, other, torch, (64,), rng)


@pytest.mark.parametrize("name", ["resnext50d_32x4d", "resnest14", "resnest50_fast_4s2x40d"])
def test_features_of_each_stage_are_timms(torch: Any, rng: np.random.Generator, name: str) -> None:
    model, other = make_pair(torch, name, networks.timm_network, rng)
    images = rng.standard_normal((1, 3, 65, 70), dtype=np.float32)
    wanted = other.forward_intermediates(torch.from_numpy(images), intermediates_only=True)[1:]
    for got, want in zip(model.features(images), wanted, strict=True):
        assert got.shape == tuple(want.shape)
        error = np.abs(got.numpy() - want.numpy()).max() / np.abs(want.numpy()).max()
        assert error <= RELATIVE_ERROR


def test_pytorch_loads_what_is_saved(torch: Any, rng: np.random.Generator, tmp_path: Any) -> None:
    """Strictly, counters included, through safetensors' own loader."""
    safetensors = pytest.importorskip("safetensors.torch")
    model, _ = make_pair(torch, "resnest14", networks.timm_network, rng)
    models.save_weights(model, tmp_path / "model.safetensors")
    other = networks.timm_network(model.config)
    other.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"))
    images = rng.standard_normal((1, 3, 64, 64), dtype=np.float32)
    want = other.eval()(torch.from_numpy(images)).numpy()
    assert np.abs(model(images).numpy() - want).max() <= RELATIVE_ERROR * np.abs(want).max()
