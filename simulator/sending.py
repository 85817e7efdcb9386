"""Tasks as bytes for other machines, with what several of them hold packed once.

Bytes are those of ``pickle``, as between the processes of one machine: they go from a run to its own workers and back,
and are never read from a file. Knows dataclasses and identity; does not know who carries the bytes.
"""

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

WORTHWHILE: Final = 1 << 16
"""Bytes from which on it pays to send a thing once."""

Parcel = bytes


@dataclass(frozen=True)
class Common:
    """What several tasks hold.

    Attributes:
        parcels: the things, packed.
        number: by the identity of a thing, where in ``parcels`` it is; good while the tasks are there.
    """

    parcels: tuple[Parcel, ...]
    number: dict[int, int]


NOTHING_COMMON: Final = Common((), {})


def shared_by(tasks: Sequence[Any]) -> Common:
    """What at least two tasks hold in their fields, or in the fields of dataclasses there, and is worth sending once.

    The same object counts, not an equal one, so that whoever gets a task gets what was in it.
    """
    holders: dict[int, int] = {}
    for task in tasks:
        for key in {id(part) for part in _parts(task)}:
            holders[key] = holders.get(key, 0) + 1
    parcels: list[Parcel] = []
    number: dict[int, int] = {}
    looked_at: set[int] = set()
    for task in tasks:
        for part in _parts(task, lambda part: holders[id(part)] > 1):
            if holders[id(part)] > 1 and id(part) not in looked_at:
                looked_at.add(id(part))
                parcel = packed(part)
                if len(parcel) >= WORTHWHILE:
                    number[id(part)] = len(parcels)
                    parcels.append(parcel)
    return Common(tuple(parcels), number)


def packed(thing: Any, common: Common = NOTHING_COMMON) -> Parcel:
    """A thing as bytes; in the place of what is common it has a number."""
    buffer = io.BytesIO()
    packer = _Packer(buffer)
    packer.number = common.number
    packer.dump(thing)
    return buffer.getvalue()


def unpacked(parcel: Parcel, fetch: Callable[[int], Parcel] | None = None) -> Any:
    """A thing again, its arrays writable and its own.

    Args:
        parcel: of ``packed``.
        fetch: the parcel of something common, by its number.
    """
    unpacker = _Unpacker(io.BytesIO(parcel))
    unpacker.fetch = fetch
    return unpacker.load()


class _Packer(pickle.Pickler):
    number: dict[int, int]

    def persistent_id(self, thing: Any) -> int | None:
        return self.number.get(id(thing))


class _Unpacker(pickle.Unpickler):
    fetch: Callable[[int], Parcel] | None

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._found: dict[int, Any] = {}

    def persistent_load(self, number: int) -> Any:
        if number not in self._found:
            assert self.fetch is not None
            self._found[number] = unpacked(self.fetch(number))
        return self._found[number]


def _parts(task: Any, whole: Callable[[Any], bool] = lambda part: False) -> Iterator[Any]:
    """A task, the fields of dataclasses in it, and theirs; not those of a part that is to be left ``whole``."""
    left = [task]
    while left:
        part = left.pop()
        yield part
        if is_dataclass(part) and not isinstance(part, type) and not whole(part):
            left.extend(getattr(part, field.name) for field in fields(part))
