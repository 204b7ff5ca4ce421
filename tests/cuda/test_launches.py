"""Launches that the simulator writes instead of running them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import ptx_records
import pytest

import lucid
from lucid import nn

pytestmark = pytest.mark.cuda


def test_a_plan_is_written_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, rng: np.random.Generator
) -> None:
    program = Path(os.environ.get("LUCID_CUDA_LIBRARY", ""))
    if "sim" not in program.name or any(shutil.which(name) is None for name in ("nm", "c++filt")):
        pytest.skip("needs the simulator, nm and c++filt")
    if not ptx_records.symbols(program):
        pytest.skip("needs the simulator's symbols: -C install.strip=false")
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2)).eval()
    plan = lucid.compile(model, (1, 4, 6, 5), device=device)
    images = lucid.Tensor(rng.standard_normal((1, 4, 6, 5), np.float32)).to(device)
    result = plan(images)  # which keeps its memory
    want = result.cpu().numpy()
    monkeypatch.setenv("LUCID_SIM_LAUNCHES", str(tmp_path))
    untouched = plan(images)
    plan._plan.profile([images.data])
    monkeypatch.delenv("LUCID_SIM_LAUNCHES")
    assert not np.array_equal(untouched.cpu().numpy(), want)
    assert np.array_equal(plan(images).cpu().numpy(), want)

    launches = ptx_records.described(tmp_path / "launches.txt", program)
    names = [launch.kernel.partition("<")[0] for launch in launches]
    count = len(launches) // 2
    assert count == 4
    assert names[:count] == names[count:]  # import, two convolutions, export
    events = [launch.event for launch in launches[count:]]
    assert events == [events[0] + place for place in range(count)]
    content = ptx_records.contents(tmp_path / "memory.bin", launches[0].allocations)
    assert sum(len(block) for _, block in content) == (tmp_path / "memory.bin").stat().st_size
