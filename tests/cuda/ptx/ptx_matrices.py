"""wmma, mma and ldmatrix: products of small matrices, which a warp holds together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from ptx_access import check_alignment, load_bytes, names, space_of, store_bytes
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


def check_whole_warps(t: Threads, i: Instruction, lanes: Lanes) -> None:
    warps = len(lanes) // 32
    if len(lanes) % 32 or (t.lane[lanes].reshape(warps, 32) != np.arange(32)).any():
        raise Fault(f"{i.parts[0]} without all lanes of a warp")


def wmma(t: Threads, i: Instruction, lanes: Lanes) -> None:
    check_whole_warps(t, i, lanes)
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
            found = load_bytes(t, space, at, size, lanes)
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


# ---- with elements where the manual says: lane l has row l / 4, and of its columns those at l % 4


def load_matrices(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """ldmatrix: 8 rows of 16 bytes for each register, whose addresses 8 lanes give."""
    check_whole_warps(t, i, lanes)
    registers = names(i.operands[0])
    giving = lanes[t.lane[lanes] < 8 * len(registers)]
    space, addresses = space_of(i.parts, t.address(i.operands[1], giving))
    if space != "shared":
        raise Fault("ldmatrix of memory that is not shared")
    check_alignment(addresses, 16)
    t.counts.access(space, "load", t.warp[giving], t.lane[giving], addresses, 16)
    rows = load_bytes(t, space, addresses, 16, giving).view(np.uint16)
    matrices = rows.reshape(-1, len(registers), 8, 8).astype(np.uint32)
    if "trans" in i.parts:
        matrices = matrices.swapaxes(2, 3)
    pairs = matrices[..., 0::2] | (matrices[..., 1::2] << np.uint32(16))
    for place, name in enumerate(registers):
        t.put(name, pairs[:, place].reshape(-1), "b32", lanes)


def places_of(matrix: str, kind: str) -> tuple[Values, Values]:
    """Row and column of each element that a lane has, (32, elements): those of up to four registers."""
    lane, register = np.arange(32)[:, None, None], np.arange(4)[None, :, None]
    group, place, pair = lane // 4, lane % 4, np.arange(32 // width(kind))
    if matrix == "a":
        found = group + 8 * (register % 2), len(pair) * (place + 4 * (register // 2)) + pair
    elif matrix == "b":
        found = len(pair) * (place + 4 * register) + pair, group
    else:
        found = group + 8 * (register // 2), 2 * place + register % 2 + 0 * pair
    rows, columns = np.broadcast_arrays(*found)
    return rows.reshape(32, -1), columns.reshape(32, -1)


def matrix_of(t: Threads, i: Instruction, matrix: str, kind: str, lanes: Lanes) -> Values:
    """A matrix of each warp, (warps, rows, columns), in float64."""
    registers = names(i.operands["dabc".index(matrix)])
    rows, columns = (places[:, : len(registers) * 32 // width(kind)] for places in places_of(matrix, kind))
    each = 32 // width(kind)
    found = np.zeros((len(lanes) // 32, *size_of(i.parts, matrix)))
    for element in range(rows.shape[1]):
        bits = t.get(registers[element // each], "u32", lanes)
        if kind == "tf32":
            bits = bits & np.uint32(0xFFFFE000)  # what the hardware reads
        piece = (bits >> np.uint32(element % each * width(kind))) & np.uint32((1 << width(kind)) - 1)
        found[:, rows[:, element], columns[:, element]] = from_bits(piece, kind).reshape(-1, 32)
    return found


def mma(t: Threads, i: Instruction, lanes: Lanes) -> None:
    check_whole_warps(t, i, lanes)
    kind = i.parts[-3]
    with np.errstate(all="ignore"):
        product = np.matmul(matrix_of(t, i, "a", kind, lanes), matrix_of(t, i, "b", kind, lanes))
        total = (product + matrix_of(t, i, "c", "f32", lanes)).astype(np.float32)
    rows, columns = places_of("d", "f32")
    for place, name in enumerate(names(i.operands[0])):
        t.put(name, total[:, rows[:, place], columns[:, place]].reshape(-1), "f32", lanes)
