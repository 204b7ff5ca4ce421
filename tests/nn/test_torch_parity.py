"""The same layers in PyTorch: results, argument orders, state dict names and reprs."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from tolerance import assert_close

import lucid
from lucid import nn
from lucid.nn import functional as F

torch = pytest.importorskip("torch")

LAYERS = [
    ("Conv2d", (4, 6, 3), {}),
    ("Conv2d", (4, 6, (3, 2), 2, 1, 2, 2, False), {}),
    ("Conv2d", (4, 6, 3), {"padding": "same"}),
    ("BatchNorm2d", (4,), {}),
    ("BatchNorm2d", (4, 1e-3, None, False), {}),
    ("BatchNorm2d", (4,), {"track_running_stats": False}),
    ("MaxPool2d", (3, 2, 1, 1, False, True), {}),
    ("AvgPool2d", (3, 2, 1, True, False), {}),
    ("AvgPool2d", (2, 1, 0, False, True, 3), {}),
    ("AdaptiveAvgPool2d", (1,), {}),
    ("AdaptiveAvgPool2d", ((4, 3),), {}),
    ("AdaptiveAvgPool2d", ((None, 9),), {}),
    ("Linear", (7, 3), {}),
    ("ReLU", (), {}),
    ("Sigmoid", (), {}),
    ("Softmax", (1,), {}),
    ("Flatten", (), {}),
    ("Dropout", (0.3,), {}),
    ("Identity", (), {}),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS, ids=lambda value: str(value))
def test_layer_gives_torchs_result_from_torchs_state(name, args, kwargs, training, rng):
    theirs = getattr(torch.nn, name)(*args, **kwargs).train(training)
    ours = getattr(nn, name)(*args, **kwargs).train(training)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    if name == "Dropout" and training:
        return  # draws of its own
    x = rng.standard_normal((2, 4, 6, 7), dtype=np.float32)
    with torch.no_grad():
        want = theirs(torch.from_numpy(x)).numpy()
    # Both are float32; 56 terms is the longest sum, the mean of batch norm.
    assert_close(ours(x), want, terms=56, products=float(np.abs(x).max()))
    for key, value in theirs.state_dict().items():
        got = ours.state_dict()[key]
        assert got.dtype == value.numpy().dtype
        assert got.shape == tuple(value.shape)
        if value.is_floating_point():
            assert_close(got, value.numpy(), terms=84, products=float(np.abs(x).max()))
        else:
            np.testing.assert_array_equal(got.data, value.numpy())


@pytest.mark.parametrize(
    ("name", "args"),
    [("Conv2d", (4, 6, 3)), ("AdaptiveAvgPool2d", ((1, 1),)), ("Linear", (7, 3)), ("ReLU", (True,))],
)
def test_repr_is_torchs(name, args):
    assert repr(nn.Sequential(getattr(nn, name)(*args))) == repr(
        torch.nn.Sequential(getattr(torch.nn, name)(*args))
    )


FUNCTIONS = {
    "conv2d": ["input", "weight", "bias", "stride", "padding", "dilation", "groups"],
    "batch_norm": ["input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"],
    "max_pool2d": ["input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"],
    "avg_pool2d": [
        "input",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ],
    "pad": ["input", "pad", "mode", "value"],
    "adaptive_avg_pool2d": ["input", "output_size"],
    "linear": ["input", "weight", "bias"],
    "relu": ["input", "inplace"],
    "sigmoid": ["input"],
    "softmax": ["input", "dim"],
    "log_softmax": ["input", "dim"],
    "dropout": ["input", "p", "training", "inplace"],
    "cross_entropy": ["input", "target", "weight"],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_positional_arguments_are_torchs(name):
    ours = [
        parameter.name
        for parameter in inspect.signature(getattr(F, name)).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert ours == FUNCTIONS[name]


# The functions that PyTorch writes in Python, whose defaults can therefore be read.
@pytest.mark.parametrize("name", ["batch_norm", "relu", "dropout", "cross_entropy"])
def test_defaults_are_torchs(name):
    theirs = inspect.signature(getattr(torch.nn.functional, name)).parameters
    for parameter in inspect.signature(getattr(F, name)).parameters.values():
        if parameter.name in theirs:
            assert (
                parameter.default == theirs[parameter.name].default
                or parameter.default is theirs[parameter.name].default
            )


@pytest.mark.parametrize(
    "name", ["Conv2d", "BatchNorm2d", "AvgPool2d", "MaxPool2d", "Linear", "Dropout", "ReLU", "Flatten"]
)
def test_constructors_are_torchs(name):
    theirs = inspect.signature(getattr(torch.nn, name)).parameters
    ours = inspect.signature(getattr(nn, name)).parameters
    assert list(ours) == list(theirs)[: len(ours)]
    for key, parameter in ours.items():
        assert parameter.default == theirs[key].default


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"reduction": "sum"}, {"ignore_index": 2}])
@pytest.mark.parametrize("shape", [(5, 4), (2, 4, 3)])
def test_cross_entropy_is_torchs(options, shape, rng):
    logits = rng.standard_normal(shape, dtype=np.float32)
    target = rng.integers(0, 4, (shape[0], *shape[2:]))
    weight = rng.uniform(0.5, 2, 4).astype(np.float32)
    want = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(target), torch.from_numpy(weight), **options
    )
    assert_close(F.cross_entropy(logits, target, weight, **options), want.numpy(), terms=20)
    shares = F.softmax(logits, 1).data
    options.pop("ignore_index", None)
    want = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(shares), **options)
    assert_close(F.cross_entropy(logits, shares, **options), want.numpy(), terms=20)


@pytest.mark.parametrize(
    "expression", ["x + 1", "x * 2.5", "n + 0.5", "n / 2", "n * 2", "x + n", "n > 1", "2 - x", "x ** 2"]
)
def test_promotion_is_torchs(expression):
    def evaluate(library):
        x, n = library.ones(3), library.arange(3)
        return eval(expression, {"x": x, "n": n})

    ours, theirs = evaluate(lucid), evaluate(torch)
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize(("radix", "groups"), [(1, 1), (2, 1), (2, 2), (4, 2), (1, 4)])
def test_split_attention_is_timms(radix, groups, rng):
    split_attn = pytest.importorskip("timm.layers.split_attn")
    theirs = split_attn.SplitAttn(
        16,
        groups=groups,
        radix=radix,
        stride=2,
        norm_layer=torch.nn.BatchNorm2d,
    ).eval()
    with torch.no_grad():
        for bn in (theirs.bn0, theirs.bn1):
            bn.running_mean.normal_(0, 0.1)
            bn.running_var.uniform_(0.5, 1.5)
    ours = nn.SplitAttention(16, 16, groups=groups, radix=radix, stride=2).eval()
    ours.load_state_dict(theirs.state_dict())
    x = rng.standard_normal((2, 16, 9, 7), dtype=np.float32)
    with torch.no_grad():
        want = theirs.double()(torch.from_numpy(x).double()).numpy()
    assert_close(ours(x), want, terms=4 * 9 * 16 // groups)
