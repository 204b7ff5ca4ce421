"""The house rules for the text of files: their names, their characters, how long they and their parts are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from source_files import CODE, CPP_SUFFIXES, ROOT, functions, relative

SETTINGS = ["CMakeLists.txt", "pyproject.toml", ".clang-format", ".pre-commit-config.yaml", ".ci/run"]

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "impl", "new", "old", "v2"}
UNFINISHED = re.compile(r"\b(?:T" + r"ODO|F" + r"IXME|X" + r"XX|H" + r"ACK)\b")

MOST_LINES = 400
LONG_FILES = {  # and why
    "csrc/include/lucid.h": "the whole C ABI, which an embedder reads in one place",
    "tests/embedding/older/lucid.h": "as it was",
    "tests/models/test_weights.py": "saving, loading, and each way in which a file does not fit",
    "tests/nn/test_tensor.py": "a test for each of those",
}
MOST_FUNCTION_LINES = 60
LONG_FUNCTIONS = {  # and why
    "tests/capi/program.c:test_conv2d": "an example, read from top to bottom",
    "tests/capi/program.c:test_plan": "an example, read from top to bottom",
}

TOP_LEVEL = {
    "CHANGELOG.md",
    "CMakeLists.txt",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "csrc",
    "lucid",
    "tests",
    "bench",
}
BY_PRODUCTS = {"build", "dist", "PKG-INFO"}


def test_top_level_holds_nothing_else() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert names - BY_PRODUCTS <= TOP_LEVEL


# Text for people and programs: wide only where a table or an address cannot be cut.
WIDE = 120
PROSE = sorted(
    path
    for pattern in (
        "*.md",
        "*/*.md",
        ".github/*.md",
        "bench/results/README.md",
        "*.toml",
        ".ci/*",
    )
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", PROSE, ids=relative)
def test_lines_of_prose_and_settings_fit(path: Path) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    long = [
        number for number, line in lines if len(line) > WIDE and not re.match(r"\||!?\[.*\)$|skip = ", line)
    ]
    assert long == []


@pytest.mark.parametrize("path", [path for path in CODE if path.suffix == ".py"], ids=relative)
def test_docstrings_begin_with_a_noun_or_a_verb(path: Path) -> None:
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    assert [text.splitlines()[0] for text in texts if re.match(r"(?:What|Of)\b", text)] == []


def test_file_names_say_what_is_inside() -> None:
    banned = [relative(path) for path in CODE if BANNED_NAMES & {path.stem, *path.relative_to(ROOT).parts}]
    assert banned == []


@pytest.mark.parametrize("path", [*CODE, *(ROOT / name for name in SETTINGS)], ids=relative)
def test_text_is_plain(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.isascii(), re.findall(r".*[^\x00-\x7f].*", text)
    assert "\t" not in text
    assert "\r" not in text
    assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
    assert not UNFINISHED.findall(text)


def test_files_are_short_or_have_a_reason() -> None:
    lines = {relative(path): path.read_text().count("\n") for path in CODE}
    assert {
        name: count for name, count in lines.items() if count > MOST_LINES and name not in LONG_FILES
    } == {}


def function_lengths(path: Path) -> list[tuple[str, int]]:
    if path.suffix in CPP_SUFFIXES:
        return list(functions(path.read_text()))
    return [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def test_functions_are_short_or_have_a_reason() -> None:
    long = {
        f"{relative(path)}:{name}": lines
        for path in CODE
        for name, lines in function_lengths(path)
        if lines > MOST_FUNCTION_LINES
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}


def test_functions_of_cpp_are_found() -> None:
    text = """
#define TWICE(x) { \\
  x; }
namespace lucid { namespace {  // {
struct Pair final : Base<int> { int a = 0; int b() const { return {a}; } };
template <class T> enum class Kind : int { kOne };
constexpr int kSizes[] = {1, 2}; constexpr Pair kPair = make({1}, {2});
extern "C" int one(int x,
                   const char* text = "{")
{
  if (x) { return [&](int y) { return y; }(x); }
  return 2;
}
Pair::Pair(int x) : a(x) { a = 1;
} } }
"""
    assert list(functions(text)) == [("b", 1), ("one", 6), ("Pair", 2)]


@pytest.mark.parametrize("name", LONG_FILES)
def test_a_reason_is_for_a_file_that_is_long(name: str) -> None:
    assert (ROOT / name).read_text().count("\n") > MOST_LINES


@pytest.mark.parametrize("name", LONG_FUNCTIONS)
def test_a_reason_is_for_a_function_that_is_long(name: str) -> None:
    path, function = name.split(":")
    assert (
        max(lines for found, lines in function_lengths(ROOT / path) if found == function)
        > MOST_FUNCTION_LINES
    )
