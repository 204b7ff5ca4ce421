"""Streams, on which a device does one thing after another, and events, which are points in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lucid import _core, arguments
from lucid.cuda.devices import cuda_index


class Stream:
    """A queue of work; that of another stream may run beside it.

    Tensors that one stream writes and another reads need ``wait_stream`` between them.
    """

    def __init__(self, device: int | str | None = None) -> None:
        self._stream = _core.CudaStream(cuda_index("Stream", device))

    @property
    def cuda_stream(self) -> int:
        """The handle, a ``cudaStream_t`` as a number; 0 for the default stream."""
        return self._stream.cuda_stream

    @property
    def device_index(self) -> int:
        return self._stream.device_index

    def synchronize(self) -> None:
        """Waits until everything in the queue is done."""
        self._stream.synchronize()

    def wait_stream(self, stream: Stream) -> None:
        """Lets what comes next wait for all that ``stream`` has been given so far."""
        self._stream.wait(stream._stream)

    def record_event(self, event: Event | None = None) -> Event:
        """A point behind all that the stream has been given so far."""
        point = Event(self.device_index) if event is None else event
        point.record(self)
        return point

    def __cuda_stream__(self) -> tuple[int, int]:
        """The protocol of NVIDIA's Python packages: its version, and the handle."""
        return 0, self.cuda_stream

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device_index, self.cuda_stream) == (
            other.device_index,
            other.cuda_stream,
        )

    def __hash__(self) -> int:
        return hash((self.device_index, self.cuda_stream))

    def __repr__(self) -> str:
        return f"Stream(device=cuda:{self.device_index}, cuda_stream={self.cuda_stream:#x})"


class ExternalStream(Stream):
    """A stream of another library, which keeps owning it.

    ``ExternalStream(torch.cuda.current_stream().cuda_stream)`` is PyTorch's. Memory that was in use on a
    stream is kept for new uses in its order. So the owner must not destroy the stream before what was
    computed on it is gone, and ``lucid.cuda.empty_cache()`` has been called then.

    Args:
        stream: A ``cudaStream_t`` as a number, or an object with the method ``__cuda_stream__``.
    """

    def __init__(self, stream: object, device: int | str | None = None) -> None:
        index = cuda_index("ExternalStream", device)
        self._stream = _core.CudaStream.external(index, _handle("ExternalStream", stream))


def _handle(op: str, stream: Any) -> int:
    """A ``cudaStream_t`` as a number. TypeError for what is none and does not lend one."""
    if hasattr(stream, "__cuda_stream__"):
        version, stream = stream.__cuda_stream__()
        if version != 0:
            raise ValueError(f"{op}: __cuda_stream__ must be of version 0, got {version}")
    handle = arguments.integer(op, "stream", stream, "a cudaStream_t as an int, or have __cuda_stream__")
    if handle < 0:
        raise ValueError(f"{op}: stream must not be negative, got {handle}")
    return handle


class Event:
    """A point in the work of a stream, and the time at which the device came to it."""

    def __init__(self, device: int | str | None = None) -> None:
        self._event = _core.CudaEvent(cuda_index("Event", device))

    def record(self, stream: Stream | None = None) -> None:
        """Puts the point behind all that a stream, the current one unless given, has been given so far."""
        used = current_stream(self._event.device_index) if stream is None else stream
        self._event.record(used._stream)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from here to ``end_event``, which is waited for."""
        return self._event.elapsed(end_event._event)

    def synchronize(self) -> None:
        """Waits until the device has come here."""
        self._event.synchronize()


def current_stream(device: int | str | None = None) -> Stream:
    """The stream that operators of this thread use on a device."""
    found = Stream.__new__(Stream)
    found._stream = _core.cuda_current_stream(cuda_index("current_stream", device))
    return found


@contextmanager
def stream(stream: Stream) -> Iterator[Stream]:
    """A context in which the operators of this thread use ``stream``, on its device."""
    before = current_stream(stream.device_index)
    _core.cuda_set_stream(stream._stream)
    try:
        yield stream
    finally:
        _core.cuda_set_stream(before._stream)
