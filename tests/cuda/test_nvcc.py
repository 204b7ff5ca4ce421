"""The CUDA kernels as nvcc compiles them: their resources are those that were recorded."""

from __future__ import annotations

import os
import shutil

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
    if "LUCID_KERNEL_TESTS" not in os.environ:
        pytest.skip("takes minutes; LUCID_KERNEL_TESTS=FOLDER asks for it")
    if missing := [name for name in ("nvcc", "c++filt") if shutil.which(name) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    version, header, *recorded = resources.RECORDED.read_text().splitlines()
    assert header == resources.HEADER
    if version != f"nvcc {resources.nvcc_version()}":
        pytest.skip(f"recorded with {version}")
    now = [kernel.line() for kernel in resources.measured()]
    added, gone = sorted({*now} - {*recorded}), sorted({*recorded} - {*now})
    assert (added, gone) == ([], []), "if that is meant: python tests/cuda/resources.py"
