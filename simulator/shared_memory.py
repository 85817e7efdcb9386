"""Messages between the processes of one machine: what is large in them goes through shared memory, not through a pipe.

Shared memory is memory without a name (``memfd_create``). The process that makes it owns it; another one finds it under
``/proc`` by the owner's number of the process and of the descriptor. So it is gone when nobody has it open, whoever was
killed and how, and it is not bounded by what is mounted at ``/dev/shm``. Memory is written and read by system calls and
never mapped: where there is no room the call says so, and no signal is sent. Who reads has arrays of its own, and gives
the memory back at once.

Where there is no such memory, or no room in it, everything stands in the message. Knows what a message holds as little
as ``sending`` does.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from simulator.sending import WORTHWHILE, Array, packed, unpacked

_MOST_AT_ONCE: Final = 1 << 30
"""Bytes of one system call; Linux moves 2 GiB at the most."""


class UnreachableError(OSError):
    """The owner's memory cannot be opened from this process, or is not there any more."""


class Address(NamedTuple):
    """Where other processes find a memory.

    Attributes:
        process, descriptor: the owner's.
        device, inode: what the descriptor must lead to; it might have been closed, and its number given to a file.
    """

    process: int
    descriptor: int
    device: int
    inode: int


class Message(NamedTuple):
    """What goes through the pipe.

    Attributes:
        parcel: the thing, or what is left of it when its arrays are put aside; None where it lies in the memory too.
        start, length: where it lies there.
    """

    parcel: bytes | None
    start: int = 0
    length: int = 0


class SharedMemory:
    """Memory that processes share, and that holds one message at a time.

    Args:
        descriptor: of the memory; closed by ``close``.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def address(self) -> Address:
        """Where others find it, while its owner has it open."""
        found = os.fstat(self._descriptor)
        return Address(os.getpid(), self._descriptor, found.st_dev, found.st_ino)

    def write(self, start: int, data: "bytes | Array") -> None:
        """Write all bytes of something, from there on.

        Raises:
            OSError: there is no room.
        """
        left = _bytes_of(data)
        while left:
            count = os.pwrite(self._descriptor, left[:_MOST_AT_ONCE], start)
            left, start = left[count:], start + count

    def fill(self, start: int, array: Array) -> None:
        """Read as many bytes as an array has, from there on.

        Raises:
            EOFError: there are not so many.
        """
        left = _bytes_of(array)
        while left:
            count = os.preadv(self._descriptor, [left[:_MOST_AT_ONCE]], start)
            if count == 0:
                raise EOFError(f"shared memory ends at {start}, {len(left)} bytes too early")
            left, start = left[count:], start + count

    def read(self, start: int, length: int) -> bytes:
        """Bytes from there on.

        Raises:
            EOFError: there are not so many.
        """
        parts = []
        while length:
            part = os.pread(self._descriptor, min(length, _MOST_AT_ONCE), start)
            if not part:
                raise EOFError(f"shared memory ends at {start}, {length} bytes too early")
            parts.append(part)
            length, start = length - len(part), start + len(part)
        return b"".join(parts)

    def clear(self) -> None:
        """Give the memory back."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Let go of it; the memory is gone once all processes have done so, or have ended."""
        os.close(self._descriptor)


def new_memory() -> SharedMemory | None:
    """Shared memory of this process, or None where the system gives none."""
    with contextlib.suppress(AttributeError, OSError):  # another system than Linux; descriptors are used up
        return SharedMemory(os.memfd_create("messages"))
    return None


@contextlib.contextmanager
def reached(address: Address | None) -> Iterator[SharedMemory | None]:
    """Another process's memory, while it is needed; None for None.

    Raises:
        UnreachableError: it cannot be opened.
    """
    if address is None:
        yield None
        return
    path = f"/proc/{address.process}/fd/{address.descriptor}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UnreachableError(error.errno, error.strerror, path) from None
    memory = SharedMemory(descriptor)
    try:
        if memory.address[2:] != address[2:]:
            raise UnreachableError(None, "another file by now", path)
        yield memory
    finally:
        memory.close()


def written(thing: Any, memory: SharedMemory | None) -> Message:
    """A message with a thing. What is large lies in the memory, if there is one and it has room."""
    if memory is None:
        return Message(packed(thing))
    aside: list[tuple[int, Array]] = []
    end = 0

    def put(array: Array) -> int:
        nonlocal end
        start, end = end, end + array.nbytes
        aside.append((start, array))
        return start

    parcel = packed(thing, put=put)
    try:
        for start, array in aside:
            memory.write(start, array)
        if len(parcel) < WORTHWHILE:
            return Message(parcel)
        memory.write(end, parcel)
    except OSError:
        memory.clear()
        return Message(packed(thing))
    return Message(None, end, len(parcel))


def read(message: Message, memory: SharedMemory | None) -> Any:
    """The thing of a message, its arrays writable and its own; the shared memory is given back.

    Args:
        message: of ``written``.
        memory: the one that it was written to.
    """
    if memory is None:
        assert message.parcel is not None
        return unpacked(message.parcel)
    parcel = memory.read(message.start, message.length) if message.parcel is None else message.parcel
    thing = unpacked(parcel, fill=memory.fill)
    memory.clear()
    return thing


def _bytes_of(data: "bytes | Array") -> memoryview:
    """The bytes of an array in C or Fortran order, whatever its type: numpy hands out no buffer of dates."""
    return memoryview(data) if isinstance(data, bytes) else data.ravel(order="K").view(np.uint8).data
