"""The instructions of PTX that nvcc makes of the kernels, one function for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from ptx_access import WINDOWS, check_alignment, load_bytes, names, space_of, store_bytes
from ptx_matrices import load_matrices, mma, wmma
from ptx_memory import Fault, Lanes
from ptx_parser import Instruction
from ptx_values import FLOATS, Values, from_bits, is_float, round_to_tf32, rounded, to_bits, width

if TYPE_CHECKING:
    from ptx_machine import Threads

Execute = Callable[["Threads", Instruction, Lanes], None]

ROUNDINGS = {"rn", "rm", "rp", "rz"}


def finish(values: Values, parts: tuple[str, ...]) -> Values:
    """Saturated to [0, 1], or without subnormal numbers, as the instruction says."""
    if "sat" in parts:
        values = np.where(np.isnan(values), 0, np.clip(values, 0, 1)).astype(values.dtype)
    if "ftz" in parts and values.dtype == np.float32:
        values = np.where(np.abs(values) < np.float32(2.0**-126), np.copysign(np.float32(0), values), values)
    return values


# ---- memory


def change_space(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """cvta: between addresses of a space and generic ones."""
    begin = WINDOWS.get(i.parts[2 if i.parts[1] == "to" else 1], 0)
    addresses = t.get(i.operands[1], "u64", lanes).astype(np.int64)
    moved = addresses - begin if i.parts[1] == "to" else addresses + begin
    t.put(i.operands[0], moved.astype(np.uint64), "u64", lanes)


def load(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind, targets = i.parts[-1], names(i.operands[0])
    size = width(kind) // 8
    space, addresses = space_of(i.parts, t.address(i.operands[1], lanes))
    check_alignment(addresses, size * len(targets))
    if space in ("global", "shared"):
        t.counts.access(space, "load", t.warp[lanes], t.lane[lanes], addresses, size * len(targets))
    for place, target in enumerate(targets):
        bits = load_bytes(t, space, addresses + place * size, size, lanes)
        t.put(target, from_bits(bits.view(f"u{size}").ravel(), kind), kind, lanes)


def store(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind, sources = i.parts[-1], names(i.operands[1])
    size = width(kind) // 8
    space, addresses = space_of(i.parts, t.address(i.operands[0], lanes))
    check_alignment(addresses, size * len(sources))
    if space in ("global", "shared"):
        t.counts.access(space, "store", t.warp[lanes], t.lane[lanes], addresses, size * len(sources))
    for place, source in enumerate(sources):
        bits = to_bits(t.get(source, kind, lanes), kind)
        store_bytes(t, space, addresses + place * size, bits, lanes)


def copy_later(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """cp.async: a copy into shared memory, which arrives when its thread waits for it."""
    if "commit_group" in i.parts:
        t.commits[lanes] += 1
        return
    if "wait_group" in i.parts or "wait_all" in i.parts:
        pending = int(i.operands[0]) if i.operands else 0
        deliver(t, lanes, t.commits - pending)
        return
    to, source = t.address(i.operands[0], lanes), t.address(i.operands[1], lanes)
    size = int(i.operands[2], 0)
    taken = t.get(i.operands[3], "u32", lanes) if len(i.operands) > 3 else np.full(len(lanes), size)
    check_alignment(to, size)
    check_alignment(source[taken > 0], size)
    t.counts.access("global", "load", t.warp[lanes], t.lane[lanes], source, size)
    t.counts.access("shared", "store", t.warp[lanes], t.lane[lanes], to, size)
    t.shared.forget(t.block[lanes], to, size)
    for length in np.unique(taken):
        own = taken == length
        t.copies.append((lanes[own], t.commits[lanes[own]], to[own], source[own], size, int(length)))


def deliver(t: Threads, waiting: Lanes, before: Lanes) -> None:
    """Ends the copies of these threads whose group comes before a number."""
    waits = np.zeros(t.count, np.bool_)
    waits[waiting] = True
    left = []
    for lanes, group, to, source, size, length in t.copies:
        ready = waits[lanes] & (group < before[lanes])
        if ready.any():
            content = np.zeros((int(ready.sum()), size), np.uint8)
            if length:
                content[:, :length] = t.device.load(source[ready], length)
            own = lanes[ready]
            t.shared.store(t.block[own], t.thread[own], to[ready], content)
        if not ready.all():
            kept = ~ready
            left.append((lanes[kept], group[kept], to[kept], source[kept], size, length))
    t.copies = left


# ---- registers


def move(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind, (target, source) = i.parts[-1], i.operands
    if target[0] == "{":  # into parts
        bits, each = t.get(source, kind, lanes), width(kind) // len(names(target))
        for place, name in enumerate(names(target)):
            part = (bits.astype(np.uint64) >> np.uint64(place * each)) & np.uint64((1 << each) - 1)
            t.put(name, part, f"b{each}", lanes)
    elif source[0] == "{":  # of parts
        each = width(kind) // len(names(source))
        whole = np.zeros(len(lanes), np.uint64)
        for place, name in enumerate(names(source)):
            whole |= t.get(name, f"b{each}", lanes).astype(np.uint64) << np.uint64(place * each)
        t.put(target, whole, kind, lanes)
    else:
        t.put(target, t.get(source, kind, lanes), kind, lanes)


def select(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind = i.parts[-1]
    first, second = (t.get(name, kind, lanes) for name in i.operands[1:3])
    t.put(i.operands[0], np.where(t.get(i.operands[3], "pred", lanes), first, second), kind, lanes)


def convert(t: Threads, i: Instruction, lanes: Lanes) -> None:
    to, kind = i.parts[-2], i.parts[-1]
    if len(i.operands) == 3:  # two halves side by side, the first operand above
        high, low = (to_bits(t.get(name, kind, lanes), to[:-2]) for name in i.operands[1:])
        packed = (high.astype(np.uint32) << np.uint32(16)) | low.astype(np.uint32)
        t.put(i.operands[0], packed, "b32", lanes)
        return
    values = t.get(i.operands[1], kind, lanes)
    modes = {"rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil, "rni": np.rint}
    mode = next((part for part in i.parts if part in modes), None)
    if to == "tf32":
        values = round_to_tf32(values)
    elif mode is not None:
        values = modes[mode](values)
    if is_float(kind) and not is_float(to):
        limits = np.iinfo(from_bits(np.zeros(1, np.uint64), to).dtype)
        exact = np.nan_to_num(values.astype(np.float64))
        values = np.clip(exact, float(limits.min), float(limits.max))
        values = np.where(exact >= float(limits.max), limits.max, values.astype(limits.dtype))
    elif is_float(to) and to not in ("bf16", "tf32"):
        with np.errstate(all="ignore"):
            values = finish(values.astype(FLOATS[to]), i.parts)
    elif not is_float(kind) and kind[0] == "s":
        values = values.astype(np.int64)
    t.put(i.operands[0], values, to, lanes)


# ---- arithmetic


def wraps(operation: Callable[..., Values]) -> Execute:
    """Two or more operands of one type, and a result of it."""

    def execute(t: Threads, i: Instruction, lanes: Lanes) -> None:
        kind = i.parts[-1]
        operands = [t.get(name, kind, lanes) for name in i.operands[1:]]
        with np.errstate(all="ignore"):
            values = operation(*operands)
        if is_float(kind):
            values = finish(values, i.parts)
        t.put(i.operands[0], values, kind, lanes)

    return execute


def extreme(smaller: bool) -> Execute:
    def execute(t: Threads, i: Instruction, lanes: Lanes) -> None:
        kind = i.parts[-1]
        x, y = (t.get(name, kind, lanes) for name in i.operands[1:])
        if is_float(kind) and "NaN" not in i.parts:
            values = np.fmin(x, y) if smaller else np.fmax(x, y)
        else:
            values = np.minimum(x, y) if smaller else np.maximum(x, y)
        t.put(i.operands[0], values, kind, lanes)

    return execute


def multiply(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """mul and mad, of which integers have the lower, the upper or both halves."""
    kind = i.parts[-1]
    x, y = (t.get(name, kind, lanes) for name in i.operands[1:3])
    result_kind = kind
    with np.errstate(all="ignore"):
        if is_float(kind):
            values = finish(x * y, i.parts)
        elif "wide" in i.parts:
            result_kind = f"{kind[0]}{2 * width(kind)}"
            wide = from_bits(np.zeros(1, np.uint64), result_kind).dtype
            values = x.astype(wide) * y.astype(wide)
        elif "hi" in i.parts:
            exact = x.astype(object) * y.astype(object) >> width(kind)
            values = exact.astype(x.dtype)
        else:
            values = x * y
        if i.parts[0] == "mad":
            values = values + t.get(i.operands[3], result_kind, lanes)
    t.put(i.operands[0], values, result_kind, lanes)


def fused(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind = i.parts[-1]
    x, y, z = (t.get(name, kind, lanes).astype(np.float64) for name in i.operands[1:])
    mode = next(part for part in i.parts if part in ROUNDINGS)
    with np.errstate(all="ignore"):
        t.put(i.operands[0], finish(rounded(x * y + z, kind, mode), i.parts), kind, lanes)


def divide(t: Threads, i: Instruction, lanes: Lanes) -> None:
    kind = i.parts[-1]
    x, y = (t.get(name, kind, lanes) for name in i.operands[1:])
    with np.errstate(all="ignore"):
        if is_float(kind):
            values = finish(x / y, i.parts)
        else:  # towards zero
            if (y == 0).any():
                raise Fault("an integer is divided by zero")
            values = x // y
            values = values + ((values < 0) & (values * y != x)).astype(x.dtype)
            if i.parts[0] == "rem":
                values = x - values * y
    t.put(i.operands[0], values, kind, lanes)


def special(function: Callable[[Values], Values]) -> Execute:
    """A function of one number, computed exactly where the hardware approximates."""

    def execute(t: Threads, i: Instruction, lanes: Lanes) -> None:
        kind = i.parts[-1]
        with np.errstate(all="ignore"):
            exact = function(t.get(i.operands[1], kind, lanes).astype(np.float64))
            t.put(i.operands[0], finish(exact.astype(FLOATS[kind]), i.parts), kind, lanes)

    return execute


def shift(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """Bits that come in are 0, or the sign's; by the width or more, nothing else is left."""
    kind = i.parts[-1]
    values, by = t.get(i.operands[1], kind, lanes), t.get(i.operands[2], "u32", lanes)
    bits = width(kind)
    if kind[0] == "s":
        found = values >> np.minimum(by, bits - 1).astype(values.dtype)
    else:
        inside = np.minimum(by, bits - 1).astype(values.dtype)
        found = np.where(by >= bits, 0, values << inside if i.parts[0] == "shl" else values >> inside)
        found = found.astype(values.dtype)
    t.put(i.operands[0], found, kind, lanes)


