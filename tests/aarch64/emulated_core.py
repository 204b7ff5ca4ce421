"""A plugin of pytest: ``lucid._core`` computes on an emulated AArch64.

    LUCID_AARCH64=FOLDER pytest -p emulated_core tests/ops ...

Operators, plans and the runtime are replaced by calls of ``FOLDER/liblucid.so``, which ``.ci/aarch64``
builds, so that tests of theirs in Python run on it unchanged. CUDA and tensors' memory stay those of this
processor.
"""

from __future__ import annotations

import importlib
import os
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from emulator import Emulator

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Sides = tuple[int, int, int, int]

_SHAPE = "BBHi8q"  # lucid_shape
_device = Emulator(Path(os.environ["LUCID_AARCH64"]))


def _shape_at(address: int) -> tuple[int, ...]:
    _, _, _, rank, *sizes = struct.unpack(f"@{_SHAPE}", _device.read(address, struct.calcsize(f"@{_SHAPE}")))
    return tuple(sizes[:rank])


def _shapes(shapes: Sequence[Sequence[int]]) -> int:
    packed = [struct.pack(f"@{_SHAPE}", 2, 32, 1, len(s), *s, *[0] * (8 - len(s))) for s in shapes]
    return _device.place(b"".join(packed))


def _sides(padding: Sides) -> tuple[int, ...]:
    top, left, bottom, right = padding
    return top, left, bottom - top, right - left


def _arguments(layout: str, *values: float, behind: str = "", added: Sequence[float] = ()) -> int:
    """A struct without a context; ``added`` are the fields behind that, in the layout ``behind``."""
    whole = f"N{layout}P{behind}"
    return _device.numbers(whole, struct.calcsize(f"@{whole}"), *values, 0, *added)


def _output_shape(op: str, arguments: int) -> tuple[int, ...]:
    shape = _device.reserve(struct.calcsize(f"@{_SHAPE}"))
    _device.status(f"lucid_{op}_output_shape", arguments, shape)
    return _shape_at(shape)


def _run(op: str, layout: str, values: Callable[[int], tuple[float, ...]], **more: Any) -> Array:
    """The output of an operator; ``values(y)`` are the fields of its arguments between size and context."""
    y, result = _device.result(_output_shape(op, _arguments(layout, *values(0), **more)))
    _device.status(f"lucid_{op}", _arguments(layout, *values(y), **more))
    return result.get()


def _tensors(*arrays: Array | None) -> list[int]:
    _device.forget()
    return [_device.tensor(array) for array in arrays]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: int,
    algorithm: str | None = None,
    winograd: bool = False,
) -> Array:
    a, w, b = _tensors(x, weight, bias)
    window = (*stride, *_sides(padding), *dilation, groups, _device.string(algorithm), 0)
    return _run("conv2d", "4P9q2P", lambda y: (a, w, b, y, *window), behind="i", added=(winograd,))


def conv2d_algorithms(
    x: Array,
    weight: Array,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    groups: int,
    winograd: bool = False,
) -> list[str]:
    a, w = _tensors(x, weight)
    window = (*stride, *_sides(padding), *dilation, groups, 0, 0)
    arguments = _arguments("4P9q2P", a, w, 0, 0, *window, behind="i", added=(winograd,))
    names = _device.numbers("P", 0)
    _device.status("lucid_conv2d_algorithms", arguments, names)
    return _device.text(struct.unpack("@P", _device.read(names, 8))[0]).split(",")


def max_pool2d(
    x: Array, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool
) -> Array:
    (a,) = _tensors(x)
    window = (*kernel_size, *stride, *_sides(padding), *dilation, ceil_mode)
    return _run("max_pool2d", "3P10qi", lambda y: (a, y, 0, *window))


def max_pool2d_with_indices(
    x: Array, kernel_size: Pair, stride: Pair, padding: Sides, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    (a,) = _tensors(x)
    window = (*kernel_size, *stride, *_sides(padding), *dilation, ceil_mode)
    shape = _output_shape("max_pool2d", _arguments("3P10qi", a, 0, 0, *window))
    indices, result = _device.result(shape, np.int64)
    return _run("max_pool2d", "3P10qi", lambda y: (a, y, indices, *window)), result.get()


def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair,
    padding: Sides,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int = 0,
) -> Array:
    (a,) = _tensors(x)
    window = (*kernel_size, *stride, *_sides(padding), ceil_mode, count_include_pad, divisor_override)
    return _run("avg_pool2d", "2P8q2iq", lambda y: (a, y, *window))


