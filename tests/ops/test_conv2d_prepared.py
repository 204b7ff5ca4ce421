"""Weights that are packed once: the same results for every algorithm, a refusal where they do not fit."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import c_abi
import numpy as np
import numpy.typing as npt
import pytest
from conv2d_cases import Case, random_sample

from lucid import _core

Array = npt.NDArray[np.float32]

CASES = [
    Case(2, 8, 24, (9, 7), (3, 3), padding=(1, 1), bias=True),
    Case(3, 64, 96, (7, 7), (1, 1)),
    Case(1, 32, 32, (10, 11), (3, 3), stride=(2, 1), padding=(1, 1), groups=8, bias=True),
    Case(2, 64, 64, (8, 8), (3, 3), padding=(1, 1), groups=2),
    Case(1, 17, 19, (6, 5), (2, 3), dilation=(2, 1), bias=True),
]


class Call:
    """A convolution through lucid.h, whose tensors stay alive."""

    def __init__(self, case: Case, algorithm: str | None, x: Array) -> None:
        sample = random_sample(case)
        self.y = np.full((len(x), *sample.want.shape[1:]), np.nan, np.float32)
        bias = None if sample.bias is None else c_abi.tensor(sample.bias)
        tensors = c_abi.tensor(x), c_abi.tensor(sample.weight), bias, c_abi.tensor(self.y)
        self._alive = x, sample, tensors
        params = case.params
        self.args = c_abi.conv2d_args(
            *tensors, params["stride"], params["padding"], params["dilation"], params["groups"], algorithm
        )

    def prepare(self) -> ctypes.c_void_p:
        weights = ctypes.c_void_p()
        library = c_abi.load()
        status = library.lucid_conv2d_prepare(self.args, ctypes.byref(weights))
        assert (status, library.lucid_last_error()) == (c_abi.OK, b"")
        return weights

    def run(self, weights: ctypes.c_void_p) -> tuple[int, str]:
        self.args.contents.prepared = weights
        library = c_abi.load()
        return library.lucid_conv2d(self.args), library.lucid_last_error().decode()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_are_those_of_weights_packed_on_the_way(case: Case, isa: str) -> None:
    """For any batch and any number of calls, also when the caller's weights are gone."""
    sample = random_sample(case)
    for algorithm in _core.conv2d_algorithms(sample.x, sample.weight, **case.params):
        weights = Call(case, algorithm, sample.x).prepare()
        for x in (sample.x, np.concatenate([sample.x, sample.x + 1]), sample.x[:0]):
            want = _core.conv2d(x, sample.weight, sample.bias, **case.params, algorithm=algorithm)
            for named in (algorithm, None):
                call = Call(case, named, x)
                call.args.contents.weight.contents.data = None
                assert call.run(weights) == (c_abi.OK, ""), algorithm
                np.testing.assert_array_equal(call.y, want, algorithm)
        c_abi.load().lucid_conv2d_weights_destroy(weights)


def test_weights_of_another_problem_are_refused() -> None:
    case, larger = CASES[0], replace(CASES[0], size=(10, 7))
    x = random_sample(case).x
    [*_, last] = _core.conv2d_algorithms(x, random_sample(case).weight, **case.params)
    weights = Call(case, last, x).prepare()
    before = _core.isa()
    others: list[tuple[Any, str]] = [
        (Call(larger, last, random_sample(larger).x), "geometry, got weights for another"),
        (Call(CASES[1], None, random_sample(CASES[1]).x), "geometry, got weights for another"),
        (Call(case, "fastest", x), f"algorithm 'fastest', got weights for '{last}'"),
    ]
    for call, message in others:
        status, got = call.run(weights)
        assert status == c_abi.INVALID_ARGUMENT
        assert got.startswith("conv2d: prepared must be packed for ")
        assert message in got
    for isa in set(_core.isas()) - {before}:
        _core.set_isa(isa)
        try:
            status, got = Call(case, None, x).run(weights)
        finally:
            _core.set_isa(before)
        assert status == c_abi.INVALID_ARGUMENT
        assert got == f"conv2d: prepared must be packed for {isa}, got weights for {before}"
    c_abi.load().lucid_conv2d_weights_destroy(weights)
