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


# A warp multiplies 16 rows of 16 halves, which lie in shared memory behind each other, by themselves or,
# loaded transposed, by their transpose; its sums go where the manual says that they are.
PRODUCT = """
.entry product(.param .u64 in, .param .u64 out) .maxntid 32
{
.reg .pred %p<2>;
.reg .b32 %r<20>;
.reg .f32 %f<9>;
.reg .b64 %rd<20>;
.shared .align 16 .b8 rows[512];
mov.u32 %r1, %tid.x;
ld.param.u64 %rd1, [in];
mul.wide.u32 %rd2, %r1, 16;
add.s64 %rd3, %rd1, %rd2;
ld.global.v4.u32 {%r2,%r3,%r4,%r5}, [%rd3];
mov.u32 %r6, rows;
shl.b32 %r7, %r1, 4;
add.s32 %r8, %r6, %r7;
st.shared.v4.u32 [%r8], {%r2,%r3,%r4,%r5};
bar.warp.sync 0xffffffff;
and.b32 %r9, %r1, 15;
shl.b32 %r9, %r9, 5;
shr.u32 %r10, %r1, 4;
shl.b32 %r10, %r10, 4;
add.s32 %r9, %r9, %r10;
add.s32 %r9, %r9, %r6;
setp.lt.u32 %p1, %r1, 31;
// begin inline asm
GUARD ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r11, %r12, %r13, %r14}, [%r9+OFFSET];
// end inline asm
ldmatrix.sync.aligned.m8n8.x4TRANS.shared.b16 {%r15, %r16, %r17, %r18}, [%r9];
mov.b32 %f1, 0f3F800000;
mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, {%r11, %r12, %r13, %r14}, {%r15, RIGHT}, {%f1, %f1, %f1, %f1};
ld.param.u64 %rd4, [out];
add.s64 %rd5, %rd4, %rd2;
st.global.v4.f32 [%rd5], {%f2,%f3,%f4,%f5};
ret;
}
"""  # noqa: E501


def run_product(x: np.ndarray[Any, np.dtype[np.float16]], transposed: bool, **changes: str) -> Launch:
    # The first eight columns of the right operand are the rows 0 to 7 of x, or its columns.
    text = PRODUCT.replace("RIGHT", "%r16" if transposed else "%r17")
    text = text.replace("TRANS", ".trans" if transposed else "")
    for name, default in (("GUARD", ""), ("OFFSET", "0")):
        text = text.replace(name, changes.get(name, default))
    device = DeviceMemory(
        [(BASE, x.view(np.uint8).reshape(-1).copy()), (BASE + 1024, np.zeros(512, np.uint8))]
    )
    arguments = [(BASE + offset).to_bytes(8, "little") for offset in (0, 1024)]
    return Launch(ptx_parser.parse(text)["product"], device, (1, 1, 1), (32, 1, 1), 0, arguments)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_of_matrices(transposed: bool) -> None:
    x = np.random.default_rng(2).integers(-8, 8, (16, 16)).astype(np.float16)
    launch = run_product(x, transposed)
    found = launch.device.read(BASE + 1024, 512).view(np.float32).reshape(8, 4, 2, 2)
    wide = x.astype(np.float32)
    want = wide @ (wide if transposed else wide.T)[:, :8] + 1
    assert (found.transpose(2, 0, 1, 3).reshape(16, 8) == want).all()
    loads = launch.counts.traffic["shared", "load"]
    assert (loads.requests, loads.cost, loads.least) == (
        2,
        16,
        8,
    )  # rows of 32 bytes: two of eight share banks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"GUARD": "@%p1"}, "ldmatrix without all lanes of a warp"),
        ({"OFFSET": "8"}, "no multiple of 16"),
        ({"OFFSET": "512"}, "outside of shared memory"),
    ],
    ids=str,
)
def test_a_wrong_matrix_is_seen(changes: dict[str, str], message: str) -> None:
    with pytest.raises(Fault, match=message):
        run_product(np.ones((16, 16), np.float16), False, **changes)


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
