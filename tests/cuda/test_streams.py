"""Memory and plans between streams: nothing is read before it is written, nor taken again while it is read.

The simulator does nothing before somebody waits for it, so that an order that nobody asked for shows.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import c_abi
import numpy as np
import pytest
from device_arrays import Array, load, on_device
from small_networks import randomize, small_models

import lucid
from lucid import Tensor, _core, nn

pytestmark = pytest.mark.cuda

X = np.arange(-700, 800, dtype=np.float32)


@pytest.fixture(autouse=True)
def plugin() -> None:
    load()
    _core.cuda_synchronize(0)
    _core.cuda_release_memory()


@contextmanager
def on(stream: Any) -> Iterator[None]:
    """This thread's calls are enqueued on ``stream``."""
    before = _core.cuda_current_stream(0)
    _core.cuda_set_stream(stream)
    try:
        yield
    finally:
        _core.cuda_set_stream(before)


def behind_the_default() -> Any:
    """A stream that comes behind what the default stream has been given."""
    stream = _core.CudaStream(0)
    stream.wait(_core.cuda_current_stream(0))
    return stream


def call(name: str, *arguments: Any) -> None:
    """Calls a function of lucid.h that must not fail."""
    function: Any = c_abi.load()[name]
    status = function(*arguments)
    assert name == "lucid_cuda_free" or status == c_abi.OK


@contextmanager
def raw_stream() -> Iterator[ctypes.c_void_p]:
    """A stream that comes behind what the default stream has been given, and ends with the context."""
    stream = ctypes.c_void_p()
    call("lucid_cuda_stream_create", 0, ctypes.byref(stream))
    call("lucid_cuda_stream_wait", 0, stream, None)
    yield stream
    call("lucid_cuda_stream_destroy", 0, stream)


def copy_on(stream: ctypes.c_void_p, to: int, source: int) -> None:
    """A copy of as many bytes as X has, which lucid's arrays do not know of."""
    call("lucid_cuda_copy", ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(X.nbytes), stream)


def read_on(stream: Any, address: int) -> Any:
    with on(stream):
        copy = _core.cuda_empty(X.shape, "float32", 0)
    copy_on(ctypes.c_void_p(stream.cuda_stream), copy.data_ptr, address)
    return copy


def host(x: Any, stream: Any) -> Array:
    with on(stream):
        values: Array = x.to_host()
    return values


# ---- The cache of freed blocks


def test_memory_is_taken_again_behind_the_streams_that_used_it() -> None:
    x = on_device(X)
    side = behind_the_default()
    with on(side):
        y = _core.relu(x)
    address = x.data_ptr
    del x
    z = on_device(-X)
    assert z.data_ptr == address
    np.testing.assert_array_equal(z.to_host(), -X)
    np.testing.assert_array_equal(host(y, side), X.clip(0))


def test_memory_of_a_stream_that_is_gone_is_the_default_streams() -> None:
    memory = ctypes.c_void_p()
    with raw_stream() as stream:
        call("lucid_cuda_alloc", 0, ctypes.c_size_t(X.nbytes), stream, ctypes.byref(memory))
    call("lucid_cuda_free", memory)
    assert _core.cuda_empty(X.shape, "float32", 0).data_ptr == memory.value


def test_a_stream_is_done_before_it_is_gone() -> None:
    x, y = on_device(X), on_device(-X)
    with raw_stream() as stream:
        copy_on(stream, y.data_ptr, x.data_ptr)
    np.testing.assert_array_equal(y.to_host(), X)


def test_memory_of_a_stream_that_is_gone_can_be_lent() -> None:
    x, side = on_device(X), behind_the_default()
    with on(side):
        y = _core.relu(x)
    del side
    current = _core.cuda_current_stream(0)
    for lend in (lambda: y.__cuda_array_interface__, lambda: y.__dlpack__(stream=1)):
        kept = lend()
        np.testing.assert_array_equal(read_on(current, y.data_ptr).to_host(), X.clip(0))
        del kept


