"""Plants each bug of ``planted.txt`` in a copy of the tree and runs the tests that must see it.

    python tests/mutation/run.py [--only WORD] [--keep FOLDER]

needs cmake, a C++ compiler, pybind11 and pytest. For a bug in C++ one file is compiled
again, for five instruction sets only, of which bugs in the files of one are tested where it
is emulated. Tests of CUDA run in the simulator of the same build.
Exits with 1 if fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from planted import Mutant, mutants

ROOT = Path(__file__).parent.parent.parent
ISAS = "avx2;generic;emulated_amx;emulated_avx512_bf16;emulated_avx512"
EMULATED = {"csrc/cpu/isa/amx/": "emulated_amx", "csrc/cpu/isa/avx512_bf16/": "emulated_avx512_bf16"}
TIMEOUT = 600  # seconds; a test that a bug makes wait for ever is one that sees it
WANTED = 0.95


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    caught: bool
    how: str
    seconds: float


def emulated(bug: Mutant) -> str | None:
    """The emulated instruction set that a bug's tests run on, if its file is of one."""
    return next((isa for folder, isa in EMULATED.items() if bug.file.startswith(folder)), None)


class Tree:
    """A copy of the repository with a build and a Python environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.source, self.build_folder = folder / "source", folder / "build"
        self.python = folder / "venv" / "bin" / "python"
        self._copy()
        self._make_environment(folder / "venv")
        self._configure()
        self.outdated = False  # whether the build has a bug that the source has not
        self.build()

    def _copy(self) -> None:
        """Writes what differs only, so that a build that is there knows what is new: bugs of a run before."""
        listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
        wanted = {name for name in names if name and (ROOT / name).is_file()}
        for path in [path for path in self.source.rglob("*") if path.is_file()]:
            if path.relative_to(self.source).as_posix() not in wanted:
                path.unlink()
        for name in wanted:
            path, content = self.source / name, (ROOT / name).read_bytes()
            if not path.exists() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def _make_environment(self, folder: Path) -> None:
        """This interpreter's packages, with the copy of lucid before any that is installed."""
        venv.create(folder, clear=True)
        (packages,) = (folder / "lib").glob("python*/site-packages")
        seen = [str(self.source), *(path for path in sys.path if "site-packages" in path)]
        (packages / "packages.pth").write_text("\n".join(seen) + "\n")

    def _configure(self) -> None:
        import pybind11

        match = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert match is not None
        values = {
            "SKBUILD_PROJECT_VERSION": match[1],
            # Quick to compile; and neither pybind11's link-time optimisation nor a new link of the module.
            "CMAKE_BUILD_TYPE": "RelWithDebInfo",
            "CMAKE_CXX_FLAGS_RELWITHDEBINFO": "-O1",
            "LUCID_OPTIMIZE": "-O1",
            "CMAKE_LINK_DEPENDS_NO_SHARED": "ON",
            "LUCID_ONLY_ISAS": ISAS,
            "LUCID_EMULATE": "ON",
            "LUCID_CUDA_SIM": "ON",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
        }
        given = [f"-D{name}={value}" for name, value in values.items()]
        given += ["-G", "Ninja"] if shutil.which("ninja") else []
        self._call("cmake", "-S", str(self.source), "-B", str(self.build_folder), *given)

    def build(self) -> None:
        """Compiles what has changed.

        Raises:
            subprocess.CalledProcessError: It does not compile.
        """
        jobs = str(os.cpu_count() or 1)
        self._call("cmake", "--build", str(self.build_folder), "--parallel", jobs)
        self._call("cmake", "--install", str(self.build_folder), "--prefix", str(self.source))

    def _call(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True)

    def first_failure(self, bugs: list[Mutant]) -> str | None:
        """The first failure of the tests of some bugs, or None if all pass."""
        for isa in (None, *EMULATED.values()):  # emulation has a tenth of the speed
            chosen = [bug.tests for bug in bugs if emulated(bug) == isa]
            tests = tuple(sorted({test for tests in chosen for test in tests}))
            if tests and (failure := self._first_failure(tests, isa)) is not None:
                return failure
        return None

    def _first_failure(self, tests: tuple[str, ...], isa: str | None) -> str | None:
        command = [str(self.python), "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
        command += [] if isa else ["-k", "not emulated"]
        plugin = self.source / "lucid" / "lib" / "liblucid_cuda_sim.so"
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "LUCID_CUDA_LIBRARY": str(plugin)}
        environment |= {"LUCID_ISA": isa} if isa else {}
        try:
            done = subprocess.run(
                command, cwd=self.source, env=environment, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"nothing ended within {TIMEOUT} s"
        if done.returncode == 0:
            return None
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        return (
            failed[1] if failed is not None else f"pytest ended with {done.returncode}: {done.stderr[-300:]}"
        )

    def try_out(self, mutant: Mutant) -> Outcome:
        """Runs the tests of a bug; the build is that of the bug until the next one."""
        start, path = time.monotonic(), self.source / mutant.file
        before = path.read_text()
        path.write_text(mutant.applied(before))
        try:
            if mutant.file.startswith("csrc/") or self.outdated:
                self.build()
            failure = self.first_failure([mutant])
            how = failure or "no test fails"
        except subprocess.CalledProcessError as error:  # a mistake in the list
            failure, how = None, f"it does not compile: {error.stdout[-600:]}"
        finally:
            path.write_text(before)
            self.outdated = mutant.file.startswith("csrc/")
        return Outcome(mutant, failure is not None, how, time.monotonic() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="bugs whose file, description or tests have this word")
    parser.add_argument("--keep", type=Path, help="a folder for copy and build, which stay for the next run")
    options = parser.parse_args()
    chosen = [bug for bug in mutants() if options.only in f"{bug.file}: {bug.breaks}: {' '.join(bug.tests)}"]
    folder = options.keep or Path(tempfile.mkdtemp())
    try:
        tree = Tree(folder)
        failure = tree.first_failure(chosen)
        if failure is not None:
            print(f"without any bug: {failure} fails")
            return 1
        outcomes = []
        for mutant in chosen:
            outcome = tree.try_out(mutant)
            outcomes.append(outcome)
            word = "caught" if outcome.caught else "SURVIVED"
            print(
                f"{word:8}  {outcome.seconds:5.0f} s  {mutant.file}: {mutant.breaks}: {outcome.how}",
                flush=True,
            )
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    caught = sum(outcome.caught for outcome in outcomes)
    print(f"{caught} of {len(outcomes)} bugs caught")
    return 0 if caught >= WANTED * len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
