"""What one shard plays: its history under the exploring logger, then the warm-up and the arms.

These functions run in worker processes; they know a shard's users and nothing of other shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from allocation.top_slots import TopSlots
from policies.registry import RegisteredPolicy
from simulator.batches import Ints
from simulator.engine import Simulation, VisitCount, opening_state
from simulator.shards import Tick
from simulator.state import State, copy_state, take_state
from simulator.tables import Impressions, Recorder, UserDays
from simulator.truth import Truth
from simulator.world import World


@dataclass(frozen=True)
class HistoryTask:
    """Days 0..end_day of a shard under the logger."""

    world: World
    logger: RegisteredPolicy
    end_day: int


@dataclass(frozen=True)
class HistoryResult:
    """What was logged, and how the users are left."""

    columns: tuple[npt.NDArray[Any], ...]
    state: State
    visits: VisitCount


def play_history(task: HistoryTask, tick: Tick) -> HistoryResult:
    """Play a shard's history."""
    state = opening_state(task.world, 0)
    impressions = Impressions()
    simulation = Simulation(task.world, state, task.logger, TopSlots(), [impressions], lambda day: tick())
    simulation.run(0, task.end_day)
    return HistoryResult(impressions.columns(), state, simulation.visits)


@dataclass(frozen=True)
class Phases:
    """Days of the experiment, each start inclusive and end exclusive."""

    warmup_start: int
    experiment_start: int
    experiment_end: int
    follow_up_end: int

    def of(self, first: int, last: int) -> list[str]:
        """Phase of each day from ``first`` to ``last`` (exclusive)."""
        return [
            "warmup" if d < self.experiment_start else "experiment" if d < self.experiment_end else "follow_up"
            for d in range(first, last)
        ]


@dataclass(frozen=True)
class ArmsTask:
    """Warm-up and experiment of a shard.

    Attributes:
        world, state: the shard as its history left it.
        control: name of the arm whose policy serves the warm-up.
        policies: fitted, by arm.
        assigned: arm index of each row.
        phases: days.
        every_arm: play all users under all arms, for the truth.
    """

    world: World
    state: State
    control: str
    policies: Mapping[str, RegisteredPolicy]
    assigned: Ints
    phases: Phases
    every_arm: bool


@dataclass(frozen=True)
class ArmsResult:
    """Tables of a shard.

    Attributes:
        warmup: user days before the arms part.
        played: user days of the experiment and follow-up under each arm; of the assigned users only, or of all.
        visits: what became of the visits that fell due, by arm, and under "warmup".
        churned: assigned users of each arm who have left for good by the end.
    """

    warmup: pl.DataFrame
    played: dict[str, pl.DataFrame]
    visits: dict[str, VisitCount]
    churned: dict[str, int]


def play_arms(task: ArmsTask, tick: Tick) -> ArmsResult:
    """Play a shard's warm-up under the control policy, then each arm from copies of the same moment."""
    names = np.array(list(task.policies))
    arm_of_row = names[task.assigned]
    user = task.world.population.observed.user
    days = task.phases
    before = UserDays(task.world.users, days.warmup_start, days.experiment_start)
    visits = {
        "warmup": _play(
            task.world,
            task.state,
            task.policies[task.control],
            before,
            (days.warmup_start, days.experiment_start),
            tick,
        )
    }
    played: dict[str, pl.DataFrame] = {}
    churned: dict[str, int] = {}
    span = (days.experiment_start, days.follow_up_end)
    for index, name in enumerate(names):
        mine = np.flatnonzero(task.assigned == index)
        if task.every_arm:
            rows, world, state = np.arange(task.world.users), task.world, copy_state(task.state)
        else:
            rows, world, state = mine, task.world.take(mine), take_state(task.state, mine)
        record = UserDays(len(rows), *span)
        visits[name] = _play(world, state, task.policies[name], record, span, tick)
        played[name] = record.table(user[rows], arm_of_row[rows], days.of(*span))
        churned[name] = int((~state.present[task.assigned[rows] == index]).sum())
    warmup = before.table(user, arm_of_row, days.of(days.warmup_start, days.experiment_start))
    return ArmsResult(warmup, played, visits, churned)


def _play(
    world: World,
    state: State,
    policy: RegisteredPolicy,
    recorder: Recorder,
    span: tuple[int, int],
    tick: Tick,
) -> VisitCount:
    if policy.knows_truth:
        policy.bind_truth(Truth(world, state))  # type: ignore[attr-defined]
    simulation = Simulation(world, state, policy, TopSlots(), [recorder], lambda day: tick())
    if span[1] > span[0]:
        simulation.run(*span)
    return simulation.visits
