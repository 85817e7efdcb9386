from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.batches import BUY, CART, CLICK, DAY_SECONDS, FAVOURITE, Checkouts, Requests, Responses, Slates
from simulator.shards import cut
from simulator.tables import (
    AMOUNTS,
    COUNTS,
    FROM_CART,
    PHASES,
    USER_DAY_SCHEMA,
    Impressions,
    Recorder,
    UserDays,
    UserPeriods,
    by_time_user_position,
    join_logs,
)
from simulator.world import World


class Keeper(Recorder):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Requests, Slates, Responses]] = []
        self.lines: list[Checkouts] = []

    def checkouts(self, checkouts: Checkouts) -> None:
        """Keep it."""
        self.lines.append(checkouts)

    def page(self, requests: Requests, slates: Slates, responses: Responses) -> None:
        """Keep it."""
        self.told.append((requests, slates, responses))


@pytest.fixture(scope="module")
def played(make_world: Callable[..., World], play: Callable[..., Any]) -> tuple[World, Any, Keeper]:
    """Days 4 to 14 of a feed with many clicks, and every page of them."""
    response = {"click_base": -1.5, "buy_base": -2.0, "cart_base": 0.0, "favourite_base": 0.0}
    world, keeper = make_world({"response": response}, scenario="feed"), Keeper()
    return world, play(world, days=(4, 14), recorders=[keeper]), keeper


def phases() -> list[str]:
    """Phases of the ten days."""
    return ["warmup"] * 3 + ["experiment"] * 5 + ["follow_up"] * 2


def test_sums_are_those_of_the_pages(played: tuple[World, Any, Keeper]) -> None:
    """Each total of user days is the total over all pages shown and carts bought."""
    _, run, keeper = played
    totals = dict.fromkeys((*COUNTS, *AMOUNTS), 0.0)
    for requests, _, r in keeper.told:
        totals["sessions"] += len(requests) * (requests.page == 0)
        totals["pages"] += len(requests)
        for name, cells in (
            ("impressions", r.shown),
            ("clicks", r.clicked),
            ("ipv", r.views),
            ("atc", r.carted),
            ("orders", r.bought),
            ("novel_impressions", r.novel),
            ("gmv", r.value),
            ("tv", r.value - r.refunded),
        ):
            totals[name] += cells.sum()
    for bought in keeper.lines:
        totals["orders"] += len(bought)
        totals["gmv"] += bought.value.sum()
        totals["tv"] += (bought.value - bought.refunded).sum()
    assert 0 < sum(map(len, keeper.lines)) < totals["orders"]
    for name, total in totals.items():
        assert np.isclose(run.user_days.sums[name].sum(), total), name
        assert total > 0


def test_sums_of_pages_are_added_in_their_order(played: tuple[World, Any, Keeper]) -> None:
    """Each cell is, to the bit, what numpy's sums over the slots of the user's pages of that day add up to."""
    world, _, keeper = played
    user_days = UserDays(world.users, 4, 14)
    for told in keeper.told:
        user_days.page(*told)
    for name, cells in (
        ("impressions", lambda r: r.shown.sum(axis=1)),
        ("novel_impressions", lambda r: r.novel.sum(axis=1)),
        ("ipv", lambda r: r.views.sum(axis=1)),
        ("gmv", lambda r: r.value.sum(axis=1)),
        ("tv", lambda r: r.value.sum(axis=1) - r.refunded.sum(axis=1)),
    ):
        total = np.zeros_like(user_days.sums[name])
        for requests, _, r in keeper.told:
            total[requests.row, requests.day - 4] += cells(r)
        assert total.tobytes() == user_days.sums[name].tobytes(), name


@pytest.mark.parametrize("hours", [1, 6, 24])
def test_periods_add_up_to_days(played: tuple[World, Any, Keeper], hours: int) -> None:
    """What pages and carts bring in the periods of a day is, together, what they bring on the day."""
    world, run, keeper = played
    periods = UserPeriods(world.users, 4, 14, hours)
    for told in keeper.told:
        periods.page(*told)
    for bought in keeper.lines:
        periods.checkouts(bought)
    for name, of_days in run.user_days.sums.items():
        summed = periods.sums[name].reshape(world.users, 10, -1).sum(axis=2)
        assert np.allclose(summed, of_days), name
        assert of_days.any(), name


def test_the_table_has_its_schema(played: tuple[World, Any, Keeper]) -> None:
    """Columns and types are those declared, whatever came in, and also where there is no row at all."""
    world, run, _ = played
    user = world.population.observed.user
    table = run.user_days.table(user, np.array(["a"] * world.users), phases())
    assert table.schema == USER_DAY_SCHEMA
    assert set(table["phase"].unique()) == set(PHASES)
    empty = UserDays(0, 4, 14).table(np.zeros(0, np.int64), np.zeros(0, np.str_), phases())
    assert empty.schema == USER_DAY_SCHEMA
    assert len(empty) == 0
    assert pl.concat([table, empty]).equals(table)


def test_the_table_has_a_row_for_every_day_with_a_visit(played: tuple[World, Any, Keeper]) -> None:
    """Rows are the user days with a session, by user and day, with their own arm, phase and sums."""
    world, run, _ = played
    user, arm = world.population.observed.user, np.array(["a", "b"])[np.arange(world.users) % 2]
    table = run.user_days.table(user, arm, phases())
    sums = run.user_days.sums
    assert len(table) == (sums["sessions"] > 0).sum()
    assert table.select("user", "day").equals(table.select("user", "day").unique().sort("user", "day"))
    assert (table["sessions"] > 0).all()
    for name in (*COUNTS, *AMOUNTS):
        assert np.isclose(table[name].sum(), sums[name].sum()), name
        assert np.array_equal(table[name], sums[name][table["user"], table["day"] - 4])
    assert (table["arm"].to_numpy() == arm[table["user"]]).all()
    assert table["phase"].to_list() == [phases()[day - 4] for day in table["day"]]


