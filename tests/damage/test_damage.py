"""Damaged files load or end in a ValueError, in little time and memory; none ends the process."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ["plan", "weights", "checkpoint", "image", "labels", "config"]
NEEDS = {"checkpoint": "torch"}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_do_no_harm(kind: str) -> None:
    package = NEEDS.get(kind)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    command = [sys.executable, str(Path(__file__).parent / "replay.py"), kind]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-3000:]}"
    count = re.fullmatch(r"0 of (\d+) files were read wrongly\n", done.stdout)
    assert count is not None
    assert int(count[1]) > 1000
