"""Each operator on a device against the same on the CPU, in every dtype of the device.

The CPU computes in float32 from the numbers that the device is given, which for 16 bits are rounded ones. An
error may be the rounding of the result to the dtype, and that of a float32 sum of as many terms, on both
sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lucid.cuda.selftest.outcome import Array, Outcome, largest_error, outcome_of
from lucid.nn import functional as F
from lucid.optim.update import adamw_update, average_update, sgd_update
from lucid.tensor import Tensor

DTYPES = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # with their eps

_FLOAT32 = np.dtype(np.float32)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Check:
    """A call of an operator.

    Attributes:
        name: The operator and the case.
        shapes: Those of its tensors.
        compute: The call.
        terms: The number of products added into one value; or of roundings, where nothing is added.
        of_products: Whether terms may cancel: the tolerance is then a part of the sum of their magnitudes.
        positive: Whether only positive numbers make sense.
    """

    name: str
    shapes: tuple[Shape, ...]
    compute: Callable[..., Any]
    terms: int = 4
    of_products: bool = False
    positive: bool = False


def run(device: str) -> Iterator[Outcome]:
    """The outcomes, one by one."""
    for dtype, eps in DTYPES.items():
        for check in checks():
            yield outcome_of(check.name, dtype, partial(_error, check, dtype, eps, device))


def _error(check: Check, dtype: str, eps: float, device: str) -> float:
    rng = np.random.default_rng(20170411)
    tensors = [_drawn(rng, shape, check.positive, device).to(dtype) for shape in check.shapes]
    on_cpu = [x.to("cpu", _FLOAT32) for x in tensors]
    want = _arrays(check.compute(*on_cpu))
    got = _arrays(check.compute(*tensors))
    scale = max(float(np.abs(y).max(initial=0.0)) for y in want)
    if check.of_products:
        sums = _arrays(check.compute(*[Tensor(np.abs(x.numpy())) for x in on_cpu]))
        scale = max(float(y.max(initial=0.0)) for y in sums)
    return largest_error(got, want, scale * (eps + 2 * check.terms * 2.0**-23))


def _drawn(rng: np.random.Generator, shape: Shape, positive: bool, device: str) -> Tensor:
    values = rng.uniform(0.5, 1.5, shape) if positive else rng.standard_normal(shape)
    return Tensor(values.astype(np.float32)).to(device)


def _arrays(result: Any) -> list[Array]:
    results = result if isinstance(result, tuple) else (result,)
    return [(y.to("cpu", _FLOAT32) if y.dtype.kind != "i" else y.cpu()).numpy() for y in results]


# ---- The calls


def checks() -> list[Check]:
    return [*_convolutions(), *_layers(), *_elementwise(), *_memory(), *_updates()]


def _convolutions() -> Iterator[Check]:
    """Kernel sizes, strides and groups of both families, at sizes that are no multiple of any tile."""
    # Name, x, out_channels, window, and what differs from the defaults.
    cases: list[tuple[str, Shape, int, Shape, dict[str, Any]]] = [
        ("1x1", (2, 64, 15, 13), 96, (1, 1), {}),
        ("1x1 stride 2", (2, 48, 15, 14), 64, (1, 1), {"stride": 2}),
        ("3x3", (2, 24, 13, 17), 40, (3, 3), {"padding": 1}),
        ("7x7 stride 2", (2, 3, 45, 37), 64, (7, 7), {"padding": 3, "stride": 2}),
        ("3x3 in groups of 4", (2, 128, 14, 11), 128, (3, 3), {"padding": 1, "groups": 32}),
        ("3x3 in groups of 16", (1, 128, 9, 9), 128, (3, 3), {"padding": 1, "stride": 2, "groups": 8}),
        ("3x3 depthwise", (2, 40, 12, 10), 40, (3, 3), {"padding": 1, "groups": 40}),
        (
            "5x3 dilated",
            (1, 9, 17, 16),
            15,
            (5, 3),
            {"padding": ((2, 3), (1, 0)), "dilation": 2, "groups": 3},
        ),
    ]
    for name, x, out_channels, window, options in cases:
        in_group = x[1] // options.get("groups", 1)
        yield Check(
            f"conv2d {name}",
            (x, (out_channels, in_group, *window), (out_channels,)),
            lambda x, weight, bias, options=options: F.conv2d(x, weight, bias, **options),
            terms=in_group * window[0] * window[1] + 1,
            of_products=True,
        )


def _layers() -> Iterator[Check]:
    images, channels = (2, 24, 9, 11), (24,)
    yield Check("linear", ((5, 70), (33, 70), (33,)), F.linear, terms=71, of_products=True)
    yield Check(
        "batch_norm",
        (images, *[channels] * 4),
        lambda x, mean, var, weight, bias: F.batch_norm(x, mean, var, weight, bias, relu=True),
        positive=True,
        terms=16,
    )
    yield Check(
        "batch_norm of the batch",
        (images, channels, channels),
        lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True),
        terms=198,
    )
    yield Check("max_pool2d", (images,), lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True))
    yield Check("avg_pool2d", (images,), lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), terms=9)
    yield Check("adaptive_avg_pool2d", (images,), lambda x: F.adaptive_avg_pool2d(x, (4, 3)), terms=16)
    yield Check("global_avg_pool2d", (images,), F.global_avg_pool2d, terms=99, of_products=True)
    yield Check("mean", (images,), lambda x: x.mean((2, 3), keepdim=True), terms=99, of_products=True)
    for radix, cardinality in ((1, 2), (2, 1), (2, 3), (4, 1)):
        yield Check(
            f"radix_sum_pool {radix}", (images,), lambda x, radix=radix: F.radix_sum_pool(x, radix), 198, True
        )
        yield Check(
            f"split_attention {radix}x{cardinality}",
            (images, (2, 24)),
            lambda x, y, radix=radix, cardinality=cardinality: F.split_attention(x, y, radix, cardinality),
            terms=16,
        )
    yield Check("softmax", ((7, 33),), lambda x: x.softmax(1), terms=33)
    yield Check("log_softmax", ((3, 5, 8),), lambda x: x.log_softmax(1), terms=16)
    yield Check("cross_entropy", ((7, 33),), _loss, terms=33)
    yield Check(
        "cross_entropy of probabilities", ((7, 33), (7, 33)), F.cross_entropy, terms=33, positive=True
    )


def _loss(x: Tensor) -> Tensor:
    classes = Tensor(np.arange(len(x)) % x.shape[1]).to(x.device)
    return F.cross_entropy(x, classes, label_smoothing=0.1, reduction="none")


def _elementwise() -> Iterator[Check]:
    images = (2, 5, 4, 7)
    yield Check("relu", (images,), F.relu)
    yield Check("sigmoid", (images,), F.sigmoid, terms=8)
    yield Check("+", (images, images), lambda a, b: a + b)
    yield Check("-", (images, (7,)), lambda a, b: a - b)
    yield Check("*", (images, (2, 5, 1, 1)), lambda a, b: a * b)
    yield Check("/", (images, (5, 1, 1)), lambda a, b: a / b, positive=True)
    yield Check("numbers", (images,), lambda a: 1.0 - 2.0 * a / 4.0, terms=8)
    yield Check("clamp", (images,), lambda a: a.clamp(-0.5, 0.5))


def _memory() -> Iterator[Check]:
    images = (2, 6, 5, 7)
    yield Check("reshape", (images,), lambda x: F.relu(x).flatten(1))
    yield Check("permute", (images,), lambda x: x.permute(3, 1, 0, 2).contiguous())
    yield Check("slice", (images,), lambda x: x[:, 1::2, ::-1, 2].clone())
    yield Check("in place", (images, (7,)), _in_place)


def _in_place(x: Tensor, y: Tensor) -> Tensor:
    x = x.clone()
    x += y
    x[:, 0] = 2.0
    x[0, 1:3, :, 1] *= 3.0
    return x


def _updates() -> Iterator[Check]:
    shape = (33, 20)
    yield Check("sgd_update", (shape,) * 3, _sgd)
    yield Check("adamw_update", (shape,) * 4, _adamw, terms=16, positive=True)
    yield Check("average_update", (shape,) * 2, _average)


def _sgd(parameter: Tensor, gradient: Tensor, buffer: Tensor) -> tuple[Tensor, ...]:
    changed = parameter.clone(), buffer.clone()
    sgd_update(
        changed[0].data,
        gradient.data,
        changed[1].data,
        lr=0.1,
        momentum=0.9,
        dampening=0.0,
        weight_decay=0.01,
        nesterov=True,
        is_first_step=False,
    )
    return changed


def _adamw(parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> tuple[Tensor, ...]:
    changed = parameter.clone(), mean.clone(), square.clone()
    adamw_update(
        changed[0].data,
        gradient.data,
        changed[1].data,
        changed[2].data,
        lr=0.1,
        betas=(0.9, 0.999),
        eps=1e-3,
        weight_decay=0.01,
        step=3,
    )
    return changed


def _average(average: Tensor, parameter: Tensor) -> Tensor:
    average = average.clone()
    average_update(average.data, parameter.data, decay=0.75)
    return average
