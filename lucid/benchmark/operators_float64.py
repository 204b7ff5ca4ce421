"""Expectations in float64, by the definitions, for each operator that is measured on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lucid.benchmark.cases import Array
from lucid.inference import Node
from lucid.recording import Shape

__all__ = ["EXPECTED"]


def _batch_norm(node: Node, shape: Shape, x: Array) -> Array:
    scale, shift = (node.weights[name].astype(np.float64)[:, None, None] for name in ("weight", "bias"))
    return np.asarray(x * scale + shift)


def _linear(node: Node, shape: Shape, x: Array) -> Array:
    return np.asarray(x @ node.weights["weight"].astype(np.float64).T + node.weights["bias"])


def _softmax(node: Node, shape: Shape, x: Array) -> Array:
    return _softmax_along(x, int(_attribute(node, "dim")))


def _softmax_along(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def _split_attention(node: Node, shape: Shape, x: Array, logits: Array) -> Array:
    """Logits are cardinality-major, images radix-major; one split is weighted by a sigmoid."""
    n, c, h, w = shape
    radix, cardinality = _attribute(node, "radix"), _attribute(node, "cardinality")
    by_split = logits.reshape(n, cardinality, radix, -1).swapaxes(1, 2).reshape(n, radix, c)
    weights = _softmax_along(by_split, 1) if radix > 1 else 1 / (1 + np.exp(-by_split))
    return np.asarray((x.reshape(n, radix, c, h, w) * weights[..., None, None]).sum(1))


def _max_pool2d(node: Node, shape: Shape, x: Array) -> Array:
    return np.asarray(np.max(list(_taps(node, shape, x, -np.inf)), axis=0))


def _avg_pool2d(node: Node, shape: Shape, x: Array) -> Array:
    """The divisor counts the padding if the node says so, and never what a last window covers beyond it."""
    counted, (top, left, bottom, right) = np.ones(x.shape[2:]), _attribute(node, "padding")
    margin = 1.0 if node.attributes["count_include_pad"] else 0.0
    counted = np.pad(counted, ((top, bottom), (left, right)), constant_values=margin)
    bare = node.having(padding=(0, 0, 0, 0))
    area = np.sum(list(_taps(bare, shape, counted[None, None], 0.0)), axis=0)
    total = np.sum(list(_taps(node, shape, x, 0.0)), axis=0)
    return np.asarray(total / (node.attributes["divisor_override"] or area))


def _taps(node: Node, shape: Shape, x: Array, outside: float) -> Iterator[Array]:
    """For each place in the window, the value there of every window."""
    (kh, kw), (sh, sw) = _attribute(node, "kernel_size"), _attribute(node, "stride")
    (dh, dw) = _attribute(node, "dilation") if "dilation" in node.attributes else (1, 1)
    top, left, _, _ = _attribute(node, "padding")
    oh, ow = shape[2:]
    rows, columns = sh * (oh - 1) + 1, sw * (ow - 1) + 1  # that the first place of all windows spans
    reach = rows + dh * (kh - 1) - top, columns + dw * (kw - 1) - left
    after = [max(0, end - length) for end, length in zip(reach, x.shape[2:], strict=True)]
    padded = np.pad(x, ((0, 0), (0, 0), (top, after[0]), (left, after[1])), constant_values=outside)
    for i in range(kh):
        for j in range(kw):
            yield padded[:, :, i * dh :, j * dw :][:, :, :rows:sh, :columns:sw]


def _attribute(node: Node, name: str) -> Any:
    return node.attributes[name]


# By the kind of a node: from the node, the shape of its output and its inputs, in float64.
EXPECTED: Mapping[str, Callable[..., Array]] = {
    "add": lambda node, shape, a, b: a + b,
    "avg_pool2d": _avg_pool2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "relu": lambda node, shape, x: np.maximum(x, 0),
    "softmax": _softmax,
    "split_attention": _split_attention,
}
