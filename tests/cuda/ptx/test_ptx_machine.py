"""The executor of PTX sees what a kernel must not do, and a wrong result."""

from __future__ import annotations

from typing import Any

import numpy as np
import ptx_parser
import ptx_records
import pytest
from ptx_machine import Launch
from ptx_memory import Counts, DeviceMemory, Fault

BASE = 0x7000_0000
THREADS = 64

# Each thread stores its number in shared memory, and takes that of thread 63 - its own.
KERNEL = """
.entry swap(.param .u64 out) .maxntid 128
{
.reg .pred %p<2>;
.reg .b32 %r<9>;
.reg .b64 %rd<9>;
.shared .align 4 .b8 numbers[256];
mov.u32 %r1, %tid.x;
setp.lt.u32 %p1, %r1, 32;
mov.u32 %r2, numbers;
shl.b32 %r3, %r1, 2;
add.s32 %r4, %r2, %r3;
st.shared.u32 [%r4], %r1;
BARRIER
sub.s32 %r5, %r2, %r3;
ld.shared.u32 %r6, [%r5+252];
ld.param.u64 %rd1, [out];
cvta.to.global.u64 %rd2, %rd1;
mul.wide.u32 %rd3, %r1, 4;
add.s64 %rd4, %rd2, %rd3;
st.global.u32 [%rd4+OFFSET], %r6;
ret;
}
"""


def run(barrier: str = "bar.sync 0;", offset: int = 0, threads: int = THREADS) -> Launch:
    text = KERNEL.replace("BARRIER", barrier).replace("OFFSET", str(offset))
    device = DeviceMemory([(BASE, np.zeros(4 * THREADS, np.uint8))])
    argument = BASE.to_bytes(8, "little")
    return Launch(ptx_parser.parse(text)["swap"], device, (1, 1, 1), (threads, 1, 1), 0, [argument])


def test_a_kernel_computes_and_is_counted() -> None:
    launch = run()
    found = launch.device.read(BASE, 4 * THREADS).view(np.uint32)
    assert found.tolist() == list(range(THREADS - 1, -1, -1))
    assert launch.counts.instructions["st.shared.u32"] == 2
    stores = launch.counts.traffic["global", "store"]
    assert (stores.requests, stores.cost, stores.least) == (2, 8, 8)
    loads = launch.counts.traffic["shared", "load"]
    assert (loads.requests, loads.cost, loads.least) == (2, 2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"barrier": ""}, "another warp stored, without a barrier"),
        ({"barrier": "bar.sync 0; @%p1 bar.sync 0;"}, "part before a barrier"),
        ({"offset": 4}, "a store outside of every allocation"),
        ({"offset": 2}, "no multiple of 4"),
        ({"threads": 32}, "shared memory that nobody wrote"),
        ({"threads": 256}, "the kernel allows 128"),
    ],
    ids=str,
)
def test_a_mistake_is_seen(changes: dict[str, str | int], message: str) -> None:
    with pytest.raises(Fault, match=message):
        run(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_a_wrong_value_is_not_taken_for_rounding(kind: str) -> None:
    want = np.random.default_rng(1).standard_normal(100).astype(kind)
    near, wrong, missing = want.copy(), want.copy(), want.copy()
    near[3] = np.nextafter(near[3], np.array(0, kind))
    wrong[3] *= np.array(1.05, kind)
    missing[5] = np.nan
    outcomes = [
        ptx_records.agrees(values.view(np.uint8), want.view(np.uint8), kind)
        for values in (want, near, wrong, missing)
    ]
    assert outcomes == [True, True, False, False]


LANES = np.arange(32)


@pytest.mark.parametrize(
    ("kind", "places", "passes"),
    [
        ("load", LANES % 4, 4),  # neither lanes n and n ^ 1 nor n and n ^ 2 are together
        ("load", LANES // 8, 2),
        ("load", LANES % 2, 2),
        ("store", LANES // 8, 4),
    ],
)
def test_passes_of_wide_accesses(kind: str, places: np.ndarray[Any, np.dtype[np.int64]], passes: int) -> None:
    counts = Counts()
    counts.access("shared", kind, np.zeros_like(LANES), LANES, 16 * places, 16)
    assert counts.traffic["shared", kind].cost == passes


def test_distinct_sectors_count_once() -> None:
    counts = Counts()
    for begin in (0, 64):  # 128 bytes each, half of them in common
        counts.access("global", "load", np.zeros_like(LANES), LANES, begin + 4 * LANES, 4)
    assert counts.traffic["global", "load"].cost == 8
    assert counts.distinct_sectors() == 6
