"""Convolutions and poolings of an ONNX graph as steps of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucid import recording
from lucid.inference.symbol import Symbol
from lucid.onnx.reader import Operation, Reader

__all__ = ["average_pool", "conv", "global_max_pool", "max_pool", "padding"]


def conv(reader: Reader, op: Operation) -> Symbol:
    x, weight = _image(reader), reader.weight(1)
    if weight is None or weight.ndim != 4:
        raise reader.refusal("the weight", "must be a constant (out, in / groups, kh, kw)")
    given = tuple(op.get("kernel_shape", weight.shape[2:]))
    if given != weight.shape[2:]:
        raise ValueError(f"kernel_shape must be the weight's {weight.shape[2:]}, got {given}")
    stride, dilation = _pair(op, "strides"), _pair(op, "dilations")
    window: dict[str, Any] = {
        "stride": stride,
        "padding": padding(op, x.shape[2:], weight.shape[2:], stride, dilation),
        "dilation": dilation,
        "groups": int(op.get("group", 1)),
    }
    result: Symbol = recording.conv2d(reader, x, weight, reader.weight(2), **window)
    return result


def max_pool(reader: Reader, op: Operation) -> Symbol:
    x, dilation = _image(reader), _pair(op, "dilations")
    return reader.step("max_pool2d", [x], {**_window(reader, op, x, dilation), "dilation": dilation})


def average_pool(reader: Reader, op: Operation) -> Symbol:
    x = _image(reader)
    if _pair(op, "dilations") != (1, 1):
        raise reader.refusal("dilations", "of an average have no counterpart in a plan")
    window = _window(reader, op, x, (1, 1))
    counted = bool(op.get("count_include_pad", 0))
    return reader.step("avg_pool2d", [x], {**window, "count_include_pad": counted, "divisor_override": 0})


def global_max_pool(reader: Reader, op: Operation) -> Symbol:
    x = _image(reader)
    attributes = {"kernel_size": x.shape[2:], "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    return reader.step("max_pool2d", [x], {**attributes, "ceil_mode": False})


def _image(reader: Reader) -> Symbol:
    x = reader.symbol(0)
    if len(x.shape) != 4:
        raise reader.refusal("a window on other than images (n, c, h, w)")
    return x


def _window(reader: Reader, op: Operation, x: Symbol, dilation: tuple[int, int]) -> dict[str, Any]:
    if any(op.outputs[1:]):
        raise reader.refusal("the indices of a pooling")
    kernel_size, stride = _pair(op, "kernel_shape"), _pair(op, "strides")
    around = padding(op, x.shape[2:], kernel_size, stride, dilation)
    if any(2 * width > kernel for width, kernel in zip(around, 2 * kernel_size, strict=True)):
        raise reader.refusal(f"padding {around} beyond half of the window {kernel_size}")
    return {
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": around,
        "ceil_mode": bool(op.get("ceil_mode", 0)),
    }


def padding(
    op: Operation,
    size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """Rows and columns added at the top, left, bottom and right, as the attributes pads or auto_pad say.

    With SAME there are as many windows as strides fit into the image: the last one starts in its last
    stride, or in what is left of one.
    """
    mode = op.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        given = tuple(map(int, op.get("pads", (0, 0, 0, 0))))
        if len(given) != 4:
            raise ValueError(f"pads must be four ints, got {given}")
        return given
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, got {mode!r}")
    before, after = [], []
    for length, kernel, step, spread in zip(size, kernel_size, stride, dilation, strict=True):
        total = max(0, (kernel - 1) * spread + 1 - (length % step or step))
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return (*before, *after)


def _pair(op: Operation, name: str) -> tuple[int, int]:
    values = np.ravel(op.get(name, (1, 1)))
    if len(values) != 2:
        raise ValueError(f"{name} must be two ints, got {tuple(values)}")
    return int(values[0]), int(values[1])
