"""Convolutions in a plan against float64: blocked images, prepared weights, residual and ReLU, Winograd."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
from plan_convolution_cases import DIRECT, POINTWISE, WINOGRAD, Case
from plan_steps import step
from tolerance import WINOGRAD_RELATIVE_RMS, assert_close

from lucid import _core

Array = npt.NDArray[np.float32]


def build(case: Case, weight: Array, bias: Array, entry: Array, *, residual: bool, relu: bool) -> _core.Plan:
    """A 1x1 convolution, so that the one under test reads a plan's own layout, and then that one."""
    out = [
        reference.output_size(size, k, s, p, d)
        for size, k, s, p, d in zip(
            (case.h, case.w), case.kernel, case.stride, case.padding, case.dilation, strict=True
        )
    ]
    image, result = (case.n, case.channels, case.h, case.w), (case.n, case.out_channels, *out)
    steps = [
        step("conv2d", [0], 2, weight=entry),
        step(
            "conv2d",
            [2, 1] if residual else [2],
            3,
            weight=weight,
            bias=bias,
            stride=case.stride,
            padding=case.padding * 2,
            dilation=case.dilation,
            groups=case.groups,
            relu=relu,
        ),
    ]
    return _core.Plan([image, result, image, result], [0, 1], [3], steps)


