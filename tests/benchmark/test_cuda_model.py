"""``python -m bench cuda-model``: its figures are those that paper and pencil give."""

from __future__ import annotations

import subprocess
import sys

import c_abi
import pytest
from ptx_memory import Counts
from source_files import ROOT

sys.path.append(str(ROOT))

from bench.cuda_gpus import GPUS, Counted, launch_time, predicted
from bench.cuda_layers import Layer
from bench.cuda_predictions import ASSUMPTIONS, Predictions
from bench.cuda_work import Work, unit_and_slots, work_of


def printed_for(batch: int) -> str:
    """The output, by the installed package and not by that of the source tree."""
    code = f"""
import runpy, sys
sys.path.append({str(ROOT)!r})
sys.argv[1:] = ["cuda-model", "--rooflines", "--batch", "{batch}"]
runpy.run_module("bench", run_name="__main__")
"""
    command = [sys.executable, "-c", code]
    installed = c_abi.PACKAGE.parent
    return subprocess.run(command, cwd=installed, capture_output=True, text=True, check=True).stdout


def test_a_layer_by_hand() -> None:
    printed = printed_for(8)
    # 3x3, 32 groups of 4 channels, 56x56: two tensors of 8 * 128 * 56 * 56, and 128 * 4 * 9 weights.
    elements, flops = 2 * 8 * 128 * 56 * 56 + 128 * 4 * 9, 2 * 8 * 128 * 56 * 56 * 4 * 9
    in_float32, in_float16 = 1e-3 * 4 * elements / 3350, 1e-3 * 2 * elements / 3350
    cell = f"{in_float32:.1f}m / {in_float32:.1f}m / {in_float16:.1f}m"
    name = "conv2d grouped: 128x56x56 -> 128x56x56, 3x3, 32 groups"
    assert f"| {name} | 3 | {flops / 1e6:.1f} | {4e-6 * elements:.1f} | {cell} | " in printed
    # 1x1 from 1024 to 512 channels of 14x14 is bound by arithmetic in float32.
    flops = 2 * 8 * 512 * 14 * 14 * 1024
    line = next(row for row in printed.splitlines() if "1024x14x14 -> 512x14x14 |" in row)
    assert f"| {flops / 66.9e6:.1f}c / " in line
    assert f"| {flops / 82.6e6:.1f}c / " in line


def test_layers_add_up() -> None:
    printed = printed_for(1)
    assert "nothing was measured" in " ".join(printed.split())
    for model in printed.split("\n## ")[1:]:
        rows = [
            [cell.strip() for cell in row.split("|")[1:-1]] for row in model.splitlines() if row[:2] == "| "
        ]
        layers, sums = rows[2:-1], rows[-1]
        steps = [row for row in layers if not row[0].startswith("**")]
        kernels = [row for row in layers if row[0].startswith("**")]
        assert sum(int(row[1]) for row in steps) == sum(int(row[1]) for row in kernels) == int(sums[1])
        for column in range(3):
            total = float(sums[4].split(" / ")[column])
            parts = sum(float(row[4].split(" / ")[column]) for row in kernels)
            assert abs(total - parts) <= 0.5 + 0.05 * len(kernels) + 0.5 * len(kernels) * (total >= 100)


def test_a_prediction_by_hand() -> None:
    gpu = next(gpu for gpu in GPUS if gpu.name == "A100 SXM 80 GB")
    work = Work(
        issued=1000, fp32=800, alu=100, products=4096, passes=300, requests=10, sectors=80, distinct=50
    )
    times = launch_time(gpu, Counted("kernel", 109, 256, work))
    # 109 blocks on 108 multiprocessors: two after each other, at 1410 cycles a microsecond.
    clock = 19.5e6 / (2 * 108 * 64)
    assert times["issue"] == pytest.approx(2 * 1000 / 4 / clock)
    assert times["FMA"] == pytest.approx(2 * 800 * 32 / 64 / clock)
    assert times["integer"] == pytest.approx(2 * 100 / 2 / clock)
    assert times["L1, shared"] == pytest.approx(2 * (300 + 80 / 4) / clock)
    assert times["tensor"] == pytest.approx(2 * 4096 * 108 / (312e6 / 2))
    assert times["L2"] == pytest.approx(109 * 50 * 32 / 4500e3)
    launches = [Counted("kernel", 108, 256, work)] * 2
    assert predicted(gpu, launches, 0.1) == (pytest.approx(2 * 400 / clock), "FMA")
    assert predicted(gpu, launches, 9.0) == (9.0, "memory")


def test_layers_shorter_than_the_start_of_a_kernel_are_not_far_from_their_roofline() -> None:
    gpu = next(gpu for gpu in GPUS if gpu.name == "A100 SXM 80 GB")
    # Memory takes 0.001 us. A multiprocessor issues four instructions a cycle, 1410 cycles a microsecond.
    layers = [Layer("linear", title, 1, 510) for title in ("short", "long")]
    steps = [[], *([Counted("kernel", 1, 32, Work(issued=4 * 1410 * time))] for time in (0.9, 1.1))]
    predictions = Predictions(layers, {gpu.name: steps for gpu in GPUS}, "fp32", 1)
    assert all(predictions.ratio(gpu, layer) > 100 for layer in layers)
    assert [predictions.is_far(gpu, layer) for layer in layers] == [False, True]
    table = [line for line in predictions.times() if line.startswith("| linear")]
    assert ["**" in line.split(" | ")[3] for line in table] == [False, True]
    (named,) = [line for line in predictions.whole(gpu) if "Above" in line]
    assert "Above 2 times its roofline, and 1 us: linear long (" in named
    assert "short" not in named
    assert "more than 2 times its roofline and at least\n1 us" in ASSUMPTIONS


def test_instructions_have_their_units() -> None:
    wanted = {
        "fma.rn.f32": ("fp32", 1),
        "mov.u32": ("", 0),
        "ld.param.u64": ("", 0),
        "ld.shared.v4.f32": ("memory", 1),
        "add.s32": ("alu", 1),
        "add.s64": ("alu", 2),
        "mul.wide.s32": ("alu", 1),
        "div.u32": ("alu", 20),
        "wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32": ("tensor", 2),
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32": ("tensor", 1),
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16": ("memory", 1),
        "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16": ("memory", 1),
    }
    assert {name: unit_and_slots(name) for name in wanted} == wanted
    with pytest.raises(KeyError):
        unit_and_slots("unheard.of")


def test_products_of_tensor_cores() -> None:
    counts = Counts()
    counts.instructions["mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"] = 3
    counts.instructions["wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32"] = 1
    work = work_of(counts, 1)
    assert (work.products, work.multiplying) == (3 * 2048 + 4096, 5)


def test_work_is_the_mean_of_the_blocks() -> None:
    counts = Counts()
    counts.instructions.update({"fma.rn.f32": 12, "mov.b32": 4, "bra": 2})
    assert work_of(counts, 2) == Work(issued=7, fp32=6, multiplying=6)
