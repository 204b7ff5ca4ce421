"""Who guards the guards: the float64 reference against PyTorch's, and the comparison against itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from tolerance import assert_close


@pytest.fixture
def functional():
    return pytest.importorskip("torch").nn.functional


def as_torch(*arrays: np.ndarray | None) -> list:
    torch = pytest.importorskip("torch")
    return [None if array is None else torch.from_numpy(array) for array in arrays]


def same(got: np.ndarray, want: object) -> None:
    want = np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)  # both are float64


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), ((2, 3), (1, 2), (2, 1)), (3, 2, 2)])
def test_conv2d(groups, stride, padding, dilation, functional, rng):
    x, weight, bias = (
        rng.normal(size=(2, 4, 9, 8)),
        rng.normal(size=(6, 4 // groups, 3, 2)),
        rng.normal(size=6),
    )
    for offset in (None, bias):
        want = functional.conv2d(*as_torch(x, weight, offset), stride, padding, dilation, groups)
        same(reference.conv2d(x, weight, offset, stride, padding, dilation, groups), want)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (3, 2)])
def test_pools(kernel, ceil_mode, functional, rng):
    cases = itertools.product([1, 2, 3], [0, 1], [(5, 7), (6, 4), (3, 3)])
    for stride, padding, size in cases:
        x = rng.normal(size=(2, 3, *size))
        (t,) = as_torch(x)
        for dilation in (1, 2):
            spans = [dilation * (k - 1) + 1 for k in kernel]
            if all(span <= length + 2 * padding for span, length in zip(spans, size, strict=True)):
                want = functional.max_pool2d(t, kernel, stride, padding, dilation, ceil_mode)
                same(reference.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode), want)
        for include in (False, True):
            want = functional.avg_pool2d(t, kernel, stride, padding, ceil_mode, include)
            same(reference.avg_pool2d(x, kernel, stride, padding, ceil_mode, include), want)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_batch_norm(shape, functional, rng):
    x, mean, weight, bias = rng.normal(size=shape), *rng.normal(size=(3, 3))
    var = rng.uniform(0.5, 2, 3)
    same(
        reference.batch_norm(x, mean, var, weight, bias, 1e-3),
        functional.batch_norm(*as_torch(x, mean, var, weight, bias), eps=1e-3),
    )
    same(
        reference.batch_norm(x, *reference.batch_norm_statistics(x)),
        functional.batch_norm(*as_torch(x, None, None), training=True),
    )


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (2, 2), (4, 2), (1, 4)])
def test_split_attention_weights_are_timms(radix, cardinality, rng):
    split_attn = pytest.importorskip("timm.layers.split_attn")
    logits = rng.normal(size=(3, radix * 8))
    (t,) = as_torch(logits[:, :, None, None])
    want = split_attn.RadixSoftmax(radix, cardinality)(t).reshape(3, radix, 8)
    same(reference.split_attention_weights(logits, radix, cardinality), want)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_activations(reduction, smoothing, functional, rng):
    x, target, weight = rng.normal(size=(5, 7)), np.array([1, 2, -100, 6, 0]), rng.uniform(0.5, 2, 7)
    want = functional.cross_entropy(
        *as_torch(x, target, weight), reduction=reduction, label_smoothing=smoothing
    )
    same(reference.cross_entropy(x, target, weight, reduction=reduction, label_smoothing=smoothing), want)
    shares = rng.random(size=x.shape)
    want = functional.cross_entropy(
        *as_torch(x, shares, weight), reduction=reduction, label_smoothing=smoothing
    )
    same(reference.cross_entropy(x, shares, weight, reduction=reduction, label_smoothing=smoothing), want)
    same(reference.softmax(x, 0), functional.softmax(*as_torch(x), 0))
    same(reference.log_softmax(x, 1), functional.log_softmax(*as_torch(x), 1))
    same(reference.sigmoid(x), functional.sigmoid(*as_torch(x)))
    same(reference.linear(x, x[:3], x[0, :3]), functional.linear(*as_torch(x, x[:3], x[0, :3])))


def test_assert_close_accepts_rounding_only():
    want = np.array([1.0, 1000.0])
    eps = np.finfo(np.float32).eps
    assert_close((want * (1 + eps)).astype(np.float32), want)
    assert_close(np.float32([1.0 + 1000 * eps, 1000.0]), want)
    with pytest.raises(AssertionError, match=r"1 of 2 values differ.*at \(1,\)"):
        assert_close(np.float32([1.0, 1000.0 * (1 + 5 * eps)]), want)
    assert_close(np.float32([1.0, 1000.0 * (1 + 5 * eps)]), want, terms=3)
    with pytest.raises(AssertionError, match=r"at \(0,\)"):
        assert_close(np.float32([1.01, 1000.0]), want, products=1.0)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        ([1.0, np.nan], [1.0, 1.0]),
        ([1.0, 1.0], [1.0, np.nan]),
        ([1.0, np.inf], [1.0, -np.inf]),
        ([1.0, np.inf], [1.0, 1.0]),
        ([1.0], [1.0, 1.0]),
        ([[1.0]], [1.0]),
    ],
)
def test_assert_close_tells_special_values_and_shapes_apart(got, want):
    with pytest.raises(AssertionError):
        assert_close(np.float32(got), want, terms=10**6)
    assert_close(np.float32(want), want)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), ((2, 3), (1, 2, 0, 1), (2, 1)), (3, 2, 2)]
)
def test_conv2d_gradients_are_finite_differences(groups, stride, padding, dilation, rng):
    x, weight = rng.normal(size=(2, 4, 7, 8)), rng.normal(size=(6, 4 // groups, 3, 2))
    params = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    dy = rng.normal(size=reference.conv2d(x, weight, **params).shape)

    def differences(array):
        # conv2d is linear in each argument, so a difference of any length is the gradient but for rounding.
        result = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            kept = array[index]
            values = []
            for step in (1, -1):
                array[index] = kept + step
                values.append((reference.conv2d(x, weight, **params) * dy).sum())
            array[index] = kept
            result[index] = (values[0] - values[1]) / 2
        return result

    dx = reference.conv2d_backward_input(dy, weight, 7, 8, **params)
    np.testing.assert_allclose(dx, differences(x), rtol=1e-9, atol=1e-9)
    dweight, dbias = reference.conv2d_backward_weight(dy, x, (3, 2), **params)
    np.testing.assert_allclose(dweight, differences(weight), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(dbias, dy.sum((0, 2, 3)))
