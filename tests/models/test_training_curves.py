"""Twenty steps of training on digits, of lucid and of PyTorch from the same weights: the same losses."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np
import pytest

import lucid
from lucid import models
from lucid.nn import functional as F
from lucid.optim import SGD

STEPS, BATCH = 20, 32


# From trained weights: from random ones a network of these 8x8 images is chaotic, and PyTorch in float32 is
# 20 % away from PyTorch in float64 after twenty steps.
@pytest.mark.parametrize("name", ["resnext_digits", "resnest_digits"])
def test_losses_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle")
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    data = datasets.load_digits()
    model = models.create_model(name, "pretrained").train()
    peer = networks.timm_network(model.config).train()
    state = {key: torch.from_numpy(tensor.numpy().copy()) for key, tensor in model.state_dict().items()}
    peer.load_state_dict(state)
    options: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    ours, theirs = SGD(model.parameters(), **options), torch.optim.SGD(peer.parameters(), **options)
    pixels = (data.images[:, None].repeat(model.config.in_channels, 1) / 16 - 0.5).astype(np.float32)
    found, wanted = [], []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        images, labels = pixels[batch], data.target[batch].astype(np.int64)
        ours.zero_grad()
        loss = F.cross_entropy(model(lucid.tensor(images)), labels)
        loss.backward()
        ours.step()
        found.append(loss.item())
        theirs.zero_grad()
        logits = peer(torch.from_numpy(images))
        their_loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        their_loss.backward()
        theirs.step()
        wanted.append(their_loss.item())
    assert wanted[-1] < wanted[0] / 2  # they learn
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
