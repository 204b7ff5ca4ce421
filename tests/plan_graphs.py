"""Nodes written by hand for the tests of plans, and memory in which a forgotten byte shows."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping

import c_abi
import numpy as np
import numpy.typing as npt

from lucid.inference import Graph, InferencePlan, Node

Array = npt.NDArray[np.float32]
Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


def sides(padding: Pair | Sides) -> Sides:
    """(top, left, bottom, right); of a pair, height and width on both sides."""
    return padding if len(padding) == 4 else (*padding, *padding)


def conv2d(
    output: str,
    x: str,
    weight: Array,
    bias: Array | None = None,
    *,
    residual: str | None = None,
    stride: Pair = (1, 1),
    padding: Pair | Sides = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    relu: bool = False,
) -> Node:
    window = {"stride": stride, "padding": sides(padding), "dilation": dilation}
    attributes = {**window, "groups": groups, "relu": relu}
    weights = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return Node("conv2d", (x,) if residual is None else (x, residual), output, attributes, weights)


def linear(
    output: str, x: str, weight: Array, bias: Array | None = None, *, groups: int = 1, relu: bool = False
) -> Node:
    weights = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return Node("linear", (x,), output, {"groups": groups, "relu": relu}, weights)


def batch_norm(output: str, x: str, weight: Array, bias: Array, *, relu: bool = False) -> Node:
    return Node("batch_norm", (x,), output, {"relu": relu}, {"weight": weight, "bias": bias})


def max_pool2d(
    output: str,
    x: str,
    kernel: Pair,
    *,
    stride: Pair = (1, 1),
    padding: Pair | Sides = (0, 0),
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> Node:
    attributes = {"kernel_size": kernel, "stride": stride, "padding": sides(padding), "dilation": dilation}
    return Node("max_pool2d", (x,), output, {**attributes, "ceil_mode": ceil_mode})


def avg_pool2d(
    output: str,
    x: str,
    kernel: Pair,
    *,
    stride: Pair = (1, 1),
    padding: Pair | Sides = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int = 0,
) -> Node:
    window = {"kernel_size": kernel, "stride": stride, "padding": sides(padding)}
    switches = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return Node("avg_pool2d", (x,), output, {**window, **switches, "divisor_override": divisor_override})


def radix_sum_pool(output: str, x: str, radix: int = 1) -> Node:
    return Node("radix_sum_pool", (x,), output, {"radix": radix})


def split_attention(output: str, x: str, logits: str, radix: int, cardinality: int = 1) -> Node:
    return Node("split_attention", (x, logits), output, {"radix": radix, "cardinality": cardinality})


def add(output: str, a: str, b: str, *, relu: bool = False) -> Node:
    return Node("add", (a, b), output, {"relu": relu})


def plain(kind: str, output: str, x: str) -> Node:
    """relu, sigmoid, flatten, unflatten, which have no attributes, or softmax of rows."""
    return Node(kind, (x,), output, {"dim": 1, "log": False} if kind == "softmax" else {})


def graph(inputs: Mapping[str, tuple[int, ...]], nodes: Iterable[Node], outputs: Iterable[str]) -> Graph:
    return Graph(inputs, tuple(nodes), tuple(outputs), as_tuple=True)


def fill_memory_with_nan(most: int = 4 << 20, blocks: int = 4) -> None:
    """Leaves freed blocks of NaN of every size up to ``most`` bytes, of which the next call gets its memory.

    A margin that nobody cleared, or a value that nobody wrote, is then a NaN instead of a lucky zero.
    """
    library = c_abi.load()
    library.lucid_alloc.argtypes, library.lucid_alloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.lucid_free.argtypes, library.lucid_free.restype = [ctypes.c_void_p], None
    taken = []
    size = 64
    while size <= most:
        for _ in range(blocks):
            block = library.lucid_alloc(size)
            assert block is not None
            ctypes.memset(block, 0xFF, size)
            taken.append(block)
        size += size // 4  # steps no longer than those between the sizes of blocks
    for block in taken:
        library.lucid_free(block)


def run(graph: Graph, *inputs: Array, winograd: bool = True) -> list[Array]:
    """The outputs of a plan of ``graph``, made and run in memory full of NaN."""
    fill_memory_with_nan()
    return run_plan(InferencePlan(graph, winograd), *inputs)


def run_plan(plan: InferencePlan, *inputs: Array) -> list[Array]:
    """The outputs of ``plan``, run in memory full of NaN."""
    fill_memory_with_nan()
    return list(plan(*inputs))
