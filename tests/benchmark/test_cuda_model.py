"""``python -m bench cuda-model``: its figures are those that paper and pencil give."""

from __future__ import annotations

import subprocess
import sys

import c_abi
from source_files import ROOT


def printed_for(batch: int) -> str:
    """The output, by the installed package and not by that of the source tree."""
    code = f"""
import runpy, sys
sys.path.append({str(ROOT)!r})
sys.argv[1:] = ["cuda-model", "--batch", "{batch}"]
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
