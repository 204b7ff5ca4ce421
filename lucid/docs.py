"""The reference as a folder of HTML: ``python -m lucid.docs [FOLDER]``. Needs ``pip install ".[docs]"``.

Python's part is what pdoc makes of the docstrings, C's part is the header itself, with an index of its
functions and structs.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import lucid
from lucid import config, methods

__all__ = ["main", "write"]

# Modules that cannot be imported without a package of somebody else's, by that package.
_ADAPTERS = {"lucid.torch": "torch", "lucid.models.pretrained.train_digits": "sklearn"}
_DECLARATION = re.compile(
    r"^(?:LUCID_API [^;(]*?|typedef (?:struct|enum) )\b(lucid_\w+)(?=\(| \{|;)", re.MULTILINE
)


def write(folder: Path) -> list[Path]:
    """Writes the pages, and returns them.

    Raises:
        ImportError: pdoc is not installed.
        UserWarning: A docstring or a name leads nowhere.
        OSError: The folder cannot be written.
    """
    try:
        import pdoc
    except ImportError:
        raise ImportError('docs: pdoc must be installed, e.g. by pip install "lucid-kernels[docs]"') from None
    for name in ("lucid", "lucid.inference", "lucid.nn"):
        _show_late_names(importlib.import_module(name))
    # pdoc resolves names by a function's module, and a NamedTuple's constructor has none.
    result = methods.ValuesAndIndices
    result.__new__.__annotations__ = get_type_hints(result, {"Tensor": lucid.Tensor})
    hidden = [f"!{name}" for name, package in _ADAPTERS.items() if importlib.util.find_spec(package) is None]
    pdoc.render.configure(docformat="google", search=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # pdoc's own
        pdoc.pdoc("lucid", *hidden, output_directory=folder)
    (folder / "lucid_h.html").write_text(_header_page(), encoding="utf-8")
    (folder / "index.html").write_text(_INDEX, encoding="utf-8")
    return sorted(folder.rglob("*.html"))


def _show_late_names(package: ModuleType) -> None:
    """Puts into a package what it imports at the first use, since pdoc documents what is in there."""
    vars(package).update({name: getattr(package, name) for name in package.__all__})


def _header_page() -> str:
    """``lucid.h`` with an index: its comments are the reference."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import CLexer

    text = (Path(config.get_include()) / "lucid.h").read_text(encoding="utf-8")
    found = {match[1]: text.count("\n", 0, match.start(1)) + 1 for match in _DECLARATION.finditer(text)}
    entries = "\n".join(
        f'<li><a href="#L-{number}">{name}</a></li>' for name, number in sorted(found.items())
    )
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", wrapcode=True)
    style = escape(formatter.get_style_defs(".highlight"), quote=False)
    return _PAGE.format(
        title="lucid.h: the C ABI",
        style=style,
        body=f'<h1>lucid.h</h1><ul class="names">{entries}</ul>{highlight(text, CLexer(), formatter)}',
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 75rem; margin: 1rem auto; padding: 0 1rem; }}
.names {{ columns: 18rem; padding-left: 1rem; }}
.highlight {{ overflow-x: auto; }}
{style}
</style></head>
<body>{body}</body></html>
"""
_INDEX = _PAGE.format(
    title="lucid: reference",
    style="",
    body='<h1>lucid</h1><ul><li><a href="lucid.html">The Python package</a></li>'
    '<li><a href="lucid_h.html">The C ABI, lucid.h</a></li></ul>',
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m lucid.docs", description="Writes the reference as HTML.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("lucid-docs"), help="default: %(default)s"
    )
    folder: Path = parser.parse_args(arguments).folder
    try:
        pages = write(folder)
    except (ImportError, OSError) as error:
        print(f"python -m lucid.docs: {error}", file=sys.stderr)
        return 1
    print(f"{len(pages)} pages: {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
