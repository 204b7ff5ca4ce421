"""The host's threads, memory and arena: results are the same to the last bit, and a failure is an error."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import c_abi
import numpy as np
import numpy.typing as npt
import pytest
from host import Heap, Limit, Pool, context_of, on_new_threads, one_after_another
from plan_loading import LoadArgs, LoadedPlan
from small_networks import randomize, small_models, small_networks

import lucid
from lucid import nn

Array = npt.NDArray[np.float32]
NETWORKS = small_models() | small_networks()
POOLS = {"one after another": one_after_another, "on new threads": on_new_threads}


def saved(model: nn.Module, shape: tuple[int, ...], rng: np.random.Generator, folder: Path) -> Path:
    path = folder / "plan.lucid"
    lucid.compile(randomize(model, rng), shape).save(path)
    return path


@pytest.fixture
def shape() -> tuple[int, ...]:
    return (2, 8, 12, 12)


@pytest.fixture
def file(shape: tuple[int, ...], rng: np.random.Generator, tmp_path: Path) -> Path:
    """A plan with scratch memory: convolutions, split attention and softmax."""
    model = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1),
        nn.SplitAttention(16, 16, 3, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
        nn.Softmax(1),
    )
    return saved(model, shape, rng, tmp_path)


# ---- Threads


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_on_threads_of_the_host(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    model, shape = NETWORKS[name]
    plan = LoadedPlan(saved(model, shape, rng, tmp_path))
    x = rng.standard_normal(shape, dtype=np.float32)
    expected = plan(x)
    for run in POOLS.values():
        for threads in (1, 2, 3, 7):
            pool = Pool(run, threads)
            for ours, theirs in zip(plan.run([x], context_of(pool)), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            assert (pool.loops > 0) == (threads > 1)
    plan.close()


def test_a_plan_asks_for_a_loop_a_step(shape: tuple[int, ...], file: Path, rng: np.random.Generator) -> None:
    """Each step is timed; without ``threads`` there are as many tasks as lucid would have threads."""
    before = lucid.get_num_threads()
    lucid.set_num_threads(3)
    try:
        tasks = []
        pool = Pool(lambda count, task: tasks.append(count) or one_after_another(count, task))
        plan = LoadedPlan(file)
        steps = plan.library.lucid_plan_step_count(plan.handle)
        milliseconds = (ctypes.c_double * steps)()
        plan.run([rng.standard_normal(shape, dtype=np.float32)], context_of(pool), milliseconds=milliseconds)
    finally:
        lucid.set_num_threads(before)
    assert set(tasks) == {3}
    assert steps <= pool.loops <= steps + 2  # with transfers of the input and the output
    assert all(time > 0 for time in milliseconds)
    plan.close()


class Conv2d:
    """lucid_conv2d on fixed arrays."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.library = c_abi.load()
        self.x = rng.standard_normal((2, 32, 40, 40), dtype=np.float32)
        self.weight = rng.standard_normal((64, 32, 3, 3), dtype=np.float32)

    def __call__(self, context: c_abi.Context | None = None) -> tuple[int, Array]:
        y = np.zeros((2, 64, 40, 40), np.float32)
        tensors = [c_abi.tensor(array) for array in (self.x, self.weight, y)]
        sizes = [1, 1], [1, 1, 1, 1], [1, 1]
        args: Any = c_abi.conv2d_args(tensors[0], tensors[1], None, tensors[2], *sizes, 1, None)
        if context is not None:
            args.contents.context = ctypes.addressof(context)
        return self.library.lucid_conv2d(args), y


@pytest.mark.parametrize("name", POOLS)
def test_an_operator_on_threads_of_the_host(name: str, rng: np.random.Generator) -> None:
    conv2d = Conv2d(rng)
    expected = conv2d()[1]
    for threads in (1, 2, 5):
        pool = Pool(POOLS[name], threads)
        status, y = conv2d(context_of(pool))
        assert status == c_abi.OK
        np.testing.assert_array_equal(y, expected)
        assert (pool.loops > 0) == (threads > 1)


def test_a_call_inside_of_a_loop_has_a_context_of_its_own(rng: np.random.Generator) -> None:
    inner = Conv2d(rng)
    expected, results = inner()[1], []

    def loop(tasks: int, task: Any) -> None:
        results.append(inner()[1])
        one_after_another(tasks, task)

    pool = Pool(loop, 2)
    context = context_of(pool)
    y = inner(context)[1]
    assert len(results) == pool.loops > 0
    for result in (y, *results):
        np.testing.assert_array_equal(result, expected)


