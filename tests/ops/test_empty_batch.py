"""A batch of no images: every operator gives a batch of none, and reads nothing; so does a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from plan_steps import step

from lucid import _core


def none(*shape: int) -> Any:
    return np.empty((0, *shape), np.float32)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


C = ones(6)
PADDING = (1, 1, 1, 1)
CALLS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "conv2d": (
        lambda: _core.conv2d(none(6, 5, 4), ones(8, 3, 3, 3), ones(8), (2, 1), PADDING, (1, 1), 2),
        (0, 8, 3, 4),
    ),
    "max_pool2d": (
        lambda: _core.max_pool2d(none(6, 5, 4), (3, 3), (2, 2), PADDING, (1, 1), False),
        (0, 6, 3, 2),
    ),
    "max_pool2d_with_indices": (
        lambda: _core.max_pool2d_with_indices(none(6, 5, 4), (3, 3), (2, 2), PADDING, (1, 1), False)[1],
        (0, 6, 3, 2),
    ),
    "avg_pool2d": (
        lambda: _core.avg_pool2d(none(6, 5, 4), (3, 3), (2, 2), PADDING, False, True),
        (0, 6, 3, 2),
    ),
    "adaptive_avg_pool2d": (lambda: _core.adaptive_avg_pool2d(none(6, 5, 4), (2, 3)), (0, 6, 2, 3)),
    "radix_sum_pool": (lambda: _core.radix_sum_pool(none(6, 5, 4), 2), (0, 3)),
    "split_attention": (lambda: _core.split_attention(none(6, 5, 4), none(6), 2, 3), (0, 3, 5, 4)),
    "batch_norm": (lambda: _core.batch_norm(none(6, 5, 4), C, C, C, C, 0.1), (0, 6, 5, 4)),
    "linear": (lambda: _core.linear(none(6), ones(4, 6), None), (0, 4)),
    "relu": (lambda: _core.relu(none(6, 5)), (0, 6, 5)),
    "sigmoid": (lambda: _core.sigmoid(none()), (0,)),
    "softmax": (lambda: _core.softmax(none(6), 1), (0, 6)),
    "add": (lambda: _core.add(none(6, 5, 4), none(6, 5, 4)), (0, 6, 5, 4)),
    "mul": (lambda: _core.mul(none(6, 5, 4), none(6)), (0, 6, 5, 4)),
}


@pytest.mark.parametrize("name", CALLS)
def test_operators_give_an_empty_batch(name: str, isa: str) -> None:
    call, shape = CALLS[name]
    assert call().shape == shape


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"batch_norm_statistics: sizes of x must be positive, got \(0, 6, 5\)"
    ):
        _core.batch_norm_statistics(none(6, 5))


def test_a_plan_gives_an_empty_batch(isa: str) -> None:
    shapes = [(0, 3, 9, 9), (0, 16, 9, 9), (0, 16, 9, 9), (0, 16), (0, 10), (0, 10)]
    steps = [
        step("conv2d", [0], 1, weight=ones(16, 3, 3, 3), padding=PADDING, relu=True),
        step("conv2d", [1, 1], 2, weight=ones(16, 16, 3, 3), padding=PADDING),
        step("radix_sum_pool", [2], 3, radix=1),
        step("linear", [3], 4, weight=ones(10, 16)),
        step("softmax", [4], 5, dim=1),
    ]
    plan = _core.Plan(shapes, [0], [5, 2], steps)
    y, image = plan.run([none(3, 9, 9)])
    assert y.shape == (0, 10)
    assert image.shape == (0, 16, 9, 9)
    assert plan.profile([none(3, 9, 9)]) == [(0.0, 0.0, 0.0)] * 5
    assert plan.algorithms() == [""] * 5
