"""The loss of logits on a device, through lucid.nn: that of the CPU, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerance import assert_close

import lucid
from lucid import nn
from lucid.nn import functional as F

pytestmark = pytest.mark.cuda

CLASSES = np.array([3, 0, -100, 6, 3])
OPTIONS: dict[str, dict[str, Any]] = {
    "mean": {},
    "smoothed": {"label_smoothing": 0.1},
    "sum": {"reduction": "sum", "label_smoothing": 1.0},
    "none": {"reduction": "none"},
}


def loss_and_gradient(device: str, logits: Any, target: Any, weight: Any, **options: Any) -> tuple[Any, Any]:
    x = lucid.tensor(logits).to(device).requires_grad_()
    others = [None if each is None else lucid.tensor(each).to(device) for each in (target, weight)]
    loss = F.cross_entropy(x, *others, **options)
    assert loss.device == x.device
    dy = np.arange(2, 2 + loss.numel(), dtype=np.float32).reshape(loss.shape)
    loss.backward(lucid.tensor(dy).to(device))
    assert x.grad is not None
    assert x.grad.device == x.device
    return loss.cpu().numpy(), x.grad.cpu().numpy()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "float32"])
def test_the_loss_is_that_of_the_cpu(
    device: str, dtype: str, options: dict[str, Any], rng: np.random.Generator
) -> None:
    logits = rng.standard_normal((5, 7)).astype(np.float32)
    target = rng.random((5, 7), np.float32) if dtype == "float32" else CLASSES.astype(dtype)
    for weight in (None, rng.uniform(0.5, 2, 7).astype(np.float32)):
        wanted = loss_and_gradient("cpu", logits, target, weight, **options)
        first, second = (loss_and_gradient(device, logits, target, weight, **options) for _ in range(2))
        for want, got, again in zip(wanted, first, second, strict=True):
            assert_close(got, want, terms=8)
            np.testing.assert_array_equal(got, again)


def test_a_module_on_the_device(device: str, rng: np.random.Generator) -> None:
    logits = lucid.tensor(rng.standard_normal((5, 7)).astype(np.float32))
    layer = nn.CrossEntropyLoss(rng.uniform(0.5, 2, 7).astype(np.float32), label_smoothing=0.2)
    want = layer(logits, CLASSES)
    got = layer.to(device)(logits.to(device), lucid.tensor(CLASSES).to(device))
    assert_close(got.cpu().numpy(), want.numpy(), terms=8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_logits_take_wide_targets(device: str, dtype: str, rng: np.random.Generator) -> None:
    pytest.importorskip("ml_dtypes")
    shares = lucid.tensor(rng.random((5, 7), np.float32))
    logits = lucid.tensor(rng.standard_normal((5, 7)).astype(np.float32)).to(device, dtype)
    got = F.cross_entropy(logits, shares.to(device), lucid.ones(7).to(device))
    assert got.dtype == logits.dtype
    want = F.cross_entropy(logits.to("cpu", "float32"), shares).item()
    assert abs(got.to("cpu", "float32").item() / want - 1) < 2.0**-7


def test_an_index_of_no_class_makes_the_loss_nan(device: str) -> None:
    logits = lucid.zeros(3, 4).to(device).requires_grad_()
    target = lucid.tensor([1, 4, -1]).to(device)
    each = F.cross_entropy(logits, target, reduction="none").cpu().numpy()
    np.testing.assert_array_equal(np.isnan(each), [False, True, True])
    F.cross_entropy(logits, target, reduction="sum").backward()
    assert logits.grad is not None
    np.testing.assert_array_equal(np.isnan(logits.grad.cpu().numpy()).any(1), [False, True, True])
    assert np.isnan(F.cross_entropy(logits, target).item())


def test_rows_without_a_batch_and_a_batch_without_rows(device: str) -> None:
    row = lucid.tensor([0.0, 1.0, 2.0])
    want = F.cross_entropy(row, lucid.tensor(1)).item()
    assert_close(F.cross_entropy(row.to(device), lucid.tensor(1).to(device)).cpu().numpy(), want)
    empty = lucid.zeros(0, 3).to(device)
    for target in (lucid.tensor(np.zeros(0, np.int64)), lucid.zeros(0, 3)):
        assert np.isnan(F.cross_entropy(empty, target.to(device)).item())
        assert F.cross_entropy(empty, target.to(device), reduction="sum").item() == 0.0
        assert F.cross_entropy(empty, target.to(device), reduction="none").shape == (0,)
