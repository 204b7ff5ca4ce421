"""cross_entropy and its gradient against float64."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
import reference_gradients as gradients
from invariance import assert_layouts_agree, assert_rows_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

SHAPES: list[tuple[int, ...]] = [(1, 1), (6, 4), (3, 1000), (41, 17), (2, 5, 3, 4), (2, 3, 2, 1, 2)]
REDUCTIONS = ["none", "sum", "mean"]
IGNORED = -7


class Sample:
    """Logits, targets of both kinds and class weights; the first of several targets is ignored."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        rows = (shape[0], *shape[2:])
        self.x = (4 * rng.standard_normal(shape)).astype(np.float32)
        self.indices = rng.integers(0, shape[1], rows)
        self.indices.flat[: 1 if self.indices.size > 1 else 0] = IGNORED
        self.probabilities = rng.random(shape).astype(np.float32)
        self.weight = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
        # Differences of logits are rounded; the factors of probabilities add up to twice the classes at most.
        self.largest = 2.0 * (float(np.ptp(self.x)) + 1) * shape[1]


def loss(x: Array, target: Array, weight: Array | None, smoothing: float, reduction: str) -> Array:
    return _core.cross_entropy(x, target, weight, IGNORED, smoothing, REDUCTIONS.index(reduction))


def gradient(
    dy: Array, x: Array, target: Array, weight: Array | None, smoothing: float, reduction: str
) -> Array:
    code = REDUCTIONS.index(reduction)
    return _core.cross_entropy_backward(dy, x, target, weight, IGNORED, smoothing, code)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    shape: tuple[int, ...], reduction: str, smoothing: float, isa: str, rng: np.random.Generator
) -> None:
    s = Sample(rng, shape)
    for target in (s.indices, s.probabilities):
        for weight in (None, s.weight):
            options: Any = {"ignore_index": IGNORED, "reduction": reduction, "label_smoothing": smoothing}
            want = reference.cross_entropy(s.x, target, weight, **options)
            # Sums are double; only the logits' differences, exponentials and the result are rounded.
            single = s.largest if target is s.probabilities else s.largest / shape[1]
            assert_close(
                loss(s.x, target, weight, smoothing, reduction),
                want,
                products=single * (s.indices.size if reduction == "sum" else 1),
            )
            dy = np.asarray(rng.standard_normal(want.shape), np.float32)
            assert_close(
                gradient(dy, s.x, target, weight, smoothing, reduction),
                gradients.cross_entropy(dy, s.x, target, weight, **options),
                products=single * float(np.abs(dy).max()),
            )


