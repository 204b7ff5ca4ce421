"""Schedules: the rates of their articles, PyTorch's where it is installed, and how they go on."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from lucid import nn
from lucid.optim import SGD, CosineAnnealingLR, LRScheduler, Optimizer, StepLR, WarmUp


def optimizer() -> SGD:
    layer = nn.Linear(1, 1)
    return SGD([{"params": layer.weight, "lr": 0.4}, {"params": layer.bias}], lr=0.1)


def rates(make: Callable[[Optimizer], LRScheduler], steps: int) -> list[float]:
    schedule = make(optimizer())
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[1])
        schedule.step()
    return found


def test_steps_divide_the_rate() -> None:
    assert rates(lambda o: StepLR(o, 2, 0.5), 6) == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


def test_half_a_cosine() -> None:
    want = [0.02 + 0.08 * (1 + math.cos(math.pi * min(t, 4) / 4)) / 2 for t in range(6)]
    assert rates(lambda o: CosineAnnealingLR(o, 4, 0.02), 6) == pytest.approx(want)


def test_a_warm_up_ends_where_the_next_schedule_begins() -> None:
    want = [0.0, 0.025, 0.05, 0.075, *rates(lambda o: CosineAnnealingLR(o, 5), 4)]
    assert rates(lambda o: WarmUp(o, 4, after=CosineAnnealingLR(o, 5)), 8) == pytest.approx(want)
    assert rates(lambda o: WarmUp(o, 2, start=0.5), 4) == pytest.approx([0.05, 0.075, 0.1, 0.1])


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR"])
def test_rates_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    options = {"StepLR": {"step_size": 3, "gamma": 0.1}, "CosineAnnealingLR": {"T_max": 7, "eta_min": 0.01}}[
        name
    ]
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    want = []
    for _ in range(7):
        want.append(schedule.get_last_lr()[0])
        theirs.step()
        schedule.step()
    kinds = {"StepLR": StepLR, "CosineAnnealingLR": CosineAnnealingLR}
    assert rates(lambda o: kinds[name](o, **options), 7) == pytest.approx(want)  # type: ignore[operator]


def test_a_schedule_goes_on_from_its_state() -> None:
    def make(o: Optimizer) -> LRScheduler:
        return WarmUp(o, 2, after=StepLR(o, 2))

    whole = rates(make, 8)
    first = make(optimizer())
    for _ in range(3):
        first.step()
    second = make(optimizer())
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr()[1] == whole[3]
    assert second.get_last_lr()[0] == pytest.approx(4 * whole[3])
    for _ in range(3):
        second.step()
    assert second.get_last_lr()[1] == whole[6]


def test_wrong_lengths_are_refused() -> None:
    for make, said in (
        (lambda: StepLR(optimizer(), 0), "StepLR: step_size must be at least 1, got 0"),
        (lambda: CosineAnnealingLR(optimizer(), 0), "CosineAnnealingLR: T_max must be at least 1, got 0"),
        (lambda: WarmUp(optimizer(), 0), "WarmUp: steps must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    with pytest.raises(NotImplementedError, match="LRScheduler: a subclass must define factor"):
        LRScheduler(optimizer())