def adaptive_avg_pool2d(x: Array, output_size: Pair) -> Array:
    (a,) = _tensors(x)
    return _run("adaptive_avg_pool2d", "2P2q", lambda y: (a, y, *output_size))


def radix_sum_pool(x: Array, radix: int) -> Array:
    (a,) = _tensors(x)
    return _run("radix_sum_pool", "2Pq", lambda y: (a, y, radix))


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    relu: bool = False,
    residual: Array | None = None,
) -> Array:
    a, *vectors, addend = _tensors(x, weight, bias, mean, var, residual)
    return _run("batch_norm", "6Pdi", lambda y: (a, y, *vectors, eps, relu), behind="P", added=(addend,))


def batch_norm_statistics(x: Array) -> tuple[Array, Array]:
    (a,) = _tensors(x)
    shape = _output_shape("batch_norm_statistics", _arguments("3P", a, 0, 0))
    (mean, mean_result), (var, var_result) = _device.result(shape), _device.result(shape)
    _device.status("lucid_batch_norm_statistics", _arguments("3P", a, mean, var))
    return mean_result.get(), var_result.get()


def split_attention(x: Array, logits: Array, radix: int, cardinality: int) -> Array:
    a, scores = _tensors(x, logits)
    return _run("split_attention", "3P2q", lambda y: (a, scores, y, radix, cardinality))


def linear(x: Array, weight: Array, bias: Array | None, groups: int = 1) -> Array:
    a, w, b = _tensors(x, weight, bias)
    return _run("linear", "4Pq", lambda y: (a, w, b, y, groups))


def relu(x: Array, inplace: bool = False) -> Array:
    (a,) = _tensors(x)
    if not inplace:
        return _run("relu", "2P", lambda y: (a, y))
    if not x.flags.writeable:
        raise ValueError("relu: x must be writable to be changed in place, got a read-only array")
    x[...] = _run("relu", "2P", lambda y: (a, y))
    return x


def sigmoid(x: Array) -> Array:
    (a,) = _tensors(x)
    return _run("sigmoid", "2P", lambda y: (a, y))


def softmax(x: Array, dim: int, log: bool = False) -> Array:
    (a,) = _tensors(x)
    return _run("softmax", "2P2i", lambda y: (a, y, dim, log))


def add(a: Array, b: Array) -> Array:
    first, second = _tensors(a, b)
    return _run("add", "3P", lambda y: (first, second, y))


def mul(a: Array, b: Array) -> Array:
    first, second = _tensors(a, b)
    return _run("mul", "3P", lambda y: (first, second, y))


def _step(
    kind: str,
    inputs: Sequence[int],
    output: int,
    attributes: dict[str, Any],
    weights: dict[str, Array],
) -> bytes:
    """A lucid_plan_step."""
    described = b""
    for name, value in attributes.items():
        values = value if isinstance(value, tuple) else (value,)
        described += struct.pack(
            "@Pi4q", _device.string(name), len(values), *values, *[0] * (4 - len(values))
        )
    tensors = [_device.tensor(weights.get(name)) for name in ("weight", "bias")]
    indices = _device.numbers(f"{len(inputs)}i", *inputs)
    counts = (_device.string(kind), indices, len(inputs), output, _device.place(described), len(attributes))
    return struct.pack("@2P2iPi2P", *counts, *tensors)


def step_output_shape(
    kind: str,
    inputs: Sequence[tuple[int, ...]],
    attributes: dict[str, Any],
    weights: dict[str, tuple[int, ...]],
) -> tuple[int, ...]:
    _device.forget()
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in weights.items()}
    step = _device.place(_step(kind, range(len(inputs)), -1, attributes, arrays))
    shape = _device.reserve(struct.calcsize(f"@{_SHAPE}"))
    _device.status("lucid_step_output_shape", step, _shapes(inputs), shape)
    return _shape_at(shape)


