"""The CUDA kernels in the simulator: right, the same in any order of threads, silent under sanitizers."""

from __future__ import annotations

import subprocess

import kernel_programs
import pytest
from kernel_programs import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_match_float64(kind: str) -> None:
    for name, done in kernel_programs.outcomes(kind).items():
        lines = done.stdout.splitlines()
        failures = [line for line in lines if not line.startswith("ok ")]
        assert done.returncode == 0, "\n".join([name, *failures, done.stderr[-4000:]])
        assert len(lines) > 1


def test_no_program_is_without_a_device() -> None:
    """Without a device the program says so, and ends as skipped."""
    program = kernel_programs.folder_of("plain") / "kernel_tests"
    done = subprocess.run([program], env={"LUCID_SIM_DEVICES": "0"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        77,
        "skipped: no CUDA device: no CUDA-capable device is detected\n",
    )


def mistakes(kind: str) -> tuple[str, list[str]]:
    program = str(kernel_programs.folder_of(kind) / "mistakes")
    listed = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    return program, listed.stdout.split()


# What goes beyond its memory is the sanitizer's to see.
BEYOND = {"beyond_shared", "beyond_dynamic_shared", "beyond_global", "reads_beyond_global"}
# Of these, ThreadSanitizer names the line; in other builds the result gives them away.
RACES = {"missing_sync", "missing_second_sync", "lockstep_assumed", "racy_sum"}


@pytest.mark.parametrize("kind", ["plain", "address"])
def test_every_mistake_is_caught(kind: str) -> None:
    program, names = mistakes(kind)
    assert names[0] == "good_sync"
    assert len(names) == 33
    passed = []
    for name in names:
        # A mistake leaves its memory behind.
        environment = {"ASAN_OPTIONS": "detect_leaks=0"}
        done = subprocess.run([program, name], env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            passed.append(name)
    allowed = BEYOND if kind == "plain" else set()
    assert set(passed) - allowed == {"good_sync"}


def test_thread_sanitizer_names_the_line_of_a_race() -> None:
    program, _ = mistakes("thread")
    for name in sorted(RACES | {"good_sync"}):
        command = kernel_programs.without_random_addresses([program, name])
        done = subprocess.run(
            command, env={"TSAN_OPTIONS": "halt_on_error=1"}, capture_output=True, text=True, timeout=60
        )
        assert ("data race" in done.stderr and "mistakes.cpp" in done.stderr) == (name in RACES), name
