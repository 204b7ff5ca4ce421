"""The reference: ``python -m lucid.docs``."""

from __future__ import annotations

import html
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import c_abi
import pytest

import lucid

pytest.importorskip("pdoc")

PACKAGES = ("lucid", "lucid.nn", "lucid.models", "lucid.inference", "lucid.data")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in a process of its own, in which a warning is an error."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-W", "error::UserWarning", "-m", "lucid.docs", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stderr == ""
    assert done.stdout.strip().endswith(f"pages: {folder / 'index.html'}")
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(reference: Path, package: str) -> None:
    page = (reference / (package.replace(".", "/") + ".html")).read_text()
    names = {name for name in importlib.import_module(package).__all__ if not name.startswith("__")}
    pages = {name for name in names if importlib.util.find_spec(f"{package}.{name}") is not None}
    documented = set(re.findall(r'id="([\w.]+)"', page))
    assert names - pages <= documented


def test_a_docstring_arrives_with_its_sections(reference: Path) -> None:
    page = (reference / "lucid.html").read_text()
    assert (
        "A network compiled for inputs of one shape" in (reference / "lucid" / "inference.html").read_text()
    )
    assert ">Raises:<" in page
    assert lucid.compile.__doc__.split("\n")[0] in html.unescape(page)


def test_every_function_of_the_header_is_in_its_index(reference: Path) -> None:
    page = (reference / "lucid_h.html").read_text()
    index = {name: int(line) for line, name in re.findall(r'<a href="#L-(\d+)">(\w+)</a>', page)}
    header = c_abi.HEADER.read_text()
    names = set(re.findall(r"LUCID_API [^;]*?(lucid_\w+)\(", header))
    assert names <= set(index)
    lines = header.splitlines()
    assert all(name in lines[line - 1] for name, line in index.items())
    assert all(f'id="L-{line}"' in page or f'name="L-{line}"' in page for line in index.values())


def test_index_leads_to_both(reference: Path) -> None:
    links = re.findall(r'href="([^"]+)"', (reference / "index.html").read_text())
    assert links == ["lucid.html", "lucid_h.html"]
    assert all((reference / link).is_file() for link in links)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    command = [sys.executable, "-m", "lucid.docs", tmp_path / "taken"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("python -m lucid.docs: ")
    assert done.stderr.count("\n") == 1
