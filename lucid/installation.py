"""Refuses to import an installation that cannot work, and says why; the first thing that lucid imports."""

from __future__ import annotations

import importlib
import os
import re


def refuse_mixture(package: str) -> None:
    """ImportError if another distribution has put its files into the folder ``package`` of this one.

    ``lucid`` and ``lucid-dl`` on PyPI are other projects with the same import name: pip installs them over
    each other without a word, and what is then imported is a mixture of both. One listing of site-packages
    finds them, where ``importlib.metadata.packages_distributions`` reads the metadata of everything
    installed.
    """
    site, name = os.path.split(package)
    for entry in os.listdir(site):
        match = re.fullmatch(r"(lucid(?:[-_.]\w+)*)-[^-]+\.dist-info", entry, re.IGNORECASE)
        if match is None or re.sub(r"[-_.]+", "-", match[1]).lower() == "lucid-kernels":
            continue
        if _installs(os.path.join(site, entry, "RECORD"), f"{name}/__init__.py"):
            raise ImportError(
                f"lucid: the distributions lucid-kernels and {match[1]} both install the package {name!r} "
                f"in {site} "
                "and have overwritten each other's files; "
                f"pip uninstall {match[1]} lucid-kernels, then install the one you want"
            )


def _installs(record: str, file: str) -> bool:
    try:
        with open(record, encoding="utf-8") as lines:
            return any(line.startswith(f"{file},") for line in lines)
    except OSError:
        return False


def require_kernels(package: str) -> None:
    """ImportError that says what to do if the compiled module is not there."""
    try:
        importlib.import_module("lucid._core")
    except ModuleNotFoundError as error:
        if error.name != "lucid._core":
            raise
        raise ImportError(
            f"lucid: the compiled module lucid._core is not in {package}. If that is the source tree, "
            "install it (pip install .) and start Python in another directory, so that the installed package "
            "is found"
        ) from None


_PACKAGE = os.path.dirname(os.path.abspath(__file__))
refuse_mixture(_PACKAGE)
require_kernels(_PACKAGE)
