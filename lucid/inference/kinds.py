"""The kinds of nodes: which attributes and weights each has, and the shape of what it gives.

A rule sees shapes only, so a graph can be checked before any of its weights is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

Shape: TypeAlias = tuple[int, ...]
Attribute: TypeAlias = "int | bool | tuple[int, int]"
Attributes: TypeAlias = Mapping[str, Attribute]
Shapes: TypeAlias = Sequence[Shape]
Rule: TypeAlias = Callable[[Shapes, Attributes, Mapping[str, Shape]], Shape]

# Sizes that the kernels' 64-bit offsets can never overflow on: 2**60 bytes of float32 in one value.
_MOST_ELEMENTS = 2**58
_LARGEST_ATTRIBUTE = 2**31 - 1


@dataclass(frozen=True)
class Kind:
    """What all nodes of a kind have in common.

    Attributes:
        rule: Gives the shape of the output, from the shapes of the inputs, the attributes and the shapes of
            the weights; ValueError if they do not fit together.
        attributes: Their types by name; ``tuple`` is a pair of ints, for height and width.
        weights: Arrays that a node must have.
        optional: Arrays that it may have.
        inputs: The fewest and the most values that it reads.
    """

    rule: Rule
    attributes: Mapping[str, type] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    inputs: tuple[int, int] = (1, 1)


def output_shape(kind: str, inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    """The shape of what a node gives.

    Raises:
        ValueError: There is no such kind, or the node does not have what its kind asks for.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} must be one of {', '.join(KINDS)}")
    known = KINDS[kind]
    fewest, most = known.inputs
    if not fewest <= len(inputs) <= most:
        raise ValueError(f"{kind}: the number of inputs must be from {fewest} to {most}, got {len(inputs)}")
    if attributes.keys() != known.attributes.keys():
        raise ValueError(f"{kind}: attributes must be {_list(known.attributes)}, got {_list(attributes)}")
    for name, value in attributes.items():
        _check_attribute(kind, name, value, known.attributes[name])
    if not set(known.weights) <= weights.keys() <= {*known.weights, *known.optional}:
        wanted = _list([*known.weights, *(f"{name} (optional)" for name in known.optional)])
        raise ValueError(f"{kind}: weights must be {wanted}, got {_list(weights)}")
    return checked_shape(kind, known.rule(inputs, attributes, weights))


def checked_shape(name: str, shape: Shape) -> Shape:
    """``shape``, if it is that of images (n, c, h, w) or of vectors (n, c), and not too large to address."""
    if len(shape) not in (2, 4) or min(shape) < 1 or math.prod(shape) > _MOST_ELEMENTS:
        raise ValueError(
            f"{name}: the shape must be (n, c, h, w) or (n, c), positive, and of at most 2**58 elements, "
            f"got {shape}"
        )
    return shape


def _check_attribute(kind: str, name: str, value: Attribute, expected: type) -> None:
    parts = value if isinstance(value, tuple) else (value,)
    count, wanted = (2, int) if expected is tuple else (1, expected)
    if type(value) is not expected or len(parts) != count or any(type(part) is not wanted for part in parts):
        text = {tuple: "a pair of ints", bool: "a bool", int: "an int"}[expected]
        raise ValueError(f"{kind}: {name} must be {text}, got {value!r}")
    if any(not 0 <= part <= _LARGEST_ATTRIBUTE for part in parts):
        raise ValueError(f"{kind}: {name} must be from 0 to {_LARGEST_ATTRIBUTE}, got {value!r}")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


# ---- Rules: the types of attributes and the names of weights have been checked


def _int(attributes: Attributes, name: str) -> int:
    return cast(int, attributes[name])


def _pair(attributes: Attributes, name: str) -> tuple[int, int]:
    return cast("tuple[int, int]", attributes[name])


