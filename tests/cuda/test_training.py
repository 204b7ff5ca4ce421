"""Gradients and steps of training on a device: those of the CPU."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from device_arrays import EPS, dtype_of, rounded

import lucid
from lucid import nn
from lucid.models import ResNeSt, ResNeStConfig, ResNeXt, ResNeXtConfig
from lucid.nn import Module
from lucid.nn import functional as F
from lucid.optim import (
    SGD,
    AdamW,
    ExponentialMovingAverage,
    Optimizer,
    clip_grad_norm_,
    grad_norm,
)

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("device")]

SMALL: Any = {"layers": (1, 1, 1, 1), "num_classes": 5, "channels": (8, 16, 16, 16)}
NETWORKS = {
    "resnext": lambda: ResNeXt(ResNeXtConfig(**SMALL, cardinality=4, base_width=32)),
    "resnest": lambda: ResNeSt(ResNeStConfig(**SMALL, stem_width=8)),
}


def gradients(model: Module, images: Any) -> dict[str, Any]:
    logits = model(images)
    labels = lucid.tensor(np.arange(8) % 5).to(logits.device)
    F.cross_entropy(logits, labels, label_smoothing=0.1).backward()
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.device == parameter.device
        found[name] = parameter.grad.cpu().numpy()
    return found


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_gradients_of_the_cpu(name: str, training: bool, rng: np.random.Generator) -> None:
    """In eval mode as well, where batch norm is fine-tuned with the statistics that it has."""
    lucid.random.seed(20170411)  # other weights may be worse conditioned
    model = NETWORKS[name]().train(training)
    images = lucid.tensor(rng.standard_normal((8, 3, 17, 17), dtype=np.float32))
    wanted = gradients(copy.deepcopy(model), images)
    moved = copy.deepcopy(model).to("cuda")
    first, second = (gradients(copy.deepcopy(moved), images.to("cuda")) for _ in range(2))
    # Some thirty layers of sums in another order each. Of a bias before a batch norm only rounding is left.
    largest = max(np.abs(gradient).max() for gradient in wanted.values())
    for parameter, want in wanted.items():
        bound = 32 * 32 * 2.0**-24 * max(np.abs(want).max(), 1e-2 * largest)
        assert np.abs(first[parameter] - want).max() <= bound, parameter
        assert np.array_equal(first[parameter], second[parameter]), parameter


OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (SGD, {"lr": 0.01}),
    "momentum": (SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-2}),
    "nesterov": (SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-2, "nesterov": True}),
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_of_training_are_those_of_the_cpu(name: str, rng: np.random.Generator) -> None:
    """With an average of the weights behind them, and over a saved state."""
    kind, settings = OPTIMIZERS[name]
    model = NETWORKS["resnext"]()
    steps = [[rng.standard_normal(p.shape, dtype=np.float32) for p in model.parameters()] for _ in range(4)]
    trained, averaged = [], []
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(model).to(device)
        optimizer = kind(own.parameters(), **settings)
        average = ExponentialMovingAverage(own, decay=0.75, warm_up=False)
        for number, step in enumerate(steps):
            if number == 2:  # goes on from a saved state
                state = optimizer.state_dict()
                optimizer = kind(own.parameters())
                optimizer.load_state_dict(state)
            for parameter, gradient in zip(own.parameters(), step, strict=True):
                parameter.grad = lucid.tensor(gradient).to(device)
            optimizer.step()
            average.update(own)
        assert {parameter.device for parameter in average.module.parameters()} == {
            parameter.device for parameter in own.parameters()
        }
        trained.append([parameter.cpu().numpy() for parameter in own.parameters()])
        averaged.append([parameter.cpu().numpy() for parameter in average.module.parameters()])
    for results in (trained, averaged):
        for want, got in zip(*results, strict=True):
            bound = 4 * 8 * 2.0**-24 * max(1, np.abs(want).max())  # four steps of a few roundings each
            np.testing.assert_allclose(got, want, rtol=0, atol=bound)
    first = next(iter(model.parameters())).numpy()
    assert np.abs(averaged[1][0] - first).max() > 1e-3  # it has moved,
    assert np.abs(averaged[1][0] - trained[1][0]).max() > 1e-3  # and is behind


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_parameters_of_sixteen_bits_are_updated(kind: type[Optimizer], dtype: str) -> None:
    narrow = dtype_of(dtype)
    x = nn.Parameter(lucid.tensor(np.ones((3, 5), np.float32)).to("cuda").to(narrow))
    x.grad = lucid.tensor(np.ones((3, 5), np.float32)).to("cuda").to(narrow)
    optimizer = kind([x], lr=0.25, weight_decay=0.0)
    optimizer.step()
    assert x.dtype == narrow
    np.testing.assert_allclose(x.float().cpu().numpy(), 0.75, rtol=EPS[dtype])


def test_a_dtype_without_kernels_is_named() -> None:
    x = nn.Parameter(lucid.tensor(np.ones(3)).to("cuda"))
    x.grad = lucid.tensor(np.ones(3)).to("cuda")
    with pytest.raises(ValueError, match="parameter must be float32, float16 or bfloat16, got float64"):
        SGD([x]).step()


def test_a_model_that_moves_leaves_its_state_behind() -> None:
    model = nn.Linear(3, 2)
    optimizer = SGD(model.parameters(), momentum=0.9)
    average = ExponentialMovingAverage(model)

    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = lucid.ones(*parameter.shape).to(parameter.device)
        optimizer.step()

    step()
    model.to("cuda")
    where = "all tensors must be on one device, got"
    with pytest.raises(
        ValueError, match=f"sgd_update: {where} parameter on cuda:0 and momentum_buffer on the"
    ):
        step()
    with pytest.raises(
        ValueError, match=f"average_update: {where} average on the CPU and parameter on cuda:0"
    ):
        average.update(model)


def test_gradients_become_zeros_where_they_are() -> None:
    model = nn.Linear(3, 2).to("cuda")
    optimizer = SGD(model.parameters(), lr=1.0, momentum=0.5)
    for holder in (optimizer, model):
        for parameter in model.parameters():
            parameter.grad = lucid.ones(*parameter.shape).to("cuda")
        optimizer.step()
        holder.zero_grad(set_to_none=False)
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert (parameter.grad.device, parameter.grad.dtype) == (parameter.device, parameter.dtype)
            assert not parameter.grad.cpu().numpy().any()
    before = model.weight.cpu().numpy()
    optimizer.step()  # momentum goes on: half of 1 + 1 / 2
    np.testing.assert_array_equal(model.weight.cpu().numpy(), before - np.float32(0.75))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_gradients_are_clipped_where_they_are(dtype: str, rng: np.random.Generator) -> None:
    narrow = dtype_of(dtype)
    gradients = [rounded(np.asarray(rng.standard_normal(s), np.float32), dtype) for s in ((4, 3), (7,), ())]
    parameters = [nn.Parameter(lucid.zeros(*gradient.shape).to("cuda").to(narrow)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = lucid.tensor(gradient).to("cuda").to(narrow)
    idle = nn.Parameter(lucid.zeros(2).to("cuda"))
    norm = np.sqrt(sum(np.square(gradient.astype(np.float64)).sum() for gradient in gradients))
    assert clip_grad_norm_([*parameters, idle], 2 * norm) == pytest.approx(norm, rel=1e-12)
    np.testing.assert_array_equal(parameters[0].grad.float().cpu().numpy(), gradients[0])
    assert clip_grad_norm_([*parameters, idle], norm / 4) == pytest.approx(norm, rel=1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert parameter.grad.device == parameter.device
        got = parameter.grad.float().cpu().numpy()
        np.testing.assert_allclose(got, gradient.astype(np.float64) / 4, rtol=2 * EPS[dtype])
    assert grad_norm(parameters) == pytest.approx(norm / 4, rel=2 * EPS[dtype])
    assert idle.grad is None
