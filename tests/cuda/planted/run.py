"""Plants each bug of ``kernels.txt`` in a copy of the tree and runs the kernel tests that must see it.

    python tests/cuda/planted/run.py [--only WORD] [--keep FOLDER]

needs cmake and a C++ compiler. A bug is compiled into the simulator with AddressSanitizer.
Exits with 1 if any is not caught.
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
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "mutation")]

import planted  # noqa: E402

ROOT = HERE.parent.parent.parent
LIST = HERE / "kernels.txt"
TIMEOUT = 300  # seconds; a test that a bug makes wait for ever is one that sees it
KIND = "address"


def mutants() -> list[planted.Mutant]:
    return list(planted.parse(LIST.read_text()))


class Tree:
    """A copy of what kernel_tests is made of, and its build."""

    def __init__(self, folder: Path) -> None:
        self.source, self.build_folder = folder / "source", folder / "build"
        for name in ("csrc", "tests/cuda", "pyproject.toml"):
            for path in [p for p in [ROOT / name, *(ROOT / name).rglob("*")] if p.is_file()]:
                copy = self.source / path.relative_to(ROOT)
                if not copy.exists() or copy.read_bytes() != path.read_bytes():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        source = str(self.source / "tests" / "cuda")
        self._call(
            "cmake", "-S", source, "-B", str(self.build_folder), *generator, f"-DLUCID_SANITIZE={KIND}"
        )
        self.build()

    def build(self) -> None:
        """Compiles what has changed.

        Raises:
            subprocess.CalledProcessError: It does not compile.
        """
        jobs = str(os.cpu_count() or 1)
        self._call("cmake", "--build", str(self.build_folder), "--parallel", jobs, "--target", "kernel_tests")

    def _call(self, *command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def first_failure(self, tests: tuple[str, ...]) -> str | None:
        """The first line that says what is wrong, or None if all pass."""
        command = [str(self.build_folder / "kernel_tests"), *tests]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"nothing ended within {TIMEOUT} s"
        if done.returncode == 0:
            return None
        lines = re.findall(r"^(?:FAIL.*|.*(?:ERROR|runtime error):.*)$", done.stdout, re.MULTILINE)
        return lines[0] if lines else f"{' '.join(tests)} ended with {done.returncode}"

    def try_out(self, mutant: planted.Mutant) -> tuple[bool, str]:
        """Whether the tests of a bug see it, and how."""
        path = self.source / mutant.file
        before = path.read_text()
        path.write_text(mutant.applied(before))
        try:
            self.build()
            failure = self.first_failure(mutant.tests)
            return failure is not None, failure or "no test fails"
        except subprocess.CalledProcessError as error:  # a mistake in the list
            return False, f"it does not compile: {error.stdout[-600:]}"
        finally:
            path.write_text(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="bugs whose file or description has this word")
    parser.add_argument("--keep", type=Path, help="a folder for copy and build, which stay for the next run")
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if options.only in f"{mutant.file}: {mutant.breaks}"]
    folder = options.keep or Path(tempfile.mkdtemp())
    caught = 0
    try:
        tree = Tree(folder)
        for test in sorted({test for mutant in chosen for test in mutant.tests}):
            if (failure := tree.first_failure((test,))) is not None:
                print(f"without any bug: {failure}")
                return 1
        for mutant in chosen:
            start = time.monotonic()
            seen, how = tree.try_out(mutant)
            caught += seen
            word, seconds = "caught" if seen else "SURVIVED", time.monotonic() - start
            print(f"{word:8}  {seconds:5.0f} s  {mutant.file}: {mutant.breaks}: {how}", flush=True)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{caught} of {len(chosen)} bugs caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
