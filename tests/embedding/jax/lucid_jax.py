"""lucid's operators and plans as functions of JAX: under ``jax.jit``, and operators are differentiable."""

from __future__ import annotations

import ctypes
import functools
from os import PathLike, fspath

import jax
import jax.numpy as jnp
import numpy as np

_TARGETS = {"lucid_conv2d": "LucidConv2d", "lucid_split_attention": "LucidSplitAttention"}


def register(library: str | PathLike[str]) -> None:
    """Makes the handlers of ``liblucid_jax.so`` known to XLA."""
    symbols = ctypes.CDLL(str(library))
    # Makes the backend: handlers that wait for it would be registered before the type that one of them needs.
    jax.devices("cpu")
    for target, symbol in _TARGETS.items():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(symbols, symbol)), platform="cpu")
    for function in (symbols.LucidPlanTypeId, symbols.LucidPlanTypeInfo):
        function.restype = ctypes.c_void_p
    of_plan = {"type_id": symbols.LucidPlanTypeId(), "type_info": symbols.LucidPlanTypeInfo()}
    jax.ffi.register_ffi_type(
        "lucid_plan", {name: jax.ffi.pycapsule(address) for name, address in of_plan.items()}, platform="cpu"
    )
    stages = {"instantiate": symbols.LucidLoadPlan, "execute": symbols.LucidRunPlan}
    jax.ffi.register_ffi_target(
        "lucid_plan", {name: jax.ffi.pycapsule(stage) for name, stage in stages.items()}, platform="cpu"
    )


def plan(path, x, shape):
    """The output of a saved plan of one input and one output, loaded once where it is compiled.

    Args:
        x: An image ``(n, h, w, c)`` or rows ``(n, c)``.
        shape: Shape of the output, in the same order, which lucid checks.
    """
    return jax.ffi.ffi_call("lucid_plan", jax.ShapeDtypeStruct(shape, jnp.float32))(x, path=fspath(path))


def _lax_conv2d(x, weight, bias, stride, padding, dilation, groups):
    """The same by JAX: the rule of shapes, and the gradients."""
    y = jax.lax.conv_general_dilated(
        x,
        weight,
        stride,
        [(p, p) for p in padding],
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return y + bias


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def conv2d(x, weight, bias, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Grouped convolution of ``(n, h, w, c)`` by ``(kh, kw, c / groups, k)``, plus a bias ``(k,)``."""
    geometry = stride, padding, dilation, groups
    shape = jax.eval_shape(lambda *values: _lax_conv2d(*values, *geometry), x, weight, bias)
    pairs = {"stride": stride, "padding": padding, "dilation": dilation}
    attributes = {name: np.array(pair, np.int64) for name, pair in pairs.items()}
    return jax.ffi.ffi_call("lucid_conv2d", shape)(x, weight, bias, **attributes, groups=np.int64(groups))


def _conv2d_forward(x, weight, bias, *geometry):
    return conv2d(x, weight, bias, *geometry), (x, weight, bias)


def _conv2d_backward(stride, padding, dilation, groups, saved, dy):
    geometry = stride, padding, dilation, groups
    return jax.vjp(lambda *values: _lax_conv2d(*values, *geometry), *saved)[1](dy)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _jnp_split_attention(x, logits, radix, cardinality):
    n, h, w, channels = x.shape
    scores = logits.reshape(n, cardinality, radix, -1).swapaxes(1, 2).reshape(n, 1, 1, radix, -1)
    weights = jax.nn.sigmoid(scores) if radix == 1 else jax.nn.softmax(scores, axis=3)
    return jnp.sum(weights * x.reshape(n, h, w, radix, channels // radix), axis=3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def split_attention(x, logits, radix, cardinality=1):
    """The weighted sum of splits: x ``(n, h, w, radix * c)``, logits ``(n, radix * c)``."""
    n, h, w, channels = x.shape
    shape = jax.ShapeDtypeStruct((n, h, w, channels // radix), jnp.float32)
    call = jax.ffi.ffi_call("lucid_split_attention", shape)
    return call(x, logits, radix=np.int64(radix), cardinality=np.int64(cardinality))


def _split_attention_forward(x, logits, *numbers):
    return split_attention(x, logits, *numbers), (x, logits)


def _split_attention_backward(radix, cardinality, saved, dy):
    return jax.vjp(lambda *values: _jnp_split_attention(*values, radix, cardinality), *saved)[1](dy)


split_attention.defvjp(_split_attention_forward, _split_attention_backward)
