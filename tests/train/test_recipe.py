"""Recipes: the articles' numbers, their schedules step by step, and what is refused."""

from __future__ import annotations

import math

import pytest

from lucid.nn import Linear
from lucid.train import RECIPES, Recipe


def rates(recipe: Recipe, epochs: int, steps: int, batch: int = 256) -> list[float]:
    """The learning rate of each step."""
    optimizer = recipe.make_optimizer(Linear(2, 2), batch)
    schedule = recipe.make_schedule(optimizer, epochs, steps)
    found = []
    for _ in range(epochs * steps):
        found += schedule.get_last_lr()[:1]
        schedule.step()
    return found


def test_resnext_is_that_of_the_article() -> None:
    recipe = RECIPES["resnext"]
    optimizer = recipe.make_optimizer(Linear(2, 2), 256)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    assert rates(recipe, 90, 2) == pytest.approx([0.1] * 60 + [0.01] * 60 + [0.001] * 60)
    assert rates(recipe, 1, 3, batch=64) == pytest.approx([0.025, 0.0025, 0.00025])


def test_resnest_warms_up_and_follows_a_cosine() -> None:
    recipe = RECIPES["resnest"]
    found = rates(recipe, 25, 10)
    rising = [0.1 * (1 / 51 + (1 - 1 / 51) * step / 50) for step in range(50)]
    assert found[:50] == pytest.approx(rising)
    falling = [0.05 * (1 + math.cos(math.pi * step / 200)) for step in range(200)]
    assert found[50:] == pytest.approx(falling)
    assert (recipe.label_smoothing, recipe.mixup, recipe.dropout) == (0.1, 0.2, 0.2)
    matrices, vectors = recipe.make_optimizer(Linear(2, 2), 256).param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (1e-4, 0.0)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json_and_short_trainings(name: str) -> None:
    recipe = RECIPES[name]
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert rates(recipe, 1, 1)[0] > 0
    assert all(rate > 0 for rate in rates(recipe, 2, 3))


def test_fields_out_of_range_are_refused() -> None:
    for field, value, message in (
        ("optimizer", "adam", "optimizer must be 'sgd' or 'adamw', got 'adam'"),
        ("schedule", "", "schedule must be 'step' or 'cosine', got ''"),
        ("lr", -1.0, "lr must be a number of at least 0, got -1.0"),
        ("mixup", math.nan, "mixup must be a number of at least 0, got nan"),
        ("accumulate", 0, "accumulate must be a number of at least 1, got 0"),
        ("label_smoothing", 1.5, "label_smoothing must be at most 1, got 1.5"),
        ("flip", 2.0, "flip must be a probability, got 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            Recipe(**{field: value})