def test_a_context_of_an_older_header_has_no_number_of_threads(rng: np.random.Generator) -> None:
    """The library does not read behind its end."""
    conv2d, pool = Conv2d(rng), Pool(one_after_another, -7)
    context = context_of(pool)
    for size in (0, c_abi.Context.tf32.offset, c_abi.Context.threads.offset):
        context.size = size
        assert conv2d(context)[0] == c_abi.OK


# ---- A limit to the library's own threads


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("three_threads")
def test_a_plan_on_some_of_the_threads(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    model, shape = NETWORKS[name]
    plan = LoadedPlan(saved(model, shape, rng, tmp_path))
    x = rng.standard_normal(shape, dtype=np.float32)
    expected = plan(x)
    for threads in (0, 1, 2, 3, 1024):
        for ours, theirs in zip(plan.run([x], context_of(Limit(threads))), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    plan.close()


@pytest.mark.usefixtures("three_threads")
def test_an_operator_on_some_of_the_threads(rng: np.random.Generator) -> None:
    conv2d = Conv2d(rng)
    expected = conv2d()[1]
    for threads in (0, 1, 2, 3, 1024):
        status, y = conv2d(context_of(Limit(threads)))
        assert status == c_abi.OK
        np.testing.assert_array_equal(y, expected)


@pytest.mark.usefixtures("three_threads")
def test_an_arena_is_for_the_threads_of_the_call(
    shape: tuple[int, ...], file: Path, rng: np.random.Generator
) -> None:
    """Each thread has scratch memory, so one needs less than three; and there are never more than three."""
    plan, x = LoadedPlan(file), rng.standard_normal(shape, dtype=np.float32)
    (expected,) = plan(x)
    sizes = {threads: plan.arena_size(context_of(Limit(threads)))[0] for threads in (0, 1, 2, 3, 7)}
    assert plan.library.lucid_plan_arena_bytes(plan.handle) < sizes[1] < sizes[2] < sizes[3]
    assert sizes[0] == sizes[3] == sizes[7]
    arena = Arena(sizes[1], 64)
    (y,) = plan.run([x], context_of(Limit(1)), arena.place)
    np.testing.assert_array_equal(y, expected)
    assert arena.margin_is_whole()
    plan.close()


# ---- How long threads wait


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.usefixtures("three_threads")
def test_waiting_is_a_part_of_the_time(
    threads: int, shape: tuple[int, ...], file: Path, rng: np.random.Generator
) -> None:
    plan, x = LoadedPlan(file), rng.standard_normal(shape, dtype=np.float32)
    (expected,) = plan(x)
    steps = plan.library.lucid_plan_step_count(plan.handle)
    for _ in range(20):
        (y,), milliseconds, waiting, barriers = plan.profile([x], context_of(Limit(threads)))
        np.testing.assert_array_equal(y, expected)
        assert len(milliseconds) == len(waiting) == len(barriers) == steps
        assert all(time > 0 for time in milliseconds)
        for time, waited, barrier in zip(milliseconds, waiting, barriers, strict=True):
            assert 0 <= barrier <= waited <= time
        if threads == 1:
            assert waiting == barriers == [0.0] * steps
    plan.close()


def test_nobody_waits_at_barriers_of_a_host(
    shape: tuple[int, ...], file: Path, rng: np.random.Generator
) -> None:
    plan, pool = LoadedPlan(file), Pool(on_new_threads, 3)
    x = rng.standard_normal(shape, dtype=np.float32)
    _, milliseconds, waiting, barriers = plan.profile([x], context_of(pool))
    assert all(time > 0 for time in milliseconds)
    assert waiting == barriers == [0.0] * len(milliseconds)
    plan.close()


def test_each_place_for_times_may_be_missing(
    shape: tuple[int, ...], file: Path, rng: np.random.Generator
) -> None:
    plan, x = LoadedPlan(file), rng.standard_normal(shape, dtype=np.float32)
    (expected,) = plan(x)
    names = ("milliseconds", "waiting", "barriers")
    for left_out in ((), *((name,) for name in names), names[:2], names):
        (y,), *times = plan.profile([x], left_out=left_out)
        np.testing.assert_array_equal(y, expected)
        assert [len(each) > 0 for each in times] == [name not in left_out for name in names]
    plan.close()


# ---- Memory


def test_memory_of_the_host_is_used_and_given_back(
    shape: tuple[int, ...], file: Path, rng: np.random.Generator
) -> None:
    heap, x = Heap(), rng.standard_normal(shape, dtype=np.float32)
    context = context_of(heap)
    (expected,) = LoadedPlan(file)(x)
    for source in (file, file.read_bytes()):
        plan = LoadedPlan(source, LoadArgs(context=ctypes.addressof(context)))
        assert len(heap.blocks) == 1  # the packed weights
        (y,) = plan.run([x], context)
        np.testing.assert_array_equal(y, expected)
        (y,) = plan(x)  # without it
        np.testing.assert_array_equal(y, expected)
        assert len(heap.blocks) == 1
        plan.close()
        assert (heap.blocks, heap.wrong) == ({}, 0)


def test_each_allocation_may_fail(shape: tuple[int, ...], file: Path, rng: np.random.Generator) -> None:
    x, plan = rng.standard_normal(shape, dtype=np.float32), LoadedPlan(file)
    conv2d = Conv2d(rng)

    def load(context: c_abi.Context) -> None:
        LoadedPlan(file, LoadArgs(context=ctypes.addressof(context))).close()

    def convolve(context: c_abi.Context) -> None:
        if conv2d(context)[0] != c_abi.OK:
            raise MemoryError(conv2d.library.lucid_last_error().decode())

    for call in (load, lambda context: plan.run([x], context), convolve):
        whole = Heap()
        call(context_of(whole))
        assert whole.count > 0
        for failing in range(whole.count):
            heap = Heap(failing)
            with pytest.raises(MemoryError, match="no memory"):
                call(context_of(heap))
            assert (heap.blocks, heap.wrong) == ({}, 0)
    plan.close()


# ---- An arena of the caller's


class Arena:
    """Memory with a margin, whose bytes are watched."""

    MARGIN = 256

    def __init__(self, size: int, alignment: int) -> None:
        self.memory = np.full(size + alignment + self.MARGIN, 0xAB, np.uint8)
        self.begin = -self.memory.ctypes.data % alignment
        self.size = size
        self.place = self.memory.ctypes.data + self.begin, size

    def margin_is_whole(self) -> bool:
        end = self.begin + self.size
        return bool((self.memory[: self.begin] == 0xAB).all() and (self.memory[end:] == 0xAB).all())


@pytest.mark.parametrize("threads", [None, 1, 4])
def test_a_run_in_an_arena_allocates_nothing(
    threads: int | None, shape: tuple[int, ...], file: Path, rng: np.random.Generator
) -> None:
    plan, heap = LoadedPlan(file), Heap()
    pool = [] if threads is None else [Pool(on_new_threads, threads)]
    context, x = context_of(heap, *pool), rng.standard_normal(shape, dtype=np.float32)
    (expected,) = plan(x)
    size, alignment = plan.arena_size(context)
    assert size > plan.library.lucid_plan_arena_bytes(plan.handle)
    arena = Arena(size, alignment)
    for _ in range(3):
        (y,) = plan.run([x], context, arena.place)
        np.testing.assert_array_equal(y, expected)
    assert arena.margin_is_whole()
    assert heap.count == 0
    plan.close()


def test_what_is_no_arena_is_refused(shape: tuple[int, ...], file: Path, rng: np.random.Generator) -> None:
    plan, pool = LoadedPlan(file), Pool(one_after_another, 2)
    context, x = context_of(pool), rng.standard_normal(shape, dtype=np.float32)
    size, alignment = plan.arena_size(context)
    arena = Arena(size + alignment, alignment)
    address = arena.place[0]
    for place, message in (
        ((address, 0), "the arena must have at least .* bytes, got 0"),
        ((address, size - 1), f"the arena must have at least {size} bytes, got {size - 1}"),
        ((address + 4, size), "the arena must be aligned to 64 bytes, got 0x"),
        ((0, size), "the arena must be memory, got NULL"),
    ):
        with pytest.raises(ValueError, match=f"plan: {message}"):
            plan.run([x], context, place)
    assert arena.margin_is_whole()
    assert pool.loops == 0
    status = plan.library.lucid_plan_arena_size(plan.handle, None, None, None)
    assert status == c_abi.INVALID_ARGUMENT
    plan.close()
