"""The shape rules of a plan's steps: those of the operators, with the operators' own messages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from plan_steps import step

from lucid import _core

KINDS = _core.step_kinds()
IMAGE, ROWS = (2, 8, 5, 4), (2, 8)


def output_shape(kind: str, *inputs: tuple[int, ...], weights: Any = None, **attributes: Any) -> Any:
    described = step(kind, [], -1, **attributes)["attributes"]
    return _core.step_output_shape(kind, list(inputs), described, weights or {})


def test_kinds_say_what_a_step_has() -> None:
    assert KINDS["conv2d"] == {
        "attributes": {
            "stride": "pair",
            "padding": "padding",
            "dilation": "pair",
            "groups": "int",
            "relu": "bool",
        },
        "inputs": (1, 2),
        "weights": ("weight",),
        "optional": ("bias",),
    }
    assert KINDS["batch_norm"]["weights"] == ("weight", "bias")
    assert KINDS["flatten"] == {"attributes": {}, "inputs": (1, 1), "weights": (), "optional": ()}
    assert len(KINDS) == 15


@pytest.mark.parametrize(
    ("kind", "inputs", "options", "want"),
    [
        ("conv2d", [IMAGE], {"weights": {"weight": (6, 4, 3, 2)}, "groups": 2}, (2, 6, 3, 3)),
        ("conv2d", [IMAGE, (2, 6, 5, 4)], {"weights": {"weight": (6, 8, 1, 1), "bias": (6,)}}, (2, 6, 5, 4)),
        ("linear", [ROWS], {"weights": {"weight": (6, 4)}, "groups": 2}, (2, 6)),
        ("batch_norm", [IMAGE], {"weights": {"weight": (8,), "bias": (8,)}}, IMAGE),
        ("max_pool2d", [IMAGE], {"kernel_size": (2, 2), "padding": (1, 0, 0, 1)}, (2, 8, 5, 4)),
        ("avg_pool2d", [IMAGE], {"kernel_size": (2, 2), "stride": (2, 2), "ceil_mode": True}, (2, 8, 3, 2)),
        ("adaptive_avg_pool2d", [IMAGE], {"output_size": (7, 2)}, (2, 8, 7, 2)),
        ("radix_sum_pool", [IMAGE], {"radix": 4}, (2, 2)),
        ("split_attention", [IMAGE, ROWS], {"radix": 2, "cardinality": 4}, (2, 4, 5, 4)),
        ("add", [IMAGE, IMAGE], {}, IMAGE),
        ("mul", [IMAGE, ROWS], {}, IMAGE),
        ("relu", [ROWS], {}, ROWS),
        ("sigmoid", [IMAGE], {}, IMAGE),
        ("softmax", [IMAGE], {"dim": -3, "log": True}, IMAGE),
        ("flatten", [IMAGE], {}, (2, 160)),
        ("unflatten", [ROWS], {}, (2, 8, 1, 1)),
        ("unflatten", [(0, 8)], {}, (0, 8, 1, 1)),
    ],
)
def test_shapes(kind: str, inputs: Any, options: Any, want: tuple[int, ...]) -> None:
    assert output_shape(kind, *inputs, **options) == want


WEIGHT = {"weight": (6, 8, 3, 3)}
REFUSED = {
    "kind": (lambda: output_shape_of("conv3d"), "plan: the kind of a step must be one of"),
    "inputs": (lambda: output_shape("add", IMAGE), "add: the number of inputs must be from 2 to 2, got 1"),
    "missing weight": (
        lambda: output_shape("conv2d", IMAGE),
        "conv2d: weights must be weight, bias (optional), got none",
    ),
    "other weight": (
        lambda: output_shape("relu", IMAGE, weights={"weight": (8,)}),
        "relu: weights must be none, got weight",
    ),
    "unknown weight": (
        lambda: output_shape("linear", ROWS, weights={"scale": (8,)}),
        "linear: weights must be named weight or bias, got scale",
    ),
    "missing attribute": (lambda: output_shape_of("radix_sum_pool"), "attributes must be radix, got none"),
    "other attribute": (
        lambda: output_shape_of("radix_sum_pool", rdix=2),
        "radix_sum_pool: attributes must be radix, got rdix",
    ),
    "pair": (lambda: output_shape_of("radix_sum_pool", radix=(1, 1)), "radix must be an int, got 2 values"),
    "padding": (
        lambda: output_shape("conv2d", IMAGE, weights=WEIGHT, padding=(1, 1)),
        "conv2d: padding must be four ints: top, left, bottom, right, got 2 values",
    ),
    "bool": (lambda: output_shape_of("add", relu=2), "add: relu must be 0 or 1, got 2"),
    "float": (
        lambda: output_shape_of("radix_sum_pool", radix=1.0),
        "radix must be a bool, an int or a tuple",
    ),
    "huge": (lambda: output_shape_of("radix_sum_pool", radix=2**31), "radix must be at most 2147483647"),
    "beyond 64 bits": (lambda: output_shape_of("radix_sum_pool", radix=2**64), "radix must fit into 64 bits"),
    "negative": (lambda: output_shape("radix_sum_pool", IMAGE, radix=-1), "radix must be positive, got -1"),
    "rank": (lambda: output_shape("relu", (2, 3, 4)), "an input must have shape (n, c, h, w) or (n, c)"),
    "rank of the operator": (
        lambda: output_shape("flatten", ROWS),
        "flatten: x must have 4 dimensions, got 2",
    ),
    "empty": (lambda: output_shape("relu", (2, 0)), "relu: an input must have positive sizes"),
    "too large": (lambda: output_shape("relu", (2**30, 2**29)), "at most 2^58 elements, got"),
    "too large a result": (
        lambda: output_shape("adaptive_avg_pool2d", (2**30, 2**20, 2, 2), output_size=(2**10, 2**10)),
        "adaptive_avg_pool2d: y must have at most 2^58 elements",
    ),
    "residual": (
        lambda: output_shape("conv2d", IMAGE, IMAGE, weights=WEIGHT),
        "conv2d: the residual must have shape (2, 6, 3, 2), got (2, 8, 5, 4)",
    ),
    "operator's own": (
        lambda: output_shape("conv2d", IMAGE, weights=WEIGHT, groups=3),
        "conv2d: groups (3) must divide in_channels",
    ),
    "padding of a pool": (
        lambda: output_shape("max_pool2d", IMAGE, kernel_size=(3, 3), padding=(2, 0, 0, 0)),
        "max_pool2d: padding must be between 0 and half of kernel_size (3, 3), got (2, 0, 0, 0)",
    ),
}


def output_shape_of(kind: str, **attributes: Any) -> Any:
    """The shape of a step that has these attributes only."""
    count = KINDS[kind]["inputs"][0] if kind in KINDS else 1
    return _core.step_output_shape(kind, [IMAGE] * count, attributes, {})


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_plans_refuse_what_the_rule_refuses() -> None:
    shapes = [(1, 8, 5, 4), (1, 8, 5, 5)]
    with pytest.raises(
        ValueError, match=re.escape("plan: step 0: relu: its output must have shape (1, 8, 5, 4)")
    ):
        _core.Plan(shapes, [0], [1], [step("relu", [0], 1)])
    with pytest.raises(ValueError, match=r"plan: value 1 must have shape \(n, c, h, w\) or \(n, c\), got 3"):
        _core.Plan([(1, 8), (1, 8, 5)], [0], [1], [step("relu", [0], 1)])
    padding = (2**30, 2**30, 2**30, 2**30)
    weight = np.zeros((1, 1, 1, 1), np.float32)
    size = 2**31 + 1
    steps = [step("relu", [0], 1), step("conv2d", [1], 2, weight=weight, padding=padding)]
    with pytest.raises((ValueError, MemoryError), match=r"^plan: "):
        _core.Plan([(1, 1, 1, 1), (1, 1, 1, 1), (1, 1, size, size)], [0], [2], steps)
