"""wmma: products of small matrices, which a warp holds together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from ptx_access import load_bytes, names, space_of, store_bytes
from ptx_memory import Fault, Lanes
from ptx_parser import Instruction
from ptx_values import Values, from_bits, to_bits, width

if TYPE_CHECKING:
    from ptx_machine import Threads


def size_of(parts: tuple[str, ...], matrix: str) -> tuple[int, int]:
    """Rows and columns of ``a``, ``b``, ``c`` or ``d``."""
    match = next(found for part in parts if (found := re.match(r"m(\d+)n(\d+)k(\d+)$", part)))
    m, n, k = (int(number) for number in match.groups())
    return {"a": (m, k), "b": (k, n), "c": (m, n), "d": (m, n)}[matrix]


def wmma(t: Threads, i: Instruction, lanes: Lanes) -> None:
    warps = len(lanes) // 32
    if len(lanes) % 32 or (t.lane[lanes].reshape(warps, 32) != np.arange(32)).any():
        raise Fault("wmma without all lanes of a warp")
    if i.parts[1] == "mma":
        multiply(t, i, lanes)
    else:
        transfer(t, i, lanes)


def transfer(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """Loads or stores a matrix: element j of lane l is element l + 32 j of the matrix in rows."""
    stores, matrix, kind = i.parts[1] == "store", i.parts[2], i.parts[-1]
    layout = next(part for part in i.parts if part in ("row", "col"))
    size = 2 if kind in ("f16", "bf16") else 4
    memory, registers = (
        (i.operands[0], names(i.operands[1])) if stores else (i.operands[1], names(i.operands[0]))
    )
    rows, columns = size_of(i.parts, matrix)
    step = t.get(i.operands[2], "u32", lanes).astype(np.int64)
    space, addresses = space_of(i.parts, t.address(memory, lanes))
    if (addresses % 32).any() or (step * size % 16).any():
        raise Fault("wmma of an address or a step that is not aligned")
    lines, length = (rows, columns) if layout == "row" else (columns, rows)
    count_access(t, i.parts[1], space, addresses, step, (lines, length, size), lanes)
    per_lane = rows * columns // 32
    fragment = np.zeros((len(lanes), per_lane), np.uint32)
    for place in range(per_lane):
        element = t.lane[lanes] + 32 * place
        row, column = element // columns, element % columns
        offset = row * step + column if layout == "row" else column * step + row
        at = addresses + offset * size
        if stores:
            store_bytes(t, space, at, to_bits(t.get(registers[place], kind, lanes), kind), lanes)
        else:
            # A row of `a` reaches its own row of the product alone. The last fragments of grouped_tensor_3x3
            # have rows of pixels that nobody wrote, as their outputs are dropped: NaN here, which would be
            # seen in any other.
            found = load_bytes(t, space, at, size, lanes, written=matrix != "a")
            fragment[:, place] = found.view(f"u{size}").ravel()
    if not stores:
        put_fragment(t, registers, fragment, size, lanes)


def count_access(
    t: Threads,
    kind: str,
    space: str,
    addresses: Lanes,
    step: Lanes,
    matrix: tuple[int, int, int],
    lanes: Lanes,
) -> None:
    """Counts a matrix, of lines of elements, as the hardware moves it.

    Of elements of 16 bits, 8 lanes together have 16 bytes of 8 lines, which is ``ldmatrix``; of wider ones,
    16 lanes have 32 bytes of 4 lines.
    """
    lines, length, size = matrix
    each, near = (16, 1) if size == 2 else (8, 4)
    for begin in range(0, lines * length * size // each, 32):
        place = begin + t.lane[lanes]
        line, across = place // near % lines, place % near + near * (place // (near * lines))
        at = addresses + line * step * size + across * each
        t.counts.access(space, kind, t.warp[lanes], t.lane[lanes], at, each)


def put_fragment(t: Threads, registers: list[str], fragment: Values, size: int, lanes: Lanes) -> None:
    """Two elements of 16 bits in a register; float16 operands are held twice."""
    if size == 2:
        fragment = fragment[:, 0::2] | (fragment[:, 1::2] << np.uint32(16))
    for place, name in enumerate(registers):
        t.put(name, fragment[:, place % fragment.shape[1]], "b32", lanes)


def operand(t: Threads, registers: list[str], kind: str, shape: tuple[int, int], lanes: Lanes) -> Values:
    """A matrix of each warp, (warps, rows, columns), in float64."""
    per_lane = shape[0] * shape[1] // 32
    size = width(kind)
    each = 32 // size
    found = np.zeros((len(lanes), per_lane))
    for place, name in enumerate(registers[: per_lane // each]):
        bits = t.get(name, "u32", lanes)
        if kind == "tf32":
            bits = bits & np.uint32(0xFFFFE000)  # what the hardware reads
        for part in range(each):
            piece = (bits >> np.uint32(part * size)) & np.uint32((1 << size) - 1)
            found[:, place * each + part] = from_bits(piece, kind)
    return found.reshape(-1, 32, per_lane).transpose(0, 2, 1).reshape(-1, *shape)


def multiply(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind = next((part for part in i.parts if part in ("bf16", "tf32")), "f16")
    a, b, c = (names(registers) for registers in i.operands[1:])
    with np.errstate(all="ignore"):
        product = np.matmul(
            operand(t, a, kind, size_of(i.parts, "a"), lanes),
            operand(t, b, kind, size_of(i.parts, "b"), lanes),
        )
        total = (product + operand(t, c, "f32", size_of(i.parts, "c"), lanes)).astype(np.float32)
    per_lane = total[0].size // 32
    result = total.reshape(-1, per_lane, 32).transpose(0, 2, 1).reshape(len(lanes), per_lane)
    for place, name in enumerate(names(i.operands[0])):
        t.put(name, result[:, place], "f32", lanes)
