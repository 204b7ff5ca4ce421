"""conv2d stays inside its memory, and is right in threads, forked children and under OpenMP's limits."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import c_abi
import numpy as np
import pytest
from conv2d_cases import Array, Case, Sample, integer_sample, random_sample
from invariance import at_end_of_memory

from lucid import _core

CASES = [
    Case(2, 32, 48, (9, 7), (3, 3), (1, 1), (1, 1), bias=True),
    Case(2, 128, 128, (7, 9), (3, 3), (1, 1), (1, 1), groups=32),
    Case(1, 64, 64, (9, 8), (3, 3), (2, 2), (1, 1), groups=4),
    Case(2, 17, 19, (5, 5), (1, 1), bias=True),
    Case(1, 3, 35, (15, 14), (7, 7), (2, 2), (3, 3)),
    Case(1, 20, 30, (6, 7), (2, 3), (1, 2), (1, 2), (2, 1), groups=10),
]


def run(case: Case, sample: Sample, algorithm: str | None = None) -> Array:
    return _core.conv2d(sample.x, sample.weight, sample.bias, **case.params, algorithm=algorithm)


# ---- memory --------------------------------------------------------------------------------------

SENTINEL = np.float32(-12345.5)


def result_views(case: Case) -> dict[str, tuple[Array, Array]]:
    """Buffers full of SENTINEL, each with a view in it where the result belongs."""
    n, (h, w), k = case.n, case.out_size, case.out_channels

    def view(shape: tuple[int, ...], order: tuple[int, ...], gap: int) -> tuple[Array, Array]:
        buffer = np.full([size + gap for size in shape], SENTINEL, np.float32)
        inner = buffer[tuple(slice(gap // 2, gap // 2 + size) for size in shape)] if gap else buffer
        return buffer, inner.transpose(order)

    flat = np.full(n * h * w * k + 64, SENTINEL, np.float32)
    dense = flat[31 : 31 + n * h * w * k].reshape(n, h, w, k).transpose(0, 3, 1, 2)
    return {
        "channels-last between guards": (flat, dense),
        "channels-last with gaps": view((n, h, w, k), (0, 3, 1, 2), 2),
        "NCHW": view((n, k, h, w), (0, 1, 2, 3), 0),
        "NCHW with gaps": view((n, k, h, w), (0, 1, 2, 3), 3),
    }


@pytest.mark.parametrize("layout", result_views(CASES[0]))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_writes_its_output_and_nothing_else(case: Case, layout: str, isa: str) -> None:
    library, sample = c_abi.load(), integer_sample(case)
    for name in _core.conv2d_algorithms(sample.x, sample.weight, **case.params):
        buffer, y = result_views(case)[layout]
        bias = None if sample.bias is None else c_abi.tensor(sample.bias)
        tensors = (c_abi.tensor(sample.x), c_abi.tensor(sample.weight), bias, c_abi.tensor(y))
        args = c_abi.conv2d_args(*tensors, *case.params.values(), algorithm=name)
        assert library.lucid_conv2d(args) == c_abi.OK, library.lucid_last_error()
        np.testing.assert_array_equal(y, sample.want, name)
        y[...] = SENTINEL
        assert (buffer == SENTINEL).all(), f"{name} wrote beside its output"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reads_nothing_behind_its_inputs(case: Case, isa: str) -> None:
    """A crash here is a read beyond the end, into a page without access."""
    sample = integer_sample(case)
    channels_last = at_end_of_memory(np.ascontiguousarray(sample.x.transpose(0, 2, 3, 1)))
    weight = at_end_of_memory(sample.weight)
    for x in (at_end_of_memory(sample.x), channels_last.transpose(0, 3, 1, 2)):
        for name in _core.conv2d_algorithms(x, weight, **case.params):
            y = _core.conv2d(x, weight, sample.bias, **case.params, algorithm=name)
            np.testing.assert_array_equal(y, sample.want, name)


def test_results_do_not_share_memory_while_alive() -> None:
    """They come from a cache of freed blocks, which must not hand out one twice."""
    case = CASES[0]
    sample = integer_sample(case)
    results = [run(case, sample) for _ in range(20)]
    for y in results:
        y += 1
    for y in results:
        np.testing.assert_array_equal(y, sample.want + 1)


# ---- threads and processes -----------------------------------------------------------------------


def test_concurrent_calls_give_the_same_results(isa: str) -> None:
    samples = [(case, random_sample(case)) for case in CASES]
    want = [run(case, sample) for case, sample in samples]

    def work(start: int) -> None:
        for step in range(40):
            which = (start + step) % len(samples)
            np.testing.assert_array_equal(run(*samples[which]), want[which])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def child_computes(case: Case, sample: Sample, want: Array) -> None:
    for _ in range(3):
        np.testing.assert_array_equal(run(case, sample), want)


# Python 3.12 warns of any fork in a process with threads; that the child works all the same is tested here.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_computes() -> None:
    case = Case(2, 64, 64, (28, 28), (3, 3), (1, 1), (1, 1))
    sample = random_sample(case)
    before = _core.num_threads()
    _core.set_num_threads(3)
    try:
        want = run(case, sample)  # starts OpenMP's threads, which the child will lack
        child = multiprocessing.get_context("fork").Process(target=child_computes, args=(case, sample, want))
        child.start()
        child.join(60)
        if child.is_alive():
            child.kill()
            pytest.fail("the child hangs")
        assert child.exitcode == 0
        np.testing.assert_array_equal(run(case, sample), want)
    finally:
        _core.set_num_threads(before)


PROGRAM = """
import hashlib
import numpy as np
from lucid import _core
_core.set_num_threads(3)
rng = np.random.default_rng(0)
x, weight = (rng.standard_normal(s).astype(np.float32) for s in [(1, 64, 28, 28), (64, 64, 3, 3)])
y = _core.conv2d(x, weight, None, (1, 1), (1, 1, 1, 1), (1, 1), 1)
print(hashlib.sha256(np.ascontiguousarray(y).tobytes()).hexdigest())
"""


def test_openmp_may_give_fewer_threads_than_asked_for() -> None:
    """A kernel that splits its work by the number it asked for leaves parts of the output unwritten."""
    digests = set()
    for limits in [{}, {"OMP_THREAD_LIMIT": "1"}, {"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}]:
        command = [sys.executable, "-c", PROGRAM]
        result = subprocess.run(
            command,
            env={**os.environ, **limits},
            cwd=c_abi.PACKAGE.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        digests.add(result.stdout)
    assert len(digests) == 1
