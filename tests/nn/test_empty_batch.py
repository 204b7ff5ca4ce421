"""A batch of no images: every operator, layer and model returns as many results, eager and from a plan."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import small_models, small_networks

import lucid
from lucid import models, nn
from lucid.nn import functional as F


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


OPERATORS = {
    "conv2d": (lambda x: F.conv2d(x, ones(4, 4, 3, 3), ones(4), 2, 1, 1, 2), (0, 4, 3, 3)),
    "conv2d_same": (lambda x: F.conv2d(x, ones(4, 8, 2, 2), padding="same"), (0, 4, 5, 6)),
    "batch_norm": (lambda x: F.batch_norm(x, ones(8), ones(8), relu=True), (0, 8, 5, 6)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), (0, 8, 2, 3)),
    "max_pool2d_indices": (lambda x: F.max_pool2d(x, 2, return_indices=True)[1], (0, 8, 2, 3)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2), (0, 8, 2, 3)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (3, 4)), (0, 8, 3, 4)),
    "adaptive_avg_pool2d_1": (lambda x: F.adaptive_avg_pool2d(x, 1), (0, 8, 1, 1)),
    "global_avg_pool2d": (lambda x: F.global_avg_pool2d(x), (0, 8)),
    "radix_sum_pool": (lambda x: F.radix_sum_pool(x, 2), (0, 4)),
    "split_attention": (lambda x: F.split_attention(x, F.radix_sum_pool(x, 1), 2), (0, 4, 5, 6)),
    "linear": (lambda x: F.linear(x.flatten(1), ones(3, 240), ones(3)), (0, 3)),
    "linear_rank_4": (lambda x: F.linear(x, ones(3, 6)), (0, 8, 5, 3)),
    "pad": (lambda x: F.pad(x, (1, 1, 2, 0)), (0, 8, 7, 8)),
    "relu": (lambda x: F.relu(x), (0, 8, 5, 6)),
    "relu_inplace": (lambda x: F.relu(x, inplace=True), (0, 8, 5, 6)),
    "sigmoid": (lambda x: F.sigmoid(x), (0, 8, 5, 6)),
    "softmax": (lambda x: F.softmax(x, 1), (0, 8, 5, 6)),
    "log_softmax": (lambda x: F.log_softmax(x, 0), (0, 8, 5, 6)),
    "dropout": (lambda x: F.dropout(x, 0.5), (0, 8, 5, 6)),
    "drop_path": (lambda x: F.drop_path(x, 0.5), (0, 8, 5, 6)),
    "cross_entropy": (lambda x: F.cross_entropy(x, np.zeros((0, 5, 6), int), reduction="none"), (0, 5, 6)),
    "add": (lambda x: x + x * 2 - 1, (0, 8, 5, 6)),
    "mean": (lambda x: x.mean((2, 3)), (0, 8)),
    "argmax": (lambda x: x.argmax(1), (0, 5, 6)),
    "topk": (lambda x: x.topk(2, 1).indices, (0, 2, 5, 6)),
    "flatten": (lambda x: x.flatten(1), (0, 240)),
    "reshape": (lambda x: x.reshape(0, -1, 6), None),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name, isa):
    call, shape = OPERATORS[name]
    if shape is None:
        with pytest.raises(ValueError, match=r"reshape: the shape must hold the 0 elements"):
            call(lucid.zeros(0, 8, 5, 6))
        return
    y = call(lucid.zeros(0, 8, 5, 6))
    assert y.shape == shape
    assert y.dtype == (np.int64 if "arg" in name or "ind" in name or name == "topk" else np.float32)


def test_losses_are_those_of_torch():
    logits, target = lucid.zeros(0, 3), np.zeros(0, int)
    assert np.isnan(F.cross_entropy(logits, target).item())
    assert F.cross_entropy(logits, target, reduction="sum").item() == 0.0
    assert F.cross_entropy(logits, np.zeros((0, 3), np.float32), reduction="sum").item() == 0.0


def test_training_needs_values():
    with pytest.raises(ValueError, match="batch_norm: "):
        nn.BatchNorm2d(8)(lucid.zeros(0, 8, 5, 6))


@pytest.mark.parametrize("name", small_models() | small_networks())
def test_models_and_their_plans(name, isa):
    model, shape = (small_models() | small_networks())[name]
    model.eval()
    one, none = (1, *shape[1:]), (0, *shape[1:])
    want = model(lucid.zeros(*one))
    got, planned = model(lucid.zeros(*none)), lucid.compile(model, none)(np.zeros(none, np.float32))
    for single, eager, plan in zip(*map(as_tuple, (want, got, planned)), strict=True):
        assert eager.shape == plan.shape == (0, *single.shape[1:])


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def test_published_models_give_their_classes():
    for name in ("resnext50_32x4d", "resnest14"):
        with nn.init.skip_init():
            model = models.create_model(name, num_classes=7).eval()
        assert model(lucid.zeros(0, 3, 64, 64)).shape == (0, 7)
        assert lucid.compile(model, (0, 3, 64, 64))(np.zeros((0, 3, 64, 64), np.float32)).shape == (0, 7)


def test_a_saved_plan_for_no_images_loads(tmp_path):
    plan = lucid.compile(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (0, 3, 8, 8))
    plan.save(tmp_path / "plan.lucid")
    loaded = lucid.load_plan(tmp_path / "plan.lucid")
    assert loaded(lucid.zeros(0, 3, 8, 8)).shape == (0, 4, 6, 6)
