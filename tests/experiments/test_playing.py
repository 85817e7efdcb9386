from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from experiments.config import GeneratedWorld, LogWorld
from experiments.playing import ArmsResult, ArmsTask, HistoryTask, Phases, play_arms, play_history
from experiments.runner import make_logger
from experiments.worlds import BuiltWorld, build_world
from policies.registry import RegisteredPolicy, policy_class
from simulator.batches import InteractionLog, Ints
from simulator.engine import opening_state
from simulator.state import copy_state, take_state
from simulator.tables import join_logs
from simulator.world import World

PHASES = Phases(6, 8, 11, 12)


def nothing() -> None:
    """A tick that nobody hears."""


@pytest.fixture(scope="module")
def built() -> BuiltWorld:
    """120 users and 200 items for 12 days."""
    config = GeneratedWorld(kind="generated", users=120, items=200, cities=("seattle",), country="US")
    start = np.datetime64("2015-10-05").astype(object)
    return build_world(config, start=start, days=12, scenario="item", slots=5, seed=4)


@pytest.fixture(scope="module")
def logger(built: BuiltWorld) -> RegisteredPolicy:
    """The exploring logger of that world."""
    return make_logger(built, 4)


@pytest.fixture(scope="module")
def policies(built: BuiltWorld, logger: RegisteredPolicy) -> dict[str, RegisteredPolicy]:
    """Two policies, fitted on the history, by arm."""
    log = join_logs([play_history(HistoryTask(built.world, logger, 6), nothing).columns], 0, 6)
    fitted = {}
    for name in ("popularity", "oracle"):
        policy = policy_class(name)(policy_class(name).Params(), 4)
        observed = built.world.environment.observed().until(5)
        policy.fit(log, built.world.catalog.observed, built.world.population.observed, observed)
        fitted[name] = policy
    return fitted


def arms_task(world: World, policies: dict[str, RegisteredPolicy], rows: Ints, every_arm: bool) -> ArmsTask:
    """The arms for some rows; users are in them by turns."""
    return ArmsTask(
        world=world.take(rows),
        state=take_state(opening_state(world, 6), rows),
        control="popularity",
        policies=policies,
        assigned=rows % 2,
        phases=PHASES,
        every_arm=every_arm,
    )


def columns_by_user(log: InteractionLog) -> list[list[int]]:
    """The impressions' columns in the log's own order."""
    assert log.impressions is not None
    return [getattr(log.impressions, name).tolist() for name in log.impressions.__dataclass_fields__]


@pytest.mark.parametrize("shards", [2, 7])
def test_history_does_not_depend_on_shards(built: BuiltWorld, logger: RegisteredPolicy, shards: int) -> None:
    """The joined log and the states of all shards are those of one shard with everybody."""
    whole = play_history(HistoryTask(built.world, logger, 6), nothing)
    cuts = np.array_split(np.arange(built.world.users), shards)
    parts = [play_history(HistoryTask(built.world.take(rows), logger, 6), nothing) for rows in cuts]
    one, other = (join_logs(columns, 0, 6) for columns in ([whole.columns], [part.columns for part in parts]))
    assert columns_by_user(one) == columns_by_user(other)
    for field in whole.state._fields:
        joined = np.concatenate([getattr(part.state, field) for part in parts])
        assert np.array_equal(getattr(whole.state, field), joined)
    assert sum(part.visits.served for part in parts) == whole.visits.served > 100


def test_history_ticks_once_a_day(built: BuiltWorld, logger: RegisteredPolicy) -> None:
    """Progress is told of each day's end, and the history ends where it should."""
    ticks: list[int] = []
    result = play_history(HistoryTask(built.world, logger, 6), lambda: ticks.append(1))
    assert len(ticks) == 6
    log = join_logs([result.columns], 0, 6)
    assert log.time.max() < 6 * 86_400 + 3600
    assert (result.state.next_time >= 6 * 86_400).all()


def test_phases_name_days() -> None:
    """Days before the experiment are warm-up, days after it follow-up."""
    assert PHASES.of(6, 12) == ["warmup"] * 2 + ["experiment"] * 3 + ["follow_up"]
    assert PHASES.of(8, 8) == []


