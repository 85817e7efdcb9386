from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.batches import DAY_SECONDS
from simulator.datasets.interactions import DatasetError
from simulator.tables import COUNTS
from simulator.traffic import TRACE_SCHEMA, Visits, read_trace, trace_of, with_trace
from simulator.world import World

START = date(2024, 11, 18)


@pytest.fixture(scope="module")
def visits(play: Callable[..., Any], world: World) -> tuple[Any, np.ndarray]:
    """What the small world's users did, and the visits they made; not to be changed."""
    watcher = Visits()
    return play(world, recorders=[watcher]), watcher.columns()


@pytest.fixture
def trace(visits: tuple[Any, np.ndarray], world: World, tmp_path: Path) -> Path:
    """Those visits as a file."""
    user, visit, seconds, city = visits[1]
    cities = np.asarray(world.environment.cities)[city]
    rows = trace_of(user, visit, seconds, cities, START, world.scenario, world.behaviour.response.max_pages)
    assert rows.schema == TRACE_SCHEMA
    rows.write_parquet(tmp_path / "trace.parquet")
    return tmp_path / "trace.parquet"


def test_visits_are_all_that_were_drawn(visits: tuple[Any, np.ndarray]) -> None:
    """A watcher sees every visit once, served or lost, at its own second."""
    played, seen = visits
    assert seen.shape == (4, played.visits.drawn)
    assert len({(user, visit) for user, visit in seen[:2].T.tolist()}) == played.visits.drawn
    sessions = np.zeros_like(played.user_days.sums["sessions"])
    np.add.at(sessions, (seen[0], seen[2] // DAY_SECONDS), 1)
    assert np.array_equal(sessions, played.user_days.sums["sessions"])


def test_replayed_traffic_is_the_traffic(
    visits: tuple[Any, np.ndarray], trace: Path, world: World, play: Callable[..., Any]
) -> None:
    """The world met by its own recorded visits does what it did when they were drawn, to the byte."""
    replayed, counts = with_trace(world, read_trace(trace), START)
    again = play(replayed)
    for name, sums in visits[0].user_days.sums.items():
        assert sums.tobytes() == again.user_days.sums[name].tobytes(), name
    assert all(one.tobytes() == other.tobytes() for one, other in zip(visits[0].log, again.log, strict=True))
    assert counts == {
        "unreadable_rows": 0, "repeated_rows": 0, "visits_out_of_order": 0, "kept": visits[0].visits.drawn,
        "rows_outside_horizon": 0,
    }  # fmt: skip


def test_nobody_comes_at_another_time_whoever_serves(
    visits: tuple[Any, np.ndarray], trace: Path, make_world: Callable[..., World], play: Callable[..., Any]
) -> None:
    """In another world with another policy the visits of a trace take place, and no others."""
    other, _ = with_trace(make_world(seed=5), read_trace(trace), START)
    watcher = Visits()
    play(other, recorders=[watcher])
    assert sorted(watcher.columns().T.tolist()) == sorted(visits[1].T.tolist())


def test_shards_of_a_trace_are_the_whole(trace: Path, world: World, play: Callable[..., Any]) -> None:
    """A traced world cut into shards plays the same sums as in one piece."""
    replayed, _ = with_trace(world, read_trace(trace), START)
    whole = play(replayed)
    parts = [play(replayed.take(rows)) for rows in np.array_split(np.arange(world.users), 3)]
    for name, sums in whole.user_days.sums.items():
        assert sums.tobytes() == np.concatenate([part.user_days.sums[name] for part in parts]).tobytes(), name


@given(budget=st.integers(1, 8))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_visit_holds_no_more_pages_than_its_budget(
    budget: int, visits: tuple[Any, np.ndarray], trace: Path, world: World, play: Callable[..., Any]
) -> None:
    """Pages end at the budget, and a first page is what it would have been without one."""
    loaded = read_trace(trace)
    short = replace(loaded, rows=loaded.rows.with_columns(pl.lit(budget, pl.Int32).alias("pages")))
    sums = play(with_trace(world, short, START)[0]).user_days.sums
    assert np.array_equal(sums["sessions"], visits[0].user_days.sums["sessions"])
    assert (sums["pages"] <= budget * sums["sessions"]).all()
    if budget == 1:
        assert np.array_equal(sums["pages"], sums["sessions"])
    if budget >= world.behaviour.response.max_pages:
        assert all(np.array_equal(sums[name], visits[0].user_days.sums[name]) for name in COUNTS)


def test_broken_rows_are_counted(trace: Path, world: World, tmp_path: Path) -> None:
    """Rows that cannot be played are left out under their fate, and the others are kept."""
    rows = pl.read_parquet(trace)
    last = rows.filter(pl.col("user") == rows["user"][0])[-1]
    broken = pl.concat([
        rows,
        last.with_columns(pl.lit(None, pl.Int64).alias("user")),
        last.with_columns(pl.lit(-1, pl.Int64).alias("user")),
        last.with_columns(pl.lit(None, TRACE_SCHEMA["time"]).alias("time")),
        last.with_columns(pl.col("time") + pl.duration(microseconds=3)),
        last.with_columns(pl.lit("party").alias("scenario")),
        last.with_columns(pl.lit(0, pl.Int32).alias("pages")),
        last,
        last.with_columns(pl.col("time") + pl.duration(hours=1), pl.col("visit") - 1),
    ])  # fmt: skip
    broken.write_parquet(tmp_path / "broken.parquet")
    found = read_trace(tmp_path / "broken.parquet")
    assert found.counts == {
        "unreadable_rows": 6, "repeated_rows": 1, "visits_out_of_order": 1, "kept": len(rows)
    }  # fmt: skip
    assert found.rows.equals(rows)


def test_a_trace_may_know_users_and_times_alone(tmp_path: Path, world: World, play: Callable[..., Any]) -> None:
    """Without numbers, cities, scenario and pages, visits are numbered and the world's own cities stay."""
    times = pl.datetime_range(pl.datetime(2024, 11, 17), pl.datetime(2024, 12, 8), "5h", eager=True, time_unit="ms")
    pl.DataFrame({"time": times, "user": pl.Series(range(len(times))) % 4}).write_parquet(tmp_path / "bare.parquet")
    found = read_trace(tmp_path / "bare.parquet")
    assert found.rows.filter(pl.col("user") == 1)["visit"].to_list() == list(range(len(times[1::4])))
    bare, counts = with_trace(world, found, START)
    assert np.array_equal(bare.population.observed.city, world.population.observed.city)
    assert counts["rows_outside_horizon"] == 5
    assert play(bare).visits.drawn == len(times) - 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": 150}, r"world\.users: 150 \(users of .* are numbered up to 150; set 151\)"),
        ({"city": "paris"}, r"world\.cities: without 'paris'"),
        ({"scenario": "feed"}, r"scenario: 'item', but .* has visits to 'feed'"),
        (
            {"time": pl.datetime(2025, 6, 1)},
            r"horizon\.start: 2024-11-18, but the visits of .* are of 2025-06-01 to 2025-06-01; start on",
        ),
    ],
)
def test_a_trace_of_another_world_is_refused(
    changes: dict[str, Any], said: str, trace: Path, world: World, tmp_path: Path
) -> None:
    """Users, cities, a scenario or days that the world does not have are an error that names the key to change."""
    rows = pl.read_parquet(trace)
    some = rows if "time" not in changes else rows.unique("user", maintain_order=True)
    some.with_columns(
        (value if isinstance(value, pl.Expr) else pl.lit(value)).cast(TRACE_SCHEMA[name]).alias(name)
        for name, value in changes.items()
    ).unique(["user", "time"], maintain_order=True).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DatasetError, match=said):
        with_trace(world, read_trace(tmp_path / "other.parquet"), START)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (
            "2024-11-19",
            "2024-12-07",
            r"horizon\.start: 2024-11-18, but the visits of .* are of 2024-11-19 to 2024-12-07",
        ),
        ("2024-11-18", "2024-12-04", r"horizon: 20 days from .* end on 2024-12-04; shorten .* by 3 together"),
        ("2024-11-18", "2024-12-07", ""),
        ("2024-11-01", "2025-01-31", ""),
    ],
)
def test_a_horizon_lies_within_the_days_of_its_trace(
    first: str, last: str, said: str, world: World, tmp_path: Path
) -> None:
    """Days that a trace does not cover, before or after, are refused with the days that it does; others are not."""
    times = pl.Series([datetime.fromisoformat(first), datetime.fromisoformat(f"{last} 23:59:59")])
    pl.DataFrame({"user": [0, 1], "time": times}).write_parquet(tmp_path / "days.parquet")
    found = read_trace(tmp_path / "days.parquet")
    if not said:
        assert with_trace(world, found, START)[0].visits is not None
        return
    with pytest.raises(DatasetError, match=said):
        with_trace(world, found, START)


def test_a_user_lives_in_one_city(trace: Path, world: World, tmp_path: Path) -> None:
    """A user whose visits come from two cities is refused by number."""
    rows = pl.read_parquet(trace)
    moved = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("nowhere")).otherwise("city").alias("city")
    )
    moved.write_parquet(tmp_path / "moved.parquet")
    with pytest.raises(DatasetError, match=rf"user {rows['user'][0]} visits from 2 cities"):
        with_trace(world, read_trace(tmp_path / "moved.parquet"), START)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing", "columns", "nothing good", "types"])
def test_what_is_no_trace_is_refused(content: Any, tmp_path: Path) -> None:
    """A missing file, bytes that are no Parquet, other columns and no good row are errors of one line."""
    path = tmp_path / "trace.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    tables = {
        "columns": {"item": [1]},
        "nothing good": {"user": [-1], "time": [None]},
        "types": {"user": [[1]], "time": [b"x"]},
    }
    if isinstance(content, str):
        pl.DataFrame(tables[content]).write_parquet(path)
    with pytest.raises(DatasetError, match=r"trace\.parquet: ") as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    assert "testbed record" in str(caught.value)
