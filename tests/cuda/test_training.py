"""Gradients of whole networks on a device: those of the CPU."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import lucid
from lucid.models import ResNeSt, ResNeStConfig, ResNeXt, ResNeXtConfig
from lucid.nn import Module
from lucid.nn import functional as F
from lucid.optim import SGD, AdamW

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("device")]

SMALL: Any = {"layers": (1, 1, 1, 1), "num_classes": 5, "channels": (8, 16, 16, 16)}
NETWORKS = {
    "resnext": lambda: ResNeXt(ResNeXtConfig(**SMALL, cardinality=4, base_width=32)),
    "resnest": lambda: ResNeSt(ResNeStConfig(**SMALL, stem_width=8)),
}


def gradients(model: Module, images: Any) -> dict[str, Any]:
    logits = model(images)
    F.cross_entropy(logits.cpu(), np.arange(8) % 5, label_smoothing=0.1).backward()
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.device == parameter.device
        found[name] = parameter.grad.cpu().numpy()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_gradients_of_the_cpu(name: str, rng: np.random.Generator) -> None:
    lucid.random.seed(20170411)  # other weights may be worse conditioned
    model = NETWORKS[name]().train()
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


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_of_training_is_that_of_the_cpu(nesterov: bool, rng: np.random.Generator) -> None:
    model = NETWORKS["resnext"]()
    steps = [[rng.standard_normal(p.shape, dtype=np.float32) for p in model.parameters()] for _ in range(4)]
    trained = []
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(model).to(device)
        optimizer = SGD(own.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
        for number, step in enumerate(steps):
            if number == 2:  # goes on from a saved state
                state = optimizer.state_dict()
                optimizer = SGD(own.parameters())
                optimizer.load_state_dict(state)
            for parameter, gradient in zip(own.parameters(), step, strict=True):
                parameter.grad = lucid.tensor(gradient).to(device)
            optimizer.step()
        trained.append([parameter.cpu().numpy() for parameter in own.parameters()])
    for want, got in zip(*trained, strict=True):
        bound = 4 * 8 * 2.0**-24 * max(1, np.abs(want).max())  # four steps of a few roundings each
        np.testing.assert_allclose(got, want, rtol=0, atol=bound)


def test_an_optimizer_without_kernels_says_so() -> None:
    x = lucid.ones(3).to("cuda").requires_grad_()
    x.grad = lucid.ones(3).to("cuda")
    with pytest.raises(NotImplementedError, match=r"sqrt: not on cuda yet; move the tensor by \.cpu\(\)"):
        AdamW([x]).step()