ORDERED = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


def compare(t: Threads, i: Instruction, lanes: Lanes) -> None:
    how, kind = i.parts[1], i.parts[-1]
    x, y = (t.get(name, kind, lanes) for name in i.operands[1:3])
    missing = np.isnan(x) | np.isnan(y) if is_float(kind) else np.zeros(len(lanes), np.bool_)
    if how in ("num", "nan"):
        holds = missing == (how == "nan")
    elif how in ORDERED:
        holds = ORDERED[how](x, y) & ~missing
    else:  # with a u behind: holds for NaN as well
        holds = ORDERED[how[:-1]](x, y) | missing
    if len(i.operands) > 3:
        name = i.operands[3]
        other = ~t.get(name[1:], "pred", lanes) if name[0] == "!" else t.get(name, "pred", lanes)
        holds = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[i.parts[2]](holds, other)
    t.put(i.operands[0], holds, "pred", lanes)


def permute(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """prmt: each byte of the result is one of eight, chosen by four bits."""
    low, high, chosen = (t.get(name, "u32", lanes).astype(np.uint64) for name in i.operands[1:])
    both, found = low | (high << np.uint64(32)), np.zeros(len(lanes), np.uint64)
    for place in range(4):
        choice = (chosen >> np.uint64(4 * place)) & np.uint64(15)
        byte = (both >> ((choice & np.uint64(7)) * np.uint64(8))) & np.uint64(255)
        signs = np.where(byte & np.uint64(128), np.uint64(255), np.uint64(0))
        found |= np.where(choice & np.uint64(8), signs, byte) << np.uint64(8 * place)
    t.put(i.operands[0], found.astype(np.uint32), "b32", lanes)


def field(t: Threads, i: Instruction, lanes: Lanes, begin: int) -> tuple[Values, Values]:
    """Where a field of bits begins, and its bits as a mask at the right."""
    place, length = (
        t.get(name, "u32", lanes).astype(np.uint64) & np.uint64(255) for name in i.operands[begin:]
    )
    whole = np.uint64(width(i.parts[-1]))
    inside = np.minimum(length, np.where(place < whole, whole - place, np.uint64(0)))
    mask = np.where(inside >= 64, ~np.uint64(0), (np.uint64(1) << (inside & np.uint64(63))) - np.uint64(1))
    return np.minimum(place, np.uint64(63)), mask


def insert_bits(t: Threads, i: Instruction, lanes: Lanes) -> None:
    bits, into = (t.get(name, i.parts[-1], lanes).astype(np.uint64) for name in i.operands[1:3])
    place, mask = field(t, i, lanes, 3)
    t.put(i.operands[0], (into & ~(mask << place)) | ((bits & mask) << place), i.parts[-1], lanes)


def extract_bits(t: Threads, i: Instruction, lanes: Lanes) -> None:
    if i.parts[-1][0] == "s":
        raise Fault("bfe of signed numbers is not known here")
    place, mask = field(t, i, lanes, 2)
    t.put(i.operands[0], (t.get(i.operands[1], i.parts[-1], lanes) >> place) & mask, i.parts[-1], lanes)


# ---- warps


def shuffle(t: Threads, i: Instruction, lanes: Lanes) -> None:
    target, _, predicate = i.operands[0].partition("|")
    values = t.get(i.operands[1], "b32", lanes)
    by, control = (t.get(name, "u32", lanes).astype(np.int64) for name in i.operands[2:4])
    mask = t.get(i.operands[4], "u32", lanes)
    lane, warp = t.lane[lanes], t.warp[lanes]
    table = np.zeros((int(warp.max()) + 1, 32), np.uint32)
    present = np.zeros(table.shape, np.bool_)
    table[warp, lane], present[warp, lane] = values, True
    named = ((mask[:, None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.bool_)
    if (named & ~present[warp]).any():
        raise Fault("a shuffle names a lane that is elsewhere")
    segment, clamp = (control >> 8) & 31, control & 31
    last, first = (lane & segment) | (clamp & ~segment), lane & segment
    mode = i.parts[2]
    source = {"bfly": lane ^ by, "down": lane + by, "up": lane - by, "idx": first | (by & ~segment & 31)}[
        mode
    ]
    inside = source >= first if mode == "up" else source <= last
    t.put(target, table[warp, np.where(inside, source, lane)], "b32", lanes)
    if predicate:
        t.put(predicate, inside, "pred", lanes)


def nothing(t: Threads, i: Instruction, lanes: Lanes) -> None:
    """Orders a warp or memory, which has an order here already."""


EXECUTE: dict[str, Execute] = {
    "ld": load, "st": store, "cp": copy_later, "mov": move, "cvta": change_space, "selp": select,
    "cvt": convert, "bfi": insert_bits, "bfe": extract_bits,
    "add": wraps(np.add), "sub": wraps(np.subtract), "and": wraps(np.bitwise_and), "or": wraps(np.bitwise_or),
    "xor": wraps(np.bitwise_xor), "not": wraps(np.invert), "neg": wraps(np.negative), "abs": wraps(np.abs),
    "min": extreme(True), "max": extreme(False), "mul": multiply, "mad": multiply, "fma": fused,
    "div": divide, "rem": divide, "ex2": special(np.exp2), "lg2": special(np.log2),
    "rcp": special(np.reciprocal), "sqrt": special(np.sqrt), "rsqrt": special(lambda x: 1 / np.sqrt(x)),
    "shl": shift, "shr": shift, "setp": compare, "prmt": permute, "shfl": shuffle, "wmma": wmma,
    "mma": mma, "ldmatrix": load_matrices,
    "bar": nothing, "membar": nothing, "fence": nothing,
}  # fmt: skip
