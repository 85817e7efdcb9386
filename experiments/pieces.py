"""What is kept of a run while it is played, so that a killed one goes on: a file for each piece.

A piece is a shard of the history, of the warm-up or of an arm, from its first day to its last. At day closes its file
is replaced by the state of that moment, at its end by its result. The file before is kept beside it, in case the new
one turns out to be damaged. Knows files and days; does not know what the arrays mean.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experiments.array_files import DamagedError, read_arrays, write_arrays
from experiments.atomic import replacing
from experiments.errors import UserError, unwritable
from simulator.snapshots import Arrays, prefixed, under

SHARE: Final = 0.05
"""Share of the time of play that may go into keeping it. A bound, so that cheap days of many users are not slowed."""

_HEAD: Final = "head"


@dataclass(frozen=True)
class Kept:
    """What was found of a piece.

    Attributes:
        finished: whether ``arrays`` are its result, and not the state of a moment.
        day: the first day that is still to be played.
        arrays: what was kept.
    """

    finished: bool
    day: int
    arrays: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Piece:
    """A place to keep a piece in; can be sent to the process that plays it.

    Attributes:
        path: the file, in the folder ``parts`` of a run directory.
        share: of the time of play, for keeping it; 1 keeps every day.
    """

    path: Path
    share: float = SHARE

    @property
    def previous(self) -> Path:
        """The file before."""
        return self.path.with_suffix(".previous.npz")

    def load(self) -> Kept | None:
        """What was kept last, or None.

        Raises:
            UserError: the file is damaged.
        """
        found = self._read()
        if found is None:
            return None
        finished, day = found[_HEAD].tolist()
        return Kept(bool(finished), day, under("kept", found))

    def days_kept(self) -> tuple[bool, int | None]:
        """Whether it is finished, and the first day to be played; None if nothing was kept. Quick.

        Raises:
            UserError: the file is damaged.
        """
        found = self._read((_HEAD,))
        return (False, None) if found is None else (bool(found[_HEAD][0]), int(found[_HEAD][1]))

    def keep(self, day: int, arrays: Arrays) -> None:
        """Replace what was kept by the state before ``day``.

        Raises:
            UserError: it cannot be written; what was kept before is still there.
        """
        self._write(False, day, arrays)

    def finish(self, day: int, arrays: Arrays) -> None:
        """Replace what was kept by the result, ``day`` being the one after the last.

        Raises:
            UserError: it cannot be written; what was kept before is still there.
        """
        self._write(True, day, arrays)

    def _write(self, finished: bool, day: int, arrays: Arrays) -> None:
        head = {_HEAD: np.array([finished, day], np.int64)}
        try:
            with replacing(self.path) as temporary:
                write_arrays(temporary, head | prefixed("kept", arrays))
                with contextlib.suppress(FileNotFoundError):
                    self.path.replace(self.previous)
        except OSError as error:
            run = self.path.parent.parent
            remedy = f"make room or mend it, then `testbed run --resume {run}`, which goes on from what was kept before"
            raise unwritable(self.path, error, remedy) from error

    def _read(self, names: tuple[str, ...] | None = None) -> dict[str, npt.NDArray[Any]] | None:
        # Killed between the two renamings, a run has only the file before.
        for path in (self.path, self.previous):
            try:
                return read_arrays(path, names)
            except FileNotFoundError:
                continue
            except DamagedError as error:
                raise UserError(f"{error}; remove this file, then {self._then(path)}") from error
        return None

    def _then(self, damaged: Path) -> str:
        command = f"`testbed run --resume {damaged.parent.parent}`"
        with contextlib.suppress(OSError, DamagedError):
            if damaged == self.path:
                _, day = read_arrays(self.previous, (_HEAD,))[_HEAD].tolist()
                return f"{command} goes on from the file before it (day {day})"
        return f"{command} plays this piece from its beginning"


class Pace:
    """Says at which day closes to keep a piece: at the first, then whenever the time for it has been earned.

    Args:
        share: of the time of play that keeping may take.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._cost = 0.0
        self._since = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether to keep the piece now."""
        return (time.monotonic() - self._since) * self._share >= self._cost * (1.0 - self._share)

    def kept(self, begun: float) -> None:
        """It was kept, from the monotonic time ``begun`` to now."""
        self._since = time.monotonic()
        self._cost = self._since - begun
