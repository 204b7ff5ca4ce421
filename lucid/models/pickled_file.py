"""PyTorch's pickled files, read by PyTorch: tensors as they are, any other object as an inert stand-in.

A pickle can run any code. PyTorch's restricted unpickler builds only what it is told to; here it is told
that every class of the file is a stand-in, which keeps what it is given and does nothing. So a checkpoint
with the training's options, a NumPy number or a whole pickled network loads, and none of the file's classes
is imported or called.
"""

from __future__ import annotations

import errno
import pickle
import pickletools
import re
import struct
import threading
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

import numpy as np

from lucid.tensor_file import foreign_content, open_file

__all__ = ["StandIn", "read_pickled"]

# PyTorch's list of allowed classes belongs to the process.
_lock = threading.Lock()

_WAY_OUT = "save the weights alone where it was made: torch.save(model.state_dict(), 'weights.pth')"

# Besides the usual errors, what a damaged archive or pickle ends in.
_DAMAGE = (zipfile.BadZipFile, struct.error)

_NEWEST_PROTOCOL = 3
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NAMES_SHOWN = 4
_DEEPEST = 4
_DEEPEST_MODULE = 50

# Names that every file of tensors has.
_TENSORS = re.compile(
    r"torch\.(?:_utils|storage|serialization)\.|torch\.\w+Storage$|collections\.OrderedDict$"
)

_NO_MEMORY = re.compile(
    r"allocate memory|not enough memory|out of memory|bad_alloc|bad allocation|failed to map segment", re.I
)

# Calls that only an attack puts into a weight file. They would not run here either.
_DANGEROUS = re.compile(
    r"(?:os|posix|nt|sys|subprocess|importlib|runpy|socket|shutil|ctypes|multiprocessing|pty|webbrowser)\."
    r"|builtins\.(?:eval|exec|compile|__import__|open|breakpoint|exit)$"
)


class StandIn:
    """An object of a file whose class is not imported: keeps arguments and state, and does nothing."""

    path = ""

    def __new__(cls, *arguments: Any, **options: Any) -> StandIn:
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, Mapping) else {}

    state: Mapping[Any, Any]


def read_pickled(op: str, path: Path) -> Mapping[Any, Any]:
    """The dictionary in a file of ``torch.save``; pickled networks in it are replaced by their state dicts.

    Args:
        op: The call that the user made, for messages.
        path: A regular file.

    Raises:
        ValueError: The file is damaged, of another kind, or holds no dictionary.
        ImportError: PyTorch is not installed.
        MemoryError: The memory does not suffice.
    """
    with open_file(op, path) as file:
        head = file.read(512)
        foreign = foreign_content(head)
        if foreign is None and head[8:9] == b"{":
            foreign = "a safetensors file: end its name with .safetensors"
        if foreign is not None and not foreign.startswith(("a zip", "a pickle")):
            _fail(op, path, f"it is {foreign}")
        torch = _pytorch(op, path)
        try:
            classes = _classes(zipfile.ZipFile(file) if zipfile.is_zipfile(file) else file)
        except (OSError, ValueError, LookupError, EOFError, RuntimeError, *_DAMAGE) as error:
            _fail(op, path, _reason(error))
    with _lock:
        state = _unpickled(op, path, torch, classes)
    try:
        state = _as_state(state)
    except (AttributeError, TypeError) as error:
        _fail(op, path, _reason(error))
    if isinstance(state, StandIn):
        _fail(op, path, f"it holds an object of {state.path} and no weights; {_WAY_OUT}")
    if not isinstance(state, Mapping):
        raise ValueError(f"{op}: {path} must hold a dictionary of tensors, found {type(state).__name__}")
    return state


def _fail(op: str, path: Path, reason: str) -> NoReturn:
    # Without the cause: PyTorch's own text advises to load the file unsafely.
    raise ValueError(f"{op}: {path} must be an undamaged PyTorch file of tensors only: {reason}") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, _Foreign):
        return str(error)
    return f"it is damaged or truncated ({type(error).__name__})"


class _Foreign(ValueError):
    """A file that is whole, but of another kind."""


def _pytorch(op: str, path: Path) -> ModuleType:
    try:
        import torch
    except (ImportError, OSError) as error:
        if _is_lack_of_memory(error):
            raise MemoryError(f"{op}: the memory does not suffice to import PyTorch, for {path}") from None
        if not isinstance(error, ModuleNotFoundError):
            raise ImportError(f"{op}: {path} needs PyTorch, whose import fails here: {error}") from None
        raise ImportError(
            f"{op}: {path} is a pickled PyTorch file, which PyTorch must read: pip install torch, or "
            "convert it once where PyTorch is installed, with "
            "safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'model.safetensors')"
        ) from None
    return torch


# ---- Before anything is unpickled


def _classes(opened: Any) -> set[str]:
    """Full names of the classes and functions that a file names."""
    if isinstance(opened, zipfile.ZipFile):
        names = opened.namelist()
        pickled = [name for name in names if name.endswith("data.pkl")]
        if any(name.endswith("constants.pkl") for name in names):
            raise _Foreign(f"it is a TorchScript program; {_WAY_OUT}")
        if not pickled:
            raise _Foreign("it is a zip archive without PyTorch's data.pkl: unpack it first")
        if opened.getinfo(pickled[0]).compress_type != zipfile.ZIP_STORED:
            raise _Foreign("it is a compressed zip archive, and torch.save compresses nothing")
        # Held in memory, where a string whose length is damaged just ends early.
        found = set(_globals(BytesIO(opened.read(pickled[0]))))
    else:
        found = _legacy_globals(opened)
    for name in sorted(found):
        if _DANGEROUS.match(name):
            raise _Foreign(f"it would call {name}, which no weights need: do not trust it")
    return found


