"""conv2d against float64, for every instruction set and every algorithm of this build."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import instruction_sets
import numpy as np
import pytest
import reference
from conv2d_cases import (
    Array,
    Case,
    Sample,
    from_file,
    generated,
    integer_sample,
    network_layers,
    random_sample,
)
from invariance import LAYOUTS, assert_rows_agree, assert_threads_agree
from tolerance import WINOGRAD_RELATIVE_RMS, assert_close

from lucid import _core

GENERATED = generated(540)
LAYERS = network_layers()
CASES_FILE = os.environ.get("LUCID_CONV_CASES")

# One case on each instruction set before the next case, so that its reference is computed once.
on_each_isa = pytest.mark.parametrize("isa", instruction_sets.TESTED, indirect=True)


def each_result(case: Case, sample: Sample) -> Iterator[tuple[str, Array]]:
    """The result of each algorithm that accepts the case; the first is the default."""
    arrays = (sample.x, sample.weight, sample.bias)
    names = _core.conv2d_algorithms(sample.x, sample.weight, **case.params)
    assert len(set(names)) == len(names) >= 1
    for name in names:
        yield name, _core.conv2d(*arrays, **case.params, algorithm=name)
    default = _core.conv2d(*arrays, **case.params)
    np.testing.assert_array_equal(default, _core.conv2d(*arrays, **case.params, algorithm=names[0]))


def check_against_reference(case: Case) -> None:
    sample = random_sample(case)
    products = float(np.abs(sample.x).max() * np.abs(sample.weight).max())
    if sample.bias is not None:
        products = max(products, float(np.abs(sample.bias).max()))
    for name, y in each_result(case, sample):
        try:
            assert_close(y, sample.want, terms=case.terms, products=products)
        except AssertionError as error:
            raise AssertionError(f"{name}, {case}: {error}") from None
        assert y.dtype == np.float32
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous, "results are channels-last in memory"


def check_integers(case: Case) -> None:
    """No rounding happens here, so any difference is a wrong index, which a tolerance may hide."""
    sample = integer_sample(case)
    for name, y in each_result(case, sample):
        np.testing.assert_array_equal(y, sample.want, f"{name}, {case}")


@on_each_isa
@pytest.mark.parametrize("case", GENERATED, ids=str)
def test_generated_shape_matches_reference(case: Case, isa: str) -> None:
    check_against_reference(case)


@on_each_isa
@pytest.mark.parametrize("case", GENERATED, ids=str)
def test_generated_shape_is_exact_for_integers(case: Case, isa: str) -> None:
    check_integers(case)


@on_each_isa
@pytest.mark.parametrize(
    "case", LAYERS[::4], ids=str
)  # rounding does not depend on much; the rest is indices
def test_network_layer_matches_reference(case: Case, isa: str) -> None:
    check_against_reference(case)


@on_each_isa
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_network_layer_is_exact_for_integers(case: Case, isa: str) -> None:
    check_integers(case)


@pytest.mark.skipif(not CASES_FILE, reason="LUCID_CONV_CASES names no file of shapes")
def test_shapes_of_file_match_reference(isa: str) -> None:
    assert CASES_FILE
    cases = from_file(CASES_FILE, most_multiplications=100_000)
    assert len(cases) > 1000
    for case in cases:
        check_integers(case)


def test_generated_shapes_cover_what_they_are_meant_to() -> None:
    wanted: dict[str, Callable[[Case], bool]] = {
        "one pixel wide": lambda case: case.size[1] == 1 < case.size[0],
        "one pixel high": lambda case: case.size[0] == 1 < case.size[1],
        "channels no multiple of 16": lambda case: case.in_channels % 16 != 0 and case.out_channels % 16 != 0,
        "asymmetric stride": lambda case: case.stride[0] != case.stride[1],
        "asymmetric kernel": lambda case: case.kernel[0] != case.kernel[1],
        "asymmetric padding": lambda case: case.padding[0] != case.padding[1],
        "dilation": lambda case: max(case.dilation) > 1 and min(case.kernel) > 1,
        "padding beyond the image": lambda case: case.padding[0] > case.size[0],
        "kernel as large as the padded input": lambda case: case.out_size == (1, 1) and max(case.kernel) > 7,
        "groups of different input and output": lambda case: (
            case.groups > 1 and case.in_group != case.out_group
        ),
        "bias": lambda case: case.bias,
        **{
            f"{channels} channels in a group": lambda case, channels=channels: case.in_group == channels  # type: ignore[misc]
            for channels in (1, 4, 8, 10, 16, 20, 24, 32, 40, 64, 80)
        },
    }
    found = {name: sum(map(holds, GENERATED)) for name, holds in wanted.items()}
    assert len(GENERATED) >= 500
    assert not {name: count for name, count in found.items() if count < 5}


# ---- the same numbers, whatever the threads, the memory and the neighbours -----------------------

# One or more for each algorithm and each way to split the work among threads.
VARIED = [
    Case(3, 64, 64, (14, 13), (3, 3), (1, 1), (1, 1), bias=True),
    Case(2, 128, 128, (15, 15), (3, 3), (1, 1), (1, 1), groups=32),
    Case(2, 64, 64, (15, 16), (3, 3), (2, 2), (1, 1), groups=8, bias=True),
    Case(2, 64, 128, (9, 11), (3, 3), (1, 1), (1, 1), groups=4),
    Case(1, 48, 48, (5, 6), (3, 3), (1, 1), (1, 1), groups=3),
    Case(1, 32, 32, (11, 13), (3, 3), (2, 2), (1, 1), groups=2, bias=True),
    Case(3, 80, 40, (9, 10), (3, 3), (2, 1), (1, 2), groups=2, bias=True),
    Case(3, 64, 256, (14, 14), (1, 1), bias=True),
    Case(2, 96, 72, (9, 8), (1, 1), (2, 2)),
    Case(3, 3, 32, (31, 30), (7, 7), (2, 2), (3, 3)),
    Case(2, 20, 30, (8, 9), (3, 2), (1, 2), (2, 1), (2, 3), groups=10, bias=True),
    Case(3, 24, 24, (7, 7), (5, 5), (1, 1), (2, 2), groups=24),
    Case(2, 20, 20, (6, 7), (3, 3), (1, 1), (1, 1), groups=10),  # a vector that is not full
    Case(2, 512, 96, (7, 7), (3, 3), (1, 1), (1, 1)),
    Case(3, 40, 64, (1, 1), (1, 1), groups=4, bias=True),
]


@pytest.mark.parametrize("case", VARIED, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_result_does_not_depend_on_layout(layout: str, case: Case, isa: str) -> None:
    sample, lay_out = random_sample(case), LAYOUTS[layout]
    x, weight = lay_out(sample.x), lay_out(sample.weight)
    bias = None if sample.bias is None else lay_out(sample.bias)
    for name, want in each_result(case, sample):
        for arrays in [(x, sample.weight, sample.bias), (sample.x, weight, bias), (x, weight, bias)]:
            y = _core.conv2d(*arrays, **case.params, algorithm=name)
            np.testing.assert_array_equal(y, want, name)


def test_repeated_image_and_channels_need_no_copies(isa: str) -> None:
    """Strides of 0, as np.broadcast_to gives them."""
    case = VARIED[0]
    row = random_sample(case).x[:1, :1]
    x = np.broadcast_to(row, (case.n, case.in_channels, *case.size))
    weight = np.broadcast_to(random_sample(case).weight[:1], (case.out_channels, case.in_channels, 3, 3))
    want = _core.conv2d(x.copy(), weight.copy(), None, **case.params)
    np.testing.assert_array_equal(_core.conv2d(x, weight, None, **case.params), want)


@pytest.mark.parametrize("case", VARIED, ids=str)
def test_result_does_not_depend_on_threads(case: Case, isa: str) -> None:
    sample = random_sample(case)
    assert_threads_agree(lambda: tuple(y for _, y in each_result(case, sample)))


@pytest.mark.parametrize("case", VARIED, ids=str)
def test_image_has_the_same_result_alone_and_in_a_batch(case: Case, isa: str) -> None:
    sample = random_sample(case)
    for name in _core.conv2d_algorithms(sample.x, sample.weight, **case.params):
        run = partial(_core.conv2d, **case.params, algorithm=name)
        assert_rows_agree(lambda x, run=run: run(x, sample.weight, sample.bias), sample.x)


@pytest.mark.parametrize("padding", [(0, 1, 2, 3), (3, 0, 1, 0), (0, 0, 1, 1), (1, 2, 0, 0)], ids=str)
@pytest.mark.parametrize("case", VARIED, ids=str)
def test_padding_may_differ_on_each_side(case: Case, padding: tuple[int, int, int, int], isa: str) -> None:
    sample = integer_sample(case)
    arrays, params = (sample.x, sample.weight, sample.bias), case.params | {"padding": padding}
    want = reference.conv2d(*arrays, **params)
    for name in _core.conv2d_algorithms(sample.x, sample.weight, **params):
        np.testing.assert_array_equal(_core.conv2d(*arrays, **params, algorithm=name), want, name)


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 512, 32, (7, 7), (3, 3), (1, 1), (1, 1)),
        Case(1, 2048, 24, (5, 6), (1, 1)),
        Case(1, 1, 16, (64, 61), (61, 59)),
        Case(1, 8, 8, (40, 41), (37, 33), groups=8),
    ],
    ids=str,
)
def test_error_of_a_long_sum_is_that_of_a_run(case: Case, isa: str) -> None:
    """Terms of one sign, whose partial sums grow: 4608 of them in one accumulator have 8 times the error.

    An addition rounds by less than half of eps. Over a run of 256 the partial sums are half of the last on
    average, and the errors add up like a random walk: sqrt(256 / 12) * eps / 2 = 2.3 eps, before the runs
    average it out.
    """
    rng = np.random.default_rng(case.terms)
    x, weight, _ = case.fill(rng.random)
    want = reference.conv2d(x, weight, None, **case.params)
    for name in _core.conv2d_algorithms(x, weight, **case.params):
        y = _core.conv2d(x, weight, None, **case.params, algorithm=name)
        error = np.sqrt(np.mean(((y - want) / want) ** 2))
        assert error <= 2.3 * np.finfo(np.float32).eps, (name, error)


# ---- by Winograd's algorithms where they are allowed ---------------------------------------------

# Tiles of 4x4 and of 2x2, that fill the image or do not; groups of whole blocks of channels and of pieces.
WINOGRAD = [
    Case(2, 64, 64, (25, 29), (3, 3), (1, 1), (1, 1), bias=True),
    Case(3, 32, 64, (14, 14), (3, 3), (1, 1), (1, 1), groups=2),
    Case(1, 24, 40, (30, 23), (3, 3), (1, 1), (1, 1), bias=True),
    Case(2, 48, 48, (27, 32), (3, 3), (1, 1), (2, 0), groups=2),
    Case(3, 128, 256, (7, 7), (3, 3), (1, 1), (1, 1), groups=2, bias=True),
    Case(5, 96, 64, (22, 27), (3, 3), (1, 1), (1, 0), bias=True),
    Case(2, 192, 64, (9, 15), (3, 3), (1, 1), (0, 1), groups=2),
    # So many channels that they are summed in parts.
    Case(1, 1024, 8, (24, 23), (3, 3), (1, 1), (1, 1), bias=True),
    Case(1, 272, 24, (14, 15), (3, 3), (1, 1), (1, 1)),
    # So many weights of so few tiles are transformed for each use.
    Case(2, 544, 752, (7, 8), (3, 3), (1, 1), (1, 1), groups=2, bias=True),
    Case(2, 272, 328, (14, 13), (3, 3), (1, 1), (1, 1), bias=True),
]


@on_each_isa
@pytest.mark.parametrize(
    "case", [*WINOGRAD, Case(1, 270, 536, (8, 7), (3, 3), (1, 1), (1, 1), bias=True)], ids=str
)
def test_winograd_matches_reference(case: Case, isa: str) -> None:
    sample = random_sample(case)
    arrays = (sample.x, sample.weight, sample.bias)
    names = _core.conv2d_algorithms(sample.x, sample.weight, **case.params, winograd=True)
    assert names[0].startswith("winograd")
    assert not any(
        name.startswith("winograd") for name in _core.conv2d_algorithms(*arrays[:2], **case.params)
    )
    for name in filter(lambda name: name.startswith("winograd"), names):
        run = partial(_core.conv2d, **case.params, algorithm=name, winograd=True)
        y = run(*arrays)
        error = np.sqrt(np.mean((y - sample.want) ** 2) / np.mean(sample.want**2))
        assert error <= WINOGRAD_RELATIVE_RMS, name
        assert_rows_agree(lambda x, run=run: run(x, sample.weight, sample.bias), sample.x)
        for lay_out in LAYOUTS.values():
            np.testing.assert_array_equal(run(lay_out(sample.x), lay_out(sample.weight), sample.bias), y)
        assert_threads_agree(lambda run=run: run(*arrays))
    np.testing.assert_array_equal(
        _core.conv2d(*arrays, **case.params, winograd=True),
        _core.conv2d(*arrays, **case.params, algorithm=names[0], winograd=True),
    )


# ---- special values ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", VARIED, ids=str)
def test_nan_and_infinity_reach_their_own_windows_and_group_only(case: Case, value: float, isa: str) -> None:
    sample = integer_sample(case)
    x = sample.x.copy()
    x[0, case.in_group - 1, case.size[0] // 2, case.size[1] // 2] = value
    with np.errstate(invalid="ignore"):  # the reference multiplies infinity by zero too
        want = reference.conv2d(x, sample.weight, sample.bias, **case.params)
    for name in _core.conv2d_algorithms(x, sample.weight, **case.params):
        y = _core.conv2d(x, sample.weight, sample.bias, **case.params, algorithm=name)
        np.testing.assert_array_equal(y, want, name)


def test_strides_and_dilations_that_are_never_stepped_may_be_huge(isa: str) -> None:
    case = Case(1, 5, 6, (4, 4), (1, 1), (2**62, 2**62), (0, 0), (2**62, 2**62))
    check_integers(case)
