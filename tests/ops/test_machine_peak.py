"""The measured roofs: rates of every instruction set, with any number of threads."""

from __future__ import annotations

import math

import c_abi
import pytest

from lucid import runtime


@pytest.mark.parametrize("measure", [runtime.fma_peak, runtime.memory_bandwidth])
def test_rates_are_positive_and_finite(measure, isa):
    # A petaflop or a petabyte a second is beyond any processor: the work was left out.
    assert 0 < measure() < 1e6


def test_only_an_instruction_set_with_a_matrix_unit_has_its_peak(isa):
    peak = runtime.matrix_peak()
    assert 0 < peak < 1e6 if isa.endswith("amx") else peak == 0


@pytest.mark.parametrize("measure", [runtime.fma_peak, runtime.memory_bandwidth])
@pytest.mark.parametrize("threads", [1, 3])
def test_rates_with_any_number_of_threads(measure, threads):
    before = runtime.get_num_threads()
    runtime.set_num_threads(threads)
    try:
        assert 0 < measure() < math.inf
    finally:
        runtime.set_num_threads(before)


def test_no_place_for_the_result_is_an_error():
    library = c_abi.load()
    for name, result in (
        ("fma_peak", "gflops"),
        ("matrix_peak", "gflops"),
        ("memory_bandwidth", "gbytes_per_second"),
    ):
        assert library[f"lucid_{name}"](None) == c_abi.INVALID_ARGUMENT
        assert library.lucid_last_error().decode() == f"{name}: {result} must have a place, got NULL"
