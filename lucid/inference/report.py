"""Reports of a plan: a table of its steps, and one of where its time goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lucid.inference.graph import Graph, size_text
from lucid.recording import Shape

_MEBI = 1 << 20


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    Attributes:
        name: Name of the value that it computes, after the module that it comes from.
        kind: Its operator.
        algorithm: How it is computed on this machine.
        shape: Shape of its output.
        macs: Multiplications with an addition each; see ``Graph.macs``.
        bytes: The least that it must read and write: inputs, weights and output, in the plan's dtype.
    """

    name: str
    kind: str
    algorithm: str
    shape: Shape
    macs: int
    bytes: int


@dataclass(frozen=True)
class StepTime:
    """The time of a step; medians.

    Attributes:
        gflops: The rate of its arithmetic, two operations a MAC.
        waiting: The milliseconds in which a thread waits for the others at the barrier behind it, on average.
        barriers: Those of them after the last thread has arrived, which are the barrier's own; in the rest
            shares are uneven.
    """

    step: Step
    milliseconds: float
    gflops: float
    waiting: float = 0.0
    barriers: float = 0.0


@dataclass(frozen=True)
class Profile:
    """Where the time of a plan goes; printed, it is a table.

    Attributes:
        steps: In the order in which they run.
        runs: How many runs the medians are taken of.
        peak_gflops: ``lucid.runtime.fma_peak()``, measured together with the steps; None on CUDA.
    """

    steps: tuple[StepTime, ...]
    runs: int
    peak_gflops: float | None

    @property
    def milliseconds(self) -> float:
        """The sum over all steps."""
        return sum(entry.milliseconds for entry in self.steps)

    @property
    def waiting(self) -> float:
        """The milliseconds of them in which a thread waits; 0 on one thread and on CUDA."""
        return sum(entry.waiting for entry in self.steps)

    @property
    def barriers(self) -> float:
        """The part of ``waiting`` that is the barriers' own."""
        return sum(entry.barriers for entry in self.steps)

    def percent_of_peak(self, entry: StepTime) -> float | None:
        """The step's rate in percent of the machine's. Winograd's and the matrix unit's may exceed 100.

        None where the peak is not known.
        """
        return None if self.peak_gflops is None else 100.0 * entry.gflops / self.peak_gflops

    def __str__(self) -> str:
        total = self.milliseconds
        rows = [
            [
                *_leading_cells(entry.step),
                f"{entry.milliseconds:.3f}",
                _percent(entry.milliseconds, total),
                f"{entry.gflops:.1f}" if entry.step.macs else "",
            ]
            for entry in self.steps
        ]
        columns = ["step", "kind", "algorithm", "output", "ms", "share", "GFLOP/s"]
        facts = f"{total:.3f} ms, medians of {self.runs} runs"
        if self.peak_gflops is not None:
            columns.append("of peak")
            facts += f", peak {self.peak_gflops:.1f} GFLOP/s"
            for row, entry in zip(rows, self.steps, strict=True):
                row.append(f"{self.percent_of_peak(entry):.0f} %" if entry.step.macs else "")
        if self.waiting:
            columns.append("waiting")
            for row, entry in zip(rows, self.steps, strict=True):
                row.append(_percent(entry.waiting, entry.milliseconds))
            facts += (
                f"\nthreads waited for each other {_percent(self.waiting, total)} of the time: "
                f"barriers {_percent(self.barriers, total)}, "
                f"uneven shares {_percent(self.waiting - self.barriers, total)}"
            )
        return f"{table(columns, rows, left=4)}\n{facts}"


def steps_of(graph: Graph, algorithms: Sequence[str], element_bytes: int = 4) -> tuple[Step, ...]:
    """The steps that compute a graph, one for each of its nodes, which ``algorithms`` belong to."""
    steps = []
    for node, algorithm in zip(graph.nodes, algorithms, strict=True):
        shape = graph.shapes[node.output]
        elements = math.prod(shape) + sum(math.prod(graph.shapes[name]) for name in node.inputs)
        elements += sum(array.size for array in node.weights.values())
        steps.append(
            Step(node.output, node.kind, algorithm, shape, graph.macs(node), element_bytes * elements)
        )
    return tuple(steps)


def summary(title: str, steps: Sequence[Step], memory: Mapping[str, int]) -> str:
    """A table with a line for each step, and the sums of all of them."""
    rows = [
        [*_leading_cells(step), f"{step.macs / 1e6:.1f}" if step.macs else "", f"{step.bytes / _MEBI:.2f}"]
        for step in steps
    ]
    lines = table(["step", "kind", "algorithm", "output", "MMACs", "MiB"], rows, left=4)
    held = ", ".join(f"{name} {memory[name] / _MEBI:.1f} MiB" for name in ("weights", "arena"))
    gmacs = sum(step.macs for step in steps) / 1e9
    return f"{title}\n{lines}\n{len(steps)} steps, {gmacs:.3f} GMACs; {held}"


def _percent(part: float, whole: float) -> str:
    return f"{100.0 * part / whole:.1f} %" if whole else ""


def _leading_cells(step: Step) -> list[str]:
    return [step.name, step.kind, step.algorithm, size_text(step.shape)]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Aligned columns, the first ``left`` to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, [columns, *rows]))