def _conv2d(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    x, weight = _image("conv2d", inputs[0]), weights["weight"]
    _check_channels("conv2d", x, weight, 4, attributes)
    _check_bias("conv2d", weight, weights)
    sizes = _window_counts("conv2d", x, weight[2:], attributes)
    y = (x[0], weight[0], *sizes)
    if len(inputs) == 2 and inputs[1] != y:
        raise ValueError(f"conv2d: the residual must have the shape of the result, {y}, got {inputs[1]}")
    return y


def _linear(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    x, weight = _vectors("linear", inputs[0]), weights["weight"]
    _check_channels("linear", x, weight, 2, attributes)
    _check_bias("linear", weight, weights)
    return (x[0], weight[0])


def _check_channels(op: str, x: Shape, weight: Shape, rank: int, attributes: Attributes) -> None:
    groups = _int(attributes, "groups")
    if len(weight) != rank or min(weight, default=0) < 1:
        raise ValueError(f"{op}: weight must have rank {rank} and elements, got shape {weight}")
    if groups < 1 or x[1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(
            f"{op}: input, weight and groups must fit together, got input {x}, weight {weight} and "
            f"groups={groups}"
        )


def _check_bias(op: str, weight: Shape, weights: Mapping[str, Shape]) -> None:
    if "bias" in weights and weights["bias"] != weight[:1]:
        raise ValueError(f"{op}: bias must have shape ({weight[0]},), got {weights['bias']}")


def _pool2d(op: str) -> Rule:
    def rule(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
        x, kernel = _image(op, inputs[0]), _pair(attributes, "kernel")
        if min(kernel) < 1:
            raise ValueError(f"{op}: kernel_size must be positive, got {kernel}")
        return (*x[:2], *_window_counts(op, x, kernel, attributes))

    return rule


def _window_counts(op: str, x: Shape, kernel: Shape, attributes: Attributes) -> tuple[int, int]:
    """Height and width of the result of sliding a window, by PyTorch's rule.

    With ``ceil_mode`` a last window may reach over the edge, but not start in the padding behind it; a single
    window may be larger than the image by less than its stride.
    """
    stride, padding = _pair(attributes, "stride"), _pair(attributes, "padding")
    dilation = _pair(attributes, "dilation") if "dilation" in attributes else (1, 1)
    if min(stride) < 1 or min(dilation) < 1:
        raise ValueError(f"{op}: stride and dilation must be positive, got {stride} and {dilation}")
    sizes = []
    for size, window, step, margin, spread in zip(x[2:], kernel, stride, padding, dilation, strict=True):
        span = size + 2 * margin - spread * (window - 1) - 1
        ceil_mode = attributes.get("ceil_mode", False)
        if span < 0 and not (ceil_mode and -span < step):
            raise ValueError(
                f"{op}: the window must fit the padded input, got input {x}, kernel_size {tuple(kernel)}, "
                f"padding {padding} and dilation {dilation}"
            )
        count = max(span, 0) // step + 1
        if ceil_mode and span > 0 and span % step and count * step < size + margin:
            count += 1
        sizes.append(count)
    return sizes[0], sizes[1]


def _global_avg_pool2d(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    x, radix = _image("global_avg_pool2d", inputs[0]), _int(attributes, "radix")
    if radix < 1 or x[1] % radix:
        raise ValueError(f"global_avg_pool2d: radix must divide the channels, got {radix} for {x[1]}")
    return (x[0], x[1] // radix)


def _split_attention(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    x, logits = _image("split_attention", inputs[0]), _vectors("split_attention", inputs[1])
    radix, cardinality = _int(attributes, "radix"), _int(attributes, "cardinality")
    if radix < 1 or cardinality < 1 or x[1] % (radix * cardinality):
        raise ValueError(
            f"split_attention: radix * cardinality must divide the channels, got {radix} * {cardinality} for "
            f"{x[1]}"
        )
    if logits != x[:2]:
        raise ValueError(f"split_attention: logits must have shape {x[:2]}, got {logits}")
    return (x[0], x[1] // radix, *x[2:])


def _batch_norm(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    channels = inputs[0][1:2]
    if weights["weight"] != channels or weights["bias"] != channels:
        raise ValueError(
            f"batch_norm: weight and bias must have shape {channels}, got {weights['weight']} and "
            f"{weights['bias']}"
        )
    return inputs[0]


def _add(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    if inputs[0] != inputs[1]:
        raise ValueError(f"add: shapes must be equal, got {inputs[0]} and {inputs[1]}")
    return inputs[0]


def _gate(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    x, gate = _image("gate", inputs[0]), _vectors("gate", inputs[1])
    if gate != x[:2]:
        raise ValueError(f"gate: the factors must have shape {x[:2]}, got {gate}")
    return x


def _same(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    return inputs[0]


def _softmax(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    return _vectors("softmax", inputs[0])


def _flatten(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    x = _image("flatten", inputs[0])
    return (x[0], math.prod(x[1:]))


def _unflatten(inputs: Shapes, attributes: Attributes, weights: Mapping[str, Shape]) -> Shape:
    return (*_vectors("unflatten", inputs[0]), 1, 1)


def _image(op: str, shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"{op}: input must have rank 4, got shape {shape}")
    return shape


def _vectors(op: str, shape: Shape) -> Shape:
    if len(shape) != 2:
        raise ValueError(f"{op}: input must have rank 2, got shape {shape}")
    return shape


_WINDOW = {"kernel": tuple, "stride": tuple, "padding": tuple}

KINDS: Mapping[str, Kind] = {
    # relu(conv(x) + bias + residual); the residual is the second input
    "conv2d": Kind(
        _conv2d,
        {"stride": tuple, "padding": tuple, "dilation": tuple, "groups": int, "relu": bool},
        weights=("weight",),
        optional=("bias",),
        inputs=(1, 2),
    ),
    # on vectors; with groups it is a 1x1 convolution of an image of one pixel
    "linear": Kind(_linear, {"groups": int, "relu": bool}, weights=("weight",), optional=("bias",)),
    # x * weight + bias for each channel: the statistics are in there already
    "batch_norm": Kind(_batch_norm, {"relu": bool}, weights=("weight", "bias")),
    "max_pool2d": Kind(_pool2d("max_pool2d"), {**_WINDOW, "dilation": tuple, "ceil_mode": bool}),
    "avg_pool2d": Kind(_pool2d("avg_pool2d"), {**_WINDOW, "ceil_mode": bool, "count_include_pad": bool}),
    "global_avg_pool2d": Kind(_global_avg_pool2d, {"radix": int}),
    "split_attention": Kind(_split_attention, {"radix": int, "cardinality": int}, inputs=(2, 2)),
    "add": Kind(_add, {"relu": bool}, inputs=(2, 2)),
    # an image times one factor for each of its channels
    "gate": Kind(_gate, inputs=(2, 2)),
    "relu": Kind(_same),
    "sigmoid": Kind(_same),
    "softmax": Kind(_softmax),
    "flatten": Kind(_flatten),
    "unflatten": Kind(_unflatten),
}
