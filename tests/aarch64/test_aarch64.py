"""Kernels for AArch64 in QEMU: tests of operators and plans run on them, in a process with the plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent  # where processes start: at the root they would find the source tree
TESTS = HERE.parent
FOLDER = os.environ.get("LUCID_AARCH64")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="LUCID_AARCH64 names no build for AArch64; see .ci/aarch64"
)

# What the Python module sees to, or cannot go through one pipe: messages about types, results too large for
# memory, calls from several Python threads at once.
_OTHER = "other_types or too_large or many_threads or refuses"


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (
            [
                f"ops/test_{op}.py"
                for op in ("batch_norm", "elementwise", "linear", "pool2d", "softmax", "split_attention")
            ],
            f"not ({_OTHER})",
        ),
        (["ops/test_conv2d.py"], "threads or alone or padding_may_differ"),
        (["inference/test_plan_layout.py", "inference/test_random_plans.py"], f"not ({_OTHER})"),
    ],
    ids=["operators", "conv2d", "plans"],
)
def test_python_tests_pass_on_aarch64(files: list[str], chosen: str) -> None:
    """Three minutes: an emulated FMA takes 20 ns."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "emulated_core",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
    ]
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [*command, "-k", chosen, *(str(TESTS / file) for file in files)],
        check=True,
        env=os.environ | {"PYTHONPATH": paths},
        cwd=HERE,
    )


def test_neon_is_the_best_instruction_set() -> None:
    command = [
        sys.executable,
        "-c",
        "import emulated_core; print(*emulated_core.isas(), emulated_core.isa())",
    ]
    run = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
        cwd=HERE,
    )
    assert run.stdout.split() == ["neon", "generic", "neon"]
