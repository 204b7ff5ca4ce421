"""lucid demo: the shipped digits, and both networks timed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_demo_is_right_and_times_both_networks(command: Command) -> None:
    done = command("demo")
    assert (done.returncode, done.stderr) == (0, "")
    rows = re.findall(r"^(\d)-\d{4}\.png +(\d) +(\d) \(.*%\) +(\d) \(.*%\)$", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == list("0123456789")
    assert all(len(set(row)) == 1 for row in rows)
    for model in ("resnext50_32x4d", "resnest50"):
        [milliseconds] = re.findall(rf"^{model} +([\d.]+) ms per image", done.stdout, re.MULTILINE)
        assert float(milliseconds) > 0  # how long is the machine's affair
