"""lucid.torch's operators against PyTorch's, in a program of PyTorch's: autograd, torch.compile, memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lucid  # noqa: E402
import lucid.torch  # noqa: E402

CONVOLUTIONS = {
    "pointwise": {"x": (2, 8, 7, 5), "weight": (12, 8, 1, 1)},
    "grouped 3x3": {"x": (2, 16, 9, 8), "weight": (32, 4, 3, 3), "padding": 1, "groups": 4},
    "strided": {"x": (1, 12, 11, 10), "weight": (24, 4, 3, 3), "stride": 2, "padding": (1, 2), "groups": 3},
    "dilated": {"x": (1, 3, 13, 12), "weight": (5, 3, 3, 3), "dilation": (2, 1), "padding": 2},
    "stem": {"x": (1, 3, 23, 23), "weight": (16, 3, 7, 7), "stride": 2, "padding": 3},
}


def drawn(*shape: int, seed: int = 0, positive: bool = False) -> Any:
    """A leaf that requires grad, of float32."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return (values.square() + 0.5 if positive else values).requires_grad_()


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *leaves: Any) -> None:
    """Values and all gradients, against PyTorch's in float64."""
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    result, wanted = ours(*leaves), theirs(*exact)
    torch.testing.assert_close(result, wanted.float(), rtol=1e-5, atol=1e-5)
    dy = torch.randn(result.shape, generator=torch.Generator().manual_seed(7))
    found = torch.autograd.grad(result, leaves, dy)
    gradients = torch.autograd.grad(wanted, exact, dy.double())
    for gradient, reference in zip(found, gradients, strict=True):
        torch.testing.assert_close(gradient, reference.float(), rtol=1e-4, atol=1e-4)


