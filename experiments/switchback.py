"""A switchback experiment's plan and what its plays left: who serves which block, and the blocks' tables.

Knows a config's blocks, phases and tasks. Does not know any test, nor what is true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from allocation.assignment import assign_blocks
from allocation.channels import join_diaries
from experiments.assignment_config import ByCityHours
from experiments.blocks import Grid, block_rows, with_covariates
from experiments.config import ExperimentConfig
from experiments.playing import ArmResult, ArmTask, Phases, WarmupResult
from experiments.switching import Schedule
from experiments.thinking import join_thinking
from simulator.engine import VisitCount
from simulator.tables import AMOUNTS, COUNTS, USER_DAY_SCHEMA
from simulator.world import World

_HOURS: int = 24


@dataclass(frozen=True)
class Switched:
    """What all shards left of a switchback, joined.

    Attributes:
        grid: the blocks.
        rows: the experiment's blocks, with their warm-up (``blocks.with_covariates``).
        turned: blocks of the plays in which every block had the arm so many further on, by that number from 1;
            empty without the truth.
        under_arm: blocks of all cities under each arm all the time, or None.
        periods: users' periods in the experiment, with ``arm``, that count.
        user_days: days of users by the arm that served them; the warm-up under the control.
        table: blocks of all plays, with ``world`` naming the play.
        diaries, thinking: what allocators and policies wrote down in the experiment, by arm.
        warmup_thinking: what the control policy wrote down before.
        visits: what became of visits, in the warm-up and the experiment.
        left: users who have left for good by the end.
    """

    grid: Grid
    rows: pl.DataFrame
    turned: Mapping[int, pl.DataFrame]
    under_arm: Mapping[str, pl.DataFrame] | None
    periods: pl.DataFrame
    user_days: pl.DataFrame
    table: pl.DataFrame
    diaries: Mapping[str, dict[str, Any]]
    thinking: Mapping[str, dict[str, Any]]
    warmup_thinking: dict[str, Any] | None
    visits: Mapping[str, VisitCount]
    left: int


def switched_name(turn: int) -> str:
    """Name of the play in which every block has the arm ``turn`` further on; no arm can be called so."""
    return f"@blocks.{turn}"


def schedule_of(config: ExperimentConfig, cities: int, phases: Phases) -> Schedule:
    """Which arm serves which block of the experiment."""
    design = config.assignment
    assert isinstance(design, ByCityHours)
    shares = {name: arm.share for name, arm in config.arms.items()}
    blocks = config.horizon.days * _HOURS // design.hours
    return Schedule(
        start=phases.experiment_start * _HOURS * 3600,
        hours=design.hours,
        arm=assign_blocks(cities, blocks, shares, config.name, config.seed),
    )


def grid_of(config: ExperimentConfig, world: World, first_day: int, days: int) -> Grid:
    """The blocks of some days in a world."""
    design, users = config.assignment, world.population.observed
    assert isinstance(design, ByCityHours)
    city = np.zeros(int(users.user.max()) + 1, np.int64)
    city[users.user] = users.city
    return Grid(world.environment.cities, city, first_day, days, design.hours, design.burn_in_hours)


def period_of(config: ExperimentConfig) -> int | None:
    """Hours of the periods that are recorded; None where whole days are."""
    design = config.assignment
    if not isinstance(design, ByCityHours):
        return None
    return Grid((), np.zeros(0, np.int64), 0, 0, design.hours, design.burn_in_hours).period


def join_switched(
    config: ExperimentConfig,
    world: World,
    phases: Phases,
    tasks: Sequence[ArmTask],
    parts: Sequence[ArmResult],
    warmups: Sequence[WarmupResult],
) -> Switched:
    """The shards' tables as one, in user order, and the blocks that they sum up to."""
    grid = grid_of(config, world, phases.experiment_start, config.horizon.days)
    schedule = schedule_of(config, len(grid.cities), phases)
    names = np.array(list(config.arms))
    warmup = pl.concat([part.table for part in warmups])
    own = switched_name(0)
    periods = {
        name: pl.concat([part.table for task, part in zip(tasks, parts, strict=True) if task.arm == name])
        for name in dict.fromkeys(task.arm for task in tasks)
    }
    mine = [part for task, part in zip(tasks, parts, strict=True) if task.arm == own]
    visits = {"warmup": VisitCount(), "experiment": VisitCount()}
    for each in warmups:
        visits["warmup"].add(each.visits)
    for result in mine:
        visits["experiment"].add(result.visits)
    rows = with_covariates(grid, block_rows(grid, periods[own], names[schedule.arm]), warmup)
    turned = {
        turn: block_rows(grid, periods[switched_name(turn)], names[schedule.rotated(turn, len(names)).arm])
        for turn in range(1, len(names) if config.oracle else 1)
    }
    under_arm = (
        {arm: block_rows(grid, periods[arm], np.full(schedule.arm.shape, arm)) for arm in config.arms}
        if config.oracle
        else None
    )
    served = _with_arm(grid, periods[own], names[schedule.arm])
    warmup_thoughts = [part.notes.diary for part in warmups if part.notes.diary is not None]
    return Switched(
        grid=grid,
        rows=rows,
        turned=turned,
        under_arm=under_arm,
        periods=served.filter(pl.col("counts")).drop("counts"),
        user_days=_user_days(warmup.with_columns(pl.lit(config.control_name).alias("arm")), served.drop("counts")),
        table=_all_blocks(rows, turned, under_arm),
        diaries={arm: join_diaries(told) for arm, told in _by_arm(part.diary for part in mine).items()},
        thinking={
            arm: join_thinking(told, world.users) for arm, told in _by_arm(part.notes.diary for part in mine).items()
        },
        warmup_thinking=join_thinking(warmup_thoughts, world.users) if warmup_thoughts else None,
        visits=visits,
        left=sum(part.churned for part in mine),
    )


