"""The loop: bit-identical after an interruption, accumulation and clipping as defined, and divergence."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import process_threads
import pytest
from process_threads import ThreadCommunicator
from small_trainings import RECIPE, items, training

import lucid
from lucid import optim
from lucid.data import Loader
from lucid.models import ResNeXt, ResNeXtConfig
from lucid.train import DivergedError, Recipe, Training, read_checkpoint, write_checkpoint


def finish(run: Training, epochs: int = 2) -> list[float]:
    losses = []
    while run.epochs_done < epochs:
        losses += [step.loss for step in run.epoch()]
    return losses


def bits(value: Any) -> Any:
    """A state with arrays as bytes, so that == compares every bit."""
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    return value.numpy().tobytes() if isinstance(value, lucid.Tensor) else value


@pytest.fixture(scope="module")
def in_one_go() -> tuple[list[float], Any]:
    run = training()
    return finish(run), bits(run.state_dict())


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_interrupted_training_ends_with_the_same_bits(
    stop: int, in_one_go: tuple[list[float], Any], tmp_path: Path
) -> None:
    """After one step of an epoch, between two epochs, and within the second one."""
    first, losses = training(), []
    while first.steps_done < stop:
        for step in first.epoch():
            losses.append(step.loss)
            if first.steps_done == stop:
                break
    write_checkpoint(tmp_path / "a.safetensors", first.state_dict())
    lucid.random.seed(99)
    second = training()
    lucid.random.seed(77)  # another process would be anywhere
    second.load_state_dict(read_checkpoint(tmp_path / "a.safetensors"))
    assert losses + finish(second) == in_one_go[0]
    assert bits(second.state_dict()) == in_one_go[1]
    assert second.steps_done == 6


def test_adamw_goes_on_as_well(tmp_path: Path) -> None:
    recipe = Recipe(optimizer="adamw", lr=1e-3, reference_batch=0)
    whole = training(recipe)
    finish(whole)
    first = training(recipe)
    for _ in first.epoch():
        break
    write_checkpoint(tmp_path / "a.safetensors", first.state_dict())
    second = training(recipe)
    second.load_state_dict(read_checkpoint(tmp_path / "a.safetensors"))
    finish(second)
    assert bits(second.state_dict()) == bits(whole.state_dict())


def test_state_of_another_recipe_is_refused() -> None:
    state = training().state_dict()
    with pytest.raises(ValueError, match="the average must be in both trainings or in neither"):
        training(replace(RECIPE, average=0.0)).load_state_dict(state)


def test_accumulated_gradients_are_those_of_one_batch() -> None:
    """Without batch norm in training, whose statistics are those of the part; the last batch is smaller."""
    found = []
    for batch, parts in ((6, 1), (4, 2)):
        lucid.random.seed(2)
        model = ResNeXt(ResNeXtConfig((1, 1, 1, 1), 2, 16, num_classes=2, channels=(8, 8, 8, 16)))
        model.eval()
        model.train = lambda mode=True, model=model: model
        plain = Recipe(lr=0.1, reference_batch=0, momentum=0.0, weight_decay=0.0, accumulate=parts)
        run = Training(model, Loader(items(6), batch), plain, epochs=1)
        (step,) = run.epoch()
        found.append((step.loss, step.norm, {k: v.numpy().copy() for k, v in model.state_dict().items()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-4)
    for name, array in found[0][2].items():
        np.testing.assert_allclose(found[1][2][name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_clipping_scales_to_the_norm(rng: np.random.Generator) -> None:
    given = [lucid.nn.Parameter(lucid.tensor(np.zeros(s, np.float32))) for s in ((3, 4), (5,))]
    slopes = [rng.standard_normal(each.shape).astype(np.float32) for each in given]
    for each, slope in zip(given, slopes, strict=True):
        each.grad = lucid.tensor(slope)
    want = np.sqrt(sum(float((s.astype(np.float64) ** 2).sum()) for s in slopes))
    assert optim.clip_grad_norm_(given, 100.0) == pytest.approx(want)
    np.testing.assert_array_equal(given[0].grad.numpy(), slopes[0])
    assert optim.clip_grad_norm_([*given, lucid.nn.Parameter(lucid.ones(2))], 0.5) == pytest.approx(want)
    assert optim.grad_norm(given) == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_allclose(given[1].grad.numpy(), slopes[1] * (0.5 / want), rtol=1e-5)
    with pytest.raises(ValueError, match="clip_grad_norm_: max_norm must be positive, got 0"):
        optim.clip_grad_norm_(given, 0)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(clip: float) -> None:
    run = training(replace(RECIPE, clip_norm=clip))
    steps = run.epoch()
    next(steps)
    run.model.layer2[0].conv1.weight.data[0, 0] = np.nan
    before = bits(run.model.fc.state_dict())
    with pytest.raises(DivergedError, match=r"got loss nan in step 2 \(epoch 1\); the largest gradients: \w"):
        next(steps)
    assert bits(run.model.fc.state_dict()) == before


def test_the_largest_gradients_are_named() -> None:
    run = training()
    run.model.fc.bias.register_hook(lambda slope: slope * np.float32(np.inf))
    with pytest.raises(
        DivergedError, match=r"got loss [\d.]+ with .* (nan|inf) in .*gradients: fc\.bias (nan|inf), \w"
    ):
        next(run.epoch())


def test_processes_need_loaders_of_their_parts() -> None:
    def work(communicator: ThreadCommunicator) -> None:
        run = training()
        Training(run.model, run.loader, RECIPE, 1, communicator)

    message = "Training: the loader must be number [01] of 2, as the communicator is, got number 0 of 1"
    with pytest.raises(ValueError, match=message):
        process_threads.run(2, work)


def test_processes_need_an_image_of_every_batch() -> None:
    """All of them raise the error, before any of them waits for another one."""

    def work(communicator: ThreadCommunicator) -> None:
        with pytest.raises(
            ValueError,
            match="Training: each of 2 processes must have an image of every batch, got a batch of 1",
        ):
            training(count=22, batch_size=7, communicator=communicator)

    process_threads.run(2, work)


def test_processes_begin_with_the_weights_of_the_first() -> None:
    """And with its random numbers, although they were seeded otherwise."""
    made = threading.Lock()

    def work(communicator: ThreadCommunicator) -> tuple[Any, Any]:
        config = ResNeXtConfig((1, 1, 1, 1), 2, 16, num_classes=2, channels=(8, 8, 8, 16))
        with made:
            lucid.random.seed(communicator.rank)
            model = ResNeXt(config)
        own = bits(model.state_dict())
        loader = Loader(items(6), 4, num_replicas=2, rank=communicator.rank)
        run = Training(model, loader, replace(RECIPE, average=0.5), 1, communicator)
        assert bits(run.average.module.state_dict()) == bits(model.state_dict())
        return own, bits(model.state_dict())

    first, second = process_threads.run(2, work)
    assert first[0] != second[0]
    assert first[1] == second[1] == first[0]


def test_a_loader_without_a_batch_is_refused() -> None:
    loader = Loader(items(3), 4, drop_last=True)
    with pytest.raises(ValueError, match="the loader must have a full batch"):
        Training(training().model, loader, RECIPE, 1)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        training(epochs=0)
