"""Small networks of both families on a device against the same on the CPU: layer by layer, and as plans."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from lucid import cuda, inference
from lucid.creation import from_dlpack, tensor
from lucid.cuda.selftest.operators import DTYPES
from lucid.cuda.selftest.outcome import Array, Outcome, largest_error, outcome_of
from lucid.models.resnest import ResNeSt, ResNeStConfig
from lucid.models.resnext import ResNeXt, ResNeXtConfig
from lucid.nn.module import Module
from lucid.nn.norm import BatchNorm2d
from lucid.random import seed

_SHAPE = (2, 3, 45, 37)
# Layers with weights on the way of these networks. Each rounds its result to the dtype, and a sum in float32
# of a few hundred terms, which rounds by some 32 eps of that.
_DEPTH = 17


def networks() -> dict[str, Module]:
    """With random weights, the same in each run."""
    small: Any = {"layers": (1, 1, 1, 2), "num_classes": 10, "channels": (16, 32, 48, 64)}
    seed(20170411)
    return {
        "ResNeXt": ResNeXt(ResNeXtConfig(**small, cardinality=8, base_width=16)).eval(),
        "ResNeSt": ResNeSt(ResNeStConfig(**small, stem_width=16)).eval(),
        "ResNeSt with cardinality": ResNeSt(ResNeStConfig(**small, stem_width=16, cardinality=2)).eval(),
    }


def run(device: str) -> Iterator[Outcome]:
    """The outcomes, one by one."""
    images = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float32)
    for name, model in networks().items():
        want = np.asarray(model(images))
        for dtype, eps in DTYPES.items():
            tolerance = float(np.abs(want).max()) * _DEPTH * (eps + 32 * 2.0**-23)
            for way, compute in (("layers", _eager), ("plan", _plan)):
                call = partial(compute, model, images, device, dtype)
                yield outcome_of(f"{name}, {way}", dtype, partial(_error, call, want, tolerance))
    yield outcome_of("training of batch norm", "float32", lambda: _training(device))
    yield outcome_of("streams and events", "float32", lambda: _streams(device))
    yield outcome_of("memory is given back", "float32", lambda: _memory(device))
    yield outcome_of("DLPack", "float32", lambda: _dlpack(device))


def _error(compute: Callable[[], Array], want: Array, tolerance: float) -> float:
    return largest_error([compute()], [want], tolerance)


def _eager(model: Module, images: Array, device: str, dtype: str) -> Array:
    there = copy.deepcopy(model).to(device, dtype)
    return there(tensor(images, dtype, device)).to("cpu", "float32").numpy()


def _plan(model: Module, images: Array, device: str, dtype: str) -> Array:
    """The second run, which replays a captured graph where there is one."""
    plan = inference.compile(model, images.shape, dtype, device=device)
    plan(images)
    return np.asarray(plan(images))


def _training(device: str) -> float:
    images = tensor(np.random.default_rng(1).standard_normal((4, 8, 6, 5)).astype(np.float32))
    here, there = BatchNorm2d(8), BatchNorm2d(8).to(device)
    got, want = (
        [x.cpu().numpy() for x in (norm(images.to(place)), *list(norm.buffers())[:2])]
        for norm, place in ((there, device), (here, "cpu"))
    )
    return largest_error(got, want, 128 * 2.0**-23)


def _streams(device: str) -> float:
    """Work on a stream of its own, ordered by waits with the default stream."""
    x = tensor([1.0, 2.0, 3.0], device=device)
    side, before = cuda.Stream(device), cuda.current_stream(device)
    begin, end = cuda.Event(device), cuda.Event(device)
    side.wait_stream(before)
    with cuda.stream(side):
        begin.record()
        y = x * 2.0 + 1.0
        end.record()
    before.wait_stream(side)
    elapsed = begin.elapsed_time(end)
    if not 0.0 <= elapsed < 60_000.0:
        raise ValueError(f"elapsed_time: the milliseconds must be those of one launch, got {elapsed}")
    return largest_error([(y + x).cpu().numpy()], [np.array([4.0, 7.0, 10.0])], 1e-6)


def _memory(device: str) -> float:
    before = cuda.memory_allocated(device)
    x = tensor(np.zeros(1 << 20, np.float32), device=device)
    grown = cuda.memory_allocated(device) - before
    del x
    left = cuda.memory_allocated(device) - before
    if grown < 4 << 20 or left:
        raise ValueError(f"memory_allocated: 4 MiB must come and go, got {grown} bytes more and {left} left")
    return 0.0


def _dlpack(device: str) -> float:
    x = tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
    y = from_dlpack(x)
    if y.data.data_ptr != x.data.data_ptr or y.device != x.device:
        raise ValueError(
            f"from_dlpack: memory must be shared, got {x.data.data_ptr:#x} and {y.data.data_ptr:#x}"
        )
    return largest_error([y.cpu().numpy()], [x.cpu().numpy()], 1e-6)
