"""Work of a block for the units of a multiprocessor, made of the counts of its PTX.

PTX is not what a GPU runs: ptxas makes machine instructions of it. Here moves and address spaces are taken
to cost nothing, 64-bit integers two instructions, and what has no instruction of its own as many as
``SLOTS`` says.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

FLOATS = ("f32", "f16", "f16x2", "bf16", "bf16x2")
WIDE = ("s64", "u64", "b64", "f64")
UNITS = {
    "": ("mov", "cvta"),
    "control": ("bra", "bar", "barrier", "ret", "exit", "membar", "fence"),
    "memory": ("ld", "st", "cp", "shfl", "ldmatrix"),
    "tensor": ("mma",),
    "special": ("ex2", "lg2", "rcp", "sqrt", "rsqrt"),
    "alu": (
        *("add", "sub", "mul", "mad", "div", "rem", "neg", "abs", "min", "max", "not", "and", "or", "xor"),
        *("shl", "shr", "selp", "setp", "cvt", "bfi", "bfe", "prmt"),
    ),
}
UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names}
ON_FP32 = ("fma", "add", "sub", "mul", "neg", "abs")
# Instructions of integers that are sequences: assumed. The second is for 64 bits.
SLOTS = {"div": (20, 70), "rem": (20, 70), "mul": (1, 4), "mad": (1, 4)}
DIVISION = 8  # of float32, with its special function


@dataclass(frozen=True)
class Work:
    """Work of one block, on average.

    Attributes:
        issued: Instructions of warps; of these those of each unit follow.
        products: Multiplications of tensor cores.
        passes: Over shared memory, 128 bytes each at most.
        sectors: Of 32 bytes, over all accesses to global memory; ``distinct`` counts each of them once.
        requests: Accesses of warps to global memory.
        multiplying: Instructions that multiply and add, on whatever unit.
        least_passes, least_sectors: As few as accesses of that width can do with.
    """

    issued: float = 0
    fp32: float = 0
    alu: float = 0
    special: float = 0
    products: float = 0
    passes: float = 0
    least_passes: float = 0
    requests: float = 0
    sectors: float = 0
    least_sectors: float = 0
    distinct: float = 0
    multiplying: float = 0

    @property
    def l1(self) -> float:
        """Cycles of the memory that is L1 cache and shared memory, 128 bytes each."""
        return self.passes + max(self.requests, self.sectors / 4)


def unit_and_slots(name: str) -> tuple[str, float]:
    """Where an instruction of PTX is executed, and how many instructions it becomes."""
    parts = name.split(".")
    operation, kind = parts[0], parts[-1]
    if parts[:2] == ["ld", "param"]:
        return "", 0
    if operation == "wmma":
        return wmma_unit_and_slots(tuple(parts))
    if kind in FLOATS:
        if operation in ON_FP32:
            return "fp32", 1
        if operation == "div":
            return "fp32", DIVISION
    unit = UNIT_OF[operation]
    if unit != "alu":
        return unit, 1 if unit else 0
    wide = kind in WIDE and operation != "cvt"
    slots = (2 if wide else 1) if "wide" in parts else SLOTS.get(operation, (1, 2))[wide]
    return unit, slots


def wmma_unit_and_slots(parts: tuple[str, ...]) -> tuple[str, float]:
    from ptx_matrices import size_of

    if parts[1] == "mma":
        return "tensor", products_of(parts) / 2048  # of a machine instruction, 16 x 8 x 16
    rows, columns = size_of(parts, parts[2])
    return "memory", rows * columns / (256 if parts[-1] in FLOATS[1:] else 64)


def products_of(parts: tuple[str, ...]) -> int:
    from ptx_matrices import size_of

    return size_of(parts, "a")[0] * size_of(parts, "b")[0] * size_of(parts, "b")[1]


def work_of(counts: Any, blocks: int) -> Work:
    """The mean of some blocks whose ``ptx_memory.Counts`` these are."""
    total = dict.fromkeys([field.name for field in fields(Work)], 0.0)
    for name, count in counts.instructions.items():
        unit, slots = unit_and_slots(name)
        total["issued"] += count * slots
        if unit in total:
            total[unit] += count * slots
        if unit == "tensor":
            total["products"] += count * products_of(tuple(name.split(".")))
        if unit == "tensor" or name.startswith("fma."):
            total["multiplying"] += count * slots
        if name.startswith("shfl."):
            total["passes"] += count
            total["least_passes"] += count
    for (space, _), traffic in counts.traffic.items():
        if space == "shared":
            total["passes"] += traffic.cost
            total["least_passes"] += traffic.least
        else:
            total["requests"] += traffic.requests
            total["sectors"] += traffic.cost
            total["least_sectors"] += traffic.least
    total["distinct"] = counts.distinct_sectors()
    return Work(**{name: value / blocks for name, value in total.items()})
