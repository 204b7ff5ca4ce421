"""lucid.h for those who embed it: plain C99, and a library that a C program can link and use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import c_abi
import pytest

import lucid

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
PROGRAM = Path(__file__).parent / "program.c"


def compiler(environment: str, *names: str) -> str:
    """A compiler, preferably the one that the environment variable names; else the test is skipped."""
    for name in (os.environ.get(environment, ""), *names):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip(f"no compiler: none of ${environment}, {', '.join(names)}")


def run(*command: str | Path) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
def test_header_is_strict_c(standard: str, tmp_path: Path) -> None:
    source = tmp_path / "only.c"
    source.write_text(f'#include "{c_abi.HEADER}"\n#include "{c_abi.HEADER}"\nint nothing;\n')
    run(compiler("CC", "cc", "gcc", "clang"), f"-std={standard}", *STRICT, "-fsyntax-only", source)


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_header_is_strict_cpp(standard: str, tmp_path: Path) -> None:
    source = tmp_path / "only.cpp"
    source.write_text(f'#include "{c_abi.HEADER}"\nint nothing;\n')
    run(compiler("CXX", "c++", "g++", "clang++"), f"-std={standard}", *STRICT, "-fsyntax-only", source)


def test_c_program_computes_and_gets_errors(tmp_path: Path) -> None:
    program = tmp_path / "program"
    library = c_abi.LIBRARY
    link = [library, f"-Wl,-rpath,{library.parent}", "-lm"]
    include = f"-I{c_abi.HEADER.parent}"
    run(compiler("CC", "cc", "gcc", "clang"), "-std=c99", *STRICT, include, PROGRAM, "-o", program, *link)
    assert run(program).strip() == lucid.__version__


def test_library_can_be_closed_after_a_call(tmp_path: Path) -> None:
    """Its threads wait in its code, which must stay."""
    program = tmp_path / "unloading"
    source = Path(__file__).parent / "unloading.c"
    run(
        compiler("CC", "cc", "gcc", "clang"),
        "-std=c99",
        "-Wall",
        "-Werror",
        source,
        "-o",
        program,
        "-ldl",
        "-lpthread",
    )
    assert run(program, c_abi.LIBRARY).strip() == "passed"


def test_library_exports_nothing_but_the_c_abi() -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    lines = run(nm, "-D", "--defined-only", c_abi.LIBRARY).splitlines()
    exported = {line.split()[-1] for line in lines}
    header = c_abi.HEADER.read_text()
    (version,) = re.findall(r"define (LUCID)_ABI_VERSION (\d+)", header)
    symbols = "_".join(version)  # a symbol itself
    assert exported == {f"{name}@@{symbols}" for name in re.findall(r"\b(lucid_\w+)\(", header)} | {symbols}