@pytest.mark.parametrize("every_arm", [True, False])
def test_arms_do_not_depend_on_shards(
    built: BuiltWorld, policies: dict[str, RegisteredPolicy], every_arm: bool
) -> None:
    """Tables of shards, one below the other, are the table of everybody; also with the oracle in an arm."""
    rows = np.arange(built.world.users)
    whole = play_arms(arms_task(built.world, policies, rows, every_arm), nothing)
    parts = [play_arms(arms_task(built.world, policies, cut, every_arm), nothing) for cut in np.array_split(rows, 3)]
    assert_frame_equal(whole.warmup, pl.concat([part.warmup for part in parts]))
    for arm in policies:
        assert_frame_equal(whole.played[arm], pl.concat([part.played[arm] for part in parts]))
        assert whole.churned[arm] == sum(part.churned[arm] for part in parts)
    for name, count in whole.visits.items():
        assert count.drawn == sum(part.visits[name].drawn for part in parts)


def own(result: ArmsResult, arm: str) -> pl.DataFrame:
    """Days of the users of an arm under it."""
    return result.played[arm].filter(pl.col("arm") == arm)


def test_company_under_an_arm_does_not_matter(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> None:
    """Assigned users do the same whether an arm is played for them alone or for everybody."""
    rows = np.arange(built.world.users)
    alone, together = (play_arms(arms_task(built.world, policies, rows, every), nothing) for every in (False, True))
    assert_frame_equal(alone.warmup, together.warmup)
    for arm in policies:
        assert_frame_equal(alone.played[arm], own(together, arm))
        assert set(together.played[arm]["arm"]) == set(policies)
        assert alone.churned[arm] == together.churned[arm]


def test_arms_part_from_one_moment(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> None:
    """Arms with the same policy are played the same: none sees what happened under another."""
    twins = {"one": policies["popularity"], "two": policies["popularity"]}
    rows = np.arange(built.world.users)
    task = replace(arms_task(built.world, twins, rows, every_arm=True), control="one")
    result = play_arms(task, nothing)
    assert_frame_equal(result.played["one"], result.played["two"])


def test_no_warm_up_is_no_day(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> None:
    """Without warm-up days nothing is played before the arms part."""
    rows = np.arange(built.world.users)
    task = replace(arms_task(built.world, policies, rows, every_arm=True), phases=Phases(6, 6, 11, 12))
    before = copy_state(task.state)
    ticks: list[int] = []
    result = play_arms(task, lambda: ticks.append(1))
    assert result.warmup.is_empty()
    assert result.visits["warmup"].drawn == 0
    assert len(ticks) == 2 * 6
    assert all(np.array_equal(a, b) for a, b in zip(before, task.state, strict=True))


def test_shard_without_users_of_an_arm(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> None:
    """A shard in which nobody is in an arm leaves an empty table for it."""
    task = arms_task(built.world, policies, np.arange(0, 40, 2), every_arm=False)
    result = play_arms(task, nothing)
    assert result.played["oracle"].is_empty()
    assert result.played["oracle"].schema == result.played["popularity"].schema
    assert result.visits["oracle"].drawn == 0
    assert result.churned["oracle"] == 0


def test_recorded_visits_do_not_depend_on_shards(ledger: Path, policies: dict[str, RegisteredPolicy]) -> None:
    """Customers of a log bring their visits and baskets into whichever shard they are put."""
    config = LogWorld(kind="log", dataset="online_retail", path=ledger)
    recorded = build_world(config, start=None, days=12, scenario="item", slots=3, seed=4)
    assert recorded.recorded is not None
    oracles = {"popularity": policies["oracle"]}
    rows, state = recorded.rows, recorded.recorded.state(6)

    def played(some: Ints) -> ArmsResult:
        task = arms_task(recorded.world, oracles, some, every_arm=True)
        return play_arms(replace(task, state=take_state(state, some), assigned=some * 0), nothing)

    whole, parts = played(rows), [played(cut) for cut in np.array_split(rows, 5)]
    assert_frame_equal(whole.warmup, pl.concat([part.warmup for part in parts]))
    assert_frame_equal(whole.played["popularity"], pl.concat([part.played["popularity"] for part in parts]))
    assert whole.visits["popularity"].served == 12 * 4
