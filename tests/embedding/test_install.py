"""The installed package, for programs outside: CMake and pkg-config find it, in C99 and in C++17."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import c_abi
import pytest
from consumer import build, run, tool

import lucid
from lucid import config

HERE = Path(__file__).parent
PROGRAM = HERE.parent / "capi" / "program.c"
LANGUAGES = {"C": ("cc", "-std=c99"), "CXX": ("c++", "-std=c++17")}


def compile_program(language: str, folder: Path, flags: str) -> Path:
    name, standard = LANGUAGES[language]
    program = folder / "consumer"
    kind = ["-x", "c++"] if language == "CXX" else ["-x", "c"]
    source = [*kind, PROGRAM, "-x", "none", "-o", program]
    run(tool(name), standard, "-Wall", "-Wextra", "-pedantic", "-Werror", *source, *shlex.split(flags), "-lm")
    return program


@pytest.mark.parametrize("language", LANGUAGES)
def test_find_package(language: str, tmp_path: Path) -> None:
    assert run(build_with_cmake(tmp_path, language)) == lucid.__version__


def test_find_package_of_the_static_library(tmp_path: Path) -> None:
    """The program needs no file of lucid's when it runs."""
    program = build_with_cmake(tmp_path, "CXX", "-DSTATIC=ON")
    assert "liblucid" not in run(tool("ldd"), program)
    assert run(program) == lucid.__version__


def build_with_cmake(folder: Path, language: str, *options: str) -> Path:
    what = [f"-DPROGRAM={PROGRAM}", f"-DLANGUAGE={language}"]
    return build("install", folder, *what, *options) / "consumer"


@pytest.mark.parametrize("wanted", ["0.0.1", "0.9", "1"])
def test_find_package_refuses_another_version(wanted: str, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.20)\nproject(other NONE)\nfind_package(lucid {wanted} REQUIRED)\n"
    )
    command = [
        tool("cmake"),
        "-S",
        tmp_path,
        "-B",
        tmp_path / "build",
        f"-Dlucid_DIR={lucid.get_cmake_dir()}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode != 0
    assert f"version: {lucid.__version__}" in result.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_pkg_config(language: str, tmp_path: Path) -> None:
    command = [tool("pkg-config"), "--cflags", "--libs", f"lucid = {lucid.__version__}"]
    flags = run(*command, PKG_CONFIG_PATH=config.get_pkgconfig_dir())
    assert run(compile_program(language, tmp_path, flags)) == lucid.__version__


def test_flags_of_lucid_config(tmp_path: Path) -> None:
    flags = run(sys.executable, "-m", "lucid.config", "--cflags", "--libs")
    assert run(compile_program("C", tmp_path, flags)) == lucid.__version__


def test_an_installation_that_was_moved_is_found(tmp_path: Path) -> None:
    """No path in it is that of the machine on which it was built."""
    moved = tmp_path / "a folder" / "lucid"
    shutil.copytree(c_abi.PACKAGE / "lib", moved / "lib")
    shutil.copytree(c_abi.PACKAGE / "include", moved / "include")
    beside = c_abi.PACKAGE.parent / "lucid_kernels.libs"  # what a published wheel brings along
    if beside.exists():
        shutil.copytree(beside, moved.parent / beside.name)
    program = build_with_cmake(tmp_path / "build", "C", f"-Dlucid_DIR={moved / 'lib' / 'cmake' / 'lucid'}")
    assert str(moved / "lib") in run(tool("ldd"), program)
    assert run(program) == lucid.__version__


@pytest.mark.parametrize("language", LANGUAGES)
def test_program_compiled_with_an_older_header_runs_with_this_library(language: str, tmp_path: Path) -> None:
    """``older/lucid.h`` is the first header of this ABI version: structs have grown since."""
    older = HERE / "older"
    assert "tf32" not in (older / "lucid.h").read_text()
    libs = run(sys.executable, "-m", "lucid.config", "--libs")
    program = compile_program(language, tmp_path, f"{shlex.join([f'-I{older}'])} {libs}")
    assert run(program) == lucid.__version__


def test_program_of_another_abi_version_does_not_start(tmp_path: Path) -> None:
    """Not even with a library that has all of its functions."""
    version = re.search(r"LUCID_ABI_VERSION (\d+)", c_abi.HEADER.read_text())
    assert version is not None
    libs = run(sys.executable, "-m", "lucid.config", "--cflags", "--libs")
    program = compile_program("C", tmp_path, libs)
    symbols = run(tool("readelf"), "-W", "--syms", program)
    functions = set(re.findall(rf" (lucid_\w+)@LUCID_{version[1]}\b", symbols))
    assert functions
    (tmp_path / "stub.c").write_text("".join(f"int {name}(void) {{ return 1; }}\n" for name in functions))
    for number, starts in ((version[1], True), (f"{version[1]}0", False)):
        (tmp_path / "stub.map").write_text(f"LUCID_{number} {{ global: lucid_*; }};\n")
        exports = f"-Wl,--version-script={tmp_path / 'stub.map'}"
        run(tool("cc"), "-shared", "-fPIC", exports, tmp_path / "stub.c", "-o", tmp_path / "liblucid.so")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
        result = subprocess.run([program], capture_output=True, text=True, timeout=60, env=environment)
        assert (f"version `LUCID_{version[1]}' not found" in result.stderr) != starts


def test_no_path_of_the_build_is_in_the_installation() -> None:
    """Libraries find each other beside themselves, those of a published wheel too."""
    for library in (c_abi.LIBRARY, next(c_abi.PACKAGE.glob("_core*.so"))):
        found = re.search(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", run(tool("readelf"), "-d", library))
        paths = set(found[1].split(":")) if found else set()
        assert ("$ORIGIN/lib" in paths) == (library != c_abi.LIBRARY)
        assert paths <= {"$ORIGIN/lib", "$ORIGIN/../lucid_kernels.libs", "$ORIGIN/../../lucid_kernels.libs"}


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--version", lucid.__version__),
        ("--include-dir", lucid.get_include()),
        ("--library-dir", lucid.get_library_dir()),
        ("--cmake-dir", lucid.get_cmake_dir()),
        ("--pkgconfig-dir", config.get_pkgconfig_dir()),
    ],
)
def test_config_prints(flag: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert config.main([flag]) == 0
    assert shlex.split(capsys.readouterr().out) == [expected]


def test_config_without_a_flag_says_what_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config.main([])
    assert "say what to print, such as --cflags --libs" in capsys.readouterr().err
