"""What each function of ``lucid.nn.functional`` records when it is called on a symbol.

The functions here have the names, parameters and defaults of those there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from lucid import arguments
from lucid.arguments import Pair
from lucid.inference.symbol import Symbol
from lucid.tensor import Array, Tensor

Constant: TypeAlias = Tensor | Array

_NOT_CONSTANT = "must be a constant in a plan, not something that is computed"


def conv2d(
    input: Symbol,
    weight: Constant,
    bias: Constant | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Symbol:
    x = _symbol("conv2d", "input", input)
    weights = _weights("conv2d", x, weight=weight, bias=bias)
    steps, spread = arguments.pair("conv2d", "stride", stride), arguments.pair("conv2d", "dilation", dilation)
    if isinstance(padding, str):
        weights["weight"], margins, spread = _named_padding(weights["weight"], steps, padding, spread)
    else:
        margins = arguments.pair("conv2d", "padding", padding)
    return x.add(
        "conv2d",
        weights=weights,
        stride=steps,
        padding=margins,
        dilation=spread,
        groups=arguments.integer("conv2d", "groups", groups),
        relu=False,
    )


def _named_padding(
    weight: Array, stride: tuple[int, int], padding: str, dilation: tuple[int, int]
) -> tuple[Array, tuple[int, int], tuple[int, int]]:
    """The weight, padding and dilation that stand for padding by name.

    Where "same" needs an odd number of rows, of which the extra one goes below, a row of zeros on top of the
    filters (first spread to dilation 1) makes it an even number.
    """
    if padding == "valid":
        return weight, (0, 0), dilation
    if padding != "same":
        raise ValueError(
            f"conv2d: padding must be an int, a pair of ints, 'same' or 'valid', got {padding!r}"
        )
    if stride != (1, 1):
        raise ValueError(f"conv2d: stride must be 1 for padding='same', got {stride}")
    if weight.ndim != 4:
        raise ValueError(f"conv2d: weight must have rank 4, got shape {weight.shape}")
    spreads, margins = list(dilation), []
    for axis in (0, 1):
        taps = weight.shape[2 + axis]
        total = dilation[axis] * (taps - 1)
        if total % 2:
            places = 1 + dilation[axis] * np.arange(taps)
            spread = np.zeros((*weight.shape[: 2 + axis], total + 2, *weight.shape[3 + axis :]), weight.dtype)
            spread[(slice(None),) * (2 + axis) + (places,)] = weight
            weight, spreads[axis], total = spread, 1, total + 1
        margins.append(total // 2)
    return weight, (margins[0], margins[1]), (spreads[0], spreads[1])


def batch_norm(
    input: Symbol,
    running_mean: Constant | None,
    running_var: Constant | None,
    weight: Constant | None = None,
    bias: Constant | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
) -> Symbol:
    x = _symbol("batch_norm", "input", input)
    if training or running_mean is None or running_var is None:
        raise x.tracer.refusal(
            "batch_norm with the statistics of the batch",
            "has no counterpart in a plan: the module must be in eval mode and have running statistics",
        )
    arrays = _weights("batch_norm", x, mean=running_mean, var=running_var, weight=weight, bias=bias)
    channels = x.shape[1:2]
    for name, array in arrays.items():
        if array.shape != channels:
            raise ValueError(f"batch_norm: {name} must have shape {channels}, got {array.shape}")
    # In float64, so that folding them into a convolution rounds once.
    with np.errstate(all="ignore"):
        scale = 1.0 / np.sqrt(arrays["var"].astype(np.float64) + eps)
        scale = scale * arrays.get("weight", 1.0)
        shift = arrays.get("bias", 0.0) - arrays["mean"] * scale
    return x.add("batch_norm", weights={"weight": scale, "bias": shift}, relu=bool(relu))


def max_pool2d(
    input: Symbol,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Symbol:
    kernel = arguments.pair("max_pool2d", "kernel_size", kernel_size)
    return input.add(
        "max_pool2d",
        kernel=kernel,
        stride=kernel if stride is None else arguments.pair("max_pool2d", "stride", stride),
        padding=arguments.pair("max_pool2d", "padding", padding),
        dilation=arguments.pair("max_pool2d", "dilation", dilation),
        ceil_mode=bool(ceil_mode),
    )


def avg_pool2d(
    input: Symbol,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Symbol:
    kernel = arguments.pair("avg_pool2d", "kernel_size", kernel_size)
    return input.add(
        "avg_pool2d",
        kernel=kernel,
        stride=kernel if stride is None else arguments.pair("avg_pool2d", "stride", stride),
        padding=arguments.pair("avg_pool2d", "padding", padding),
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
    )


def adaptive_avg_pool2d(input: Symbol, output_size: Pair) -> Symbol:
    size = arguments.pair("adaptive_avg_pool2d", "output_size", output_size)
    if input.ndim != 4:
        raise ValueError(f"adaptive_avg_pool2d: input must have rank 4, got shape {input.shape}")
    if min(size) < 1:
        raise ValueError(f"adaptive_avg_pool2d: output_size must be positive, got {size}")
    if size == (1, 1):
        return global_avg_pool2d(input).reshape(*input.shape[:2], 1, 1)
    height, width = input.shape[2:]
    if height % size[0] or width % size[1]:
        raise NotImplementedError(
            f"adaptive_avg_pool2d: output_size must divide the input's height and width, "
            f"got {size} for {(height, width)}"
        )
    return avg_pool2d(input, (height // size[0], width // size[1]))


def global_avg_pool2d(input: Symbol) -> Symbol:
    return input.add("global_avg_pool2d", radix=1)


def radix_sum_pool(x: Symbol, radix: int) -> Symbol:
    return x.add("global_avg_pool2d", radix=arguments.integer("radix_sum_pool", "radix", radix))


def split_attention(x: Symbol, logits: Symbol, radix: int, cardinality: int = 1) -> Symbol:
    values, scores = _symbol("split_attention", "x", x), _symbol("split_attention", "logits", logits)
    if scores.ndim == 4 and scores.shape[2:] == (1, 1):
        scores = scores.add("flatten")
    return values.add(
        "split_attention",
        scores,
        radix=arguments.integer("split_attention", "radix", radix),
        cardinality=arguments.integer("split_attention", "cardinality", cardinality),
    )


def linear(input: Symbol, weight: Constant, bias: Constant | None = None) -> Symbol:
    x = _symbol("linear", "input", input)
    return x.add("linear", weights=_weights("linear", x, weight=weight, bias=bias), groups=1, relu=False)


def relu(input: Symbol, inplace: bool = False) -> Symbol:
    result = input.add("relu")
    return input.become(result) if inplace else result


def sigmoid(input: Symbol) -> Symbol:
    return input.sigmoid()


def softmax(input: Symbol, dim: int) -> Symbol:
    return input.softmax(dim)


def dropout(input: Symbol, p: float = 0.5, training: bool = True, inplace: bool = False) -> Symbol:
    if training and p > 0.0:
        raise input.tracer.refusal(
            "dropout", "has no counterpart in a plan unless it does nothing: the module must be in eval mode"
        )
    return input


def _symbol(op: str, name: str, value: object) -> Symbol:
    if not isinstance(value, Symbol):
        raise TypeError(f"{op}: {name} must be what the plan computes, got a constant {type(value).__name__}")
    return value


def _weights(op: str, x: Symbol, **values: Constant | None) -> dict[str, Array]:
    """The arrays of those that are not None."""
    arrays = {}
    for name, value in values.items():
        if isinstance(value, Symbol):
            raise x.tracer.refusal(f"{op}: {name}", _NOT_CONSTANT)
        if value is None:
            continue
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype != np.float32:
            raise ValueError(f"{op}: {name} must be float32, got {array.dtype}")
        arrays[name] = array
    return arrays


OPERATORS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        conv2d,
        batch_norm,
        max_pool2d,
        avg_pool2d,
        adaptive_avg_pool2d,
        global_avg_pool2d,
        radix_sum_pool,
        split_attention,
        linear,
        relu,
        sigmoid,
        softmax,
        dropout,
    )
}
