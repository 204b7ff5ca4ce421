"""The devices: their names and properties, the one in use, and its memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType

from lucid import _core, arguments
from lucid.cuda.plugin import device_count, require


class _Current(threading.local):
    """The device that ``"cuda"`` stands for, in each thread."""

    index = 0


_current = _Current()


@dataclass(frozen=True)
class DeviceProperties:
    """Facts about a device.

    Attributes:
        name: As its maker calls it.
        major: First number of the compute capability.
        minor: Second number of the compute capability.
        total_memory: In bytes.
        multi_processor_count: Number of multiprocessors.
        shared_memory_per_block: The most that a block can ask for, in bytes.
        l2_cache_size: In bytes.
        clock_rate: Of the multiprocessors, in kHz.
        memory_clock_rate: In kHz.
        memory_bus_width: In bits.
    """

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    shared_memory_per_block: int
    l2_cache_size: int
    clock_rate: int
    memory_clock_rate: int
    memory_bus_width: int


def device_index(op: str, value: object) -> int | None:
    """The index of the device that ``value`` names; None for the CPU, which is what None names.

    Raises:
        RuntimeError: No device can be used; the message gives the reason.
        ValueError: There is no such device.
        NotImplementedError: It is one of another kind.
    """
    if value is None:
        return None
    kind, index = arguments.device(op, value)
    if kind == "cpu":
        return None
    require(op)
    if index is None:
        return _current.index
    if index >= device_count():
        raise ValueError(f"{op}: device must be below cuda:{device_count()}, got cuda:{index}")
    return index


def name_of(index: int | None) -> str:
    """The device's name as ``Tensor.device`` has it."""
    return "cpu" if index is None else f"cuda:{index}"


def current_device() -> int:
    """The index of the device that ``"cuda"`` stands for in this thread; 0 unless changed by ``device``."""
    require("current_device")
    return _current.index


def set_device(device: int | str) -> None:
    """Lets ``"cuda"`` stand for another device, in this thread."""
    _current.index = cuda_index("set_device", device)


class device:
    """A context in which ``"cuda"`` stands for another device: ``with lucid.cuda.device(1): ...``."""

    def __init__(self, device: int | str) -> None:
        self.index = cuda_index("device", device)
        self._before: list[int] = []

    def __enter__(self) -> device:
        self._before.append(_current.index)
        _current.index = self.index
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.index = self._before.pop()


def get_device_properties(device: int | str | None = None) -> DeviceProperties:
    """Facts about a device, the current one unless given."""
    return DeviceProperties(**_core.cuda_properties(cuda_index("get_device_properties", device)))


def get_device_name(device: int | str | None = None) -> str:
    return str(_core.cuda_properties(cuda_index("get_device_name", device))["name"])


def get_device_capability(device: int | str | None = None) -> tuple[int, int]:
    """The compute capability, such as (8, 0)."""
    properties = get_device_properties(device)
    return properties.major, properties.minor


def synchronize(device: int | str | None = None) -> None:
    """Waits until the device has done all that it was given.

    Raises:
        RuntimeError: Something failed on the device; errors of kernels are found here, or by a later call.
    """
    _core.cuda_synchronize(cuda_index("synchronize", device))


def memory_allocated(device: int | str | None = None) -> int:
    """Bytes that tensors and plans hold."""
    return _core.cuda_memory(cuda_index("memory_allocated", device))[0]


def memory_reserved(device: int | str | None = None) -> int:
    """Bytes that lucid has of the device: those in use, and those kept for the next tensors."""
    return _core.cuda_memory(cuda_index("memory_reserved", device))[1]


def empty_cache() -> None:
    """Gives memory that no tensor uses back to the device."""
    if device_count():
        _core.cuda_release_memory()


def as_device(op: str, device: object) -> object:
    """A device of this kind, given by a number, a name or None, which is the current one."""
    if device is None:
        return "cuda"
    return f"cuda:{arguments.integer(op, 'device', device)}" if isinstance(device, int) else device


def cuda_index(op: str, device: int | str | None) -> int:
    """The index of a device of this kind; ValueError for the CPU."""
    index = device_index(op, as_device(op, device))
    if index is None:
        raise ValueError(f"{op}: device must be one of cuda's, got {device!r}")
    return index