class Plan:
    """As ``lucid._core.Plan`` on the CPU."""

    def __init__(
        self,
        shapes: list[tuple[int, ...]],
        inputs: list[int],
        outputs: list[int],
        steps: list[dict[str, Any]],
        winograd: bool = True,
        device: int | None = None,
        dtype: str = "float32",
        tf32: bool = False,
        pixels: Sequence[object | None] = (),
        threads: int = 0,
    ) -> None:
        if device is not None or dtype != "float32" or tf32 or any(pixels):
            raise NotImplementedError("emulated plan: must be one of the CPU in float32, from float32")
        _device.forget()
        made = _device.place(b"".join(_step(**step) for step in steps))
        pointers = (_shapes(shapes), made, *(_device.numbers(f"{len(v)}i", *v) for v in (inputs, outputs)))
        counts = (len(shapes), len(steps), len(inputs), len(outputs), winograd)
        layout = "N4P5iP2iBBHi"
        arguments = _device.numbers(
            layout, struct.calcsize(f"@{layout}"), *pointers, *counts, 0, 0, 0, 0, 0, 0, 0
        )
        handle = _device.numbers("P", 0)
        _device.status("lucid_plan_create", arguments, handle)
        (self._handle,) = struct.unpack("@P", _device.read(handle, 8))
        self._inputs, self._steps = len(inputs), len(steps)
        self._outputs = [shapes[index] for index in outputs]

    def run(self, inputs: Sequence[Array], threads: int = 0) -> list[Array]:
        return self._run(inputs, 0)

    def profile(self, inputs: Sequence[Array], threads: int = 0) -> list[tuple[float, float, float]]:
        _device.forget()
        times = _device.reserve(8 * self._steps)
        self._run(inputs, times, forget=False)
        measured = struct.unpack(f"@{self._steps}d", _device.read(times, 8 * self._steps))
        return [(milliseconds, 0.0, 0.0) for milliseconds in measured]  # on one thread

    def algorithms(self) -> list[str]:
        return [
            _device.text(_device.call("lucid_plan_algorithm", self._handle, step))
            for step in range(self._steps)
        ]

    def memory(self) -> dict[str, int]:
        return {
            name: _device.call(f"lucid_plan_{part}_bytes", self._handle)
            for name, part in (("weights", "weight"), ("arena", "arena"))
        }

    def _run(self, inputs: Sequence[Array], milliseconds: int, forget: bool = True) -> list[Array]:
        if len(inputs) != self._inputs:
            raise ValueError(f"plan: takes {self._inputs} inputs, got {len(inputs)}")
        if forget:
            _device.forget()
        given = [_device.tensor(array) for array in inputs]
        results = [_device.result(shape) for shape in self._outputs]
        pointers = (_device.numbers(f"{len(p)}P", *p) for p in (given, [address for address, _ in results]))
        _device.status("lucid_plan_run", self._handle, *pointers, milliseconds)
        return [result.get() for _, result in results]

    def __del__(self) -> None:
        if hasattr(self, "_handle") and not sys.is_finalizing():
            _device.call("lucid_plan_destroy", self._handle)


def isa() -> str:
    return _device.text(_device.call("lucid_isa"))


def isas() -> list[str]:
    return _device.text(_device.call("lucid_isas")).split(",")


def set_isa(name: str) -> None:
    _device.forget()
    _device.status("lucid_set_isa", _device.string(name))


def num_threads() -> int:
    return _device.call("lucid_num_threads") & 0x7FFFFFFF


def set_num_threads(threads: int) -> None:
    _device.status("lucid_set_num_threads", threads & 0xFFFFFFFF)


def _replace() -> None:
    """Puts the functions above into ``lucid._core``, and imports anew what took the former ones."""
    core = importlib.import_module("lucid._core")
    for name in list(sys.modules):
        if name.split(".")[0] == "lucid" and sys.modules[name] is not core:
            del sys.modules[name]
    for name, value in globals().items():
        if not name.startswith("_") and hasattr(core, name) and getattr(value, "__module__", "") == __name__:
            setattr(core, name, value)
    importlib.import_module("lucid")


_replace()
