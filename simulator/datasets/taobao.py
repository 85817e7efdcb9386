"""Reader of the "User Behavior Data from Taobao": what a million users viewed, carted, kept and bought in nine days.

The file is far larger than its visits. It is read in pieces and sorted on the disk, so that memory does not grow with
it. Knows the file's columns and flaws; does not know what a world makes of the visits.

Source: Alibaba, "User Behavior Data from Taobao for Recommendation", Tianchi data set 649: 100,150,807 actions of
987,994 users, 25 November to 3 December 2017. ``UserBehavior.csv`` has 3.7 GB and has to be asked for there.
"""

import os
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import polars as pl

from simulator.arrivals import SESSION_SECONDS
from simulator.batches import DAY_SECONDS, Ints
from simulator.datasets.interactions import DatasetError

FIRST_DAY: Final = date(2017, 11, 25)
DAYS: Final = 9
BEHAVIOURS: Final = ("pv", "cart", "fav", "buy")

_MIDNIGHT: Final = 1_511_539_200
"""Unix seconds of the midnight that begins ``FIRST_DAY`` in China (UTC+8)."""
_FIELDS: Final = 5
_ROWS_AT_ONCE: Final = 500_000
_BYTES_A_BUCKET: Final = 128 << 20


def taobao_visits(path: Path, folder: Path) -> tuple[Iterator[tuple[Ints, Ints]], dict[str, int]]:
    """The visits of ``UserBehavior.csv``: user, item, category, behaviour, unix seconds; no header.

    Actions of a user less than half an hour after the one before belong to the same visit, which begins with the first
    of them. Users are numbered from 0 by their number in the file. Each row meets one fate, the first that applies:
    ``unreadable_rows`` (not five fields, or a user, item, category or time that is no whole number from 0),
    ``unknown_behaviour``, ``outside_span`` (not within the nine days), ``kept``.

    Takes less than 1 GiB of memory whatever the size of the file, and about half of that size on the disk.

    Args:
        path: the file.
        folder: for temporary files; they are gone when the visits have been read.

    Returns:
        The visits in portions, as user and seconds since the midnight of ``FIRST_DAY``, by user and time within a
        portion; and what became of the rows.

    Raises:
        DatasetError: the file is missing, cannot be read, or holds no good row.
        OSError: the temporary files cannot be written.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; ask for the file on Tianchi (data set 649)") from error
    temporary = tempfile.TemporaryDirectory(dir=folder, prefix=".tmp-taobao-")
    try:
        buckets = -(-max(size, 1) // _BYTES_A_BUCKET)
        files = [Path(temporary.name, str(number)) for number in range(buckets)]
        counts = _sorted_out(path, files)
        if not counts["kept"]:
            fates = ", ".join(f"{number} {fate.replace('_', ' ')}" for fate, number in counts.items() if number)
            last = FIRST_DAY + timedelta(days=DAYS - 1)
            raise DatasetError(
                f"{path}: not one good row of {sum(counts.values())} ({fates or 'it is empty'}; times are Unix seconds "
                f"within {FIRST_DAY} to {last} in China); is it UserBehavior.csv?"
            )
        users = np.unique(np.concatenate([np.unique(_actions(file)[0]) for file in files]))
    except BaseException:
        temporary.cleanup()
        raise

    def portions() -> Iterator[tuple[Ints, Ints]]:
        with temporary:
            for file in files:
                user, seconds = _actions(file)
                order = np.lexsort((seconds, user))
                user, seconds = user[order], seconds[order]
                first = np.ones(len(user), np.bool_)
                first[1:] = (user[1:] != user[:-1]) | (seconds[1:] - seconds[:-1] >= SESSION_SECONDS)
                yield np.searchsorted(users, user[first]), seconds[first]

    return portions(), counts


def _sorted_out(path: Path, files: list[Path]) -> dict[str, int]:
    """Write the good rows' users and times to one file or another, by user; what became of all rows."""
    counts = dict.fromkeys(("unreadable_rows", "unknown_behaviour", "outside_span", "kept"), 0)
    opened: list[BinaryIO] = []
    try:
        opened = [file.open("wb") for file in files]
        # Whole lines: a column too many or a quotation mark costs its own row and no other.
        lines = pl.scan_csv(
            path,
            has_header=False,
            separator="\x01",
            quote_char=None,
            schema={"line": pl.String},
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
        )
        for batch in lines.collect_batches(chunk_size=_ROWS_AT_ONCE, engine="streaming"):
            rows = _read(batch)
            for fate, number in rows["fate"].value_counts().iter_rows():
                counts[fate] += number
            kept = rows.filter(pl.col("fate") == "kept")
            pairs = kept.select("user", "seconds").to_numpy()
            bucket = pairs[:, 0] % len(files)
            order = np.argsort(bucket, kind="stable")
            ends = np.searchsorted(bucket[order], np.arange(len(files) + 1))
            for number, file in enumerate(opened):
                file.write(np.ascontiguousarray(pairs[order[ends[number] : ends[number + 1]]]).tobytes())
    except pl.exceptions.PolarsError as error:
        said = " ".join(str(error).split())[:120]
        raise DatasetError(f"{path}: cannot be read ({said}); is it UserBehavior.csv?") from error
    finally:
        for file in opened:
            file.close()
    return counts


def _read(batch: pl.DataFrame) -> pl.DataFrame:
    """User, seconds since the first midnight, and fate of each line."""
    names = [str(place) for place in range(_FIELDS + 1)]
    fields = batch.select(
        pl.col("line").str.strip_chars_end("\r").str.split_exact(",", _FIELDS).struct.rename_fields(names)
    ).unnest("line")
    user, item, category, unix = (pl.col(name).cast(pl.Int64, strict=False) for name in ("0", "1", "2", "4"))
    seconds = unix - _MIDNIGHT
    readable = pl.all_horizontal(
        *(number.is_not_null() & (number >= 0) for number in (user, item, category)),
        unix.is_not_null(),
        pl.col("3").is_not_null(),
        pl.col("5").is_null(),
    )
    return fields.select(
        user.alias("user"),
        seconds.alias("seconds"),
        pl.when(~readable)
        .then(pl.lit("unreadable_rows"))
        .when(~pl.col("3").is_in(BEHAVIOURS))
        .then(pl.lit("unknown_behaviour"))
        .when((seconds < 0) | (seconds >= DAYS * DAY_SECONDS))
        .then(pl.lit("outside_span"))
        .otherwise(pl.lit("kept"))
        .alias("fate"),
    )


def _actions(file: Path) -> tuple[Ints, Ints]:
    pairs = np.fromfile(file, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
