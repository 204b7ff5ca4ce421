"""Where an installation keeps what other programs need to build against its C library.

``python -m lucid.config --cflags --libs`` prints compiler and linker flags; ``--help`` lists the rest.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from lucid import _core

__all__ = ["get_cmake_dir", "get_include", "get_library_dir", "get_pkgconfig_dir"]

# Of the compiled module: an editable installation keeps it apart from the Python files.
_PACKAGE = os.path.dirname(os.path.abspath(_core.__file__))


def get_include() -> str:
    """The folder of ``lucid.h``."""
    return os.path.join(_PACKAGE, "include")


def get_library_dir() -> str:
    """The folder of ``liblucid.so`` and ``liblucid_static.a``.

    ``liblucid.so`` serves the linker, ``dlopen`` and ctypes. Its symbols carry the version of the ABI: a
    program that was linked with another version ends when it starts, with the name of the version it misses.
    """
    return os.path.join(_PACKAGE, "lib")


def get_cmake_dir() -> str:
    """The folder of ``lucidConfig.cmake``, for ``-D lucid_DIR=``."""
    return os.path.join(get_library_dir(), "cmake", "lucid")


def get_pkgconfig_dir() -> str:
    """The folder of ``lucid.pc``, for ``$PKG_CONFIG_PATH``."""
    return os.path.join(get_library_dir(), "pkgconfig")


def _libs() -> str:
    folder = get_library_dir()
    return shlex.join([f"-L{folder}", f"-Wl,-rpath,{folder}", "-llucid"])


# What is printed for each flag, quoted for a shell.
_ANSWERS = {
    "version": ("the version of lucid", _core.version),
    "cflags": ("flags for the compiler", lambda: shlex.join([f"-I{get_include()}"])),
    "libs": ("flags for the linker, with a path at which a program finds the library when it starts", _libs),
    "include-dir": ("the folder of lucid.h", lambda: shlex.quote(get_include())),
    "library-dir": ("the folder of the libraries", lambda: shlex.quote(get_library_dir())),
    "cmake-dir": ("the folder of lucidConfig.cmake", lambda: shlex.quote(get_cmake_dir())),
    "pkgconfig-dir": ("the folder of lucid.pc", lambda: shlex.quote(get_pkgconfig_dir())),
}


def main(arguments: list[str] | None = None) -> int:
    """Prints the answer to each flag, in one line and in the order of ``--help``."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m lucid.config", description=description)
    for name, (meaning, _) in _ANSWERS.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    asked = {name for name, value in vars(parser.parse_args(arguments)).items() if value}
    answers = [answer() for name, (_, answer) in _ANSWERS.items() if name.replace("-", "_") in asked]
    if not answers:
        parser.error("say what to print, such as --cflags --libs")
    print(*answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
