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

pytestmark = pytest.mark.cuda

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
    model = NETWORKS["resnext"]().train()
    images = lucid.tensor(rng.standard_normal((8, 3, 17, 17), dtype=np.float32))
    trained: dict[str, dict[str, Any]] = {}
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(model).to(device)
        optimizer = SGD(own.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
        for _ in range(3):
            optimizer.zero_grad()
            gradients(own, images.to(device))
            optimizer.step()
        again = SGD(own.parameters(), lr=0.01, momentum=0.9, nesterov=nesterov)
        again.load_state_dict(optimizer.state_dict())
        again.step()
        trained[device] = {name: value.cpu().numpy() for name, value in own.state_dict().items()}
    for name, want in trained["cpu"].items():
        moved = np.abs(want - model.state_dict()[name].numpy()).max()
        assert np.abs(trained["cuda"][name] - want).max() <= 1e-2 * moved + 2.0**-20, name


def test_an_optimizer_without_kernels_says_so() -> None:
    x = lucid.ones(3).to("cuda").requires_grad_()
    x.grad = lucid.ones(3).to("cuda")
    with pytest.raises(NotImplementedError, match=r"sqrt: not on cuda yet; move the tensor by \.cpu\(\)"):
        AdamW([x]).step()
