"""Traces on the disk: written whole or not at all, a portion at a time."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from experiments.atomic import replacing
from experiments.errors import unwritable
from simulator.batches import Ints
from simulator.datasets.online_retail import online_retail_visits
from simulator.datasets.taobao import FIRST_DAY, taobao_visits
from simulator.traffic import TRACE_SCHEMA, trace_of


@dataclass(frozen=True)
class Converted:
    """What a log's trace holds: visits, users, the first and last day, and what became of the log's rows."""

    visits: int
    users: int
    first: date
    last: date
    counts: Mapping[str, int]


def write_trace(out: Path, portions: Iterable[pl.DataFrame]) -> None:
    """Write a trace, one portion in memory at a time.

    Args:
        out: the file.
        portions: rows in ``TRACE_SCHEMA``; at least one portion.

    Raises:
        UserError: it cannot be written.
    """
    with (
        _writing(out),
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".tmp-trace-") as folder,
        replacing(out) as temporary,
    ):
        files = []
        for number, rows in enumerate(portions):
            files.append(Path(folder, f"{number:06d}.parquet"))
            rows.write_parquet(files[-1])
        pl.scan_parquet(files).sink_parquet(temporary, engine="streaming")


def holds_trace(path: Path) -> bool:
    """Whether a file is such as ``write_trace`` writes."""
    try:
        return pl.read_parquet_schema(path) == TRACE_SCHEMA
    except (OSError, pl.exceptions.PolarsError):
        return False


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """The folder of ``out`` is there; what cannot be written in it is the user's to put right."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise unwritable(out, error, "choose another --out, or make room") from error


def convert_online_retail(path: Path, out: Path) -> Converted:
    """Write the visits of UCI Online Retail as a trace.

    Raises:
        DatasetError: the log cannot be used.
        UserError: the trace cannot be written.
    """
    start, user, seconds, counts = online_retail_visits(path)
    write_trace(out, [trace_of(user, _numbers(user, seconds), seconds, None, start, None, None)])
    return _summary(out, counts)


def convert_taobao(path: Path, out: Path) -> Converted:
    """Write the visits of Taobao's ``UserBehavior.csv`` as a trace.

    Raises:
        DatasetError: the log cannot be used.
        UserError: the trace cannot be written.
    """
    with _writing(out):
        portions, counts = taobao_visits(path, out.parent)
    write_trace(
        out,
        (trace_of(user, _numbers(user, time), time, None, FIRST_DAY, None, None) for user, time in portions),
    )
    return _summary(out, counts)


def _numbers(user: Ints, seconds: Ints) -> Ints:
    """The number of each visit among those of its user, from 0."""
    order = np.lexsort((seconds, user))
    place = np.arange(len(user))
    first = np.searchsorted(user[order], user[order])
    number = np.empty(len(user), np.int64)
    number[order] = place - first
    return number


def _summary(out: Path, counts: Mapping[str, int]) -> Converted:
    found = (
        pl.scan_parquet(out)
        .select(
            pl.len().alias("visits"),
            pl.col("user").n_unique().alias("users"),
            pl.col("time").min().dt.date().alias("first"),
            pl.col("time").max().dt.date().alias("last"),
        )
        .collect(engine="streaming")
    )
    return Converted(**found.row(0, named=True), counts=counts)
