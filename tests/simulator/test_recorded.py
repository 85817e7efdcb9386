from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.batches import BUY, DAY_SECONDS, NO_ITEM, Candidates, Requests
from simulator.datasets.interactions import DatasetError, PurchaseLog
from simulator.datasets.online_retail import read_online_retail
from simulator.recorded import RecordedWorld, latent_styles, standardised_within, top_shares
from simulator.state import HISTORY_LENGTH

REAL = Path(__file__).parents[2] / "../shared/data/online_retail/online_retail.csv.gz"


def baskets_of(log: PurchaseLog) -> list[tuple[int, int]]:
    """User and time of every basket, by user and time."""
    return sorted(zip(*(column.tolist() for column in log.visits()), strict=True))


def visits_of(made: RecordedWorld) -> list[tuple[int, int]]:
    """User and time of every visit of the world."""
    visits = made.world.visits
    assert visits is not None
    user = np.repeat(np.arange(made.world.users), np.diff(visits.offset))
    return list(zip(user.tolist(), visits.time.tolist(), strict=True))


def test_a_visit_for_every_basket(recorded: RecordedWorld, purchase_log: PurchaseLog) -> None:
    """The world has exactly the log's baskets as visits, by user and time, with the categories bought."""
    assert visits_of(recorded) == baskets_of(purchase_log)
    baskets = recorded.world.baskets
    for n, (user, time) in enumerate(visits_of(recorded)):
        here = (purchase_log.user == user) & (purchase_log.time == time)
        bought = purchase_log.category[purchase_log.item[here]]
        assert sorted(baskets.category[baskets.offset[n] : baskets.offset[n + 1]].tolist()) == sorted(bought.tolist())
    assert baskets.offset[-1] == len(purchase_log.time)


def test_users_come_when_the_log_says(
    recorded: RecordedWorld, purchase_log: PurchaseLog, play: Callable[..., Any], ranked: type
) -> None:
    """Played, visits take place at the recorded seconds and nowhere else, and are for what the basket held."""
    seen: list[tuple[int, int]] = []

    class Spy(ranked):
        def candidates(self, requests: Requests) -> Candidates:
            if requests.page == 0:
                seen.extend(zip(requests.user.tolist(), requests.time.tolist(), strict=True))
            return super().candidates(requests)

    played = play(recorded.world, Spy(range(30)))
    assert sorted(seen) == baskets_of(purchase_log)
    assert played.visits.drawn == played.visits.served == len(seen)
    assert played.user_days.sums["sessions"].sum() == len(seen)


def test_what_is_shown_does_not_move_arrivals(recorded: RecordedWorld, play: Callable[..., Any], ranked: type) -> None:
    """Users come back alike after good pages and after empty ones."""
    good, empty = play(recorded.world, ranked(range(30))), play(recorded.world, ranked([]))
    assert np.array_equal(good.user_days.sums["sessions"], empty.user_days.sums["sessions"])
    assert good.user_days.sums["clicks"].sum() > 0
    assert empty.visits.lost == empty.visits.drawn == good.visits.served


@pytest.mark.parametrize("day", [0, 1, 6, 12])
def test_a_morning_holds_exactly_the_history(recorded: RecordedWorld, purchase_log: PurchaseLog, day: int) -> None:
    """The state of a morning holds all purchases before it and none after, and so does the history for policies."""
    state, history = recorded.state(day), recorded.log.before(day)
    before = purchase_log.time < day * DAY_SECONDS
    assert np.array_equal(history.time, purchase_log.time[before])
    assert np.array_equal(history.item, purchase_log.item[before])
    assert (history.kind == BUY).all()
    assert history.impressions is None
    assert (history.start_day, history.end_day) == (0, day)
    for user in range(recorded.world.users):
        mine = before & (purchase_log.user == user)
        count = int(mine.sum())
        assert count < HISTORY_LENGTH
        assert state.event_count[user] == count
        assert state.event_item[user, :count].tolist() == purchase_log.item[mine].tolist()
        assert state.event_time[user, :count].tolist() == purchase_log.time[mine].tolist()
        assert (state.event_item[user, count:] == NO_ITEM).all()
        bits = {i for i in range(30) if int(state.interacted[user, 0]) >> i & 1}
        assert bits == set(purchase_log.item[mine].tolist())


