"""The record column of the primitives: which step of a plan stands for a call, or why none does.

A record function takes the recorder and the arguments of the primitive: symbols for values of the plan;
tensors, arrays and numbers for constants. It returns a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid import _core

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Attribute: TypeAlias = "int | bool | tuple[int, ...]"
Record: TypeAlias = Callable[..., Any]

NO_COUNTERPART = "has no counterpart in a plan"
UNKNOWN_VALUES = "needs the values of a tensor, which are not known before the plan runs"


class Recorder(Protocol):
    """The part of a tracer that primitives, record functions and modules use."""

    def record(self, function: Record, values: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
        """Calls a record function. ValueError with the line of the program if the values do not fit."""

    def step(
        self,
        kind: str,
        inputs: Sequence[Any],
        attributes: Mapping[str, Attribute] = ...,
        weights: Mapping[str, Array] = ...,
    ) -> Any:
        """Records a step and returns a symbol of its output. ValueError if it does not fit its inputs."""

    def refusal(self, what: str, reason: str = ...) -> NotImplementedError:
        """The error for what no plan can express, with the line of the user's program."""

    def called(self, module: Any, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Calls ``module.forward``; the steps recorded meanwhile are those of ``module``."""


class Symbolic:
    """A value that is recorded and not computed; the base of the tracer's symbols."""

    recorder: Recorder
    shape: Shape

    def become(self, other: Any) -> Any:
        """Lets whoever holds this value read ``other`` from now on, as an operation in place does."""
        raise NotImplementedError(f"{type(self).__name__}: a subclass must define become, got none")


# The tracer that listens to calls of modules in this context.
recorder_in_use: ContextVar[Recorder | None] = ContextVar("recorder_in_use", default=None)


# ---- The three usual columns


def step(kind: str, **fixed: Attribute) -> Record:
    """Records a step of that kind, with the primitive's attributes and the ``fixed`` ones."""

    def record(recorder: Recorder, *inputs: Any, **attributes: Any) -> Any:
        return recorder.step(kind, _symbols(kind, inputs), {**attributes, **fixed})

    return record


def refuse(what: str, reason: str = NO_COUNTERPART) -> Record:
    """Records nothing: the call cannot be expressed in a plan."""

    def record(recorder: Recorder, *inputs: Any, **attributes: Any) -> NoReturn:
        raise recorder.refusal(what, reason)

    return record


def reshaped(method: str) -> Record:
    """Records a new shape, where a plan knows it."""

    def record(recorder: Recorder, x: Any, *, shape: Shape) -> Any:
        if shape == x.shape:
            return x
        if len(x.shape) == 4 and shape == (x.shape[0], math.prod(x.shape[1:])):
            return recorder.step("flatten", [x])
        if len(x.shape) == 2 and shape == (*x.shape, 1, 1):
            return recorder.step("unflatten", [x])
        raise recorder.refusal(
            f"Tensor.{method} from {x.shape} to {shape}",
            f"{NO_COUNTERPART}: it knows (n, c, h, w) to (n, c * h * w), and (n, c) to (n, c, 1, 1)",
        )

    return record


# ---- Layers


def conv2d(recorder: Recorder, x: Any, weight: Any, bias: Any, **window: Any) -> Any:
    weights = _constants(recorder, "conv2d", weight=weight, bias=bias)
    return recorder.step("conv2d", _symbols("conv2d", [x]), {**window, "relu": False}, weights)


def linear(recorder: Recorder, x: Any, weight: Any, bias: Any) -> Any:
    weights = _constants(recorder, "linear", weight=weight, bias=bias)
    return recorder.step("linear", _symbols("linear", [x]), {"groups": 1, "relu": False}, weights)


def batch_norm(
    recorder: Recorder,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    residual: Any = None,
    *,
    eps: float,
    relu: bool,
) -> Any:
    """The statistics become part of weight and bias, in float64, so that folding them later rounds once."""
    [x] = _symbols("batch_norm", [x])
    arrays = _constants(recorder, "batch_norm", mean=mean, var=var, weight=weight, bias=bias)
    # The step has two arrays made of these four and of eps, so the operator checks them here, on one row.
    row = np.zeros((1, *x.shape[1:2]), np.float32)
    weight, bias = arrays.get("weight"), arrays.get("bias")
    _core.batch_norm(row, weight, bias, arrays["mean"], arrays["var"], eps)
    with np.errstate(all="ignore"):
        scale = 1.0 / np.sqrt(arrays["var"].astype(np.float64) + eps)
        scale = scale * arrays.get("weight", 1.0)
        shift = arrays.get("bias", 0.0) - arrays["mean"] * scale
    constants = {"weight": scale, "bias": shift}
    if residual is None:
        return recorder.step("batch_norm", [x], {"relu": relu}, constants)
    y = recorder.step("batch_norm", [x], {"relu": False}, constants)
    y = recorder.step("add", [y, *_symbols("batch_norm", [residual])], {"relu": False})
    return recorder.step("relu", [y]) if relu else y


def adaptive_avg_pool2d(recorder: Recorder, x: Any, *, output_size: tuple[int, int]) -> Any:
    """One pixel is the global mean, which the passes know how to use."""
    if output_size == (1, 1) and len(x.shape) == 4:
        return recorder.step("unflatten", [recorder.step("radix_sum_pool", [x], {"radix": 1})])
    return recorder.step("adaptive_avg_pool2d", [x], {"output_size": output_size})


def split_attention(recorder: Recorder, x: Any, logits: Any, **attributes: Any) -> Any:
    x, logits = _symbols("split_attention", (x, logits))
    if len(logits.shape) == 4 and logits.shape[2:] == (1, 1):
        logits = recorder.step("flatten", [logits])
    return recorder.step("split_attention", [x, logits], attributes)


def relu(recorder: Recorder, x: Any, *, inplace: bool) -> Any:
    result = recorder.step("relu", [x])
    return x.become(result) if inplace else result


def mean(recorder: Recorder, x: Any, *, dim: tuple[int, ...], keepdim: bool) -> Any:
    if len(x.shape) != 4 or dim != (2, 3):
        raise recorder.refusal(
            f"Tensor.mean over {dim} of {x.shape}", f"{NO_COUNTERPART}: it knows that over (2, 3)"
        )
    pooled = recorder.step("radix_sum_pool", [x], {"radix": 1})
    return recorder.step("unflatten", [pooled]) if keepdim else pooled


def clamp(recorder: Recorder, x: Any, *, min: float | None, max: float | None) -> Any:
    if min != 0 or max is not None:
        raise recorder.refusal(
            f"Tensor.clamp with min={min} and max={max}", f"{NO_COUNTERPART}: it knows min=0, the ReLU"
        )
    return recorder.step("relu", [x])


def pad(recorder: Recorder, x: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> Any:
    """A depthwise convolution of one tap, whose padding it is."""
    if len(x.shape) != 4 or value != 0 or widths[:2] != ((0, 0), (0, 0)) or min(map(min, widths)) < 0:
        raise recorder.refusal(
            f"pad of {x.shape} by {widths} with {value}",
            f"{NO_COUNTERPART}: it knows zeros around the height and width of (n, c, h, w)",
        )
    channels = x.shape[1]
    (top, bottom), (left, right) = widths[2:]
    window = {"stride": (1, 1), "padding": (top, left, bottom, right), "dilation": (1, 1), "groups": channels}
    one = {"weight": np.ones((channels, 1, 1, 1), np.float32)}
    return recorder.step("conv2d", [x], {**window, "relu": False}, one)


def cast(recorder: Recorder, x: Any, *, dtype: np.dtype[Any]) -> Any:
    if dtype != np.float32:
        raise recorder.refusal(f"Tensor.to {dtype}")
    return x


def moved(recorder: Recorder, x: Any, *, device: int | None) -> Any:
    """Nothing: a plan computes where it was compiled for, and its values are all there."""
    return x


def copied(recorder: Recorder, x: Any, **options: Any) -> Any:
    """A name of its own, for operations in place."""
    return x.another()


# ---- Arithmetic


def add(recorder: Recorder, a: Any, b: Any) -> Any:
    if not (isinstance(a, Symbolic) and isinstance(b, Symbolic)):
        x, constant = _variable_first(a, b)
        return _scaled(recorder, "+", x, shift=constant)
    if a.shape != b.shape:
        raise recorder.refusal(f"+ of {a.shape} and {b.shape}")
    return recorder.step("add", [a, b], {"relu": False})


def subtract(recorder: Recorder, a: Any, b: Any) -> Any:
    if not isinstance(b, Symbolic):
        return _scaled(recorder, "-", a, shift=b, sign=-1.0)
    return add(recorder, negative(recorder, b), a)


def multiply(recorder: Recorder, a: Any, b: Any) -> Any:
    if not (isinstance(a, Symbolic) and isinstance(b, Symbolic)):
        x, constant = _variable_first(a, b)
        return _scaled(recorder, "*", x, scale=constant)
    image, factors = (a, b) if math.prod(a.shape) >= math.prod(b.shape) else (b, a)
    if len(image.shape) != 4 or factors.shape != (*image.shape[:2], 1, 1):
        raise recorder.refusal(
            f"* of {a.shape} and {b.shape}", f"{NO_COUNTERPART}: it knows (n, c, h, w) times (n, c, 1, 1)"
        )
    return recorder.step("mul", [image, recorder.step("flatten", [factors])])


def divide(recorder: Recorder, a: Any, b: Any) -> Any:
    if isinstance(b, Symbolic):
        raise recorder.refusal("/ of two tensors" if isinstance(a, Symbolic) else "division by a tensor")
    return _scaled(recorder, "/", a, divisor=b)


def negative(recorder: Recorder, x: Any) -> Any:
    return _scaled(recorder, "-", x, scale=-1.0)


def _variable_first(a: Any, b: Any) -> tuple[Any, Any]:
    return (a, b) if isinstance(a, Symbolic) else (b, a)


def _scaled(
    recorder: Recorder,
    written: str,
    x: Any,
    scale: object = 1.0,
    shift: object = 0.0,
    divisor: object = 1.0,
    sign: float = 1.0,
) -> Any:
    """``x * scale / divisor + sign * shift``, with numbers or arrays of one number a channel."""
    scale, shift, divisor = (
        _per_channel(recorder, written, x.shape, value) for value in (scale, shift, divisor)
    )
    with np.errstate(all="ignore"):
        weights = {"weight": scale / divisor, "bias": sign * shift}
    return recorder.step("batch_norm", [x], {"relu": False}, weights)


def _per_channel(recorder: Recorder, written: str, x: Shape, value: Any) -> Array:
    array = _array(value)
    shape = (1,) * (len(x) - array.ndim) + array.shape
    fits = len(shape) == len(x) and all(
        length == 1 or (axis == 1 and length == x[1]) for axis, length in enumerate(shape)
    )
    # A scalar has no say in the dtype of a result; an array of another dtype would make it that.
    is_number = isinstance(value, (int, float))
    keeps_dtype = array.dtype == np.float32 or array.dtype.kind in ("biuf" if is_number else "biu")
    if not fits or not keeps_dtype:
        raise recorder.refusal(
            f"{written} of {x} and {array.dtype} of shape {array.shape}",
            f"{NO_COUNTERPART}: it knows numbers, and float32 constants with one value for each channel",
        )
    return np.broadcast_to(array.astype(np.float64).reshape(-1), x[1:2])


# ---- Arguments


def _array(value: Any) -> Array:
    """That of a constant. What a GPU holds is copied, and widened to float32 from 16 bits."""
    array: Any = value.data if isinstance(value, _core.TensorBase) else value
    if isinstance(array, _core.DeviceArray):
        return array.convert(np.dtype(np.float32), "K").to_host()
    return np.asarray(array)


def _symbols(op: str, values: Sequence[Any]) -> list[Any]:
    for value in values:
        if not isinstance(value, Symbolic):
            raise TypeError(
                f"{op}: the input must be what the plan computes, got a constant {type(value).__name__}"
            )
    return list(values)


def _constants(recorder: Recorder, op: str, **values: Any) -> dict[str, Array]:
    """The arrays of those that are not None."""
    arrays = {}
    for name, value in values.items():
        if isinstance(value, Symbolic):
            raise recorder.refusal(
                f"{op}: {name}", "must be a constant in a plan, not something that is computed"
            )
        if value is not None:
            arrays[name] = _array(value)
            if arrays[name].dtype != np.float32:
                raise ValueError(f"{op}: {name} must be float32, got {arrays[name].dtype}")
    return arrays
