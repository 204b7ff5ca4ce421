"""Modules on a device: moved in place, computing what the CPU computes, trained, saved and loaded."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import randomize, small_models, small_networks
from tolerance import assert_close

import lucid
from lucid import Tensor, models, nn
from lucid.nn import functional as F

pytestmark = pytest.mark.cuda

NETWORKS = [*small_networks(), *small_models()]


def network(name: str, rng: np.random.Generator) -> tuple[nn.Module, NDArray[np.float32]]:
    model, shape = {**small_networks(), **small_models()}[name]
    return randomize(model, rng), rng.standard_normal(shape).astype(np.float32)


def outputs(result: Any) -> list[NDArray[Any]]:
    return [y.to("cpu", "float32").numpy() for y in (result if isinstance(result, tuple) else (result,))]


# ---- Computing


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_what_the_cpu_computes(device: str, name: str, rng: np.random.Generator) -> None:
    model, images = network(name, rng)
    want = outputs(model(images))
    got = model.to(device)(Tensor(images).to(device))
    for one, other in zip(outputs(got), want, strict=True):
        assert np.abs(one - other).max() <= 1e-4 * np.abs(other).max()
    assert all(y.device == device for y in (got if isinstance(got, tuple) else (got,)))


# The roundings of some 25 layers to a dtype of this eps.
@pytest.mark.parametrize(("dtype", "eps"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7)])
@pytest.mark.parametrize("name", ["resnext", "resnest", "resnest_cardinality", "plain_cnn"])
def test_networks_compute_in_16_bits(
    device: str, name: str, dtype: str, eps: float, rng: np.random.Generator
) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    model, images = network(name, rng)
    [want] = outputs(model(images))
    result = model.to(device, dtype)(Tensor(images).to(device, dtype))
    assert result.dtype.name == dtype
    [got] = outputs(result)
    assert np.abs(got - want).max() <= 25 * eps * np.abs(want).max()


def test_layers_refuse_tensors_of_the_other_side(device: str) -> None:
    layer = nn.Conv2d(3, 4, 1).to(device)
    with pytest.raises(ValueError, match=r"conv2d: all tensors must be on one device, got .*CPU.*cuda:0"):
        layer(lucid.ones(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"conv2d: all tensors must be on one device, got .*cuda:0.*CPU"):
        layer.cpu()(lucid.ones(1, 3, 2, 2, device=device))


# ---- Moving


def test_parameters_stay_the_same_objects(device: str, rng: np.random.Generator) -> None:
    model, _ = network("resnext", rng)
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {name: value.numpy().copy() for name, value in held.items()}
    assert model.to(device) is model.cuda() is model
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert all(after[name] is value for name, value in held.items())
    assert {value.device for value in model.parameters()} == {device}
    counters = [value for name, value in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert {value.device for value in counters} == {"cpu"}
    assert model.cpu() is model
    for name, value in held.items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_a_shared_parameter_stays_shared(device: str) -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    model = nn.Sequential(first, second).to(device)
    assert model[0].weight is model[1].weight
    assert model[0].weight.is_cuda


def test_dtypes_of_a_module(device: str, rng: np.random.Generator) -> None:
    model, _ = network("resnext", rng)
    wide = {name: value.numpy().copy() for name, value in model.named_parameters()}
    model.to(device).half()
    assert {value.dtype.name for value in model.parameters()} == {"float16"}
    assert {value.dtype.name for name, value in model.named_buffers() if "running" in name} == {"float32"}
    model.cpu()  # whose kernels compute in float32
    for name, value in model.named_parameters():
        np.testing.assert_array_equal(value.numpy(), wide[name].astype(np.float16).astype(np.float32))
    assert model.to(device, "float16").float() is model
    assert {value.dtype.name for value in model.parameters()} == {"float32"}
    for call in (model.double, lambda: model.to("float64"), lambda: model.to("cpu", "float16")):
        with pytest.raises(NotImplementedError, match="the dtype of a module must be float32"):
            call()
    assert {value.device for value in model.parameters()} == {device}


def test_deep_copies_stay_on_the_device(device: str, rng: np.random.Generator) -> None:
    model, images = network("resnest", rng)
    model.to(device)
    other = copy.deepcopy(model)
    assert {value.device for value in other.parameters()} == {device}
    x = Tensor(images).to(device)
    np.testing.assert_array_equal(other(x).cpu(), model(x).cpu())


# ---- State


def test_state_crosses_devices(device: str, rng: np.random.Generator) -> None:
    model, images = network("resnest", rng)
    want = model(images).numpy()
    there = models.ResNeSt(model.config).eval().to(device)
    there.load_state_dict(model.state_dict())
    state = there.state_dict()
    assert state["conv1.0.weight" if "conv1.0.weight" in state else "conv1.weight"].device == device
    [got] = outputs(there(Tensor(images).to(device)))
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
    back = models.ResNeSt(model.config).eval()
    back.load_state_dict(state)
    np.testing.assert_array_equal(back(images).numpy(), want)
    half = models.ResNeSt(model.config).eval().to(device, "float16")
    half.load_state_dict(state)
    assert {value.dtype.name for value in half.parameters()} == {"float16"}


def test_weights_are_saved_from_and_loaded_to_a_device(
    device: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, images = network("resnext", rng)
    want = model(images).numpy()
    models.save_weights(model.to(device), tmp_path / "there.safetensors")
    for place in ("cpu", device):
        other = models.ResNeXt(model.config).eval().to(place)
        models.load_weights(other, tmp_path / "there.safetensors")
        [got] = outputs(other(Tensor(images).to(place)))
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


# ---- Training mode


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_follows_the_statistics_of_batches(
    device: str, momentum: float | None, rng: np.random.Generator
) -> None:
    here, there = nn.BatchNorm2d(6, momentum=momentum), nn.BatchNorm2d(6, momentum=momentum).to(device)
    mean = there.running_mean
    assert mean is not None
    pointer = mean.data.data_ptr
    for _ in range(3):
        x = Tensor((rng.standard_normal((4, 6, 5, 7)) * 2 + 1).astype(np.float32))
        want, got = here(x), there(x.to(device))
        assert_close(got.cpu().numpy(), want.numpy(), terms=16)
    for name in ("running_mean", "running_var"):
        assert_close(getattr(there, name).cpu().numpy(), getattr(here, name).numpy(), terms=16)
    assert mean.data.data_ptr == pointer
    assert int(there.num_batches_tracked) == 3  # type: ignore[arg-type]
    here.eval()
    there.eval()
    assert_close(there(x.to(device)).cpu().numpy(), here(x).numpy(), terms=16)
    there.reset_running_stats()
    assert mean.tolist() == [0.0] * 6


def test_batch_norm_of_16_bits_keeps_wide_statistics(device: str, rng: np.random.Generator) -> None:
    layer = nn.BatchNorm2d(3).to(device, "float16")
    layer(Tensor(rng.standard_normal((4, 3, 5, 5)).astype(np.float32)).to(device, "float16"))
    assert layer.running_mean is not None
    assert layer.running_mean.dtype == np.float32
    assert any(layer.running_mean.tolist())


def test_dropout_draws_the_masks_of_the_cpu(device: str, rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((40, 50)).astype(np.float32))
    for p in (0.0, 0.25, 1.0):
        lucid.random.seed(1)
        want = F.dropout(x, p)
        lucid.random.seed(1)
        got = F.dropout(x.to(device), p)
        assert_close(got.cpu().numpy(), want.numpy())
    y = x.to(device)
    pointer = y.data.data_ptr
    assert nn.Dropout(0.5, inplace=True)(y).data.data_ptr == pointer
    assert 800 < np.count_nonzero(y.cpu().numpy()) < 1200
    assert nn.Dropout(0.5).eval()(y) is y


def test_initialisers_write_to_the_device(device: str) -> None:
    here, there = nn.Linear(5, 4), nn.Linear(5, 4).to(device)
    for layer in (here, there):
        lucid.random.seed(7)
        layer.reset_parameters()
    np.testing.assert_array_equal(there.weight.cpu().numpy(), here.weight.numpy())
    assert there.weight.is_cuda
