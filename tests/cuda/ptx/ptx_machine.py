"""Runs a kernel's PTX on the CPU, all threads of some blocks at once.

A register is an array with an element a thread. Those threads whose next instruction comes first
go on, so threads that took different branches meet again as soon as they can.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from ptx_instructions import EXECUTE
from ptx_memory import Counts, DeviceMemory, Fault, Lanes, SharedMemory
from ptx_parser import Instruction, Kernel
from ptx_values import UNSIGNED, Values, from_bits, to_bits, width

AT_BARRIER, DONE = 1 << 40, 1 << 41
THREADS_AT_ONCE = 1 << 14


class Threads:
    """Threads of some blocks: registers, memory and where each of them stands."""

    def __init__(self, launch: Launch, blocks: Lanes) -> None:
        self.kernel, self.device, self.counts = launch.kernel, launch.device, launch.counts
        self.parameters, self.blocks = launch.parameters, blocks
        self.per_block = math.prod(launch.block)
        self.count = len(blocks) * self.per_block
        self.block = np.repeat(np.arange(len(blocks)), self.per_block)
        self.thread = np.tile(np.arange(self.per_block), len(blocks))
        self.lane = self.thread % 32
        self.warp = self.block * -(-self.per_block // 32) + self.thread // 32
        self.special = self._special(launch, np.repeat(blocks, self.per_block))
        self.registers: dict[str, Values] = {}
        size = self.kernel.shared_bytes + launch.shared
        self.shared = SharedMemory(len(blocks), size, self.per_block)
        self.local = np.full((self.count, max(self.kernel.local_bytes, 1)), 0xFF, np.uint8)
        self.copies: list[tuple[Lanes, Lanes, Lanes, Lanes, int, int]] = []
        self.commits = np.zeros(self.count, np.int64)
        self.next = np.zeros(self.count, np.int64)
        self.barrier = np.full(self.count, -1)

    def _special(self, launch: Launch, block: Lanes) -> dict[str, Values]:
        found = {"%laneid": self.lane}
        for name, size, index in (
            ("tid", launch.block, self.thread),
            ("ctaid", launch.grid, block),
        ):
            found[f"%{name}.x"] = index % size[0]
            found[f"%{name}.y"] = index // size[0] % size[1]
            found[f"%{name}.z"] = index // (size[0] * size[1])
            for axis, extent in zip("xyz", size, strict=True):
                found[f"%n{name}.{axis}"] = np.full(self.count, extent)
        return {name: values.astype(np.uint32) for name, values in found.items()}

    # ---- where the threads are

    def run(self) -> None:
        code = self.kernel.code
        while (now := int(self.next.min())) < DONE:
            if now >= AT_BARRIER:
                self._open_barriers()
                continue
            active = np.nonzero(self.next == now)[0]
            others = self.next[self.next > now]
            until = int(others.min()) if len(others) else DONE  # where these meet the next ones
            while True:
                try:
                    jumped = self._step(code[now], now, active)
                except Fault as fault:
                    raise Fault(f"{fault}; at {code[now]} in {self.kernel.name}") from None
                if jumped:
                    break
                now += 1
                if now >= until:
                    self.next[active] = now
                    break

    def _open_barriers(self) -> None:
        for block in range(len(self.blocks)):
            own = slice(block * self.per_block, (block + 1) * self.per_block)
            waiting = self.next[own] == AT_BARRIER
            if not waiting.any():
                continue
            if not waiting.all() or len(np.unique(self.barrier[own])) > 1:
                raise Fault(f"threads of block {int(self.blocks[block])} part before a barrier")
            self.next[own] = self.barrier[own] + 1
            self.shared.barrier(block)

    def _step(self, instruction: Instruction, place: int, active: Lanes) -> bool:
        """Executes one instruction; whether some threads have gone elsewhere."""
        parts = instruction.parts
        self.counts.instructions[".".join(parts)] += len(np.unique(self.warp[active]))
        chosen = active
        if instruction.guard is not None:
            holds = self.get(instruction.guard, "pred", active) != instruction.guard_is_negated
            chosen = active[holds]
        jump = {"bra": None, "ret": DONE, "exit": DONE, "bar": AT_BARRIER, "barrier": AT_BARRIER}
        if parts[0] not in jump or parts[:2] == ("bar", "warp"):
            if len(chosen):
                EXECUTE[parts[0]](self, instruction, chosen)
            return False
        target = jump[parts[0]]
        if target == AT_BARRIER:
            self.barrier[chosen] = place
        self.next[active] = place + 1
        self.next[chosen] = self.kernel.labels[instruction.operands[0]] if target is None else target
        return True

    # ---- operands

    def get(self, name: str, kind: str, lanes: Lanes) -> Values:
        """An operand as a type: a register, a constant or the place of a variable."""
        if name in self.special:
            return from_bits(self.special[name][lanes], kind)
        if name in self.registers:
            bits = self.registers[name][lanes]
            return bits if kind == "pred" else from_bits(bits, kind)
        if name in self.kernel.variables:
            return from_bits(np.full(len(lanes), self.kernel.variables[name], np.uint64), kind)
        if kind == "pred":
            return np.full(len(lanes), int(name, 0) != 0)
        if name[0] == "%":
            raise Fault(f"{name} is read before it is written")
        if name.startswith(("0f", "0F", "0d", "0D")):
            bits = np.full(len(lanes), int(name[2:], 16), np.uint64)
            literal = from_bits(bits, "f32" if name[1] in "fF" else "f64")
            return literal if kind[0] != "b" else from_bits(bits, kind)
        value = int(name.rstrip("U"), 0) & 0xFFFFFFFFFFFFFFFF
        return from_bits(np.full(len(lanes), value, np.uint64), kind)

    def put(self, name: str, values: Values, kind: str, lanes: Lanes) -> None:
        """Writes values of a type into a register, which may be wider."""
        if name == "_":
            return
        match = re.match(r"%[a-zA-Z]+", name)
        declared = self.kernel.registers.get(name) or self.kernel.registers[match[0] if match else name]
        if declared == "pred":
            self.registers.setdefault(name, np.zeros(self.count, np.bool_))[lanes] = values
            return
        bits = to_bits(values, kind)
        size = width(declared)
        if kind[0] == "s" and bits.dtype.itemsize * 8 < size:
            bits = to_bits(bits.view(f"i{bits.dtype.itemsize}"), f"s{size}")
        register = self.registers.setdefault(name, np.zeros(self.count, UNSIGNED[size]))
        register[lanes] = bits.astype(UNSIGNED[size])

    def address(self, operand: str, lanes: Lanes) -> Lanes:
        """Address in brackets: a register or a variable, and an offset."""
        base, _, offset = operand.strip("[] ").partition("+")
        name = base.strip()
        addresses = self.get(name, "u64", lanes).astype(np.int64) + int(offset or 0)
        if name in self.registers and self.registers[name].dtype == np.uint32:  # it wraps around
            addresses &= 0xFFFFFFFF
        return addresses


class Launch:
    """A kernel with its arguments, run to its end: all blocks of the grid, or some."""

    def __init__(
        self,
        kernel: Kernel,
        device: DeviceMemory,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        arguments: list[bytes],
        blocks: Sequence[int] | None = None,
    ) -> None:
        threads = math.prod(block)
        if threads > kernel.most_threads:
            raise Fault(f"blocks of {threads} threads, the kernel allows {kernel.most_threads}")
        if [len(argument) for argument in arguments] != [size for _, size in kernel.parameters]:
            raise Fault(f"arguments of {[len(a) for a in arguments]} bytes for {kernel.parameters}")
        self.kernel, self.device = kernel, device
        self.grid, self.block, self.shared = grid, block, shared
        self.parameters = np.zeros(kernel.parameter_bytes, np.uint8)
        for argument, (name, size) in zip(arguments, kernel.parameters, strict=True):
            begin = kernel.variables[name]
            self.parameters[begin : begin + size] = np.frombuffer(argument, np.uint8)
        self.counts = Counts()
        chosen = np.arange(math.prod(grid)) if blocks is None else np.array(blocks)
        at_once = max(1, THREADS_AT_ONCE // threads)
        for begin in range(0, len(chosen), at_once):
            Threads(self, chosen[begin : begin + at_once]).run()
