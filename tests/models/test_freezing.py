"""Freezing: which parameters stay, and what batch norm does there."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from lucid.models import ResNeXt, ResNeXtConfig


def network() -> ResNeXt:
    return ResNeXt(ResNeXtConfig((1, 1, 1, 1), 2, 16, num_classes=3, channels=(8, 8, 16, 16)))


@pytest.mark.parametrize("count", range(5))
def test_stem_and_first_stages_are_frozen(count: int) -> None:
    model = network().train()
    assert model.freeze_stages(4).freeze_stages(count) is model
    frozen = ("conv1", "bn1", *(f"layer{number}" for number in range(1, count + 1)))
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name.split(".")[0] not in frozen)
    for mode in (True, False, True):
        model.train(mode)
        for name, module in model.named_modules():
            assert module.training == (mode and name.split(".")[0] not in frozen), name
    assert {name.split(".")[0] for name in model.state_dict()} >= {"conv1", "layer4", "fc"}


def test_statistics_of_what_is_frozen_stay(rng: np.random.Generator) -> None:
    model = network().freeze_stages(1).train()
    before = {name: buffer.numpy().copy() for name, buffer in model.named_buffers()}
    model(rng.standard_normal((2, 3, 33, 33), dtype=np.float32))
    moved = {
        name for name, buffer in model.named_buffers() if not np.array_equal(buffer.numpy(), before[name])
    }
    assert moved == {name for name in before if name.startswith(("layer2", "layer3", "layer4"))}


def test_a_copy_is_frozen_as_well() -> None:
    model = copy.deepcopy(network().freeze_stages(2)).train()
    assert not model.layer2[0].bn1.training
    assert model.layer3[0].bn1.training
    assert not any(parameter.requires_grad for parameter in model.layer1.parameters())


def test_a_wrong_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"freeze_stages: count must be from 0 to 4, got 5"):
        network().freeze_stages(5)
