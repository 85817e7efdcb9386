"""Tasks as bytes for other processes: what several of them hold packed once, what is large in them put aside.

Bytes are those of ``pickle``: they go from a run to its own workers and back, and are never read from a file. Knows
dataclasses, arrays and identity; does not know who carries the bytes, nor where arrays lie that are put aside.
"""

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

WORTHWHILE: Final = 1 << 16
"""Bytes from which on it pays to treat a thing apart: to send it once, or beside the rest."""

_PROTOCOL: Final = 4
"""Of ``pickle``. From 5 on arrays that were read-only arrive so, and kernels would be compiled for a second kind."""

Array = npt.NDArray[Any]
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


def packed(thing: Any, common: Common = NOTHING_COMMON, put: Callable[[Array], int] | None = None) -> Parcel:
    """A thing as bytes; in the place of what is common it has a number.

    Args:
        thing: of objects that ``pickle`` knows.
        common: what has a number.
        put: takes an array of ``WORTHWHILE`` bytes or more, and says where it has put it. Each is handed over once, in
            one piece of memory (C or Fortran order); the others, and those of objects, stay in the parcel.
    """
    buffer = io.BytesIO()
    packer = _Packer(buffer, _PROTOCOL)
    packer.number = common.number
    packer.put = put
    packer.aside = {}
    packer.dump(thing)
    return buffer.getvalue()


def unpacked(
    parcel: Parcel,
    fetch: Callable[[int], Parcel] | None = None,
    fill: Callable[[int, Array], None] | None = None,
) -> Any:
    """A thing again, its arrays writable and its own.

    Args:
        parcel: of ``packed``.
        fetch: the parcel of something common, by its number.
        fill: writes what ``put`` has put at a place into an array of the same bytes.
    """
    unpacker = _Unpacker(io.BytesIO(parcel))
    unpacker.fetch = fetch
    unpacker.fill = fill
    return unpacker.load()


_Aside = tuple[int, np.dtype[Any], tuple[int, ...], str]
"""An array put aside: its place, type, shape and order ("C" or "F")."""


class _Packer(pickle.Pickler):
    number: dict[int, int]
    put: Callable[[Array], int] | None
    aside: dict[int, tuple[Array, _Aside]]
    """By identity, with the array, since an array that is gone could leave its identity to another one."""

    def persistent_id(self, thing: Any) -> int | _Aside | None:
        number = self.number.get(id(thing))
        if number is not None or self.put is None or type(thing) is not np.ndarray or thing.nbytes < WORTHWHILE:
            return number
        if id(thing) not in self.aside:
            order = "C" if thing.flags.c_contiguous else "F" if thing.flags.f_contiguous else ""
            if not order or thing.dtype.hasobject:
                return None
            self.aside[id(thing)] = thing, (self.put(thing), thing.dtype, thing.shape, order)
        return self.aside[id(thing)][1]


class _Unpacker(pickle.Unpickler):
    fetch: Callable[[int], Parcel] | None
    fill: Callable[[int, Array], None] | None

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._found: dict[int, Any] = {}
        self._filled: dict[int, Array] = {}

    def persistent_load(self, name: int | _Aside) -> Any:
        if isinstance(name, int):
            if name not in self._found:
                assert self.fetch is not None
                self._found[name] = unpacked(self.fetch(name))
            return self._found[name]
        place, dtype, shape, order = name
        if place not in self._filled:
            assert self.fill is not None
            array = np.empty(shape, dtype, order)  # type: ignore[call-overload]
            self.fill(place, array)
            self._filled[place] = array
        return self._filled[place]


def _parts(task: Any, whole: Callable[[Any], bool] = lambda part: False) -> Iterator[Any]:
    """A task, the fields of dataclasses in it, and theirs; not those of a part that is to be left ``whole``."""
    left = [task]
    while left:
        part = left.pop()
        yield part
        if is_dataclass(part) and not isinstance(part, type) and not whole(part):
            left.extend(getattr(part, field.name) for field in fields(part))
