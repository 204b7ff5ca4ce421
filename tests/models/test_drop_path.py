"""drop_path and dropout in both families: against a float64 reference with the same draws, off in eval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lucid
from lucid.models import ResNeSt, ResNeStConfig, ResNeXt, ResNeXtConfig, create_model
from lucid.nn import functional as F

SMALL: dict[str, Any] = {"num_classes": 3, "channels": (8, 8, 16, 16)}


def network(family: str, **fields: Any) -> ResNeXt | ResNeSt:
    """The same weights each time, whatever is dropped: nothing of it draws at initialisation."""
    lucid.random.seed(5)
    if family == "resnext":
        return ResNeXt(ResNeXtConfig((1, 2, 1, 1), 2, 16, **SMALL, **fields))
    return ResNeSt(ResNeStConfig((1, 2, 1, 1), stem_width=8, **SMALL, **fields))


def draws(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    lucid.random.seed(seed)
    return lucid.random.generator().random(shape, dtype=np.float32)


def test_function_zeroes_whole_images_and_scales_the_others(rng: np.random.Generator) -> None:
    x = rng.standard_normal((40, 3, 2, 5), dtype=np.float32)
    kept = draws(7, 40, 1, 1, 1) >= 0.25
    assert 0 < kept.sum() < 40
    lucid.random.seed(7)
    got = F.drop_path(x, 0.25).numpy()
    np.testing.assert_allclose(got, np.where(kept, x.astype(np.float64) / 0.75, 0), rtol=1e-6)


def test_function_does_nothing_in_eval_or_without_a_probability() -> None:
    x = lucid.ones(4, 2)
    assert F.drop_path(x, 0.5, training=False) is x
    assert F.drop_path(x, 0.0) is x
    assert not F.drop_path(x, 1.0).numpy().any()
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="drop_path: p must be from 0 to 1"):
            F.drop_path(x, p)
    with pytest.raises(ValueError, match="drop_path: input must have a dimension of samples"):
        F.drop_path(lucid.tensor(1.0), 0.5)


@pytest.mark.parametrize("family", ["resnext", "resnest"])
def test_probability_grows_from_the_first_block_to_the_last(family: str) -> None:
    model = network(family, drop_path=0.2)
    found = [block.drop_path for layer in model.layers for block in layer]
    np.testing.assert_allclose(found, [0.0, 0.05, 0.1, 0.15, 0.2])
    assert {block.drop_path for layer in network(family).layers for block in layer} == {0.0}


@pytest.mark.parametrize("family", ["resnext", "resnest"])
def test_a_block_adds_the_masked_branch_to_the_shortcut(family: str, rng: np.random.Generator) -> None:
    plain, dropping = network(family).layer2[1].train(), network(family, drop_path=0.9).layer2[1].train()
    x = rng.standard_normal((30, 32, 6, 6), dtype=np.float32)
    seen: list[Any] = []
    forward = plain.conv3.forward
    plain.conv3.forward = lambda *given: seen.append(forward(*given)) or seen[-1]
    plain(lucid.tensor(x))
    kept = draws(11, 30, 1, 1, 1) >= dropping.drop_path
    branch = plain.bn3(seen[0]).numpy().astype(np.float64)  # what may be dropped
    want = np.maximum(x + np.where(kept, branch / (1 - dropping.drop_path), 0), 0)
    lucid.random.seed(11)
    np.testing.assert_allclose(dropping(lucid.tensor(x)).numpy(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["resnext", "resnest"])
def test_dropout_masks_what_the_head_sees(family: str, rng: np.random.Generator) -> None:
    plain, dropping = network(family).train(), network(family, dropout=0.4).train()
    x = rng.standard_normal((6, 3, 40, 40), dtype=np.float32)
    pooled = plain.forward_features(lucid.tensor(x)).numpy().astype(np.float64).mean((2, 3))
    seen = np.where(draws(13, *pooled.shape) >= 0.4, pooled / 0.6, 0)
    want = seen @ plain.fc.weight.numpy().T + plain.fc.bias.numpy()
    lucid.random.seed(13)
    np.testing.assert_allclose(dropping(lucid.tensor(x)).numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["resnext", "resnest"])
def test_eval_and_weights_are_those_without(family: str, rng: np.random.Generator) -> None:
    plain, dropping = network(family), network(family, drop_path=0.3, dropout=0.3)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    x = rng.standard_normal((2, 3, 40, 40), dtype=np.float32)
    want = plain.eval()(lucid.tensor(x)).numpy()
    np.testing.assert_array_equal(dropping.eval()(lucid.tensor(x)).numpy(), want)
    plan = lucid.compile(dropping, x.shape)
    assert plan.summary() == lucid.compile(plain, x.shape).summary()


def test_presets_take_both() -> None:
    model = create_model("resnest14", num_classes=2, drop_path=0.1, dropout=0.2)
    assert (model.config.drop_path, model.config.dropout) == (0.1, 0.2)
