"""Twenty steps of PyTorch's training on digits, each taken by lucid as well: the same losses and weights.

Each step begins at PyTorch's weights and momenta. Left alone, two trainings in float32 part wherever rounding
decides which of two values is the largest of a pooling window: PyTorch's own in float32 and float64 are up to
20 % apart after twenty steps of these networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import networks
import numpy as np
import pytest

import lucid
from lucid import models
from lucid.nn import functional as F
from lucid.optim import SGD

STEPS, BATCH = 20, 32


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch with one thread, as lucid: at this size two would wait for each other."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    before = torch.get_num_threads(), lucid.get_num_threads()
    torch.set_num_threads(1)
    lucid.set_num_threads(1)
    yield torch
    torch.set_num_threads(before[0])
    lucid.set_num_threads(before[1])


@pytest.mark.parametrize("name", ["resnext_digits", "resnest_digits"])
def test_steps_are_those_of_pytorch(torch: Any, name: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    data = datasets.load_digits()
    pixels = data.images[:, None].repeat(4, 2).repeat(4, 3) / 8 - 1  # 32x32, as the weights want them
    lucid.random.seed(2017)
    model = models.create_model(name, "pretrained").train()
    model.reset_classifier(10)  # of no use yet, so that there is something to learn
    peer = networks.timm_network(model.config).train()
    state = {key: torch.from_numpy(tensor.numpy().copy()) for key, tensor in model.state_dict().items()}
    peer.load_state_dict(state)
    options: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    ours, theirs = SGD(model.parameters(), **options), torch.optim.SGD(peer.parameters(), **options)
    losses, wanted, errors = [], [], []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        images, labels = pixels[batch].astype(np.float32), data.target[batch].astype(np.int64)
        before = {key: tensor.numpy().copy() for key, tensor in peer.state_dict().items()}
        model.load_state_dict(before)
        ours.load_state_dict(theirs.state_dict())
        ours.zero_grad()
        loss = F.cross_entropy(model(lucid.tensor(images)), labels)
        loss.backward()
        ours.step()
        losses.append(loss.item())
        theirs.zero_grad()
        logits = peer(torch.from_numpy(images))
        their_loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        their_loss.backward()
        theirs.step()
        wanted.append(their_loss.item())
        found = {key: tensor.numpy() for key, tensor in model.named_parameters()}
        after = {key: tensor.detach().numpy() for key, tensor in peer.named_parameters()}
        error = sum(np.square(found[key] - after[key]).sum(dtype=np.float64) for key in after)
        way = sum(np.square(before[key] - after[key]).sum(dtype=np.float64) for key in after)
        errors.append(np.sqrt(error / way))
    assert np.mean(wanted[-5:]) < np.mean(wanted[:5]) / 2  # they learn
    np.testing.assert_allclose(losses, wanted, rtol=1e-3)
    assert np.median(errors) < 1e-4  # of a step's way; where rounding decides, a step goes another
