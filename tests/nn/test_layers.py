"""The layers: their arguments and starting values; each forward is the function of the same name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
from tolerance import assert_close

import lucid
from lucid import nn
from lucid.nn import functional as F
from lucid.nn import init


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.standard_normal((2, 8, 6, 6), dtype=np.float32)


def test_conv2d_calls_the_function(x):
    layer = nn.Conv2d(8, 4, (3, 2), (2, 1), (1, 0), 1, 2)
    assert layer.weight.shape == (4, 4, 3, 2)
    want = F.conv2d(x, layer.weight, layer.bias, (2, 1), (1, 0), 1, 2)
    np.testing.assert_array_equal(layer(x).data, want.data)
    assert nn.Conv2d(8, 4, 3, padding="same")(x).shape == (2, 4, 6, 6)
    assert nn.Conv2d(8, 4, 3, bias=False).bias is None


def test_pools_call_the_functions(x):
    np.testing.assert_array_equal(
        nn.MaxPool2d(3, 2, 1, ceil_mode=True)(x).data, F.max_pool2d(x, 3, 2, 1, ceil_mode=True).data
    )
    got = nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)(x)
    want = F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)
    np.testing.assert_array_equal(got.data, want.data)
    assert nn.MaxPool2d(2)(x).shape == nn.AvgPool2d(2)(x).shape == (2, 8, 3, 3)
    assert nn.AdaptiveAvgPool2d(1)(x).shape == (2, 8, 1, 1)
    values, places = nn.MaxPool2d(2, 2, 0, 1, True)(x)
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 8, 36), places.data.reshape(2, 8, 9), 2),
        values.data.reshape(2, 8, 9),
    )


def test_linear_flatten_identity(x):
    layer = nn.Linear(8 * 36, 3)
    got = nn.Sequential(nn.Flatten(), nn.Identity(1, unused=2), layer)(x)
    products = float(np.abs(x).max() * np.abs(layer.weight.data).max())
    want = reference.linear(x.reshape(2, -1), layer.weight, layer.bias)
    assert_close(got, want, terms=8 * 36 + 1, products=products)
    assert nn.Linear(2, 3, bias=False).bias is None
    assert nn.Flatten(0, 1)(x).shape == (16, 6, 6)


def test_activations(x):
    np.testing.assert_array_equal(nn.ReLU()(x).data, np.maximum(x, 0))
    assert_close(nn.Sigmoid()(x), reference.sigmoid(x))
    assert_close(nn.Softmax(1)(x), reference.softmax(x, 1), terms=8)
    copied = x.copy()
    nn.ReLU(inplace=True)(copied)
    np.testing.assert_array_equal(copied, np.maximum(x, 0))


def test_dropout_heeds_the_mode(x):
    layer = nn.Dropout(0.5)
    assert (layer(x).data == 0).any()
    np.testing.assert_array_equal(layer.eval()(x).data, x)
    with pytest.raises(ValueError, match="Dropout: p must be from 0 to 1, got 2"):
        nn.Dropout(2)


def test_cross_entropy_loss(rng):
    logits, target = rng.standard_normal((4, 3), dtype=np.float32), np.array([0, 2, 1, 1])
    weight = np.array([1, 2, 3], np.float32)
    want = reference.cross_entropy(logits, target, weight, label_smoothing=0.1)
    loss = nn.CrossEntropyLoss(weight, label_smoothing=0.1)
    assert_close(loss(logits, target), want, terms=12)
    assert list(loss.state_dict()) == ["weight"]


# ---- Batch norm


def test_batch_norm_state():
    layer = nn.BatchNorm2d(3)
    assert {name: tensor.tolist() for name, tensor in layer.state_dict().items()} == {
        "weight": [1.0] * 3,
        "bias": [0.0] * 3,
        "running_mean": [0.0] * 3,
        "running_var": [1.0] * 3,
        "num_batches_tracked": 0,
    }
    assert layer.state_dict()["num_batches_tracked"].dtype == np.int64
    assert list(nn.BatchNorm2d(3, affine=False).state_dict()) == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]
    assert list(nn.BatchNorm2d(3, track_running_stats=False).state_dict()) == ["weight", "bias"]


def test_batch_norm_trains_and_evaluates(x, isa):
    layer = nn.BatchNorm2d(8)
    mean, var = reference.batch_norm_statistics(x)
    assert_close(layer(x), reference.batch_norm(x, mean, var), terms=72)
    assert layer.num_batches_tracked.item() == 1
    assert_close(layer.running_mean, 0.1 * mean, terms=72, products=float(np.abs(x).max()))
    assert_close(layer.running_var, 0.9 + 0.1 * var * 72 / 71, terms=72)
    want = reference.batch_norm(x, layer.running_mean, layer.running_var)
    assert_close(layer.eval()(x), want, terms=3)
    assert_close(layer(x, relu=True), np.maximum(want, 0), terms=3)
    assert layer.num_batches_tracked.item() == 1


def test_batch_norm_without_momentum_averages_all_batches(rng):
    layer, means = nn.BatchNorm2d(2, momentum=None), []
    for _ in range(3):
        x = rng.standard_normal((4, 2, 3, 3), dtype=np.float32)
        means.append(x.astype(np.float64).mean((0, 2, 3)))
        layer(x)
    assert layer.num_batches_tracked.item() == 3
    assert_close(layer.running_mean, np.mean(means, axis=0), terms=36, products=3.0)


def test_batch_norm_without_running_statistics_uses_the_batch_in_eval(x):
    layer = nn.BatchNorm2d(8, track_running_stats=False).eval()
    assert_close(layer(x), reference.batch_norm(x, *reference.batch_norm_statistics(x)), terms=72)


def test_a_refused_batch_leaves_batch_norm_as_it_was():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(lucid.zeros(1, 3, 1, 1))
    assert layer.num_batches_tracked.item() == 0
    with pytest.raises(
        ValueError, match=r"BatchNorm2d: input must have rank 4 \(n, c, h, w\), got shape \(2, 3\)"
    ):
        layer(lucid.zeros(2, 3))


def test_batch_norm_reset():
    layer = nn.BatchNorm2d(3)
    layer(lucid.random.randn(4, 3, 2, 2))
    layer.weight.data[:] = 5
    layer.reset_parameters()
    assert layer.weight.tolist() == [1.0] * 3
    assert layer.running_mean.tolist() == [0.0] * 3
    assert layer.num_batches_tracked.item() == 0


# ---- Split attention


def split_attention_reference(layer: nn.SplitAttention, x: np.ndarray, **conv: object) -> np.ndarray:
    def norm(bn: nn.BatchNorm2d, y: np.ndarray) -> np.ndarray:
        return reference.relu(reference.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias))

    radix, cardinality = layer.radix, layer.cardinality
    y = norm(
        layer.bn0, reference.conv2d(x, layer.conv.weight, layer.conv.bias, groups=radix * cardinality, **conv)
    )
    gap = reference.radix_sum_pool(y, radix)[:, :, None, None]
    hidden = norm(layer.bn1, reference.conv2d(gap, layer.fc1.weight, layer.fc1.bias, groups=cardinality))
    logits = reference.conv2d(hidden, layer.fc2.weight, layer.fc2.bias, groups=cardinality)
    return reference.split_attention(y, logits[:, :, 0, 0], radix, cardinality)


def randomise_norms(module: nn.Module, rng: np.random.Generator) -> None:
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            bn.running_mean.data[:] = rng.normal(0, 0.1, bn.num_features)
            bn.running_var.data[:] = rng.uniform(0.5, 1.5, bn.num_features)
            bn.weight.data[:] = rng.uniform(0.6, 1.4, bn.num_features)
            bn.bias.data[:] = rng.normal(0, 0.1, bn.num_features)


@pytest.mark.parametrize("cardinality", [1, 2, 4])
@pytest.mark.parametrize("radix", [1, 2, 4])
def test_split_attention_matches_reference(radix, cardinality, isa, rng):
    layer = nn.SplitAttention(16, 24, 3, stride=2, groups=cardinality, radix=radix).eval()
    randomise_norms(layer, rng)
    x = rng.standard_normal((2, 16, 7, 9), dtype=np.float32)
    want = split_attention_reference(layer, x, stride=2, padding=1)
    # The longest sum is the 3x3 convolution's; four roundings of like size follow it.
    assert_close(layer(x), want, terms=4 * 9 * 16, products=float(np.abs(want).max()), factor=1)


def test_split_attention_has_the_published_names_and_shapes():
    layer = nn.SplitAttention(64, 64, groups=2, radix=4)
    shapes = {name: tensor.shape for name, tensor in layer.state_dict().items() if not name.startswith("bn")}
    assert shapes == {
        "conv.weight": (256, 8, 3, 3),
        "fc1.weight": (64, 32, 1, 1),
        "fc1.bias": (64,),
        "fc2.weight": (256, 32, 1, 1),
        "fc2.bias": (256,),
    }
    assert [name for name, _ in layer.named_children()] == ["conv", "bn0", "fc1", "bn1", "fc2"]


@pytest.mark.parametrize(
    ("in_channels", "radix", "width"), [(64, 1, 32), (64, 2, 32), (128, 2, 64), (160, 1, 40)]
)
def test_split_attention_width(in_channels, radix, width):
    assert nn.SplitAttention(in_channels, in_channels, radix=radix).fc1.out_channels == width


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_split_attention_keeps_the_size_by_default(kernel, dilation):
    layer = nn.SplitAttention(4, 8, kernel, dilation=dilation).eval()
    assert layer(lucid.zeros(1, 4, 9, 9)).shape == (1, 8, 9, 9)


def test_split_attention_training_on_one_image_names_the_cure():
    layer = nn.SplitAttention(4, 4)
    with pytest.raises(ValueError, match=r"more than one value per channel.*larger batch, or eval\(\)"):
        layer(lucid.random.randn(1, 4, 5, 5))
    layer(lucid.random.randn(2, 4, 5, 5))


# ---- Wrong arguments


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "Conv2d: in_channels must be positive, got 0"),
        (lambda: nn.Conv2d(4, -1, 3), ValueError, "Conv2d: out_channels must be positive, got -1"),
        (lambda: nn.Conv2d(4, 4, 0), ValueError, r"Conv2d: kernel_size must be positive, got \(0, 0\)"),
        (
            lambda: nn.Conv2d(4, 4, 3, groups=3),
            ValueError,
            r"Conv2d: groups \(3\) must divide in_channels \(4\)",
        ),
        (lambda: nn.Conv2d(4, 4.0, 3), TypeError, "Conv2d: out_channels must be an int, got 4.0"),
        (lambda: nn.Conv2d(True, 4, 3), TypeError, "Conv2d: in_channels must be an int, got True"),
        (
            lambda: nn.Conv2d(4, 4, (3, 3, 3)),
            TypeError,
            "Conv2d: kernel_size must be an int or a pair of ints",
        ),
        (lambda: nn.Conv2d(4, 4, 3, padding="big"), ValueError, "Conv2d: padding must be .* got 'big'"),
        (
            lambda: nn.Conv2d(4, 4, 3, padding_mode="reflect"),
            NotImplementedError,
            "padding_mode must be 'zeros'",
        ),
        (lambda: nn.Conv2d(2**62, 2**62, 3), ValueError, "empty: size must fit into memory"),
        (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be positive, got 0"),
        (lambda: nn.BatchNorm2d(None), TypeError, "BatchNorm2d: num_features must be an int, got None"),
        (lambda: nn.Linear(3, 0), ValueError, "Linear: out_features must be positive, got 0"),
        (lambda: nn.Linear(3, "4"), TypeError, "Linear: out_features must be an int, got '4'"),
        (
            lambda: nn.SplitAttention(4, 4, radix=0),
            ValueError,
            "SplitAttention: radix must be positive, got 0",
        ),
        (lambda: nn.SplitAttention(4, 4, groups=3), ValueError, r"Conv2d: groups \(6\) must divide"),
        (
            lambda: nn.MaxPool2d(2.0),
            TypeError,
            "MaxPool2d: kernel_size must be an int or a pair of ints, got 2.0",
        ),
        (
            lambda: nn.AvgPool2d(2, True),
            TypeError,
            "AvgPool2d: stride must be an int or a pair of ints, got True",
        ),
        (
            lambda: nn.AdaptiveAvgPool2d(None),
            TypeError,
            "AdaptiveAvgPool2d: output_size must be an int or a pair",
        ),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ---- Starting values


def test_conv_and_linear_start_within_pytorchs_bounds():
    lucid.random.seed(0)
    for layer, fan_in in ((nn.Conv2d(32, 64, 3, groups=2), 16 * 9), (nn.Linear(300, 200), 300)):
        bound = 1 / math.sqrt(fan_in)
        for parameter in layer.parameters():
            assert np.abs(parameter.data).max() <= bound
        # Evenly spread: the deviation is bound / sqrt(3), within five deviations of its own estimate.
        deviation = float(layer.weight.data.std())
        spread = 5 / math.sqrt(2 * layer.weight.numel())
        assert abs(deviation / (bound / math.sqrt(3)) - 1) < spread


def test_seed_repeats_the_start():
    def weights() -> np.ndarray:
        lucid.random.seed(3)
        return nn.Conv2d(3, 4, 3).weight.data

    np.testing.assert_array_equal(weights(), weights())


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kaiming_deviation(mode):
    lucid.random.seed(0)
    weight = lucid.empty(128, 32, 3, 3)
    fan = {"fan_in": 32 * 9, "fan_out": 128 * 9}[mode]
    want = math.sqrt(2 / fan)
    spread = 5 / math.sqrt(2 * weight.numel())
    for fill in (init.kaiming_normal_, init.kaiming_uniform_):
        assert fill(weight, mode=mode, nonlinearity="relu") is weight
        assert abs(float(weight.data.std()) / want - 1) < spread
        assert abs(float(weight.data.mean())) < 5 * want / math.sqrt(weight.numel())


def test_init_rejects_nonsense():
    with pytest.raises(ValueError, match="init: fan-in and fan-out need a weight of rank 2 or more"):
        init.kaiming_normal_(lucid.empty(3))
    with pytest.raises(ValueError, match="init: mode must be 'fan_in' or 'fan_out', got 'fan'"):
        init.kaiming_normal_(lucid.empty(3, 3), mode="fan")
    with pytest.raises(ValueError, match="calculate_gain: nonlinearity must be"):
        init.calculate_gain("gelu")
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0


def test_skip_init_draws_nothing_but_sets_constants():
    lucid.random.seed(0)
    with init.skip_init():
        assert init.skipped()
        layer = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    assert not init.skipped()
    assert layer[1].state_dict()["weight"].tolist() == [1.0, 1.0]
    drawn = lucid.random.rand(4)
    lucid.random.seed(0)
    np.testing.assert_array_equal(drawn.data, lucid.random.rand(4).data)