def check(operator: Any, *values: Any) -> None:
    """PyTorch's own test of an operator's schema, fake implementation, gradients and traces of both."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        torch.library.opcheck(operator, values)


def both(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_conv2d(name: str, with_bias: bool) -> None:
    options = dict(CONVOLUTIONS[name])
    x, weight = drawn(*options.pop("x")), drawn(*options.pop("weight"), seed=1)
    leaves = [x, weight, drawn(weight.shape[0], seed=2)] if with_bias else [x, weight]
    compare(
        lambda *values: lucid.torch.conv2d(*values, **options),
        lambda *values: torch.nn.functional.conv2d(*values, **options),
        *leaves,
    )
    geometry = [both(options.get(key, default)) for key, default in [("stride", 1), ("padding", 0)]]
    dilation, groups = both(options.get("dilation", 1)), options.get("groups", 1)
    bias = leaves[2] if with_bias else None
    check(torch.ops.lucid.conv2d.default, x, weight, bias, *geometry, dilation, groups)


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (8, 5)])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(shape: tuple[int, ...], affine: bool, training: bool) -> None:
    channels = shape[1]
    mean, var = drawn(channels, seed=1).detach(), drawn(channels, seed=2, positive=True).detach()
    leaves = [drawn(*shape), *([drawn(channels, seed=3), drawn(channels, seed=4)] if affine else [])]
    ours, theirs = (mean.clone(), var.clone()), (mean.double(), var.double())
    compare(
        lambda x, *affine: lucid.torch.batch_norm(x, *ours, *affine, training=training, momentum=0.3),
        lambda x, *affine: torch.nn.functional.batch_norm(
            x, *theirs, *affine, training=training, momentum=0.3
        ),
        *leaves,
    )
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-6)
    weight, bias = leaves[1:] if affine else (None, None)
    check(torch.ops.lucid.batch_norm.default, leaves[0], weight, bias, mean, var, 1e-5)
    check(torch.ops.lucid.batch_norm_statistics.default, leaves[0])


def test_batch_norm_has_gradients_by_the_statistics_too() -> None:
    compare(
        lambda x, mean, var: torch.ops.lucid.batch_norm(x, None, None, mean, var, 1e-3),
        lambda x, mean, var: (x - mean[:, None, None]) / (var[:, None, None] + 1e-3).sqrt(),
        drawn(2, 3, 4, 5),
        drawn(3, seed=1),
        drawn(3, seed=2, positive=True),
    )


def attention_of_torch(x: Any, logits: Any, radix: int, cardinality: int) -> Any:
    """The published code: rSoftMax and the weighted sum of splits."""
    n = x.shape[0]
    if radix == 1:
        return x * logits.sigmoid()[..., None, None]
    weights = logits.view(n, cardinality, radix, -1).transpose(1, 2).softmax(dim=1).reshape(n, -1, 1, 1)
    return sum((weights * x).split(x.shape[1] // radix, dim=1))


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (2, 4), (4, 2)])
def test_split_attention(radix: int, cardinality: int) -> None:
    x, logits = drawn(3, radix * 8, 5, 4), drawn(3, radix * 8, seed=1)
    compare(
        lambda *values: lucid.torch.split_attention(*values, radix, cardinality),
        lambda *values: attention_of_torch(*values, radix, cardinality),
        x,
        logits,
    )
    four = lucid.torch.split_attention(x, logits[..., None, None], radix, cardinality)
    assert torch.equal(four, lucid.torch.split_attention(x, logits, radix, cardinality))
    check(torch.ops.lucid.split_attention.default, x, logits, radix, cardinality)


def test_gradients_can_be_differentiated_again() -> None:
    x, weight = drawn(1, 4, 5, 5), drawn(4, 2, 3, 3, seed=1)

    def penalty(convolve: Callable[..., Any]) -> Any:
        (dx,) = torch.autograd.grad(convolve(x, weight, groups=2).square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), weight)[0]

    wanted = penalty(torch.nn.functional.conv2d)
    torch.testing.assert_close(penalty(lucid.torch.conv2d), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max())


def block(x: Any, weight: Any, mean: Any, var: Any, logits: Any) -> Any:
    y = lucid.torch.conv2d(x, weight, padding=1, groups=2)
    y = lucid.torch.batch_norm(y, mean, var).relu()
    return lucid.torch.split_attention(y, logits, radix=2)


@pytest.mark.parametrize("dynamic", [False, True])
def test_torch_compile_keeps_them_in_one_graph(dynamic: bool) -> None:
    compiled = torch.compile(block, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for batch in (2, 3):
        values = drawn(batch, 8, 6, 5), drawn(16, 4, 3, 3, seed=1), torch.zeros(16), torch.ones(16)
        logits = drawn(batch, 16, seed=2)
        found, wanted = compiled(*values, logits), block(*values, logits)
        assert torch.equal(found, wanted)
        gradients = [torch.autograd.grad(y.sum(), [*values[:2], logits]) for y in (found, wanted)]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_torch_export_keeps_them() -> None:
    class Module(torch.nn.Module):
        def forward(self, x: Any, weight: Any, mean: Any, var: Any, logits: Any) -> Any:
            return block(x, weight, mean, var, logits)

    values = (
        *(drawn(1, 8, 6, 5).detach(), drawn(16, 4, 3, 3, seed=1).detach()),
        *(torch.zeros(16), torch.ones(16), drawn(1, 16, seed=2).detach()),
    )
    program = torch.export.export(Module(), values)
    kept = [str(node.target) for node in program.graph.nodes if "lucid" in str(node.target)]
    assert kept == ["lucid.conv2d.default", "lucid.batch_norm.default", "lucid.split_attention.default"]
    assert torch.equal(program.module()(*values), block(*values))


def test_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reads the tensor's memory, and the result's memory is that which the kernel wrote."""
    seen: dict[str, Any] = {}
    kernel = lucid.torch.operators._core.conv2d

    def spy(x: Any, weight: Any, *rest: Any) -> Any:
        result = kernel(x, weight, *rest)
        seen.update(x=address(x), weight=address(weight), result=address(result))
        return result

    def address(array: np.ndarray[Any, Any]) -> int:
        return array.__array_interface__["data"][0]

    monkeypatch.setattr(lucid.torch.operators._core, "conv2d", spy)
    x, weight = drawn(1, 8, 6, 6).to(memory_format=torch.channels_last), drawn(4, 8, 1, 1)
    result = lucid.torch.conv2d(x, weight)
    assert seen == {"x": x.data_ptr(), "weight": weight.data_ptr(), "result": result.data_ptr()}
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lucid.torch.conv2d(drawn(1, 3, 4, 4), drawn(2, 4, 1, 1)), "conv2d: "),
        (lambda: lucid.torch.conv2d(drawn(1, 4, 4, 4).double(), drawn(2, 4, 1, 1)), "conv2d: .*float64"),
        (lambda: lucid.torch.batch_norm(drawn(1, 4, 1, 1), None, None, training=True), "more than one value"),
        (lambda: lucid.torch.batch_norm(drawn(1, 4, 1, 1), None, None), "running_mean and running_var"),
        (lambda: lucid.torch.split_attention(drawn(1, 5, 2, 2), drawn(1, 5), 2), "split_attention: "),
    ],
)
def test_what_does_not_fit_is_a_value_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tensor_without_readable_memory_is_named() -> None:
    with pytest.raises(TypeError, match=r"conv2d: input must be .*torch"):
        lucid.torch.conv2d(drawn(1, 4, 4, 4).bfloat16(), drawn(2, 4, 1, 1))
