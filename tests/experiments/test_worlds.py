from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.world_config import FittedPurchases, GeneratedWorld, LogWorld
from experiments.worlds import BuiltWorld, build_world
from simulator.batches import BUY, DAY_SECONDS
from simulator.datasets.interactions import DatasetError
from simulator.parameters import ContextParameters
from simulator.recorded import RecordedWorld

GENERATED = GeneratedWorld(
    kind="generated", users=30, items=60, cities=("seattle", "new_york"), country="US", currency="EUR"
)


def test_generated_world_is_as_described() -> None:
    """Every value of the section and of the page arrives in the world, which has no log behind it."""
    built = build_world(GENERATED, start=date(2015, 10, 5), days=9, scenario="feed", slots=7, seed=3)
    world = built.world
    assert built.recorded is None
    assert built.rows.tolist() == list(range(30))
    assert (world.users, world.catalog.items, world.days, world.slots) == (30, 60, 9, 7)
    assert (world.scenario, world.currency, world.seed) == ("feed", "EUR", 3)
    assert world.environment.cities == ("seattle", "new_york")
    assert world.environment.start == date(2015, 10, 5)
    assert world.behaviour == GENERATED.behaviour


def test_strength_scales_every_need() -> None:
    """Contexts at half strength call for half as much, and at 0 for nothing; all else is the same world."""
    needs, interests = {}, []
    for strength in (0.0, 0.5, 1.0):
        config = GENERATED.model_copy(update={"contexts": ContextParameters.model_validate(strength)})
        world = build_world(config, start=date(2015, 10, 5), days=9, scenario="item", slots=7, seed=3).world
        needs[strength] = world.needs
        interests.append(world.population.interest_weight)
    for part in ("weather", "occasion", "trend"):
        assert not getattr(needs[0.0], part).any()
        assert np.allclose(getattr(needs[0.5], part) * 2, getattr(needs[1.0], part))
    assert needs[1.0].weather.any()
    assert np.array_equal(interests[0], interests[2])


@pytest.mark.parametrize(("seen_days", "first"), [(None, 9), (4, 4), (0, 0)])
def test_unseen_things_begin_after_the_history(seen_days: int | None, first: int) -> None:
    """What is unseen is live from the day given on, and never where all days are history."""
    config = GENERATED.model_copy(update={"unseen": ("halloween",)})
    start = date(2015, 10, 20)
    built = build_world(config, start=start, days=9, scenario="item", slots=7, seed=3, seen_days=seen_days)
    context = built.world.environment.observed()
    level = context.occasion_level[:, context.occasions.index("halloween")]
    assert not level[:first].any()
    assert level[first:].all()


@pytest.mark.parametrize("missing", ["start", "days"])
def test_generated_world_needs_its_days(missing: str) -> None:
    """A world made from a seed has no first day of its own; the message says what to give."""
    span = {"start": date(2015, 10, 5), "days": 9, missing: None}
    with pytest.raises(ValueError, match=r"horizon\.start: missing"):
        build_world(GENERATED, scenario="item", slots=5, seed=1, **span)  # type: ignore[arg-type]


def test_missing_log_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A path without a file is a DatasetError with the path in it."""
    config = LogWorld(kind="log", dataset="online_retail", path=tmp_path / "gone.csv")
    with pytest.raises(DatasetError, match=r"gone\.csv: no such file"):
        build_world(config, start=None, days=None, scenario="item", slots=5, seed=1)


@pytest.fixture(scope="module")
def real(online_retail: Path) -> tuple[BuiltWorld, RecordedWorld]:
    """Forty days of the real log from its hundredth day, and the log's side."""
    config = LogWorld(kind="log", dataset="online_retail", path=online_retail)
    built = build_world(config, start=date(2011, 3, 11), days=40, scenario="item", slots=5, seed=1)
    assert built.recorded is not None
    return built, built.recorded


def test_log_world_covers_its_days(real: tuple[BuiltWorld, RecordedWorld]) -> None:
    """Purchases inside the horizon are kept with their times counted from it; the others are counted as outside."""
    built, recorded = real
    log = recorded.log
    assert (log.start_day, log.end_day) == (0, 40)
    assert log.impressions is None
    assert (log.kind == BUY).all()
    assert log.time.min() >= 0
    assert log.time.max() < 40 * 86_400
    assert (np.diff(log.time) >= 0).all()
    assert len(log.user) + recorded.counts["rows_outside_horizon"] == recorded.counts["kept"]
    assert log.user.max() < built.world.users
    assert log.item.max() < built.world.catalog.items
    assert built.world.currency == "GBP"


def test_log_history_and_state_end_where_they_should(real: tuple[BuiltWorld, RecordedWorld]) -> None:
    """On the morning of a day the past is known to the last purchase, and the next visits are the log's."""
    _, recorded = real
    past = recorded.log.before(25)
    assert past.end_day == 25
    assert past.time.max() < 25 * 86_400
    assert len(past.user) == (recorded.log.time < 25 * 86_400).sum()
    state = recorded.state(25)
    assert state.event_count.sum() == len(past.user)
    coming = recorded.log.time >= 25 * 86_400
    for user in np.unique(recorded.log.user[coming])[:50]:
        assert state.next_time[user] == recorded.log.time[coming & (recorded.log.user == user)].min()
    gone = np.setdiff1d(np.arange(len(state.next_time)), recorded.log.user[coming])
    assert (state.next_time[gone] > 40 * 86_400).all()


def test_a_fitted_world_goes_on_where_the_log_ends(online_retail: Path) -> None:
    """With fitted purchases history and items are the log's up to the day; from then on visits are drawn, also later.

    The same seed draws the same visits, and a horizon may reach beyond the log.
    """
    fitted = LogWorld(
        kind="log",
        dataset="online_retail",
        path=online_retail,
        purchases=FittedPurchases(kind="fitted", from_day=274, days=150),
    )
    recorded = LogWorld(kind="log", dataset="online_retail", path=online_retail)
    span: dict[str, Any] = {"start": None, "scenario": "item", "slots": 5}
    drawn, again, other = (build_world(fitted, days=420, seed=seed, **span) for seed in (3, 3, 4))
    log = build_world(recorded, days=370, seed=3, **span).recorded
    assert drawn.recorded is not None
    assert log is not None
    assert len(drawn.recorded.log.before(274).time) == len(log.log.before(274).time)
    assert drawn.world.visits is not None
    times = [built.world.visits.time for built in (drawn, again, other) if built.world.visits is not None]
    assert np.array_equal(times[0], times[1])
    assert not np.array_equal(times[0], times[2])
    assert (times[0] > 380 * DAY_SECONDS).sum() > 500
    assert drawn.counts is not None
    assert drawn.counts["purchases_fitted_to"] == len(drawn.recorded.log.before(274).time)


def test_a_fit_beyond_the_log_is_refused(online_retail: Path) -> None:
    """A day that the log does not reach is named with the days that can be fitted."""
    config = LogWorld(
        kind="log", dataset="online_retail", path=online_retail, purchases=FittedPurchases(kind="fitted", from_day=500)
    )
    with pytest.raises(DatasetError, match=r"from_day: 500 .*60\.\.374"):
        build_world(config, start=None, days=None, scenario="item", slots=5, seed=1)