def problems(
    cases: list[Case], rng: np.random.Generator
) -> Iterator[tuple[_core.Plan, list[Array], Array, float]]:
    """For each case, with and without residual and ReLU: the plan, its inputs, and float64's result."""
    for case, residual, relu in itertools.product(cases, (False, True), (False, True)):
        # Its input passes the 1x1 unchanged, so the reference starts at the second convolution.
        entry = np.eye(case.channels, dtype=np.float32)[:, :, None, None]
        x = rng.standard_normal((case.n, case.channels, case.h, case.w), dtype=np.float32)
        shape = (case.out_channels, case.channels // case.groups, *case.kernel)
        weight = rng.standard_normal(shape, dtype=np.float32)
        bias = rng.standard_normal(case.out_channels, dtype=np.float32)
        want = reference.conv2d(x, weight, bias, case.stride, case.padding, case.dilation, case.groups)
        other = rng.standard_normal(want.shape, dtype=np.float32)
        if residual:
            want = want + other
        if relu:
            want = reference.relu(want)
        products = float(np.abs(x).max() * np.abs(weight).max())
        yield build(case, weight, bias, entry, residual=residual, relu=relu), [x, other], want, products


def agree_over_threads(plan: _core.Plan, inputs: list[Array], got: Array) -> None:
    before = _core.num_threads()
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            np.testing.assert_array_equal(plan.run(inputs)[0], got)
    finally:
        _core.set_num_threads(before)


def test_direct_matches_reference(isa: str, rng: np.random.Generator) -> None:
    for (plan, inputs, want, products), case in zip(
        problems(DIRECT, rng), [case for case in DIRECT for _ in range(4)], strict=True
    ):
        got = plan.run(inputs)[0]
        terms = case.channels // case.groups * case.kernel[0] * case.kernel[1] + 2
        assert_close(got, want, terms=terms, products=products)
        agree_over_threads(plan, inputs, got)


def test_pointwise_matches_reference(isa: str, rng: np.random.Generator) -> None:
    for (plan, inputs, want, products), case in zip(
        problems(POINTWISE, rng), [case for case in POINTWISE for _ in range(4)], strict=True
    ):
        got = plan.run(inputs)[0]
        assert plan.algorithms()[1] == ("pointwise_bf16x3" if "amx" in isa else "dense")
        assert_close(got, want, terms=case.channels // case.groups + 2, products=products)
        agree_over_threads(plan, inputs, got)


@pytest.mark.parametrize(("n", "h", "w"), [(8, 7, 7), (5, 14, 14), (3, 9, 20)])
def test_pointwise_gives_an_image_alone_or_in_a_batch_the_same(
    isa: str, n: int, h: int, w: int, rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((160, 128, 1, 1), dtype=np.float32)
    x = rng.standard_normal((n, 128, h, w), dtype=np.float32)

    def plan(images: int) -> _core.Plan:
        shapes = [(images, 128, h, w), (images, 160, h, w)]
        return _core.Plan(shapes, [0], [1], [step("conv2d", [0], 1, weight=weight)])

    together, alone = plan(n).run([x])[0], plan(1)
    for i in range(n):
        np.testing.assert_array_equal(alone.run([x[i : i + 1]])[0][0], together[i])


def test_pointwise_reads_an_image_with_a_margin(isa: str, rng: np.random.Generator) -> None:
    """A 3x3 convolution wants zeros around the image that the 1x1 convolution reads, too."""
    pointwise = rng.standard_normal((128, 128, 1, 1), dtype=np.float32)
    window = rng.standard_normal((8, 128, 3, 3), dtype=np.float32)
    x = rng.standard_normal((2, 128, 6, 9), dtype=np.float32)
    steps = [
        step("relu", [0], 1),
        step("conv2d", [1], 2, weight=window, padding=(1, 1, 1, 1)),
        step("conv2d", [1], 3, weight=pointwise),
    ]
    plan = _core.Plan([x.shape, x.shape, (2, 8, 6, 9), x.shape], [0], [2, 3], steps)
    want = reference.conv2d(reference.relu(x), pointwise, None, (1, 1), (0, 0), (1, 1), 1)
    products = float(np.abs(x).max() * np.abs(pointwise).max())
    assert_close(plan.run([x])[1], want, terms=128, products=products)


def test_pointwise_is_exact_on_integers(isa: str, rng: np.random.Generator) -> None:
    """The integers have 11 bits, more than a bfloat16 holds; the sums stay below 2^24."""
    weight = rng.integers(-100, 101, (128, 128, 1, 1)).astype(np.float32)
    x = rng.integers(-1025, 1026, (2, 128, 7, 7)).astype(np.float32)
    got = _core.Plan([x.shape, x.shape], [0], [1], [step("conv2d", [0], 1, weight=weight)]).run([x])[0]
    want = reference.conv2d(x, weight, None, (1, 1), (0, 0), (1, 1), 1)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_pointwise_is_exact_over_the_range_of_float32(
    isa: str, scale: float, rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((128, 128, 1, 1), dtype=np.float32)
    x = (rng.standard_normal((1, 128, 5, 5)) * scale).astype(np.float32)
    x[0, :, 4, 4] = np.nan
    got = _core.Plan([x.shape, x.shape], [0], [1], [step("conv2d", [0], 1, weight=weight)]).run([x])[0]
    want = reference.conv2d(x, weight, None, (1, 1), (0, 0), (1, 1), 1)
    assert_close(got, want, terms=128, products=float(np.nanmax(np.abs(x)) * np.abs(weight).max()))


def test_winograd_matches_reference(isa: str, rng: np.random.Generator) -> None:
    used = set()
    for plan, inputs, want, _ in problems(WINOGRAD, rng):
        got = plan.run(inputs)[0]
        used.add(plan.algorithms()[1])
        error = np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))
        assert error <= WINOGRAD_RELATIVE_RMS, (plan.algorithms(), want.shape, error)
        agree_over_threads(plan, inputs, got)
    assert used == {"winograd_4x4", "winograd_2x2"}


@pytest.mark.parametrize("padding", [(0, 1, 2, 3), (3, 0, 1, 0), (1, 2, 0, 0)], ids=str)
def test_padding_may_differ_on_each_side(
    isa: str, padding: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """Read from the image that a step wrote, and from the caller's where a convolution can."""
    used = set()
    for case in DIRECT + WINOGRAD:
        x = rng.integers(0, 5, (case.n, case.channels, case.h, case.w)).astype(np.float32)
        shape = (case.out_channels, case.channels // case.groups, *case.kernel)
        weight = rng.integers(-4, 5, shape).astype(np.float32)
        window = {"stride": case.stride, "padding": padding, "dilation": case.dilation, "groups": case.groups}
        want = reference.conv2d(x, weight, None, **window)
        for steps in (
            [step("conv2d", [0], 1, weight=weight, **window)],
            [step("relu", [0], 2), step("conv2d", [2], 1, weight=weight, **window)],
        ):
            plan = _core.Plan([x.shape, want.shape, x.shape][: len(steps) + 1], [0], [1], steps)
            got, algorithm = plan.run([x])[0], plan.algorithms()[-1]
            used.add(algorithm)
            if algorithm.startswith("winograd"):
                assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) <= WINOGRAD_RELATIVE_RMS
            else:
                np.testing.assert_array_equal(got, want)
    assert used >= {"dense", "grouped_3x3", "grouped", "winograd_4x4", "winograd_2x2"}


@pytest.mark.parametrize("size", [(30, 21), (14, 14), (7, 7), (6, 5)])
def test_an_image_alone_or_in_a_batch_is_bitwise_the_same(
    isa: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((64, 32, 3, 3), dtype=np.float32)
    bias = rng.standard_normal(64, dtype=np.float32)
    entry = rng.standard_normal((64, 64, 1, 1), dtype=np.float32)
    x = rng.standard_normal((8, 64, *size), dtype=np.float32)
    other = np.zeros((8, 64, *size), dtype=np.float32)
    batch, alone = (
        build(Case(n, 64, 64, *size, groups=2), weight, bias, entry, residual=False, relu=True)
        for n in (8, 1)
    )
    assert batch.algorithms() == alone.algorithms()
    together = batch.run([x, other])[0]
    for i in range(8):
        np.testing.assert_array_equal(alone.run([x[i : i + 1], other[i : i + 1]])[0][0], together[i])


@pytest.mark.parametrize(("channels", "groups", "radix"), [(64, 2, 2), (80, 2, 1)])
@pytest.mark.parametrize("size", [(30, 21), (9, 14)])
def test_global_pooling_reads_what_a_convolution_summed_up(
    isa: str, channels: int, groups: int, radix: int, size: tuple[int, int], rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((channels, 64 // groups, 3, 3), dtype=np.float32)
    bias = rng.standard_normal(channels, dtype=np.float32)
    entry = np.eye(64, dtype=np.float32)[:, :, None, None]
    x = rng.standard_normal((2, 64, *size), dtype=np.float32)
    image, result, pooled = (2, 64, *size), (2, channels, *size), (2, channels // radix)
    steps = [
        step("conv2d", [0], 1, weight=entry),
        step("conv2d", [1], 2, weight=weight, bias=bias, padding=(1, 1, 1, 1), groups=groups, relu=True),
        step("radix_sum_pool", [2], 3, radix=radix),
    ]
    plan = _core.Plan([image, image, result, pooled], [0], [3, 2], steps)
    assert plan.algorithms()[2] == "sum_rows"
    got, y = plan.run([x])
    want = reference.relu(reference.conv2d(x, weight, bias, (1, 1), (1, 1), (1, 1), groups))
    want = want.mean((2, 3)).reshape(2, radix, -1).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    np.testing.assert_allclose(got, y.mean((2, 3), np.float64).reshape(2, radix, -1).sum(1), rtol=1e-5)
    agree_over_threads(plan, [x], got)


def test_concurrent_runs_do_not_meet(rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    [(plan, inputs, _, _)] = itertools.islice(problems(WINOGRAD, rng), 1)
    batches = [[array + np.float32(i) for array in inputs] for i in range(8)]
    want = [plan.run(batch)[0] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(
            pool.map(lambda batch: plan.run(batch)[0], batches * 4), want * 4, strict=True
        ):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": [7]}, r"plan: step 1: its inputs must be computed before it, got value 7"),
        ({"inputs": [3]}, r"plan: step 1: its inputs must be computed before it"),
        ({"output": 2}, r"plan: step 1: its output must be a value that nothing else computes, got 2"),
        ({"attributes": {"groups": 5}}, r"plan: step 1: conv2d: groups \(5\) must divide in_channels \(16\)"),
        ({"attributes": {"stride": (2, 2)}}, r"plan: step 1: conv2d: its output must have shape"),
        (
            {"kind": "deconvolution"},
            r"plan: step 1: plan: the kind of a step must be one of .*, got 'deconvolution'",
        ),
        ({"weights": {}}, r"plan: step 1: conv2d: weights must be weight, bias \(optional\), got none"),
    ],
)
def test_rejects_a_step(change: dict[str, Any], message: str, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((16, 16, 3, 3), dtype=np.float32)
    image = (1, 16, 6, 6)
    steps = [
        step("relu", [0], 2),
        step("conv2d", [2], 3, weight=weight, padding=(1, 1, 1, 1)),
    ]
    for key, value in change.items():
        steps[1][key] = {**steps[1][key], **value} if key == "attributes" else value
    with pytest.raises(ValueError, match=message):
        _core.Plan([image, image, image, image], [0], [3], steps)
