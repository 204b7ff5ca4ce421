"""GPUs: which there are, what they can do, their memory and their streams.

Operators, modules and plans compute on one when their tensors are there: ``x.to("cuda")``,
``model.to("cuda")``, ``lucid.compile(model, shape, device="cuda")``. The kernels are in a plugin of its own,
opened at the first use of a device; ``why_not()`` says what is missing if it cannot be.
``python -m lucid.cuda.selftest`` tests a machine.
"""

from lucid.cuda.devices import (
    DeviceProperties,
    as_device,
    current_device,
    device,
    device_index,
    empty_cache,
    get_device_capability,
    get_device_name,
    get_device_properties,
    memory_allocated,
    memory_reserved,
    name_of,
    set_device,
    synchronize,
)
from lucid.cuda.plugin import device_count, is_available, require, why_not
from lucid.cuda.precision import get_allow_tf32, set_allow_tf32
from lucid.cuda.streams import Event, ExternalStream, Stream, current_stream, stream

__all__ = [
    "DeviceProperties",
    "Event",
    "ExternalStream",
    "Stream",
    "as_device",
    "current_device",
    "current_stream",
    "device",
    "device_count",
    "device_index",
    "empty_cache",
    "get_allow_tf32",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "is_available",
    "memory_allocated",
    "memory_reserved",
    "name_of",
    "require",
    "set_allow_tf32",
    "set_device",
    "stream",
    "synchronize",
    "why_not",
]
