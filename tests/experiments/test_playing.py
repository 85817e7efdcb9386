from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from allocation.top_slots import TopSlots
from experiments.history import make_logger
from experiments.playing import ArmTask, HistoryTask, Phases, WarmupTask, play_arm, play_history, play_warmup
from experiments.world_config import GeneratedWorld, LogWorld
from experiments.worlds import BuiltWorld, build_world
from policies.registry import RegisteredPolicy, policy_class
from simulator.batches import InteractionLog, Ints
from simulator.engine import opening_state
from simulator.state import State, copy_state, join_states, take_state
from simulator.tables import join_logs
from simulator.world import World

PHASES = Phases(6, 8, 11, 12)
ARMS = np.array(["popularity", "oracle"])


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


def warmup_task(world: World, policies: dict[str, RegisteredPolicy], rows: Ints) -> WarmupTask:
    """The warm-up of some rows; users are in the arms by turns."""
    state = take_state(opening_state(world, 6), rows)
    return WarmupTask(world.take(rows), state, policies["popularity"], "popularity", ARMS[rows % 2], PHASES)


def arm_task(world: World, policies: dict[str, RegisteredPolicy], state: State, arm: str, rows: Ints) -> ArmTask:
    """An arm for some rows, from everybody's state; users are in the arms by turns."""
    return ArmTask(
        world=world.take(rows),
        state=take_state(state, rows),
        policy=policies[arm],
        allocator=TopSlots(),
        arm_of_row=ARMS[rows % 2],
        arm=arm,
        assigned_arm=arm,
        phases=PHASES,
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


def test_warmup_does_not_depend_on_shards(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> None:
    """Warm-up tables and states of shards, one below the other, are those of everybody."""
    rows = np.arange(built.world.users)
    whole = play_warmup(warmup_task(built.world, policies, rows), nothing)
    parts = [play_warmup(warmup_task(built.world, policies, cut), nothing) for cut in np.array_split(rows, 3)]
    assert_frame_equal(whole.table, pl.concat([part.table for part in parts]))
    joined = join_states([part.state for part in parts])
    assert all(np.array_equal(a, b) for a, b in zip(whole.state, joined, strict=True))
    assert whole.visits.drawn == sum(part.visits.drawn for part in parts) > 0


@pytest.fixture(scope="module")
def morning(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> State:
    """Everybody's state when the arms part; not to be written."""
    return play_warmup(warmup_task(built.world, policies, np.arange(built.world.users)), nothing).state


@pytest.mark.parametrize("arm", ARMS.tolist())
def test_arms_do_not_depend_on_shards(
    built: BuiltWorld, policies: dict[str, RegisteredPolicy], morning: State, arm: str
) -> None:
    """Tables of shards, one below the other, are the table of everybody; also with the oracle in an arm."""
    rows = np.arange(built.world.users)
    whole, *parts = (
        play_arm(arm_task(built.world, policies, morning, arm, some), nothing)
        for some in (rows, *np.array_split(rows, 3))
    )
    assert_frame_equal(whole.table, pl.concat([part.table for part in parts]))
    assert whole.churned == sum(part.churned for part in parts)
    assert whole.visits.drawn == sum(part.visits.drawn for part in parts) > 0


@pytest.mark.parametrize("arm", ARMS.tolist())
def test_company_under_an_arm_does_not_matter(
    built: BuiltWorld, policies: dict[str, RegisteredPolicy], morning: State, arm: str
) -> None:
    """Assigned users do the same whether an arm is played for them alone or for everybody."""
    rows = np.arange(built.world.users)
    alone, together = (
        play_arm(arm_task(built.world, policies, morning, arm, some), nothing)
        for some in (rows[ARMS[rows % 2] == arm], rows)
    )
    assert_frame_equal(alone.table, together.table.filter(pl.col("arm") == arm))
    assert set(together.table["arm"]) == set(policies)
    assert alone.churned == together.churned


def test_arms_part_from_one_moment(built: BuiltWorld, policies: dict[str, RegisteredPolicy], morning: State) -> None:
    """Playing an arm writes nothing to the state it starts from, so a second arm is played the same."""
    before = copy_state(morning)
    task = arm_task(built.world, policies, morning, "popularity", np.arange(built.world.users))
    held = copy_state(task.state)
    one, two = play_arm(task, nothing), play_arm(replace(task, arm="two"), nothing)
    assert_frame_equal(one.table, two.table)
    for kept, found in ((before, morning), (held, task.state)):
        assert all(np.array_equal(a, b) for a, b in zip(kept, found, strict=True))


def test_no_warm_up_is_no_day(built: BuiltWorld, policies: dict[str, RegisteredPolicy]) -> None:
    """Without warm-up days nothing is played before the arms part, and an arm ticks once a day."""
    rows, phases = np.arange(built.world.users), Phases(6, 6, 11, 12)
    task = replace(warmup_task(built.world, policies, rows), phases=phases)
    before = copy_state(task.state)
    ticks: list[int] = []
    result = play_warmup(task, lambda: ticks.append(1))
    assert result.table.is_empty()
    assert result.visits.drawn == len(ticks) == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, result.state, strict=True))
    arm = replace(arm_task(built.world, policies, result.state, "oracle", rows), phases=phases)
    play_arm(arm, lambda: ticks.append(1))
    assert len(ticks) == 6


def test_arm_without_users(built: BuiltWorld, policies: dict[str, RegisteredPolicy], morning: State) -> None:
    """Where nobody is in an arm it leaves an empty table of the same shape."""
    nobody, some = (
        play_arm(arm_task(built.world, policies, morning, "oracle", rows), nothing)
        for rows in (np.arange(0), np.arange(4))
    )
    assert nobody.table.is_empty()
    assert nobody.table.schema == some.table.schema
    assert nobody.visits.drawn == nobody.churned == 0


def test_recorded_visits_do_not_depend_on_shards(ledger: Path, policies: dict[str, RegisteredPolicy]) -> None:
    """Customers of a log bring their visits and baskets into whichever shard they are put."""
    config = LogWorld(kind="log", dataset="online_retail", path=ledger)
    recorded = build_world(config, start=None, days=12, scenario="item", slots=3, seed=4)
    assert recorded.recorded is not None
    oracles = dict.fromkeys(policies, policies["oracle"])
    rows, state = recorded.rows, recorded.recorded.state(6)
    warm = [
        play_warmup(replace(warmup_task(recorded.world, oracles, some), state=take_state(state, some)), nothing)
        for some in (rows, *np.array_split(rows, 5))
    ]
    assert_frame_equal(warm[0].table, pl.concat([part.table for part in warm[1:]]))
    whole, *parts = (
        play_arm(arm_task(recorded.world, oracles, warm[0].state, "popularity", some), nothing)
        for some in (rows, *np.array_split(rows, 5))
    )
    assert_frame_equal(whole.table, pl.concat([part.table for part in parts]))
    assert whole.visits.served == 12 * 4
