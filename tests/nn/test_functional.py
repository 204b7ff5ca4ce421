"""nn.functional, as far as it adds to the kernels: arguments, padding by name, batch norm, losses."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from tolerance import assert_close

import lucid
from lucid import Tensor
from lucid.nn import functional as F


def randn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def largest_product(x: np.ndarray, weight: np.ndarray) -> float:
    return float(np.abs(x).max() * np.abs(weight).max())


def test_results_are_tensors_and_channels_last(isa, rng):
    x = randn(rng, 2, 8, 7, 6)
    for y in (
        F.conv2d(x, randn(rng, 4, 8, 3, 3)),
        F.max_pool2d(x, 2),
        F.avg_pool2d(x, 2),
        F.batch_norm(x, np.zeros(8, np.float32), np.ones(8, np.float32)),
        F.split_attention(x, randn(rng, 2, 8), 2),
    ):
        assert type(y) is Tensor
        assert y.dtype == np.float32
        assert y.permute(0, 2, 3, 1).data.flags.c_contiguous


def test_tensors_and_arrays_give_the_same(rng):
    x, weight, bias = randn(rng, 1, 4, 5, 5), randn(rng, 6, 2, 3, 3), randn(rng, 6)
    a = F.conv2d(x, weight, bias, 2, 1, 1, 2)
    b = F.conv2d(
        Tensor(x), Tensor(weight), Tensor(bias), stride=(2, 2), padding=[1, 1], dilation=1, groups=np.int64(2)
    )
    np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 2), (4, 3), (3, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_keeps_the_size(kernel, dilation, isa, rng):
    x, weight = randn(rng, 2, 3, 9, 8), randn(rng, 4, 3, *kernel)
    got = F.conv2d(x, weight, padding="same", dilation=dilation)
    total = [dilation * (length - 1) for length in kernel]
    before = [rows // 2 for rows in total]
    padded = np.pad(x, ((0, 0), (0, 0), *((b, t - b) for b, t in zip(before, total, strict=True))))
    want = reference.conv2d(padded, weight, dilation=dilation)
    assert got.shape == (2, 4, 9, 8)
    assert_close(got, want, terms=weight[0].size, products=largest_product(x, weight))


def test_valid_padding_is_none(rng):
    x, weight = randn(rng, 1, 3, 5, 5), randn(rng, 4, 3, 3, 3)
    got = F.conv2d(x, weight, padding="valid", stride=2)
    np.testing.assert_array_equal(got.data, F.conv2d(x, weight, stride=2).data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"padding": "full"},
            "conv2d: padding must be an int, a pair of ints, 'same' or 'valid', got 'full'",
        ),
        ({"padding": "same", "stride": 2}, r"conv2d: stride must be 1 for padding='same', got \(2, 2\)"),
    ],
)
def test_padding_by_name_is_checked(options, message):
    with pytest.raises(ValueError, match=message):
        F.conv2d(lucid.zeros(1, 3, 5, 5), lucid.zeros(4, 3, 3, 3), **options)


@pytest.mark.parametrize("cardinality", [1, 2])
@pytest.mark.parametrize("radix", [1, 2, 4])
def test_split_attention_matches_reference(radix, cardinality, isa, rng):
    x, logits = randn(rng, 2, radix * 12, 3, 5), 3 * randn(rng, 2, radix * 12)
    want = reference.split_attention(x, logits, radix, cardinality)
    for scores in (logits, logits[:, :, None, None]):
        # Exponentials of logits up to about 10 carry ten times the relative error of a single rounding.
        assert_close(F.split_attention(x, scores, radix, cardinality), want, terms=16 * radix)
    assert_close(F.radix_sum_pool(x, radix), reference.radix_sum_pool(x, radix), terms=15 * radix)


def test_global_pools_agree(isa, rng):
    x = randn(rng, 2, 5, 3, 4)
    want = reference.global_avg_pool2d(x)
    assert_close(F.global_avg_pool2d(x), want, terms=12)
    assert_close(F.adaptive_avg_pool2d(x, 1), want[:, :, None, None], terms=12)
    assert_close(F.radix_sum_pool(x, 1), want, terms=12)


def test_adaptive_pool_to_sizes_that_divide(rng):
    x = randn(rng, 2, 5, 6, 4)
    assert_close(F.adaptive_avg_pool2d(x, (3, 2)), reference.avg_pool2d(x, (2, 2)), terms=4)
    with pytest.raises(ValueError, match="adaptive_avg_pool2d: output_size must be positive"):
        F.adaptive_avg_pool2d(x, 0)
    with pytest.raises(ValueError, match="adaptive_avg_pool2d: "):
        F.adaptive_avg_pool2d(x[0], 1)


def test_pool_stride_is_the_window_unless_given(rng):
    x = randn(rng, 1, 2, 6, 6)
    assert F.max_pool2d(x, (2, 3)).shape == (1, 2, 3, 2)
    assert F.avg_pool2d(x, (2, 3)).shape == (1, 2, 3, 2)
    assert F.max_pool2d(x, 3, 1, 1).shape == x.shape


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 2, 2, 5)])
def test_linear_of_any_rank(shape, isa, rng):
    x, weight, bias = randn(rng, *shape), randn(rng, 4, 5), randn(rng, 4)
    got = F.linear(x, weight, bias)
    assert_close(got, reference.linear(x, weight, bias), terms=6, products=largest_product(x, weight))


def test_relu_in_place_writes_over_its_input(isa):
    x = lucid.tensor([-1.0, 2.0, np.nan])
    y = F.relu(x)
    assert x[0].item() == -1.0
    np.testing.assert_array_equal(y.data, [0.0, 2.0, np.nan])
    z = F.relu(x, inplace=True)
    assert np.shares_memory(z.data, x.data)
    assert x[0].item() == 0.0


# ---- Batch norm


def batch_norm_case(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "running_mean": randn(rng, 6),
        "running_var": randn(rng, 6) ** 2 + 0.1,
        "weight": randn(rng, 6),
        "bias": randn(rng, 6),
    }


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 7), (2, 6, 5, 3)])
def test_batch_norm_inference_matches_reference(shape, relu, isa, rng):
    x, case = randn(rng, *shape), batch_norm_case(rng)
    want = reference.batch_norm(x, case["running_mean"], case["running_var"], case["weight"], case["bias"])
    got = F.batch_norm(x, **case, relu=relu)
    products = float(
        np.abs((np.abs(x).max() + np.abs(case["running_mean"])) / np.sqrt(case["running_var"])).max()
    )
    assert_close(
        got, np.maximum(want, 0) if relu else want, terms=3, products=products * np.abs(case["weight"]).max()
    )


@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 5, 3)])
def test_batch_norm_training_uses_and_records_the_batch(shape, isa, rng):
    x, case = randn(rng, *shape) * 2 + 1, batch_norm_case(rng)
    mean, var = reference.batch_norm_statistics(x)
    count = x.size // 6
    want_mean = 0.7 * case["running_mean"].astype(np.float64) + 0.3 * mean
    want_var = 0.7 * case["running_var"].astype(np.float64) + 0.3 * var * count / (count - 1)
    got = F.batch_norm(x, **case, training=True, momentum=0.3)
    want = reference.batch_norm(x, mean, var, case["weight"], case["bias"])
    assert_close(got, want, terms=count, products=float(np.abs(want).max()))
    assert_close(case["running_mean"], want_mean, terms=count)
    assert_close(case["running_var"], want_var, terms=count)


def test_batch_norm_training_without_running_statistics(rng):
    x = randn(rng, 3, 6, 4, 4)
    want = reference.batch_norm(x, *reference.batch_norm_statistics(x))
    assert_close(F.batch_norm(x, None, None, training=True), want, terms=48)


@pytest.mark.parametrize("shape", [(1, 6), (1, 6, 1, 1)])
def test_batch_norm_training_needs_two_values_per_channel(shape, rng):
    case = batch_norm_case(rng)
    before = {name: array.copy() for name, array in case.items()}
    message = (
        r"batch_norm: training needs more than one value per channel, got .* \(1, 6.*larger batch, or eval"
    )
    with pytest.raises(ValueError, match=message):
        F.batch_norm(randn(rng, *shape), **case, training=True)
    assert all(np.array_equal(before[name], case[name]) for name in case)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda case: case.update(running_var=np.ones(5, np.float32)),
        lambda case: case.update(running_var=np.ones(6)),
        lambda case: case["running_var"].setflags(write=False),
        lambda case: case.update(momentum=1.5),
        lambda case: case.update(momentum=float("nan")),
        lambda case: case.update(weight=np.ones(5, np.float32)),
    ],
    ids=["shape", "dtype", "read-only", "momentum", "nan momentum", "weight"],
)
def test_a_refused_batch_norm_records_nothing(spoil, rng):
    case = batch_norm_case(rng)
    mean = case["running_mean"].copy()
    spoil(case)
    with pytest.raises(ValueError, match="batch_norm: "):
        F.batch_norm(randn(rng, 2, 6, 3, 3), **case, training=True)
    np.testing.assert_array_equal(case["running_mean"], mean)


def test_batch_norm_inference_needs_statistics():
    with pytest.raises(
        ValueError, match="batch_norm: running_mean and running_var must be given unless training"
    ):
        F.batch_norm(lucid.zeros(2, 3, 4, 4), None, None)


# ---- Softmax, losses, dropout


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_takes_arrays(name, rng):
    x = randn(rng, 3, 5)
    assert_close(getattr(F, name)(x, dim=1), getattr(reference, name)(x, 1), terms=5)
    assert_close(F.sigmoid(x), reference.sigmoid(x))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_matches_reference(reduction, smoothing, weighted, rng):
    logits, target = randn(rng, 6, 4), np.array([0, 3, -100, 1, 1, 2])
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": -100}
    weight = rng.uniform(0.5, 2, 4).astype(np.float32) if weighted else None
    want = reference.cross_entropy(logits, target, weight, **options)
    assert_close(F.cross_entropy(logits, target, weight, **options), want, terms=24)


def test_cross_entropy_of_one_row_and_of_maps(rng):
    row = randn(rng, 5)
    want = -reference.log_softmax(row, 0)[3]
    assert_close(F.cross_entropy(row, np.asarray(3)), want, terms=5)
    maps, labels = randn(rng, 2, 5, 3, 4), rng.integers(0, 5, (2, 3, 4))
    rows = maps.transpose(0, 2, 3, 1).reshape(-1, 5)
    want = reference.cross_entropy(rows, labels.reshape(-1), reduction="none").reshape(2, 3, 4)
    assert_close(F.cross_entropy(maps, labels, reduction="none"), want, terms=5)


def test_cross_entropy_of_probabilities_is_that_of_indices(rng):
    logits, target = randn(rng, 6, 4), rng.integers(0, 4, 6)
    shares = np.eye(4, dtype=np.float32)[target]
    want = reference.cross_entropy(logits, target, label_smoothing=0.2)
    assert_close(F.cross_entropy(logits, shares, label_smoothing=0.2), want, terms=24)
    with pytest.raises(ValueError, match=r"probabilities in the input's shape, got shape \(6, 3\)"):
        F.cross_entropy(logits, shares[:, :3])


def test_cross_entropy_of_masked_classes_is_no_nan():
    loss = F.cross_entropy(lucid.tensor([[0.0, -np.inf, 0.0]]), lucid.tensor([0]))
    assert loss.item() == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_go_through_a_loss_that_is_scaled(dtype, rng):
    logits = lucid.tensor(randn(rng, 3, 4).astype(dtype)).requires_grad_()
    F.cross_entropy(logits, np.array([0, 3, 1])).backward()
    want, logits.grad = logits.grad, None
    (F.cross_entropy(logits, np.array([0, 3, 1])) * 0.5).backward()
    assert_close(logits.grad, want.data * 0.5)


def test_cross_entropy_with_everything_ignored_is_nan():
    assert np.isnan(F.cross_entropy(lucid.zeros(2, 3), lucid.tensor([-100, -100])).item())
    assert F.cross_entropy(lucid.zeros(2, 3), lucid.tensor([-100, -100]), reduction="sum").item() == 0


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ([0, 3], {}, r"target must be from 0 to 2 or ignore_index \(-100\), got 3"),
        ([0, -1], {}, "target must be from 0 to 2"),
        ([0], {}, "target must hold class indices of shape"),
        ([[0, 1]], {}, "target must hold class indices of shape"),
        ([True, False], {}, "target must hold class indices of shape"),
        ([0, 1], {"reduction": "average"}, "reduction must be 'none', 'sum' or 'mean', got 'average'"),
        ([0, 1], {"label_smoothing": 2.0}, "label_smoothing must be from 0 to 1, got 2"),
        ([0, 1], {"label_smoothing": float("nan")}, "label_smoothing must be from 0 to 1"),
        ([0, 1], {"weight": np.ones(4, np.float32)}, "weight must have 3 elements, got 4"),
    ],
)
def test_cross_entropy_says_what_is_wrong(target, options, message):
    with pytest.raises(ValueError, match=f"cross_entropy: {message}"):
        F.cross_entropy(lucid.zeros(2, 3), lucid.tensor(target), **options)


def test_dropout_zeroes_and_scales():
    lucid.random.seed(0)
    x = lucid.ones(100, 100)
    y = F.dropout(x, 0.25)
    zeros = (y.data == 0).mean()
    assert abs(zeros - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 10_000)  # five deviations of a binomial
    assert set(np.unique(y.data)) == {np.float32(0), np.float32(1 / 0.75)}
    lucid.random.seed(0)
    np.testing.assert_array_equal(F.dropout(x, 0.25).data, y.data)


def test_dropout_edges():
    x = lucid.ones(5)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).sum().item() == 0
    assert F.dropout(lucid.tensor([np.inf]), 1.0).item() == 0
    assert F.dropout(x, 0.5, inplace=True) is x
    assert set(x.tolist()) <= {0.0, 2.0}
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="dropout: p must be from 0 to 1"):
            F.dropout(x, p)
