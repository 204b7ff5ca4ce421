"""The machine of reports whose times are given, not measured."""

from __future__ import annotations

from lucid.benchmark import Machine

MACHINE = Machine(
    cpu="Some Processor",
    isa="avx2",
    threads=2,
    peak_gflops=100.0,
    bandwidth=10.0,
    compiler="Some Compiler",
    versions={"lucid": "0.1.0", "torch": "2.0"},
    date="2026-01-02 03:04",
)