def test_the_horizon_may_begin_later(
    purchase_log: PurchaseLog, record: Callable[..., RecordedWorld], recorded: RecordedWorld
) -> None:
    """With a later start times are counted from it, and purchases outside are left out and counted."""
    made = record(purchase_log, start=date(2011, 3, 4), days=5)
    shift = 3 * DAY_SECONDS
    inside = [(u, t - shift) for u, t in baskets_of(purchase_log) if shift <= t < shift + 5 * DAY_SECONDS]
    assert visits_of(made) == inside
    rows = (purchase_log.time >= shift) & (purchase_log.time < shift + 5 * DAY_SECONDS)
    assert made.counts["rows_outside_horizon"] == (~rows).sum() > 0
    assert len(made.log.time) == rows.sum()
    assert recorded.counts["rows_outside_horizon"] == 0
    assert made.world.days == 5
    assert made.world.environment.start == date(2011, 3, 4)
    assert np.array_equal(made.world.catalog.observed.listed, purchase_log.first_seen // DAY_SECONDS - 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"days": 13}, "horizon: 13 days"),
        ({"start": date(2011, 3, 4), "days": 10}, "horizon: 10 days"),
        ({"start": date(2011, 2, 28)}, "horizon.start: 2011-02-28"),
        ({"start": date(2011, 3, 13)}, "horizon.start: 2011-03-13"),
    ],
)
def test_a_horizon_beyond_the_log_is_refused(
    purchase_log: PurchaseLog, record: Callable[..., RecordedWorld], changes: dict[str, Any], message: str
) -> None:
    """A horizon that the log does not cover is an error of one line that names the value and the remedy."""
    with pytest.raises(DatasetError, match=message) as caught:
        record(purchase_log, **changes)
    assert "\n" not in str(caught.value)
    record(purchase_log, days=12)


def test_the_world_is_the_log(recorded: RecordedWorld, purchase_log: PurchaseLog) -> None:
    """Items, prices, customers and countries are the log's, and contexts call for nothing."""
    world = recorded.world
    assert world.catalog.observed.titles == purchase_log.titles
    assert np.array_equal(world.catalog.observed.price, purchase_log.price)
    assert np.array_equal(world.catalog.observed.category, purchase_log.category)
    assert [world.environment.cities[c] for c in world.population.observed.city] == list(purchase_log.user_country)
    assert (world.population.observed.gender == -1).all()
    assert not any(table.any() for name, table in world.needs._asdict().items() if name not in ("audience", "season"))
    for name in ("titles", "price"):
        assert len(getattr(world.catalog.observed, name)) == world.catalog.items


def test_equal_logs_give_equal_worlds(recorded: RecordedWorld, purchase_log: PurchaseLog, record: Any) -> None:
    """A recorded world is a pure function of its arguments, its singular vectors included."""
    again = record(purchase_log).world
    for name in ("style", "price_level", "interest_category", "interest_weight", "visit_rate"):
        assert np.array_equal(getattr(again.population, name), getattr(recorded.world.population, name)), name
    assert np.array_equal(again.catalog.style, recorded.world.catalog.style)


def test_interests_are_what_was_bought(recorded: RecordedWorld, purchase_log: PurchaseLog) -> None:
    """A customer's interests are the categories bought, by share of purchases, the strongest first."""
    population = recorded.world.population
    for user in range(6):
        bought = np.bincount(purchase_log.category[purchase_log.item[purchase_log.user == user]], minlength=5)
        weight = np.zeros(5)
        some = population.interest_category[user] >= 0
        weight[population.interest_category[user][some]] = population.interest_weight[user][some]
        assert np.allclose(weight, bought / bought.sum())
        assert (np.diff(population.interest_weight[user]) <= 0).all()