def test_one_row_has_no_batch(isa: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(9).astype(np.float32)
    want = -reference.log_softmax(x, 0)
    for reduction in REDUCTIONS:
        got = loss(x, np.array(4), None, 0.0, reduction)
        assert_close(got, want[4], products=float(np.ptp(x)) + 1)
        dx = gradient(np.array(2, np.float32), x, np.array(4), None, 0.0, reduction)
        assert_close(dx, 2 * (np.exp(-want) - np.eye(9)[4]), terms=2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ignored_rows_count_for_nothing(reduction: str, isa: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 5)).astype(np.float32)
    x[1] = np.nan
    target, others = np.array([3, IGNORED, 0, 1]), [0, 2, 3]
    want = loss(x[others], target[others], None, 0.1, reduction)
    got = loss(x, target, None, 0.1, reduction)
    np.testing.assert_array_equal(got[others] if reduction == "none" else got, want)
    dx = gradient(np.ones(got.shape, np.float32), x, target, None, 0.1, reduction)
    rest = gradient(np.ones(want.shape, np.float32), x[others], target[others], None, 0.1, reduction)
    np.testing.assert_array_equal(dx[others], rest)
    np.testing.assert_array_equal(dx[1], np.zeros(5))


def test_nothing_counts(isa: str) -> None:
    x, target, one = np.ones((2, 3), np.float32), np.array([IGNORED] * 2), np.array(1, np.float32)
    assert np.isnan(loss(x, target, None, 0.0, "mean"))
    assert loss(x, target, None, 0.0, "sum") == 0
    # As in PyTorch, the gradient is not that of the mean's NaN.
    np.testing.assert_array_equal(gradient(one, x, target, None, 0.0, "mean"), np.zeros((2, 3)))
    for empty in (np.ones((0, 3), np.float32), np.ones((2, 3, 0), np.float32)):
        rows = np.zeros((empty.shape[0], *empty.shape[2:]), np.int64)
        for target in (rows, empty):
            assert np.isnan(loss(empty, target, None, 0.0, "mean"))
            assert loss(empty, target, None, 0.0, "sum") == 0
            assert loss(empty, target, None, 0.0, "none").shape == rows.shape
            assert gradient(one, empty, target, None, 0.0, "mean").shape == empty.shape


def test_large_and_infinite_logits(isa: str) -> None:
    inf, big = np.inf, 1e30
    x = np.array(
        [[0, -inf, 0], [big, big, 0], [-big, 0, 0], [inf, 0, 0], [np.nan, 0, 0], [0, -inf, 0]], np.float32
    )
    got = loss(x, np.array([0, 1, 0, 1, 1, 1]), None, 0.0, "none")
    np.testing.assert_array_equal(got, np.float32([np.log(2), np.log(2), big, np.nan, np.nan, inf]))
    half = np.array([0.5, 0, 0.5], np.float32)
    np.testing.assert_array_equal(loss(x[:1], half[None], None, 0.0, "none"), np.float32([np.log(2)]))
    assert loss(x[0], np.array(0), None, 0.1, "mean") == inf
    one = np.array(1, np.float32)
    dx = gradient(one, x[0], np.array(0), None, 0.0, "mean")
    np.testing.assert_array_equal(dx, np.float32([-0.5, 0, 0.5]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(7, 5), (3, 70, 5, 4), (70, 300)], ids=str)
def test_result_depends_on_values_only(
    shape: tuple[int, ...], reduction: str, isa: str, rng: np.random.Generator
) -> None:
    s = Sample(rng, shape)
    rows = s.indices.shape if reduction == "none" else ()
    dy = np.asarray(rng.standard_normal(rows), np.float32)
    assert_layouts_agree(lambda x, t: loss(x, t, s.weight, 0.1, reduction), s.x, s.probabilities)
    assert_layouts_agree(lambda x, t: gradient(dy, x, t, s.weight, 0.1, reduction), s.x, s.probabilities)
    wide = np.repeat(s.indices[..., None], 3, -1)
    gaps = np.repeat(s.weight, 2)[::2]
    for target in (s.indices, np.asfortranarray(s.indices), wide[..., 1], s.indices[::-1].copy()[::-1]):
        for weight in (s.weight, gaps):
            np.testing.assert_array_equal(
                loss(s.x, target, weight, 0.1, reduction), loss(s.x, s.indices, s.weight, 0.1, reduction)
            )
            np.testing.assert_array_equal(
                gradient(dy, s.x, target, weight, 0.1, reduction),
                gradient(dy, s.x, s.indices, s.weight, 0.1, reduction),
            )
    for target in (s.indices, s.probabilities):
        assert_threads_agree(lambda target=target: loss(s.x, target, s.weight, 0.1, reduction))
        assert_threads_agree(lambda target=target: gradient(dy, s.x, target, s.weight, 0.1, reduction))
    if reduction == "none":
        assert_rows_agree(lambda x, t: loss(x, t, s.weight, 0.1, reduction), s.x, s.indices)


def test_torch_has_the_same_gradient(isa: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    s = Sample(rng, (6, 4, 3))
    for reduction in ("sum", "mean"):
        for target in (s.indices, s.probabilities):
            theirs = torch.tensor(s.x, requires_grad=True)
            torch.nn.functional.cross_entropy(
                theirs,
                torch.tensor(target),
                torch.tensor(s.weight),
                ignore_index=IGNORED,
                reduction=reduction,
                label_smoothing=0.1,
            ).backward()
            dx = gradient(np.array(1, np.float32), s.x, target, s.weight, 0.1, reduction)
            np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-4, atol=1e-5)


X, T = np.ones((2, 3), np.float32), np.array([0, 2])
BAD: dict[str, tuple[Any, str]] = {
    "class": (
        lambda: loss(X, np.array([0, 3]), None, 0.0, "sum"),
        "cross_entropy: target must be from 0 to 2 or ignore_index (-7), got 3",
    ),
    "negative class": (
        lambda: gradient(np.ones((), np.float32), X, np.array([-1, 2]), None, 0.0, "mean"),
        "cross_entropy_backward: target must be from 0 to 2 or ignore_index (-7), got -1",
    ),
    "logits": (
        lambda: loss(X[:, :0], T, None, 0.0, "sum"),
        "cross_entropy: x must hold logits (n, classes, ...), got shape (2, 0)",
    ),
    "scalar": (
        lambda: loss(X[0, 0, ...], T, None, 0.0, "sum"),
        "cross_entropy: x must have 1 to 8 dimensions, got 0",
    ),
    "dtype": (lambda: loss(X > 0, T, None, 0.0, "sum"), "cross_entropy: x must be float32, got bool"),
    "indices": (
        lambda: loss(X, T[:1], None, 0.0, "sum"),
        "or probabilities in the input's shape, got int64 of shape (1,)",
    ),
    "narrow indices": (
        lambda: loss(X, T.astype(np.int32), None, 0.0, "sum"),
        "cross_entropy: target must hold class indices of shape (2,)",
    ),
    "probabilities": (
        lambda: loss(X, X[:, :2], None, 0.0, "sum"),
        "cross_entropy: target must hold probabilities in the input's shape, got shape (2, 2)",
    ),
    "wide probabilities": (
        lambda: loss(X, X.astype(np.float64), None, 0.0, "sum"),
        "cross_entropy: target must be float32, got float64",
    ),
    "weight": (lambda: loss(X, T, X[0, :2], 0.0, "sum"), "cross_entropy: weight must have 3 elements, got 2"),
    "smoothing": (
        lambda: loss(X, T, None, float("nan"), "sum"),
        "cross_entropy: label_smoothing must be from 0 to 1, got nan",
    ),
    "reduction": (
        lambda: _core.cross_entropy(X, T, None, 0, 0.0, 3),
        "cross_entropy: reduction must be from 0 to 2, got 3",
    ),
    "dy": (
        lambda: gradient(X[:, 0], X, T, None, 0.0, "sum"),
        "cross_entropy_backward: dy must have shape (), got (2,)",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        refused()
