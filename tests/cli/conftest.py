"""Runs the command as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lucid

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The variables of this process, with the lucid under test importable from any folder."""
    package = str(Path(lucid.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """``command("info")`` runs ``python -m lucid info`` in an empty folder."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "timeout": 120}
        line = [sys.executable, "-m", "lucid", *map(str, arguments)]
        return subprocess.run(line, cwd=tmp_path, env=environment | variables, check=False, **options)

    return run