def test_items_sold_more_are_better(recorded: RecordedWorld, purchase_log: PurchaseLog) -> None:
    """Latent quality rises with purchases and has the spread asked for."""
    sold = np.bincount(purchase_log.item, minlength=30)
    quality = recorded.world.catalog.quality
    assert (np.diff(quality[np.argsort(sold, kind="stable")]) >= -1e-12).all()
    assert np.isclose(quality.std(), recorded.world.behaviour.catalog.quality_spread)


def test_a_bare_handful_of_customers_is_enough(purchase_log: PurchaseLog, record: Callable[..., RecordedWorld]) -> None:
    """With fewer customers than dimensions of taste, the missing dimensions are 0."""
    two = purchase_log.user < 2
    log = replace(
        purchase_log,
        user_codes=purchase_log.user_codes[:2],
        user_country=purchase_log.user_country[:2],
        **{name: getattr(purchase_log, name)[two] for name in ("user", "item", "time", "quantity", "unit_price")},
        visit=np.unique(purchase_log.visit[two], return_inverse=True)[1],
    )
    world = record(log).world
    assert world.population.style.shape == (2, 4)
    assert not world.population.style.any()
    assert np.isfinite(world.catalog.style).all()


def test_standardised_within_groups() -> None:
    """Standardised values have mean 0 and sd 1 in each group, and are 0 where a group has no spread."""
    values, group = np.array([1.0, 3.0, 5.0, 10.0, 10.0, 7.0]), np.array([0, 0, 0, 1, 1, 3], np.int32)
    out = standardised_within(values, group, 4)
    assert np.isclose(out[:3].mean(), 0.0)
    assert np.isclose(out[:3].std(), 1.0)
    assert (out[3:] == 0).all()


def test_tastes_find_who_buys_alike() -> None:
    """Customers of two shops under one roof get tastes that match the items of their own half."""
    user, item = np.divmod(np.arange(40 * 10), 10)
    item = (item * 3 + user) % 20 + 20 * (user % 2)
    style_user, style_item = latent_styles(user, item.astype(np.int32), 40, 40, 2, 5)
    match = style_user @ style_item.T
    own = (np.arange(40)[:, None] % 2) == (np.arange(40)[None, :] // 20)
    assert match[own].mean() > 0.5 > -0.5 > match[~own].mean()


def test_top_shares_are_padded() -> None:
    """A customer's top categories come with their shares, and fewer than asked for are padded with -1 and 0."""
    category, share = top_shares(np.array([0, 0, 0, 1]), np.array([2, 2, 1, 0], np.int32), 3, 4, 2)
    assert category.tolist() == [[2, 1], [0, -1], [-1, -1]]
    assert np.allclose(share, [[2 / 3, 1 / 3], [1.0, 0.0], [0.0, 0.0]])


def test_the_real_log_becomes_a_world(record: Callable[..., RecordedWorld]) -> None:
    """The real file's customers, items and baskets are the world's users, items and visits, one for one."""
    if not REAL.exists():
        pytest.skip(f"{REAL.name} is absent")
    log = read_online_retail(REAL)
    made = record(log)
    world = made.world
    assert (world.users, world.catalog.items, world.days) == (len(log.user_codes), len(log.item_codes), 374)
    assert visits_of(made) == baskets_of(log)
    assert len(made.log.time) == len(log.time) == world.baskets.offset[-1]
    assert made.counts["rows_outside_horizon"] == 0
    state = made.state(200)
    before = log.time < 200 * DAY_SECONDS
    assert np.array_equal(state.event_count, np.bincount(log.user[before], minlength=world.users))
    assert np.isfinite(world.population.style).all()
    assert np.allclose(world.population.interest_weight.sum(axis=1), 1.0)
