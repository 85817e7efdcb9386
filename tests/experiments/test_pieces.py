import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import pieces
from experiments.errors import UserError
from experiments.pieces import Pace, Piece

SOME: dict[str, Any] = {"state/visit": np.arange(9)}
MORE: dict[str, Any] = {"state/visit": np.arange(9) * 2}


@pytest.fixture
def piece(tmp_path: Path) -> Piece:
    """A piece of a run in the test's folder, of which nothing is kept."""
    return Piece(tmp_path / "run" / "parts" / "arm.control.0.npz")


def test_the_last_moment_is_found(piece: Piece) -> None:
    """Nothing at first; then the last that was kept, the result at the end, and the file before beside it."""
    assert piece.load() is None
    assert piece.days_kept() == (False, None)
    piece.keep(3, SOME)
    piece.keep(5, MORE)
    found = piece.load()
    assert found is not None
    assert (found.finished, found.day) == (False, 5) == piece.days_kept()
    assert found.arrays["state/visit"].tolist() == MORE["state/visit"].tolist()
    piece.finish(9, SOME)
    assert piece.days_kept() == (True, 9)
    assert sorted(file.name for file in piece.path.parent.iterdir()) == [
        "arm.control.0.npz",
        "arm.control.0.previous.npz",
    ]


def test_between_two_renamings_the_file_before_counts(piece: Piece) -> None:
    """A process killed after the old file was set aside and before the new one took its name loses one snapshot."""
    piece.keep(3, SOME)
    piece.path.replace(piece.previous)
    assert piece.days_kept() == (False, 3)


def test_a_damaged_file_names_the_remedy_and_the_remedy_works(piece: Piece) -> None:
    """Damage is an error that says which file to remove and where that leads; after the first file, to the start."""
    piece.keep(3, SOME)
    piece.keep(5, MORE)
    for path, then in ((piece.path, r"the file before it \(day 3\)"), (piece.previous, "plays this piece from its")):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"npz: damaged \(.*\); remove this file, then `testbed run .*{then}"):
            piece.load()
        path.unlink()
        found = piece.load()
        assert (found.day if found else None) == (3 if path == piece.path else None)


@pytest.mark.parametrize("broken", ["fsync", "write"])
def test_a_full_disk_leaves_the_last_good_snapshot(broken: str, piece: Piece, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full the error says so and what to do, no half file stays, and the last snapshot is whole."""
    piece.keep(3, SOME)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if broken == "fsync" else (pieces, "write_arrays")), full)
        with pytest.raises(UserError, match=r"No space left on device\); make room .* `testbed run --resume .*/run`"):
            piece.keep(5, MORE)
    assert not list(piece.path.parent.glob(".tmp-*"))
    found = piece.load()
    assert found is not None
    assert found.day == 3


def test_pace_keeps_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over any course of days, keeping takes no more than its share of the time after the first snapshot."""
    now = 0.0
    monkeypatch.setattr(pieces.time, "monotonic", lambda: now)
    pace = Pace(0.05)
    spent, played, kept = 0.0, 0.0, 0
    for day in range(2_000):
        now += 0.1
        played += 0.1
        if pace.due:
            begun = now
            now += 0.5 + (day % 7) / 10
            pace.kept(begun)
            spent += now - begun
            kept += 1
    assert kept > 10
    assert spent - 1.1 <= 0.05 / 0.95 * played
    everything = Pace(1.0)
    everything.kept(now - 100.0)
    assert everything.due