def _legacy_globals(file: IO[bytes]) -> set[str]:
    """The same for a file of PyTorch before 1.6: four pickles, and the tensors' bytes after them."""
    file.seek(0)
    start = file.read(1)
    if start == b"P":
        raise _Foreign("it is truncated: a zip archive without its end")
    if start != b"\x80":
        raise _Foreign("it is no file of torch.save")
    file.seek(0)
    try:
        if _LEGACY_MAGIC not in list(_numbers(file)):
            raise _Foreign(f"it is a plain pickle and no file of torch.save; {_WAY_OUT}")
        # Then the protocol, the system, and the object itself.
        return {name for _ in range(3) for name in _globals(file)}
    except MemoryError:  # a string of 2^60 bytes, as its length says
        raise _Foreign("it is damaged: the length of a string is beyond all memory") from None


def _numbers(file: IO[bytes]) -> Iterator[int]:
    """The numbers in the next pickle of a file, of which nothing is built."""
    for _, argument, _ in pickletools.genops(file):
        if isinstance(argument, int):
            yield argument


def _globals(file: IO[bytes]) -> Iterator[str]:
    """Full names, as Python 3 spells them, of what the next pickle of a file would import."""
    for code, argument, _ in pickletools.genops(file):
        if code.name == "PROTO" and isinstance(argument, int) and argument > _NEWEST_PROTOCOL:
            raise _Foreign(f"it is pickled in protocol {argument}, and torch.save's is 2; {_WAY_OUT}")
        if code.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            else:
                module = IMPORT_MAPPING.get(module, module)
            yield f"{module}.{name}"


# ---- Unpickling


def _unpickled(op: str, path: Path, torch: ModuleType, classes: set[str]) -> Any:
    # A class that is filled like a dictionary or a list becomes one: PyTorch fills no stand-ins.
    for maker in (_stand_in, _dictionary, _list):
        with suppress(pickle.UnpicklingError):
            return _load(op, path, torch, classes, maker)
    foreign = sorted(name for name in classes if not _TENSORS.match(name))
    if not foreign:
        _fail(op, path, "it is damaged")
    _fail(op, path, f"it holds objects besides tensors that cannot be skipped ({_few(foreign)}); {_WAY_OUT}")


def _load(op: str, path: Path, torch: ModuleType, classes: set[str], maker: Callable[[str], Any]) -> Any:
    known = _STANDARD | dict(_numpy_classes())
    allowed = [(known.get(name) or maker(name), name) for name in sorted(classes)]
    # A NumPy number names its own dtype's class when it is built.
    allowed += [(made, name) for name, made in known.items() if name not in classes]
    safe_globals = getattr(torch.serialization, "safe_globals", None)
    with warnings.catch_warnings(), safe_globals(allowed) if safe_globals else nullcontext():
        warnings.simplefilter("ignore")
        try:
            # Without weights_only a file could run any code.
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # unpickling a damaged file can raise nearly anything
            if _asks_for_more_than_it_has(error, path):
                _fail(op, path, "it is damaged")
            if _is_lack_of_memory(error):
                raise MemoryError(f"{op}: the memory does not suffice for {path}") from None
            _fail(op, path, _reason(error))


def _few(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _stand_in(name: str) -> type[StandIn]:
    return type(name.rpartition(".")[2], (StandIn,), {"path": name})


def _dictionary(name: str) -> type:
    return type(name.rpartition(".")[2], (), {"__new__": lambda cls, *arguments: OrderedDict()})


def _list(name: str) -> type:
    return type(name.rpartition(".")[2], (list,), {"__init__": lambda self, *arguments: None})


# Containers of the standard library, filled like the built-in types: they become those.
_STANDARD: dict[str, Any] = {
    "collections.defaultdict": lambda *arguments: {},
    "collections.deque": lambda *arguments: [],
}


def _numpy_classes() -> Iterator[tuple[str, Any]]:
    """The classes of pickled NumPy numbers and arrays: they are built, as they may be weights."""
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    for package in ("numpy.core", "numpy._core"):
        yield f"{package}.multiarray.scalar", scalar
        yield f"{package}.multiarray._reconstruct", reconstruct
    yield "numpy.ndarray", np.ndarray
    yield "numpy.dtype", np.dtype
    for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?US":
        made = type(np.dtype(code))
        yield f"numpy.dtypes.{made.__name__}", made


def _asks_for_more_than_it_has(error: Exception, path: Path) -> bool:
    """Whether memory for all of a file can be had, but not for a text in its pickle: a length is damaged.

    Where PyTorch has no memory for a tensor, it raises another error.
    """
    if not isinstance(error, MemoryError):
        return False
    try:
        bytearray(path.stat().st_size)
    except MemoryError:
        return False
    return True


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def _as_state(value: Any, depth: int = 0) -> Any:
    """``value`` with the state dict of each pickled network in its place."""
    if isinstance(value, StandIn) and isinstance(value.state.get("_modules"), Mapping):
        return dict(_module_state(value, "", 0))
    if type(value) in (dict, OrderedDict) and depth < _DEEPEST:
        return {name: _as_state(inner, depth + 1) for name, inner in value.items()}
    return value


def _module_state(module: StandIn, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Names and tensors of a pickled torch.nn.Module, as its ``state_dict()`` has them."""
    passing = module.state.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        for name, value in (module.state.get(kind) or {}).items():
            if value is not None and name not in passing:
                yield f"{prefix}{name}", value
    for name, inner in (module.state.get("_modules") or {}).items():
        if isinstance(inner, StandIn) and depth < _DEEPEST_MODULE:
            yield from _module_state(inner, f"{prefix}{name}.", depth + 1)
