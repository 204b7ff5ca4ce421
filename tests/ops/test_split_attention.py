"""split_attention against float64, for several cardinalities and any radix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import reference
from invariance import assert_layouts_agree, assert_rows_agree, assert_threads_agree
from tolerance import assert_close

from lucid import _core

Array = npt.NDArray[Any]


class Case(NamedTuple):
    n: int
    radix: int
    cardinality: int
    width: int  # channels of the result in each group
    size: tuple[int, int]

    @property
    def channels(self) -> int:
        return self.cardinality * self.width

    def sample(self, rng: np.random.Generator) -> tuple[Array, Array]:
        x = rng.standard_normal((self.n, self.radix * self.channels, *self.size))
        logits = rng.standard_normal((self.n, self.radix * self.channels)) * 3
        return x.astype(np.float32), logits.astype(np.float32)


CASES = [
    Case(1, 2, 1, 64, (7, 7)),
    Case(2, 2, 2, 33, (5, 3)),
    Case(3, 4, 1, 17, (4, 6)),
    Case(2, 1, 1, 40, (6, 5)),
    Case(2, 1, 4, 5, (3, 1)),
    Case(1, 3, 5, 1, (1, 9)),
    Case(2, 4, 2, 20, (1, 1)),
    Case(1, 7, 3, 15, (8, 2)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_reference(case: Case, isa: str, rng: np.random.Generator) -> None:
    x, logits = case.sample(rng)
    y = _core.split_attention(x, logits, case.radix, case.cardinality)
    want = reference.split_attention(x, logits, case.radix, case.cardinality)
    # A weight is itself a quotient with a sum of `radix` exponentials below it.
    assert_close(y, want, terms=case.radix + 4, products=float(np.abs(x).max()))
    assert y.shape == (case.n, case.channels, *case.size)
    assert y.dtype == np.float32
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_logits_are_cardinality_major_and_features_radix_major(isa: str) -> None:
    """Each logit, alone far above the others, picks out one split of one channel."""
    n, radix, cardinality, width = 1, 3, 2, 5
    channels = cardinality * width
    x = np.arange(radix * channels, dtype=np.float32).reshape(n, radix * channels, 1, 1)
    for group in range(cardinality):
        for split in range(radix):
            for j in range(width):
                logits = np.zeros((n, cardinality, radix, width), np.float32)
                logits[0, group, split, j] = 200.0
                y = _core.split_attention(x, logits.reshape(n, -1), radix, cardinality)
                channel = group * width + j
                assert y[0, channel, 0, 0] == x[0, split * channels + channel, 0, 0]


@pytest.mark.parametrize("radix", [1, 2, 5])
def test_weight_is_rounded_twice_at_most(radix: int, isa: str, rng: np.random.Generator) -> None:
    """With large logits, too: in float32 their difference alone moves a weight by up to 8 roundings."""
    x, logits = np.zeros((1, radix, 40), np.float32), rng.uniform(-8, 8, (999, radix, 40)).astype(np.float32)
    x[:, 0] = 1.0
    x = np.broadcast_to(x.reshape(1, radix * 40, 1, 1), (999, radix * 40, 1, 1))
    logits = logits.reshape(999, radix * 40)
    want = reference.split_attention(x, logits, radix, 1)
    y = _core.split_attention(x, logits, radix, 1)
    assert np.abs(y / want - 1).max() <= 1.01 * np.finfo(np.float32).eps


def test_equal_logits_average_the_splits(isa: str, rng: np.random.Generator) -> None:
    x = rng.integers(-99, 100, (2, 4 * 19, 3, 5)).astype(np.float32)
    y = _core.split_attention(x, np.full((2, 4 * 19), 7, np.float32), 4, 1)
    np.testing.assert_array_equal(y, x.reshape(2, 4, 19, 3, 5).mean(1))


def test_sigmoid_of_one_split_is_exact_at_its_ends(isa: str) -> None:
    x = np.full((1, 4, 1, 1), 3, np.float32)
    logits = np.array([[0, 1000, -1000, -np.inf]], np.float32)
    y = _core.split_attention(x, logits, 1, 1)
    np.testing.assert_array_equal(y[0, :, 0, 0], [1.5, 3, 0, 0])


def test_large_logits_do_not_overflow(isa: str) -> None:
    x = np.ones((1, 6, 1, 1), np.float32)
    logits = np.array([[3e38, -3e38, 1000, 3e38, 3e38, -1000]], np.float32)
    y = _core.split_attention(x, logits, 2, 1)
    np.testing.assert_array_equal(y[0, :, 0, 0], [1, 1, 1])


def test_nan_stays_in_its_channel(isa: str, rng: np.random.Generator) -> None:
    x, logits = Case(1, 2, 1, 19, (2, 2)).sample(rng)
    logits[0, 19 + 5] = np.nan
    x[0, 7, 1, 1] = np.nan
    y = _core.split_attention(x, logits, 2, 1)
    want = np.zeros(y.shape, bool)
    want[0, 5] = True
    want[0, 7, 1, 1] = True
    np.testing.assert_array_equal(np.isnan(y), want)


@pytest.mark.parametrize(
    "case", [Case(3, 2, 1, 6, (4, 3)), Case(3, 3, 2, 35, (17, 16)), Case(2, 1, 1, 1500, (3, 3))], ids=str
)
def test_result_depends_on_values_only(case: Case, isa: str, rng: np.random.Generator) -> None:
    x, logits = case.sample(rng)

    def attend(x: Array, logits: Array) -> Array:
        return _core.split_attention(x, logits, case.radix, case.cardinality)

    assert_layouts_agree(attend, x, logits)
    assert_threads_agree(lambda: attend(x, logits))
    assert_rows_agree(attend, x, logits)


X, LOGITS = np.ones((2, 12, 3, 4), np.float32), np.ones((2, 12), np.float32)


def call(x: Any = X, logits: Any = LOGITS, radix: Any = 2, cardinality: Any = 1) -> Any:
    return _core.split_attention(x, logits, radix, cardinality)


BAD: dict[str, tuple[Any, str]] = {
    "rank": (lambda: call(X[0]), r"split_attention: x must have 4 dimensions, got 3"),
    "dtype": (lambda: call(X.astype(np.float16)), r"split_attention: x must be float32, got float16"),
    "logits rank": (
        lambda: call(logits=LOGITS[:, :, None, None]),
        r"split_attention: logits must have 2 dimensions, got 4",
    ),
    "logits dtype": (
        lambda: call(logits=LOGITS.astype(np.float64)),
        r"split_attention: logits must be float32, got float64",
    ),
    "logits shape": (
        lambda: call(logits=LOGITS[:, :6]),
        r"split_attention: logits must have shape \(2, 12\), got \(2, 6\)",
    ),
    "radix": (lambda: call(radix=0), r"split_attention: radix must be positive, got 0"),
    "negative radix": (lambda: call(radix=-2), r"split_attention: radix must be positive, got -2"),
    "cardinality": (lambda: call(cardinality=0), r"split_attention: cardinality must be positive, got 0"),
    "radix divides": (
        lambda: call(radix=5),
        r"split_attention: radix \(5\) \* cardinality \(1\) must divide the channels of x, got 12",
    ),
    "cardinality divides": (
        lambda: call(cardinality=4),
        r"split_attention: radix \(2\) \* cardinality \(4\) must divide the channels of x, got 12",
    ),
}


@pytest.mark.parametrize(("refused", "message"), BAD.values(), ids=BAD)
def test_refuses(refused: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()


def test_refuses_other_types() -> None:
    with pytest.raises(TypeError, match=r"split_attention: logits must be a numpy.ndarray, got list"):
        call(logits=[[1.0]])
    with pytest.raises(TypeError, match=r"split_attention: x must be float32"):
        call(X.astype(object))


def test_result_too_large_for_any_memory_is_an_error() -> None:
    huge = np.broadcast_to(np.float32(1), (2**29, 2**29, 1, 1))
    with pytest.raises(MemoryError, match=r"split_attention: no memory"):
        call(huge, huge[:, :, 0, 0])
