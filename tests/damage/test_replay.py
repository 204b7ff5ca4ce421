"""Memory that a replay counts: what reading a file takes, and neither its parent's nor an earlier file's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

# A file of so many megabytes, all of which are touched and given back.
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import replay

for megabytes in map(int, sys.argv[2:]):
    read = lambda path: len(bytearray(b"x") * (megabytes << 20))
    print(replay.complaint(read, Path(), 200))
"""


def complaints(*megabytes: int) -> list[str]:
    arguments = [str(Path(__file__).parent), *map(str, megabytes)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_file_is_charged_what_it_takes_itself() -> None:
    held = np.ones(600 << 17)  # 600 MB in the process that forks
    first, large, between, second = complaints(1, 300, 1, 250)
    assert held.all()
    assert (first, between) == ("None", "None")
    assert 300 <= int(large.removesuffix(" MB")) < 350
    assert 250 <= int(second.removesuffix(" MB")) < 300