def test_a_block_is_taken_by_what_it_fits() -> None:
    """At most a quarter of a block is left over, and the counters know how large it is."""
    allocated, reserved = _core.cuda_memory(0)
    block = _core.cuda_empty((64 * 1024,), "uint8", 0)
    address = block.data_ptr
    del block
    for size, taken in ((100, False), (48 * 1024, False), (52 * 1024 + 512, True), (64 * 1024, True)):
        x = _core.cuda_empty((size,), "uint8", 0)
        assert (x.data_ptr == address) is taken, size
        assert _core.cuda_memory(0)[0] - allocated == (64 * 1024 if taken else (size + 511) // 512 * 512)
        del x
        assert _core.cuda_memory(0)[0] == allocated
    _core.cuda_release_memory()
    assert _core.cuda_memory(0) == (allocated, reserved)


# ---- Memory lent to others


def test_a_consumer_waits_for_the_stream_that_writes() -> None:
    x, side = on_device(X), behind_the_default()
    with on(side):
        y = _core.relu(x)
    consumer = _core.CudaStream(0)
    capsule = y.__dlpack__(stream=consumer.cuda_stream)
    copy = read_on(consumer, y.data_ptr)
    np.testing.assert_array_equal(host(copy, consumer), X.clip(0))
    del capsule


def test_a_consumers_stream_is_done_before_the_memory_is_taken_again() -> None:
    x, consumer = on_device(X), _core.CudaStream(0)
    capsule = x.__dlpack__(stream=consumer.cuda_stream)
    copy, address = read_on(consumer, x.data_ptr), x.data_ptr
    del x, capsule
    z = on_device(-X)
    assert z.data_ptr == address
    np.testing.assert_array_equal(z.to_host(), -X)
    np.testing.assert_array_equal(host(copy, consumer), X)


def test_the_array_interface_names_a_stream_that_may_read() -> None:
    x, side = on_device(X), behind_the_default()
    with on(side):
        y = _core.relu(x)
        assert y.__cuda_array_interface__["stream"] == side.cuda_stream
    facts = y.__cuda_array_interface__
    assert facts["stream"] == 1
    copy = read_on(_core.cuda_current_stream(0), facts["data"][0])
    np.testing.assert_array_equal(copy.to_host(), X.clip(0))


# ---- Plans


def plan_of(name: str) -> tuple[Any, tuple[int, ...]]:
    model, shape = small_models()[name]
    return lucid.compile(randomize(model, np.random.default_rng(3)), shape, device="cuda"), shape


def test_a_plan_is_ready_for_every_stream_when_it_is_made(rng: np.random.Generator) -> None:
    plan, shape = plan_of("resnext")
    x = rng.standard_normal(shape, dtype=np.float32)
    with lucid.cuda.stream(lucid.cuda.Stream()):
        first = plan(x)
    np.testing.assert_array_equal(first, plan(x))


def run_aside(plan: Any, x: Array) -> tuple[Any, Any]:
    """A stream, and the result that it has not computed yet."""
    side = lucid.cuda.Stream()
    with lucid.cuda.stream(side):
        return side, plan(Tensor(x).to("cuda"))


def filled(bytes_: int) -> list[Tensor]:
    """Tensors that take what is free of that size on the default stream, full of NaN."""
    made = [lucid.full((bytes_ // 4,), float("nan"), device="cuda") for _ in range(3)]
    lucid.cuda.current_stream().synchronize()
    return made


def test_weights_outlive_the_runs_that_read_them(rng: np.random.Generator) -> None:
    x = rng.standard_normal((1, 64, 5, 5), dtype=np.float32)
    plan = lucid.compile(nn.Conv2d(64, 64, 3, padding=1).eval(), x.shape, device="cuda")
    want, weights = plan(x), plan.memory()["weights"]
    side, y = run_aside(plan, x)
    del plan
    others = filled(weights)
    with lucid.cuda.stream(side):
        np.testing.assert_array_equal(y.cpu().numpy(), want)
    assert all(np.isnan(other.cpu().numpy()).all() for other in others)


def test_a_borrowed_arena_is_taken_again_by_its_stream(rng: np.random.Generator) -> None:
    plan, shape = plan_of("resnext")
    x = rng.standard_normal(shape, dtype=np.float32)
    side, y = run_aside(plan, x)  # the first run, which no graph replays
    others = filled(plan.memory()["arena"])
    with lucid.cuda.stream(side):
        got = y.cpu().numpy()
    assert all(np.isnan(other.cpu().numpy()).all() for other in others)
    np.testing.assert_array_equal(got, plan(x))


def test_every_stream_has_a_graph_and_an_arena_of_its_own(rng: np.random.Generator) -> None:
    """Eight at most, beyond which an arena is borrowed for a run."""
    plan, shape = plan_of("resnest")
    x = Tensor(rng.standard_normal(shape, dtype=np.float32)).to("cuda")
    want = plan(x).cpu().numpy()
    lucid.cuda.synchronize()
    streams = [lucid.cuda.Stream() for _ in range(10)]
    held = []
    for stream in streams:
        with lucid.cuda.stream(stream):
            for _ in range(2):
                np.testing.assert_array_equal(plan(x).cpu().numpy(), want)
        held.append(lucid.cuda.memory_allocated())
    grown = [after - before for before, after in itertools.pairwise(held)]
    assert all(bytes_ >= plan.memory()["arena"] for bytes_ in grown[:7])
    assert grown[7:] == [0, 0]
