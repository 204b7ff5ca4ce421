"""Programs that run CUDA kernels, in the simulator and on a GPU, built where there are compilers for them.

    LUCID_KERNEL_TESTS=FOLDER python tests/cuda/kernel_programs.py [plain] [address] [thread]

builds them without a test.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nvcc_build
import pytest

ROOT = Path(__file__).parent.parent.parent
KINDS = ("plain", "address", "thread")
TARGETS = ("kernel_tests", "mistakes", "lucid_cuda_sim")
RECORDS = "records"  # of launches, in a folder of each test

# They run the kernels of other tests on other values. ThreadSanitizer sees a race whatever the values are.
KERNELS_OF_OTHERS = {
    "conv2d_batch",
    "conv2d_epilogues",
    "conv2d_not_a_number",
    "conv2d_weights_not_a_number",
    "conv2d_without_images",
}


def folder_for(kind: str) -> Path:
    """Where a kind is built, which takes minutes: only where ``$LUCID_KERNEL_TESTS`` names a folder."""
    if "LUCID_KERNEL_TESTS" not in os.environ:
        pytest.skip("takes minutes; LUCID_KERNEL_TESTS=FOLDER asks for it")
    return Path(os.environ["LUCID_KERNEL_TESTS"]) / kind


@functools.cache
def folder_of(kind: str) -> Path:
    """Where the programs of a kind are: ``plain``, or with the sanitizer ``address`` or ``thread``."""
    folder = folder_for(kind)
    if missing := [name for name in ("cmake", "c++") if shutil.which(name) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    build(ROOT, folder, kind)
    return folder


@functools.cache
def outcomes(kind: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """Outputs of the tests of a kind by their names. Of the plain ones, small launches are recorded."""
    folder = folder_of(kind)
    program = str(folder / "kernel_tests")
    listed = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    assert {*listed} > KERNELS_OF_OTHERS
    names = [name for name in listed if kind != "thread" or name not in KERNELS_OF_OTHERS]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        environment = {"TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0"}
        once = ["--once"]  # a sanitizer sees a race, or what lies outside, in any order of the threads
        if kind == "plain":
            once, records = [], folder / RECORDS / name
            shutil.rmtree(records, ignore_errors=True)
            records.mkdir(parents=True)
            environment["LUCID_SIM_RECORD"] = str(records)
        command = without_random_addresses([program, *once, name])
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(run, names), strict=True))


def recorded() -> list[Path]:
    """Records of the first small launch of every kernel in each of the plain tests, by their names."""
    folders = [folder_of("plain") / RECORDS / name for name in outcomes("plain")]
    return [path for each in folders for path in sorted(each.iterdir(), key=lambda path: int(path.name))]


def compiled_by_nvcc() -> nvcc_build.NvccBuild:
    folder = folder_for("nvcc")
    if missing := nvcc_build.missing_tools():
        pytest.skip(f"needs {' and '.join(missing)}")
    return nvcc_build.built(folder)


def build(source: Path, folder: Path, kind: str) -> None:
    """Compiles what has changed of the tree ``source`` into ``folder``."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    sanitizer = "" if kind == "plain" else kind
    command = ["cmake", "-S", str(source / "tests" / "cuda"), "-B", str(folder), *generator]
    call([*command, f"-DLUCID_SANITIZE={sanitizer}"])
    jobs = str(os.cpu_count() or 1)
    call(["cmake", "--build", str(folder), "--parallel", jobs, "--target", *TARGETS])


def call(command: list[str]) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout


def without_random_addresses(command: list[str]) -> list[str]:
    """The command as ThreadSanitizer wants it, with memory where it expects it."""
    return ["setarch", "-R", *command] if shutil.which("setarch") else command


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        build(ROOT, folder_for(chosen), chosen)
