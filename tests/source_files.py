"""The files of the repository, and C++ as a test reads it: without comments, cut into functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CSRC, PACKAGE, TESTS = ROOT / "csrc", ROOT / "lucid", ROOT / "tests"

CPP_SUFFIXES = {".h", ".c", ".cpp", ".cu", ".cuh"}
CODE_SUFFIXES = CPP_SUFFIXES | {".py", ".pyi"}


def files_below(*folders: Path, suffixes: set[str]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


CPP = files_below(CSRC, suffixes=CPP_SUFFIXES)
PYTHON = files_below(PACKAGE, suffixes={".py"})
CODE = files_below(CSRC, PACKAGE, TESTS, ROOT / "bench", suffixes=CODE_SUFFIXES)


def code_of(text: str) -> str:
    """C++ with blanks in the place of comments, directives and what stands in strings; lines stay lines."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.DOTALL)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.MULTILINE)
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda match: f'"{blank(match)[1:-1]}"', text)


# The owner of braces, by the text before them: namespaces and types hold functions, anything else does not.
CONTAINER = re.compile(r"^\s*(?:\w+\s+)*?(?:namespace|class|struct|union|enum|extern)\b[^(=]*$")
FUNCTION = re.compile(r"([~\w]+|operator\S+)\s*\((?!.*=\s*$)", re.DOTALL)


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function of a C++ file; one inside another counts with it."""
    code = code_of(text)
    around: list[
        tuple[str, int]
    ] = []  # the braces that are open: the function's name or a kind, and the line
    begin = 0  # of the text before a brace
    for match in re.finditer(r"[;{}]", code):
        before, place = code[begin : match.start()], match.start()
        begin = match.end()
        if match[0] == "{":
            inside = any(name != "container" for name, _ in around)
            found = None if inside or before.count("(") != before.count(")") else FUNCTION.search(before)
            name = found[1] if found else "other" if inside or not CONTAINER.search(before) else "container"
            around.append((name, code.count("\n", 0, place - len(before.lstrip()))))
        elif match[0] == "}":
            name, line = around.pop()
            if name not in ("container", "other"):
                yield name, code.count("\n", 0, place) - line + 1
