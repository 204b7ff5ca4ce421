"""A command that mpirun starts several times: one voice, common decisions, and an end for all."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lucid.cli.terminal import Progress, UsageError, reason, tell

if TYPE_CHECKING:
    from lucid.communicator import Communicator

__all__ = ["Processes", "asked_to_stop", "connected"]

T = TypeVar("T")

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_GRACE_SECONDS = 3.0  # in which a mistake that all processes make has reached each of them
_READING_SECONDS = 0.5  # in which mpirun has read what a process said
_MOST_SIGNALS = 64


class Processes:
    """The processes of a command, which all take the same way through it; rank 0 leads and speaks.

    Args:
        command: Its name, for messages.
        communicator: That of the processes.
    """

    def __init__(self, command: str, communicator: Communicator) -> None:
        self.command, self.communicator = command, communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.leads = self.rank == 0
        self._places = communicator.all_gather((socket.gethostname(), os.getpid()))

    def tell(self, message: str) -> None:
        """A line on stderr, once for all."""
        if self.leads:
            tell(self.command, message)

    def progress(self, title: str, total: int) -> Progress:
        """Progress of all processes."""
        return Progress(f"{self.command}: {title}", total, shown=self.leads)

    def any(self, wanted: bool) -> bool:
        """Whether one of them wants it."""
        return any(self.communicator.all_gather(wanted))

    def from_leader(self, work: Callable[[], T]) -> T:
        """The result of rank 0, which alone does the work: with files that others may not see.

        Raises:
            Exception: The leader's, in each process.
        """
        if self.size == 1:
            return work()
        found: tuple[T | None, Exception | None] = (None, None)
        if self.leads:
            try:
                found = work(), None
            except Exception as error:
                found = None, error
        result, raised = self.communicator.broadcast(found)
        if raised is not None:
            raise raised
        return result  # type: ignore[no-any-return]

    def line(self, arguments: str) -> str:
        """The command line that starts as many processes with these arguments."""
        start = f"mpirun -n {self.size} " if self.size > 1 else ""
        return f"{start}lucid {arguments}"

    def is_left(self) -> bool:
        """Whether the processes before this one, which would have spoken, have died on this machine."""
        mine = self._places[self.rank]
        return all(host == mine[0] and not _is_alive(pid) for host, pid in self._places[: self.rank])

    def threads(self, alone: int) -> int | None:
        """The threads of this process, which ``alone`` would have so many; None where it is alone.

        mpirun may give each process processors of its own. Where it gave several the same ones, they share.
        """
        if self.size == 1:
            return None
        processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        mine = self._places[self.rank][0], processors
        return max(1, alone // self.communicator.all_gather(mine).count(mine))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def connected(command: str, work: Callable[[Processes], int]) -> int:
    """The exit code of a command, of which this process may be one of many.

    What all processes fail at is said by one. What one of them fails at is said by that one, and ends the
    others, which would wait for it forever.
    """
    from lucid.communicator import SingleProcess
    from lucid.distributed import MPICommunicator, started_processes

    rank, size = started_processes()
    if size == 1:
        return work(Processes(command, SingleProcess()))
    try:
        communicator = MPICommunicator()
    except (ImportError, ValueError):
        if rank == 0:
            raise
        time.sleep(_GRACE_SECONDS)  # mpirun ends all when the first one ends, and rank 0 may not have spoken
        return FAILED
    try:
        code = work(Processes(command, communicator))
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("LUCID_TRACEBACK"):
            traceback.print_exc()
        code, said = _judged(error)
        is_common = communicator.all_failed(_GRACE_SECONDS)
        if not is_common:
            tell(command, f"{said} (in process {rank} of {size}; the others stop)")
            time.sleep(_READING_SECONDS)  # Open MPI may lose what it has not read when a process aborts
            communicator.abort(code)
        elif rank == 0:
            tell(command, said)
    communicator.all_gather(None)  # the leader is done: mpirun ends all when the first one fails
    return code


def _judged(error: BaseException) -> tuple[int, str]:
    """The exit code of an error, and what to say."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    assert isinstance(error, Exception)
    return (WRONG_USAGE if isinstance(error, UsageError) else FAILED), reason(error)


@contextmanager
def asked_to_stop(processes: Processes, last_words: Callable[[], str]) -> Iterator[list[int]]:
    """A list that gets the number of a signal to stop; the second one stops at once.

    mpirun sends SIGTERM to all processes when one has died, and ends them a quarter of a second later. They
    then wait for the dead one, so that a thread says the ``last_words``. SIGUSR1 is a signal to stop that
    mpirun passes on and that leaves time to save.
    """
    signals: list[int] = []

    def note(number: int, frame: Any) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if processes.size > 1:
        numbers.append(signal.SIGUSR1)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        with _watched(processes, last_words):
            yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _watched(processes: Processes, last_words: Callable[[], str]) -> Iterator[None]:
    """A thread that sees SIGTERM while the main one waits for other processes."""
    if processes.size == 1:
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def watch() -> None:
        while numbers := os.read(read, _MOST_SIGNALS):
            if signal.SIGTERM in numbers and processes.is_left():
                tell(processes.command, last_words())

    thread = threading.Thread(target=watch, name="lucid-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)
        thread.join()
        os.close(read)
