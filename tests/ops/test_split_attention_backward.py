"""split_attention_backward against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference_gradients as gradients
from invariance import assert_layouts_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]

# Batch, channels of y, height, width; radix and cardinality. Pixels around the blocks of 64.
CASES = [
    ((2, 64, 7, 7), 2, 1),
    ((1, 18, 8, 8), 2, 2),
    ((3, 5, 13, 5), 3, 1),
    ((2, 33, 9, 8), 1, 1),
    ((1, 24, 16, 9), 1, 3),
    ((2, 1, 1, 1), 2, 1),
    ((1, 130, 5, 3), 4, 2),
]


def sample(rng: np.random.Generator, shape: tuple[int, ...], radix: int) -> tuple[Array, Array, Array]:
    n, c, h, w = shape
    shapes = [shape, (n, radix * c, h, w), (n, radix * c)]
    dy, x, logits = (rng.standard_normal(size).astype(np.float32) for size in shapes)
    return dy, x, logits


@pytest.mark.parametrize(("shape", "radix", "cardinality"), CASES, ids=str)
def test_matches_reference(
    shape: tuple[int, ...], radix: int, cardinality: int, isa: str, rng: np.random.Generator
) -> None:
    dy, x, logits = sample(rng, shape, radix)
    dx, dlogits = _core.split_attention_backward(dy, x, logits, radix, cardinality)
    want_dx, want_dlogits = gradients.split_attention(dy, x, logits, radix, cardinality)
    products = float(np.abs(dy).max() * np.abs(x).max())
    # A weight is the quotient of an exponential and a sum of them.
    assert_close(dx, want_dx, terms=radix + 2, products=float(np.abs(dy).max()))
    assert_close(dlogits, want_dlogits, terms=shape[2] * shape[3] + radix + 2, products=2 * products)


def test_sums_of_integers_are_exact(isa: str, rng: np.random.Generator) -> None:
    """Logits of 0 have weights of a half."""
    dy, x = (rng.integers(-9, 10, (2, c, 11, 13)).astype(np.float32) for c in (21, 42))
    logits = np.zeros((2, 42), np.float32)
    dx, dlogits = _core.split_attention_backward(dy, x, logits, 2, 1)
    want_dx, want_dlogits = gradients.split_attention(dy, x, logits, 2, 1)
    np.testing.assert_array_equal(dx, want_dx)
    np.testing.assert_array_equal(dlogits, want_dlogits)


def test_nan_stays_in_its_channel(isa: str, rng: np.random.Generator) -> None:
    dy, x, logits = sample(rng, (2, 19, 5, 5), 2)
    x[1, 19 + 3, 2, 2] = np.nan
    dx, dlogits = _core.split_attention_backward(dy, x, logits, 2, 1)
    assert not np.isnan(dx).any()
    want = np.zeros((2, 2, 19), bool)
    want[1, :, 3] = True
    np.testing.assert_array_equal(np.isnan(dlogits).reshape(2, 2, 19), want)


def test_empty_batch(isa: str) -> None:
    dy, x, logits = (np.empty(shape, np.float32) for shape in [(0, 4, 3, 3), (0, 8, 3, 3), (0, 8)])
    dx, dlogits = _core.split_attention_backward(dy, x, logits, 2, 1)
    assert (dx.shape, dlogits.shape) == (x.shape, logits.shape)


@pytest.mark.parametrize(("shape", "radix", "cardinality"), [((3, 70, 21, 20), 2, 2), ((5, 34, 9, 9), 1, 1)])
def test_result_depends_on_values_only(
    shape: tuple[int, ...], radix: int, cardinality: int, isa: str, rng: np.random.Generator
) -> None:
    dy, x, logits = sample(rng, shape, radix)

    def run(dy: Array, x: Array, logits: Array) -> Any:
        return _core.split_attention_backward(dy, x, logits, radix, cardinality)

    assert_layouts_agree(run, dy, x, logits)
    assert_threads_agree(lambda: run(dy, x, logits))
    together = run(dy, x, logits)
    for row in range(len(dy)):
        alone = run(*(batch[row : row + 1] for batch in (dy, x, logits)))
        for one, all_rows in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], all_rows[row])


@pytest.mark.parametrize(("radix", "cardinality"), [(2, 1), (1, 1), (3, 2)])
def test_agrees_with_torch(radix: int, cardinality: int, isa: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    dy, x, logits = sample(rng, (2, 12, 6, 5), radix)
    theirs, given = torch.tensor(x, requires_grad=True), torch.tensor(logits, requires_grad=True)
    weights = given.view(2, cardinality, radix, -1).transpose(1, 2)
    weights = (weights.softmax(1) if radix > 1 else weights.sigmoid()).reshape(2, radix, 12, 1, 1)
    (theirs.view(2, radix, 12, 6, 5) * weights).sum(1).backward(torch.tensor(dy))
    dx, dlogits = _core.split_attention_backward(dy, x, logits, radix, cardinality)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dlogits, given.grad.numpy(), rtol=1e-4, atol=1e-4)


DY, X, LOGITS = (np.ones(shape, np.float32) for shape in [(2, 6, 3, 4), (2, 12, 3, 4), (2, 12)])


def call(dy: Any = DY, x: Any = X, logits: Any = LOGITS, radix: int = 2, cardinality: int = 1) -> Any:
    return _core.split_attention_backward(dy, x, logits, radix, cardinality)


BAD: dict[str, tuple[Any, str]] = {
    "rank": (lambda: call(x=X[0]), r"x must have 4 dimensions, got 3"),
    "radix": (lambda: call(radix=0), r"radix must be positive, got 0"),
    "cardinality": (
        lambda: call(cardinality=5),
        r"radix \(2\) \* cardinality \(5\) must divide the channels of x, got 12",
    ),
    "logits": (lambda: call(logits=LOGITS[:, :6]), r"logits must have shape \(2, 12\), got \(2, 6\)"),
    "dy": (lambda: call(dy=X), r"dy must have shape \(2, 6, 3, 4\), got \(2, 12, 3, 4\)"),
    "dtype": (lambda: call(dy=DY.astype(np.float64)), r"dy must be float32, got float64"),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"split_attention_backward: {message}"):
        refused()


def test_the_weights_are_those_of_the_operator(isa: str, rng: np.random.Generator) -> None:
    """The gradient of x is to dy as y is to x: both multiply by the same floats."""
    dy, x, logits = sample(rng, (2, 20, 3, 3), 1)
    dx, _ = _core.split_attention_backward(dy, x, logits, 1, 1)
    np.testing.assert_array_equal(dx, _core.split_attention(dy, logits, 1, 1))