def test_user_ids_are_the_worlds(world: World, play: Callable[..., Any]) -> None:
    """A shard's table names users by their ids, not by their rows."""
    rows = np.array([40, 7, 99])
    table = play(world.take(rows)).user_days.table(rows, np.array(["x", "y", "z"]), ["experiment"] * world.days)
    assert set(table["user"].unique()) <= {7, 40, 99}
    assert set(zip(table["user"], table["arm"], strict=True)) <= {(40, "x"), (7, "y"), (99, "z")}


def test_impressions_agree_with_user_days(played: tuple[World, Any, Keeper]) -> None:
    """The log counts the same impressions, clicks, carts and orders, user by user."""
    world, run, _ = played
    user, _, _, _, position, kind, propensity = run.log
    sums, shown = run.user_days.sums, position != FROM_CART
    for name, counts in (
        ("impressions", shown),
        ("clicks", shown & (kind >= CLICK)),
        ("atc", kind == CART),
        ("orders", kind == BUY),
    ):
        counted = np.bincount(user[counts], minlength=world.users)
        assert np.array_equal(counted, sums[name].sum(axis=1)), name
    assert np.isnan(propensity).all()


def test_an_empty_log_has_its_columns() -> None:
    """A shard without any page has a log of no rows with the types of all others."""
    columns = Impressions().columns()
    assert [len(column) for column in columns] == [0] * 7
    joined = join_logs([columns, columns], 0, 3)
    assert len(joined.user) == 0
    assert joined.impressions is not None


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * 365 * DAY_SECONDS), st.integers(0, 10**7), st.integers(FROM_CART, 999)),
        max_size=60,
    )
)
def test_the_order_of_a_log_is_that_of_its_keys_in_turn(rows: list[tuple[int, int, int]]) -> None:
    """One key sorts as time, then user, then position do, equal rows in the order in which they come."""
    rows = [*rows, *rows[::2], *[(time, user, 0) for time, user, _ in rows[::3]]]
    time, user, position = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    found = by_time_user_position(time, user, position.astype(np.int16))
    assert np.array_equal(found, np.lexsort((position, user, time)))


def test_keys_that_do_not_fit_are_refused() -> None:
    """A log too large for one key is an error, not a wrong order."""
    large = np.array([0, 1 << 40])
    with pytest.raises(OverflowError, match="too many to sort by one key"):
        by_time_user_position(large, large, large)


def test_propensities_are_kept_with_their_items(world: World, played: tuple[World, Any, Keeper]) -> None:
    """Where a policy gives propensities, each impression has that of its own place."""
    _, _, keeper = played
    requests, slates, responses = keeper.told[0]
    impressions = Impressions()
    marked = Slates(slates.items, slates.channel, slates.items / 1000.0)
    impressions.page(requests, marked, responses)
    columns: tuple[Any, ...] = impressions.columns()
    _, _, item, _, position, kind, propensity = columns
    assert len(item) == responses.shown.sum()
    assert np.array_equal(propensity, item / 1000.0)
    assert position.max() < world.slots
    assert (kind > 0).sum() == responses.clicked.sum()


@given(st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_log_does_not_depend_on_the_cut(played: tuple[World, Any, Keeper], shards: int, luck: Any) -> None:
    """Logs of shards, joined in any order, are the log of the whole, to the byte."""
    world, run, _ = played
    whole = join_logs([run.log], 4, 14)
    parts = []
    for rows in cut(world.users, shards):
        mine = np.isin(run.log[0], rows)
        parts.append(tuple(column[mine] for column in run.log))
    luck.shuffle(parts)
    joined = join_logs(parts, 4, 14)
    for name in ("user", "item", "time", "kind", "from_cart"):
        assert getattr(joined, name).tobytes() == getattr(whole, name).tobytes(), name
    for name, column in vars(whole.impressions).items():
        assert getattr(joined.impressions, name).tobytes() == column.tobytes(), name


def test_interactions_are_clicked_impressions_and_carts_bought(played: tuple[World, Any, Keeper]) -> None:
    """The joined log is in order of time and lists the impressions that were clicked and what was bought from carts."""
    _, run, keeper = played
    log = join_logs([run.log], 4, 14)
    shown = log.impressions
    assert shown is not None
    assert (np.diff(log.time) >= 0).all()
    assert (np.diff(shown.time) >= 0).all()
    assert (log.start_day, log.end_day) == (4, 14)
    assert shown.time.min() >= 4 * DAY_SECONDS
    assert np.array_equal(log.item[log.on_page], shown.item[shown.clicked])
    assert np.array_equal(log.user[log.on_page], shown.user[shown.clicked])
    assert set(np.unique(log.kind).tolist()) == {CLICK, FAVOURITE, CART, BUY}
    assert set(np.unique(log.kind[~log.on_page]).tolist()) == {BUY}
    bought = sorted((*line,) for c in keeper.lines for line in zip(c.time, c.user, c.item, strict=True))
    mine = ~log.on_page
    assert bought == sorted((*line,) for line in zip(log.time[mine], log.user[mine], log.item[mine], strict=True))
    assert len(bought) > 0
