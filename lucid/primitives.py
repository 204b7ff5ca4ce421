"""The primitives: what Tensor's methods and ``lucid.nn.functional`` are made of, a row each.

A row says how a primitive runs on arrays, how it is recorded as a step of a plan, and how its gradient is
computed. Its arguments are normalised by the callers: values first (tensors, symbols, arrays, numbers, None),
then attributes by name, such as four sides of padding or dimensions counted from the front. The values decide
which column is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from lucid import _core, device_array, eager, losses, recording
from lucid.autograd.mode import is_grad_enabled
from lucid.autograd.tape import Gradient, array_of, edge_of, record, record_change
from lucid.gradients import elementwise, layers, memory, reductions
from lucid.recording import Symbolic, refuse, reshaped, step

if TYPE_CHECKING:
    from lucid.tensor import Tensor

Result = TypeVar("Result")
TensorBase = _core.TensorBase


class Primitive(Generic[Result]):
    """A row of the table.

    Attributes:
        run: Computes arrays from arrays, at once.
        record: Records steps of a plan; see ``lucid.recording``.
        backward: Computes gradients, see ``lucid.autograd``; None where the results have none.
    """

    __slots__ = ("backward", "record", "run")

    def __init__(
        self,
        run: Callable[..., Any],
        record: recording.Record,
        backward: Gradient | None = None,
    ) -> None:
        self.run = run
        self.record = record
        self.backward = backward

    def __call__(self, value: Any, /, *others: Any, **attributes: Any) -> Result:
        """A tensor of the result of ``run``, or a symbol if a value is one. One value at least is either."""
        recorded = False
        if not others and isinstance(value, TensorBase):  # half a microsecond less
            tracked = value._requires_grad  # type: ignore[attr-defined]
            if not (tracked and self.backward is not None and is_grad_enabled()):
                return value.wrap(self.run(value.data, **attributes))  # type: ignore[no-any-return, attr-defined]
            return record(self.backward, self.run, (value,), attributes)  # type: ignore[no-any-return]
        values = (value, *others)
        arrays: list[Any] = []
        maker: Any = None
        for value in values:
            if isinstance(value, TensorBase):
                maker = value
                recorded = recorded or value._requires_grad  # type: ignore[attr-defined]
                value = value.data
            elif isinstance(value, Symbolic):
                return value.recorder.record(self.record, values, attributes)  # type: ignore[no-any-return]
            arrays.append(value)
        if recorded and self.backward is not None and is_grad_enabled():
            return record(self.backward, self.run, values, attributes)  # type: ignore[no-any-return]
        return maker.wrap(self.run(*arrays, **attributes))  # type: ignore[no-any-return]

    def update(self, written: str, target: Any, other: Any, **attributes: Any) -> Any:
        """Writes the result over ``target``, as ``target += other`` does; ``written`` is that operator."""
        if isinstance(target, Symbolic):
            return target.become(self(target, other, **attributes))
        if isinstance(other, Symbolic):
            raise other.recorder.refusal(f"{written} on a constant")
        assert isinstance(self.run, (eager.Binary, eager.Assign))
        change = partial(self.run.into, written, target.data, array_of(other), **attributes)
        if is_grad_enabled() and (target._requires_grad or edge_of(other) is not None):
            assert self.backward is not None
            record_change(self.backward, written, change, (target, other), attributes)
        else:
            change()
        return target


def _binary(function: np.ufunc, written: str, backward: Gradient | None = None) -> Primitive[Tensor]:
    return Primitive(eager.Binary(function), refuse(written), backward)


def _elementwise(name: str, function: np.ufunc, backward: Gradient) -> Primitive[Tensor]:
    return Primitive(eager.elementwise(name, function), refuse(f"Tensor.{name}"), backward)


def _shape(method: str) -> Primitive[Tensor]:
    return Primitive(lambda x, shape: x.reshape(shape), reshaped(method), memory.reshape)


# ---- Layers

conv2d: Primitive[Tensor] = Primitive(eager.conv2d, recording.conv2d, layers.conv2d)
linear: Primitive[Tensor] = Primitive(eager.linear, recording.linear, layers.linear)
batch_norm: Primitive[Tensor] = Primitive(eager.batch_norm, recording.batch_norm, layers.batch_norm)
# With the statistics of the batch, whose gradients are part of this row's.
batch_norm_training: Primitive[Tensor] = Primitive(
    eager.batch_norm,
    refuse("batch_norm with the statistics of the batch"),
    layers.batch_norm_training,
)
batch_norm_statistics: Primitive[tuple[Tensor, Tensor]] = Primitive(
    _core.batch_norm_statistics,
    refuse(
        "batch_norm with the statistics of the batch",
        f"{recording.NO_COUNTERPART}: the module must be in eval mode and have running statistics",
    ),
)
max_pool2d: Primitive[Tensor] = Primitive(_core.max_pool2d, step("max_pool2d"), layers.max_pool2d)
max_pool2d_with_indices: Primitive[tuple[Tensor, Tensor]] = Primitive(
    _core.max_pool2d_with_indices, refuse("max_pool2d with return_indices"), layers.max_pool2d_with_indices
)
avg_pool2d: Primitive[Tensor] = Primitive(_core.avg_pool2d, step("avg_pool2d"), layers.avg_pool2d)
adaptive_avg_pool2d: Primitive[Tensor] = Primitive(
    _core.adaptive_avg_pool2d, recording.adaptive_avg_pool2d, layers.adaptive_avg_pool2d
)
radix_sum_pool: Primitive[Tensor] = Primitive(
    _core.radix_sum_pool, step("radix_sum_pool"), layers.radix_sum_pool
)
split_attention: Primitive[Tensor] = Primitive(
    _core.split_attention, recording.split_attention, layers.split_attention
)
dropout: Primitive[Tensor] = Primitive(
    eager.dropout,
    refuse(
        "dropout",
        f"{recording.NO_COUNTERPART} unless it does nothing: the module must be in eval mode",
    ),
    elementwise.dropout,
)

cross_entropy: Primitive[Tensor] = Primitive(
    losses.cross_entropy, refuse("cross_entropy"), layers.cross_entropy
)

# ---- Elementwise

relu: Primitive[Tensor] = Primitive(eager.relu, recording.relu, elementwise.relu)
sigmoid: Primitive[Tensor] = Primitive(eager.sigmoid, step("sigmoid"), elementwise.sigmoid)
softmax: Primitive[Tensor] = Primitive(eager.softmax, step("softmax"), elementwise.softmax)
exp = _elementwise("exp", np.exp, elementwise.exp)
log = _elementwise("log", np.log, elementwise.log)
sqrt = _elementwise("sqrt", np.sqrt, elementwise.sqrt)
abs: Primitive[Tensor] = Primitive(np.abs, refuse("Tensor.abs"), elementwise.abs)
negative: Primitive[Tensor] = Primitive(np.negative, recording.negative, elementwise.negative)
invert: Primitive[Tensor] = Primitive(np.invert, refuse("~"))
clamp: Primitive[Tensor] = Primitive(
    lambda x, min, max: np.clip(x, min, max), recording.clamp, elementwise.clamp
)

# ---- Two operands

add: Primitive[Tensor] = Primitive(eager.Add(np.add), recording.add, elementwise.add)
subtract: Primitive[Tensor] = Primitive(eager.Binary(np.subtract), recording.subtract, elementwise.subtract)
multiply: Primitive[Tensor] = Primitive(eager.Binary(np.multiply), recording.multiply, elementwise.multiply)
divide: Primitive[Tensor] = Primitive(eager.Binary(np.divide), recording.divide, elementwise.divide)
floor_divide = _binary(np.floor_divide, "//")
remainder = _binary(np.remainder, "%", elementwise.remainder)
power = _binary(np.power, "**", elementwise.power)
matmul = _binary(np.matmul, "@", elementwise.matmul)
bitwise_and = _binary(np.bitwise_and, "&")
bitwise_or = _binary(np.bitwise_or, "|")
less = _binary(np.less, "<")
less_equal = _binary(np.less_equal, "<=")
greater = _binary(np.greater, ">")
greater_equal = _binary(np.greater_equal, ">=")
equal = _binary(np.equal, "==")
not_equal = _binary(np.not_equal, "!=")

# ---- Shape, dtype, memory

reshape = _shape("reshape")
flatten = _shape("flatten")
squeeze = _shape("squeeze")
unsqueeze = _shape("unsqueeze")
view: Primitive[Tensor] = Primitive(eager.view, reshaped("view"), memory.reshape)
permute: Primitive[Tensor] = Primitive(
    lambda x, dims: x.transpose(dims), refuse("Tensor.permute"), memory.permute
)
index: Primitive[Tensor] = Primitive(eager.index, refuse("indexing"), memory.index)
assign: Primitive[Tensor] = Primitive(eager.Assign(), refuse("assignment to elements"), memory.assign)
pad: Primitive[Tensor] = Primitive(eager.pad, recording.pad, memory.pad)
move: Primitive[Tensor] = Primitive(device_array.moved, recording.moved, memory.move)
cast: Primitive[Tensor] = Primitive(lambda x, dtype: x.astype(dtype), recording.cast, memory.cast)
clone: Primitive[Tensor] = Primitive(lambda x: x.copy(order="K"), recording.copied, memory.clone)
detach: Primitive[Tensor] = Primitive(lambda x: x, lambda recorder, x: x)
contiguous: Primitive[Tensor] = Primitive(eager.contiguous, recording.copied, memory.contiguous)

# ---- Reductions

sum: Primitive[Tensor] = Primitive(eager.total, refuse("Tensor.sum"), reductions.sum)
mean: Primitive[Tensor] = Primitive(eager.mean, recording.mean, reductions.mean)
var: Primitive[Tensor] = Primitive(eager.var, refuse("Tensor.var"), reductions.var)
std: Primitive[Tensor] = Primitive(eager.std, refuse("Tensor.std"), reductions.std)
max: Primitive[Tensor] = Primitive(eager.extreme("max"), refuse("Tensor.max"), reductions.extreme)
min: Primitive[Tensor] = Primitive(eager.extreme("min"), refuse("Tensor.min"), reductions.extreme)
argmax: Primitive[Tensor] = Primitive(eager.place("argmax"), refuse("Tensor.argmax"))
argmin: Primitive[Tensor] = Primitive(eager.place("argmin"), refuse("Tensor.argmin"))
sort: Primitive[tuple[Tensor, Tensor]] = Primitive(eager.sort, refuse("Tensor.sort"), reductions.sort)
topk: Primitive[tuple[Tensor, Tensor]] = Primitive(eager.topk, refuse("Tensor.topk"), reductions.topk)
all: Primitive[Tensor] = Primitive(lambda x: x.all(), refuse("Tensor.all"))
any: Primitive[Tensor] = Primitive(lambda x: x.any(), refuse("Tensor.any"))

TABLE: dict[str, Primitive[Any]] = {
    name: value for name, value in list(globals().items()) if isinstance(value, Primitive)
}
