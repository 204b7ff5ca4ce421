"""PTX, as nvcc writes it, taken apart into kernels and instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``parts`` of its name, operands, and the predicate that guards it."""

    parts: tuple[str, ...]
    operands: tuple[str, ...]
    guard: str | None = None
    guard_is_negated: bool = False

    def __str__(self) -> str:
        return f"{'.'.join(self.parts)} {', '.join(self.operands)}"


@dataclass
class Kernel:
    """An entry of a PTX file; ``variables`` are offsets in the memory of their space."""

    name: str
    parameters: list[tuple[str, int]]
    most_threads: int
    registers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, int] = field(default_factory=dict)
    parameter_bytes: int = 0
    shared_bytes: int = 0
    local_bytes: int = 0
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> dict[str, Kernel]:
    """The kernels of a file, by their mangled names."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"//[^\n]*", "", text)
    dynamic = re.findall(r"\.extern\s+\.shared\s+\.align\s+\d+\s+\.b8\s+([\w$]+)\[\];", text)
    kernels = {}
    for match in re.finditer(r"\.entry\s+([\w$]+)\s*\((.*?)\)([^{]*)\{", text, re.DOTALL):
        body = text[match.end() : end_of_braces(text, match.end())]
        threads = re.search(r"\.maxntid\s+(\d+)", match[3])
        kernel = Kernel(match[1], parameters_of(match[2]), int(threads[1]) if threads else 1024)
        kernel.shared_bytes = place_variables(kernel, body, "shared")
        kernel.local_bytes = place_variables(kernel, body, "local")
        kernel.variables |= dict.fromkeys(dynamic, kernel.shared_bytes)
        for name, size in kernel.parameters:
            kernel.variables[name] = kernel.parameter_bytes
            kernel.parameter_bytes += -(-size // 16) * 16
        for kind, listed in re.findall(r"\.reg\s+\.(\w+)\s+([^;]+);", body):
            for name in listed.split(","):
                kernel.registers[name.partition("<")[0].strip()] = kind
        read_code(kernel, body)
        kernels[kernel.name] = kernel
    return kernels


def end_of_braces(text: str, begin: int) -> int:
    """Where the brace closes that was opened before ``begin``."""
    depth, place = 1, begin
    while depth:
        depth += (text[place] == "{") - (text[place] == "}")
        place += 1
    return place - 1


def parameters_of(text: str) -> list[tuple[str, int]]:
    """Name and size of each parameter."""
    found = []
    for kind, name, count in re.findall(
        r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+(?:\.\w+\s+)*([\w$]+)(?:\[(\d+)\])?", text
    ):
        found.append((name, int(count) if count else int(kind[1:]) // 8))
    return found


def place_variables(kernel: Kernel, body: str, space: str) -> int:
    """Gives the variables of a space their offsets; returns the size of all, a multiple of 128."""
    end = 0
    for alignment, name, size in re.findall(
        rf"\.{space}\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\];", body
    ):
        end = -(-end // int(alignment)) * int(alignment)
        kernel.variables[name] = end
        end += int(size)
    return -(-end // 128) * 128


def read_code(kernel: Kernel, body: str) -> None:
    for statement in body.split(";"):
        rest = " ".join(statement.split())
        while rest:
            label = re.match(r"^([\w$]+):\s*(.*)$", rest)
            if rest[0] in "{}":
                rest = rest[1:].strip()
            elif label:
                kernel.labels[label[1]] = len(kernel.code)
                rest = label[2]
            else:
                break
        if rest and rest[0] != ".":
            kernel.code.append(instruction_of(rest))


def instruction_of(text: str) -> Instruction:
    guard = re.match(r"^@(!?)(%\w+)\s+(.*)$", text)
    name, _, operands = (guard[3] if guard else text).partition(" ")
    return Instruction(
        tuple(name.split(".")),
        tuple(split_operands(operands)),
        guard[2] if guard else None,
        guard is not None and guard[1] == "!",
    )


def split_operands(text: str) -> list[str]:
    """Cuts at commas outside of braces and brackets."""
    found, depth, now = [], 0, ""
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            found.append(now.strip())
            now = ""
        else:
            now += character
    return [*found, now.strip()] if now.strip() else found