def _by_arm(diaries: Any) -> dict[str, list[dict[str, Any]]]:
    """What each arm wrote down in all pieces."""
    found: dict[str, list[dict[str, Any]]] = {}
    for diary in diaries:
        for arm, told in (diary or {}).items():
            found.setdefault(arm, []).append(told)
    return found


def _with_arm(grid: Grid, periods: pl.DataFrame, arm: npt.NDArray[np.str_]) -> pl.DataFrame:
    """Periods with the arm that served them, the number of their block, and whether they count."""
    city, block, counts = grid.place_of(periods)
    return periods.with_columns(
        pl.Series("arm", arm[city, block], dtype=pl.String()),
        pl.Series("cell", city * grid.blocks + block),
        pl.Series("counts", counts),
    )


def _user_days(warmup: pl.DataFrame, served: pl.DataFrame) -> pl.DataFrame:
    """One row for each user, day and arm."""
    columns = list(USER_DAY_SCHEMA)
    whole = pl.concat([warmup.select(*columns, "hour"), served.select(*columns, "hour")]).sort("user", "day", "hour")
    days = whole.group_by("user", "arm", "day", "phase", maintain_order=True).agg(pl.col(*COUNTS, *AMOUNTS).sum())
    return days.select(columns).sort("user", "day", "arm")


def _all_blocks(
    rows: pl.DataFrame, turned: Mapping[int, pl.DataFrame], under_arm: Mapping[str, pl.DataFrame] | None
) -> pl.DataFrame:
    """Blocks of all plays; ``world`` is experiment, turned by so many arms, or all under one arm."""
    tables = [
        rows.with_columns(pl.lit("experiment").alias("world")),
        *(table.with_columns(pl.lit(f"turned by {turn}").alias("world")) for turn, table in turned.items()),
        *(table.with_columns(pl.lit(f"all {arm}").alias("world")) for arm, table in (under_arm or {}).items()),
    ]
    whole = pl.concat(tables, how="diagonal").drop("user", "phase")
    return whole.select("world", pl.all().exclude("world"))
