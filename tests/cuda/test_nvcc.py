"""The plugin as nvcc compiles it: kernels take what was recorded, and it asks for a device."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import kernel_programs
import pytest
import resources

LOG = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN5lucid4cuda12_GLOBAL__N_13addIfEEvPT_' for 'sm_90'
ptxas info    : Function properties for _ZN5lucid4cuda12_GLOBAL__N_13addIfEEvPT_
    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 4096 bytes smem
"""


def test_the_log_of_ptxas_is_understood() -> None:
    if shutil.which("c++filt") is None:
        pytest.skip("needs c++filt")
    (kernel,) = resources.kernels_of(LOG, {"_ZN5lucid4cuda12_GLOBAL__N_13addIfEEvPT_": 256})
    assert kernel == resources.Kernel("add<float>", 90, 40, 12, 4096, 256)
    assert kernel.warps == 48  # 6 blocks, which 65536 registers allow
    assert kernel.line() == "90 40 12 4096 256 48 add<float>"


def test_resources_are_those_that_were_recorded() -> None:
    build = kernel_programs.compiled_by_nvcc()
    version, before = resources.recorded()
    if version != f"nvcc {resources.nvcc_version()}":
        pytest.skip(f"recorded with {version}")
    now = {(kernel.name, kernel.architecture): kernel for kernel in resources.measured(build)}
    assert now.keys() == before.keys(), "if that is meant: python tests/cuda/resources.py"
    changed = [
        f"{before[key].line()} -> {now[key].line()}" for key in now if not now[key].is_like(before[key])
    ]
    assert changed == [], "if that is meant: python tests/cuda/resources.py"


def test_a_build_may_differ_by_a_few_registers_only() -> None:
    _, before = resources.recorded()
    kernel = next(iter(before.values()))
    assert kernel.is_like(replace(kernel, registers=kernel.registers + 1))
    assert not kernel.is_like(replace(kernel, registers=kernel.registers + 9))
    assert not kernel.is_like(replace(kernel, spilled=kernel.spilled + 4))
    assert not kernel.is_like(replace(kernel, registers=kernel.registers + 8, threads=1024))


def test_the_plugin_exports_its_table_and_nothing_else() -> None:
    if shutil.which("nm") is None:
        pytest.skip("needs nm")
    plugin = kernel_programs.compiled_by_nvcc().plugin
    shown = subprocess.run(["nm", "-D", "--defined-only", plugin], check=True, capture_output=True, text=True)
    assert [line.split()[-1] for line in shown.stdout.splitlines()] == ["lucid_cuda_backend"]


def test_kernels_compiled_by_nvcc_are_right_on_a_gpu() -> None:
    program = kernel_programs.compiled_by_nvcc().folder / "kernel_tests"
    done = subprocess.run([program], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, "\n".join(x for x in done.stdout.splitlines() if not x.startswith("ok "))
