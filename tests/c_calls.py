"""Calls of lucid.h's operators by the names of their arguments."""

from __future__ import annotations

import ctypes
from typing import Any

import c_abi
import numpy as np

TENSOR = ctypes.POINTER(c_abi.Tensor)
PAIR = ctypes.c_int64 * 2

# The fields of each struct between its size and its context: which type, and the names that have it.
FIELDS: dict[str, list[tuple[Any, str]]] = {
    "lucid_max_pool2d": [
        (TENSOR, "x y indices"),
        (PAIR, "kernel_size stride padding extra_padding dilation"),
        (ctypes.c_int32, "ceil_mode"),
    ],
    "lucid_avg_pool2d": [
        (TENSOR, "x y"),
        (PAIR, "kernel_size stride padding extra_padding"),
        (ctypes.c_int32, "ceil_mode count_include_pad"),
        (ctypes.c_int64, "divisor_override"),
    ],
    "lucid_adaptive_avg_pool2d": [(TENSOR, "x y"), (PAIR, "output_size")],
    "lucid_radix_sum_pool": [(TENSOR, "x y"), (ctypes.c_int64, "radix")],
    "lucid_batch_norm": [
        (TENSOR, "x y weight bias mean var"),
        (ctypes.c_double, "eps"),
        (ctypes.c_int32, "relu"),
    ],
    "lucid_batch_norm_statistics": [(TENSOR, "x mean var")],
    "lucid_split_attention": [(TENSOR, "x logits y"), (ctypes.c_int64, "radix cardinality")],
    "lucid_linear": [(TENSOR, "x weight bias y"), (ctypes.c_int64, "groups")],
    "lucid_relu": [(TENSOR, "x y")],
    "lucid_sigmoid": [(TENSOR, "x y")],
    "lucid_add": [(TENSOR, "a b y")],
    "lucid_mul": [(TENSOR, "a b y")],
    "lucid_softmax": [(TENSOR, "x y"), (ctypes.c_int32, "dim log")],
    "lucid_cross_entropy": [
        (TENSOR, "x target weight y"),
        (ctypes.c_int64, "ignore_index"),
        (ctypes.c_double, "label_smoothing"),
        (ctypes.c_int32, "reduction"),
    ],
    "lucid_batch_norm_backward": [
        (TENSOR, "dy x y weight mean var dx dweight dbias dresidual"),
        (ctypes.c_double, "eps"),
        (ctypes.c_int32, "training"),
    ],
    "lucid_relu_backward": [(TENSOR, "dy y dx")],
    "lucid_sigmoid_backward": [(TENSOR, "dy y dx")],
    "lucid_softmax_backward": [(TENSOR, "dy y dx"), (ctypes.c_int32, "dim log")],
    "lucid_cross_entropy_backward": [
        (TENSOR, "dy x target weight dx"),
        (ctypes.c_int64, "ignore_index"),
        (ctypes.c_double, "label_smoothing"),
        (ctypes.c_int32, "reduction"),
    ],
    "lucid_max_pool2d_backward": [
        (TENSOR, "dy indices dx"),
        (PAIR, "image_size kernel_size stride padding extra_padding dilation"),
        (ctypes.c_int32, "ceil_mode"),
    ],
    "lucid_avg_pool2d_backward": [
        (TENSOR, "dy dx"),
        (PAIR, "image_size kernel_size stride padding extra_padding"),
        (ctypes.c_int32, "ceil_mode count_include_pad"),
        (ctypes.c_int64, "divisor_override"),
    ],
    "lucid_adaptive_avg_pool2d_backward": [(TENSOR, "dy dx"), (PAIR, "image_size")],
    "lucid_radix_sum_pool_backward": [(TENSOR, "dy dx"), (PAIR, "image_size"), (ctypes.c_int64, "radix")],
    "lucid_split_attention_backward": [
        (TENSOR, "dy x logits dx dlogits"),
        (ctypes.c_int64, "radix cardinality"),
    ],
    "lucid_sgd_update": [
        (TENSOR, "parameter gradient momentum_buffer"),
        (ctypes.c_double, "lr momentum dampening weight_decay"),
        (ctypes.c_int32, "nesterov is_first_step"),
    ],
    "lucid_adamw_update": [
        (TENSOR, "parameter gradient exp_avg exp_avg_sq"),
        (ctypes.c_double, "lr beta1 beta2 eps weight_decay"),
        (ctypes.c_int64, "step"),
    ],
    "lucid_average_update": [(TENSOR, "average parameter"), (ctypes.c_double, "decay")],
}

# And behind the context, where later versions added to a struct.
ADDED: dict[str, list[tuple[Any, str]]] = {"lucid_batch_norm": [(TENSOR, "residual")]}


def call(function: str, **arguments: Any) -> tuple[int, str]:
    """The status of a call and its message; arrays are passed as they lie, None as a null pointer."""
    fields, added = (
        [(name, kind) for kind, names in table.get(function, []) for name in names.split()]
        for table in (FIELDS, ADDED)
    )
    all_fields = [("size", ctypes.c_size_t), *fields, ("context", ctypes.c_void_p), *added]
    structure = type("Args", (ctypes.Structure,), {"_fields_": all_fields})
    values: dict[str, Any] = {"size": ctypes.sizeof(structure)}
    values |= {name: arguments[name] for name, _ in (*fields, *added) if name in arguments}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            values[name] = ctypes.pointer(c_abi.tensor(value))
        elif isinstance(value, tuple):
            values[name] = (ctypes.c_int64 * len(value))(*value)
    library = c_abi.load()
    status = getattr(library, function)(ctypes.byref(structure(**values)))
    return status, library.lucid_last_error().decode()
