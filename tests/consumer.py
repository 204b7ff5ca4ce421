"""Programs and libraries outside of the source tree that are built against the installed package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import lucid

EMBEDDING = Path(__file__).parent / "embedding"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


def run(*command: str | Path, **environment: str) -> str:
    """Output of a command, which neither LD_LIBRARY_PATH nor the source tree helps to find the library."""
    values = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"} | environment
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=values, cwd=EMBEDDING)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout.strip()


def build(project: str, folder: Path, *options: str) -> Path:
    """The build tree of the project of CMake in ``tests/embedding/<project>``."""
    where = [f"-Dlucid_DIR={lucid.get_cmake_dir()}", "-DCMAKE_BUILD_TYPE=Release"]
    run(tool("cmake"), "-S", EMBEDDING / project, "-B", folder, *where, *options)
    run(tool("cmake"), "--build", folder)
    return folder
