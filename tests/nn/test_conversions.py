"""Devices and dtypes: ``to`` and its like, on tensors, modules and where tensors are made."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import lucid
from lucid import nn


def test_tensor_to():
    x = lucid.tensor([1.5])
    assert x.to("cpu") is x.to(device="cpu:0") is x.cpu() is x.to("cpu", np.float32) is x
    assert x.to("float64").dtype == x.to("cpu", dtype="float64").dtype == np.float64
    assert x.to(lucid.arange(2)).tolist() == [1]
    assert x.to("cpu", non_blocking=True) is x
    copied = x.to("cpu", copy=True)
    assert not np.shares_memory(copied.data, x.data)
    names = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}
    for name, dtype in {**names, "bool": "bool"}.items():
        assert getattr(x, name)().dtype == dtype


def test_detach_shares_memory_and_is_no_parameter():
    parameter = nn.Parameter(lucid.zeros(2))
    x = parameter.detach()
    assert type(x) is lucid.Tensor
    assert x.data is parameter.data


@pytest.mark.parametrize("device", ["mps", "xpu:1", "hip"])
def test_other_devices_are_refused(device):
    x, layer = lucid.ones(2), nn.Linear(2, 2)
    makers = [lucid.zeros, lucid.ones, lucid.empty, lucid.random.rand, lucid.random.randn, lucid.arange]
    calls = [lambda: x.to(device), lambda: x.to(np.float32, device=device), lambda: layer.to(device)]
    calls += [lambda maker=maker: maker(2, device=device) for maker in makers]
    calls += [
        lambda: lucid.tensor([1.0], device=device),
        lambda: lucid.full((2,), 1.0, device=device),
        lambda: lucid.from_dlpack(x, device=device),
    ]
    for call in calls:
        with pytest.raises(NotImplementedError, match=rf"device must be 'cpu' or 'cuda', .* got '{device}'"):
            call()


def test_what_is_neither_device_nor_dtype_is_refused():
    for holder in (lucid.ones(2), nn.ReLU()):
        with pytest.raises(TypeError, match=r"to: a target must be a dtype, a device .*, got 'cpuu'"):
            holder.to("cpuu")
        with pytest.raises(TypeError, match="to: it has no argument 'colour'"):
            holder.to("cpu", colour=1)
    with pytest.raises(ValueError, match="zeros: device must be 'cpu', 'cuda' or one of several"):
        lucid.zeros(2, device="gpu")


def test_module_to_cpu_and_float32_is_the_module():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    weight = model[0].weight
    assert model.to("cpu") is model.cpu() is model.float() is model.to(np.float32) is model
    assert model.to("cpu", np.float32) is model.to(weight) is model
    assert model[0].weight is weight
    assert model[1].num_batches_tracked.dtype == np.int64


def test_module_float_brings_others_to_float32():
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(np.ones((2, 2)))
    layer.register_buffer("scale", np.ones(2, np.float16), persistent=False)
    layer.float()
    assert layer.weight.dtype == layer.scale.dtype == np.float32
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.scale.persistent is False


@pytest.mark.parametrize("call", [lambda m: m.half(), lambda m: m.double(), lambda m: m.to("float64")])
def test_other_dtypes_of_modules_are_refused_with_the_way_out(call):
    message = r"(to|half|double): the dtype of a module must be float32, .* got float(16|64); convert single"
    with pytest.raises(NotImplementedError, match=message):
        call(nn.Linear(2, 2))


def test_torchs_dtypes_and_devices_are_understood():
    torch = pytest.importorskip("torch")
    x = lucid.ones(2)
    assert x.to(torch.float64).dtype == np.float64
    assert x.to(torch.device("cpu")) is x
    assert lucid.zeros(2, dtype=torch.int32).dtype == np.int32
    with pytest.raises(TypeError, match=r"dtype must be one of NumPy's, got torch\.bfloat16"):
        x.to(torch.bfloat16)


def test_requires_grad_is_kept():
    layer = nn.Linear(2, 2)
    assert layer.weight.requires_grad
    assert not lucid.ones(2).requires_grad
    for parameter in layer.parameters():
        parameter.requires_grad = False
    assert not layer.bias.requires_grad
    assert layer.requires_grad_().bias.requires_grad
    assert layer.weight.requires_grad_(False) is layer.weight
    copied = copy.deepcopy(layer)
    assert not copied.weight.requires_grad
    assert copied.bias.requires_grad
