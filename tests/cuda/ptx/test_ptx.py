"""The PTX that nvcc writes, run on the CPU: every kernel leaves in memory what it leaves in the simulator.

The simulator compiles the same sources by a C++ compiler, and its results are tested against float64.
Here the small launches of those tests are run again, as nvcc understands their kernels.
"""

from __future__ import annotations

import kernel_programs
import ptx_kernels
import ptx_parser
import ptx_records
import pytest
from ptx_memory import Fault


@pytest.fixture(scope="module")
def kernels() -> dict[str, ptx_parser.Kernel]:
    """Every kernel by its name, as nvcc compiles it."""
    return ptx_kernels.kernels_of(kernel_programs.compiled_by_nvcc())


@pytest.fixture(scope="module")
def records() -> list[ptx_records.Record]:
    """The first small launch of every kernel in the tests of kernels."""
    program = kernel_programs.folder_of("plain") / "kernel_tests"
    found: dict[str, ptx_records.Record] = {}
    for folder in kernel_programs.recorded():
        record = ptx_records.read(folder, program)
        found.setdefault(record.launch.kernel, record)
    return list(found.values())


def test_kernels_leave_what_they_leave_in_the_simulator(
    kernels: dict[str, ptx_parser.Kernel], records: list[ptx_records.Record]
) -> None:
    wrong = {}
    for record in records:
        try:
            _, difference = ptx_records.replay(record, kernels[record.launch.kernel])
        except Fault as fault:
            difference = str(fault)
        if difference:
            wrong[record.launch.kernel] = difference
    assert wrong == {}


def test_most_kernels_have_a_launch(
    kernels: dict[str, ptx_parser.Kernel], records: list[ptx_records.Record]
) -> None:
    unseen = sorted(set(kernels) - {record.launch.kernel for record in records})
    assert len(unseen) <= len(kernels) // 4, unseen
