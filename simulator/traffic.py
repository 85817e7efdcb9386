"""Traces: who came when, written down so that any policies can be met by the same visits again.

A trace is a table with one row a visit. Times are those of the place's own clock, without a time zone, so a trace says
by itself which days it is about. Knows no policy and no arm, and not what was shown.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from simulator.batches import DAY_SECONDS, Ints, Requests, Responses, Slates
from simulator.datasets.interactions import DatasetError
from simulator.population import Population
from simulator.snapshots import Arrays
from simulator.tables import Recorder
from simulator.world import RecordedVisits, World

TRACE_SCHEMA: Final = pl.Schema(
    {
        "user": pl.Int64(),
        "visit": pl.Int64(),
        "time": pl.Datetime("us"),
        "city": pl.String(),
        "scenario": pl.String(),
        "pages": pl.Int32(),
    }
)
"""A trace: ``user`` from 0, ``visit`` the number that all draws of the visit are keyed by (rising with time within a
user), ``time`` of arrival in whole seconds, ``city`` where the user lives, ``scenario`` item or feed, ``pages`` the
most that the visit can hold. City, scenario and pages are null where the source does not know them."""

SCENARIOS: Final = ("item", "feed")


class Visits(Recorder):
    """Writes down each visit as it begins: 32 bytes a visit."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints, Ints, Ints]] = []

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Write down the visits that begin."""
        if requests.page == 0:
            columns = (requests.user, requests.visit, requests.time, requests.city)
            self._parts.append(tuple(np.array(column, np.int64) for column in columns))  # type: ignore[arg-type]

    def columns(self) -> npt.NDArray[np.int64]:
        """User, visit, time (seconds since the horizon's start) and city of all visits, int64 [4, visits]."""
        if not self._parts:
            return np.zeros((4, 0), np.int64)
        return np.stack([np.concatenate(column) for column in zip(*self._parts, strict=True)])

    def snapshot(self) -> Arrays:
        """The visits so far."""
        return {"columns": self.columns()}

    def restore(self, kept: Arrays) -> None:
        """See ``Recorder``."""
        user, visit, time, city = kept["columns"]
        self._parts = [(user, visit, time, city)]


def trace_of(
    user: Ints,
    visit: Ints,
    seconds: Ints,
    city: npt.NDArray[np.str_] | None,
    start: date,
    scenario: str | None,
    pages: int | None,
) -> pl.DataFrame:
    """Visits as a trace, by user and then time.

    Args:
        user: of each visit, [visits].
        visit: its number, [visits].
        seconds: arrival since the midnight that begins ``start``, [visits].
        city: names, [visits]; None where not known.
        start: day 0.
        scenario: of all visits; None where not known.
        pages: of all visits; None where not known.
    """
    order = np.lexsort((seconds, user))
    midnight = datetime.combine(start, time.min)
    return pl.DataFrame(
        {
            "user": user[order],
            "visit": visit[order],
            "time": pl.Series(seconds[order] * 1_000_000).cast(pl.Duration("us")) + midnight,
            "city": None if city is None else city[order],
        }
    ).select(
        "user",
        "visit",
        pl.col("time").cast(pl.Datetime("us")),
        pl.col("city").cast(pl.String),
        pl.lit(scenario, pl.String).alias("scenario"),
        pl.lit(pages, pl.Int32).alias("pages"),
    )  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """A trace that was read and checked.

    Attributes:
        path: of the file.
        rows: in ``TRACE_SCHEMA``, by user and then time, all good.
        counts: what became of the file's rows.
    """

    path: Path
    rows: pl.DataFrame
    counts: Mapping[str, int]


def read_trace(path: Path) -> Trace:
    """Read a trace and leave out what cannot be played.

    Every row meets one fate, the first of these that applies: ``unreadable_rows`` (no user or time, a user below 0, a
    scenario that is none, fewer than one page, part of a second), ``repeated_rows`` (a second visit of a user at the
    same second), ``visits_out_of_order`` (numbers that do not rise with time within their user), ``kept``. Without a
    column ``visit`` the visits of a user are numbered from 0.

    Raises:
        DatasetError: the file is missing, is no trace, or holds no good row.
    """
    again = "write one with `testbed record` or `testbed convert`"
    try:
        found = pl.read_parquet(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; {again}") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        said = " ".join(str(error).split())[:120]
        raise DatasetError(f"{path}: cannot be read as Parquet ({said}); {again}") from error
    missing = [name for name in ("user", "time") if name not in found.columns]
    if missing:
        raise DatasetError(f"{path}: no column {', '.join(missing)}; {again}")
    numbered = "visit" in found.columns
    try:
        rows = found.select(
            (pl.col(name) if name in found.columns else pl.lit(None).alias(name)).cast(kind, strict=False)
            for name, kind in TRACE_SCHEMA.items()
        )
    except pl.exceptions.PolarsError as error:
        raise DatasetError(f"{path}: columns of other types than a trace's; {again}") from error
    good = rows.filter(
        pl.col("user").is_not_null()
        & (pl.col("user") >= 0)
        & pl.col("time").is_not_null()
        & (pl.col("time").dt.microsecond() == 0)
        & (pl.col("visit").is_not_null() | (not numbered))
        & (pl.col("scenario").is_null() | pl.col("scenario").is_in(SCENARIOS))
        & (pl.col("pages").is_null() | (pl.col("pages") >= 1))
    )
    once = good.unique(["user", "time"], keep="first", maintain_order=True).sort("user", "time")
    if numbered:
        highest = pl.col("visit").cum_max().shift(1).over("user")
        kept = once.filter((pl.col("visit") >= 0) & (highest.is_null() | (pl.col("visit") > highest)))
    else:
        kept = once.with_columns(pl.int_range(pl.len()).over("user").cast(pl.Int64).alias("visit"))
    if kept.is_empty():
        raise DatasetError(f"{path}: not one good row of {len(rows)}; {again}")
    counts = {
        "unreadable_rows": len(rows) - len(good),
        "repeated_rows": len(good) - len(once),
        "visits_out_of_order": len(once) - len(kept),
        "kept": len(kept),
    }
    return Trace(path, kept, counts)


def trace_mistakes(
    trace: Trace, *, start: date, days: int, users: int, scenario: str, cities: Collection[str]
) -> Iterator[str]:
    """What keeps a trace and a world apart, a line each that names key, value and remedy.

    A horizon must lie within the days that the trace covers, from its first visit's to its last one's: on other days
    nobody would come, and everybody would seem to have left.

    Args:
        trace: the visits.
        start: day 0 of the world.
        days: of the horizon.
        users: of the world.
        scenario: of its pages.
        cities: names of the cities where its users live.
    """
    rows, path = trace.rows, trace.path
    first, last = _day(rows["time"].min()), _day(rows["time"].max())
    end = start + timedelta(days=days - 1)
    covered = (last - first).days + 1
    if start < first or start > last:
        yield (
            f"horizon.start: {start}, but the visits of {path} are of {first} to {last}; start on one of these "
            f"{covered} days"
        )
    elif end > last:
        yield (
            f"horizon: {days} days from {start} end on {end}, but the visits of {path} end on {last}; shorten "
            f"history_days, warmup_days, days or follow_up_days by {(end - last).days} together"
        )
    most = int(rows["user"].to_numpy().max())
    if most >= users:
        yield f"world.users: {users} (users of {path} are numbered up to {most}; set {most + 1})"
    others = rows.filter(pl.col("scenario") != scenario)
    if not others.is_empty():
        yield (
            f"scenario: {scenario!r}, but {path} has visits to {others['scenario'][0]!r}; set that, or leave "
            "those visits out"
        )
    told = _homes(rows)
    many = told.filter(pl.col("n") > 1)
    if not many.is_empty():
        yield f"{path}: user {many['user'][0]} visits from {many['n'][0]} cities; a user lives in one"
    unknown = sorted(set(told["city"].to_list()) - set(cities))
    if unknown:
        yield f"world.cities: without {unknown[0]!r}, where users of {path} live; list all of its cities there"


def with_trace(world: World, trace: Trace, start: date) -> tuple[World, dict[str, int]]:
    """The same world, whose users come when the trace says and at no other time.

    Users keep their traits; they live where the trace says, where it does. Visits outside the horizon are left out.

    Args:
        world: with drawn traffic.
        trace: the visits.
        start: day 0 of the world.

    Returns:
        The world, and what became of the file's rows.

    Raises:
        DatasetError: the first of ``trace_mistakes``, if there is one.
    """
    cities = world.environment.cities
    for mistake in trace_mistakes(
        trace, start=start, days=world.days, users=world.users, scenario=world.scenario, cities=cities
    ):
        raise DatasetError(mistake)
    rows = trace.rows
    midnight = datetime.combine(start, time.min)
    seconds = (rows["time"] - midnight).dt.total_seconds().to_numpy()
    inside = (seconds >= 0) & (seconds < world.days * DAY_SECONDS)
    shown = rows.filter(pl.Series(inside))
    user = shown["user"].to_numpy()
    pages = shown["pages"].to_numpy() if shown["pages"].null_count() == 0 else shown["pages"].fill_null(0).to_numpy()
    visits = RecordedVisits(
        offset=np.searchsorted(user, np.arange(world.users + 1)).astype(np.int64),
        time=seconds[inside].astype(np.int64),
        visit=shown["visit"].to_numpy().astype(np.int64),
        pages=pages.astype(np.int64),
    )
    counts = dict(trace.counts) | {"rows_outside_horizon": int((~inside).sum())}
    return replace(world, visits=visits, population=_at_home(world, rows)), counts


def _homes(rows: pl.DataFrame) -> pl.DataFrame:
    """Users that a trace tells the city of: a city, and the number of different ones."""
    cities = (pl.col("city").n_unique().alias("n"), pl.col("city").min())
    return rows.drop_nulls("city").group_by("user").agg(cities).sort("user")


def _at_home(world: World, rows: pl.DataFrame) -> Population:
    """The population with the cities that the trace tells of."""
    told = _homes(rows)
    place = {name: n for n, name in enumerate(world.environment.cities)}
    observed: Any = world.population.observed
    city = observed.city.copy()
    city[told["user"].to_numpy()] = [place[name] for name in told["city"]]
    return replace(world.population, observed=replace(observed, city=city))


def _day(moment: Any) -> date:
    return datetime.fromisoformat(str(moment)).date()
