"""The story of an experiment, from a checked config to a finished run directory.

``run_experiment`` reads from top to bottom as what happens; each step is a room of its own. Simulating against drawn
traffic and replaying a real log differ in which world is built, and in nothing after that.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from allocation.assignment import assign, assign_cities
from allocation.channels import build_allocator, join_diaries, learns_across_users
from allocation.settings import Allocation, ExposureAllocation, NoAllocation
from allocation.top_slots import TopSlots
from experiments.assignment_config import ByCityHours
from experiments.config import Arm, ExperimentConfig, config_hash
from experiments.fitting import fit_policies, make_policy
from experiments.groundwork import Groundwork
from experiments.guests import blaming
from experiments.history import LOGGER, play_or_read_history
from experiments.pieces import Piece
from experiments.playing import (
    ArmResult,
    ArmTask,
    Phases,
    WarmupResult,
    WarmupTask,
    play_arm,
    play_warmup,
)
from experiments.progress import Progress
from experiments.provenance import Stopwatch, manifest
from experiments.results import Played, build_results
from experiments.resuming import Attempt, begin_or_go_on, days_found
from experiments.run_directory import BLOCKS, COUNTERFACTUALS, MANIFEST, RESULTS, USER_DAYS, RunDirectory
from experiments.serving import ServedArm, serve_arms
from experiments.serving_results import join_freshness
from experiments.shard_states import ShardStates
from experiments.shown_pages import users_to_look_at
from experiments.switchback import join_switched, period_of, schedule_of, switched_name
from experiments.switchback_results import switchback_results
from experiments.switching import Switching, SwitchingAllocator
from experiments.thinking import add_seconds, join_thinking
from experiments.worlds import BuiltWorld, build_world, traffic_mistakes
from policies.registry import RegisteredPolicy, policy_class
from simulator.batches import Ints
from simulator.engine import VisitCount
from simulator.pools import Engine, Pool
from simulator.protocols import Allocator
from simulator.shards import PROCESSES, cut
from simulator.state import State, take_state


def phases_of(config: ExperimentConfig) -> Phases:
    """The experiment's days, counted from the horizon's start."""
    h = config.horizon
    experiment = h.history_days + h.warmup_days
    return Phases(h.history_days, experiment, experiment + h.days, experiment + h.days + h.follow_up_days)


def world_of(config: ExperimentConfig) -> BuiltWorld:
    """The world of an experiment, for all of its days."""
    return build_world(
        config.world,
        start=config.horizon.start,
        days=phases_of(config).follow_up_end,
        scenario=config.scenario,
        slots=config.page.slots,
        seed=config.seed,
        seen_days=config.horizon.history_days,
        traffic=config.traffic,
    )


def world_mistakes(config: ExperimentConfig) -> Iterator[str]:
    """What the files that a config names ask of it, without building its world: a line for each mistake.

    Raises:
        DatasetError: a file cannot be read.
    """
    return traffic_mistakes(
        config.world,
        start=config.horizon.start,
        days=phases_of(config).follow_up_end,
        scenario=config.scenario,
        traffic=config.traffic,
    )


def run_experiment(
    config: ExperimentConfig,
    directory: RunDirectory,
    workers: int,
    progress: Progress,
    groundwork: Groundwork | None = None,
    engine: Engine = PROCESSES,
) -> dict[str, Any]:
    """Run an experiment and leave everything in ``directory``.

    What an interrupted run has kept there is not played again. What it takes to go on is: the world, and the fit of
    policies that have something left to play.

    Args:
        config: the checked config.
        directory: where to write; the manifest is written last, and what was kept for going on is then removed.
        workers: shards at once; the outcome does not depend on it.
        progress: is told how far things are.
        groundwork: what experiments before this one have left to share; the outcome does not depend on it.
        engine: where shards are played; the outcome does not depend on it.

    Returns:
        The contents of ``results.json``.

    Raises:
        DatasetError: a world's log cannot be used.
        WorkerDiedError: workers died again and again.
        PolicyFaultError: a policy that is not of this project failed, or gave what cannot be shown.
        UserError: a file cannot be written, or what was kept belongs to another config or code or is damaged.
    """
    with directory.to_oneself():
        attempt = begin_or_go_on(directory, config, workers)
        results = _run(config, attempt, engine, workers, progress, groundwork or Groundwork())
        directory.remove_pieces()
    return results


def _run(
    config: ExperimentConfig, attempt: Attempt, engine: Engine, workers: int, progress: Progress, ground: Groundwork
) -> dict[str, Any]:
    clock = Stopwatch()
    phases = phases_of(config)
    directory = attempt.directory
    with engine.pool(workers, modules_of(config)) as pool:
        with clock.stage("world"), progress.stage("building the world", 1) as stage:
            built = ground.world(config, lambda: world_of(config))
            stage.advance()
        with clock.stage("history"):
            days, seed = config.horizon.history_days, config.seed
            log, shards = ground.history(
                attempt.workers, lambda: play_or_read_history(built, days, seed, pool, progress, attempt)
            )
        arm_of_row = assigned_arms(config, built)
        variants = variants_of(config)
        shards_of = {
            variant.name: cut_variant(config, variant, built.rows, arm_of_row, attempt) for variant in variants
        }
        with clock.stage("fit"):
            needed = arms_to_play(config, variants, shards_of, len(shards), attempt)
            fit = partial(fit_policies, log=log, world=built.world, seed=config.seed, progress=progress)
            fitted = ground.policies(needed, fit)
            fitted |= {
                arm: make_policy(config.arms[arm], config.seed, f"arms.{arm}")
                for arm in config.arms.keys() - needed.keys()
            }
        served: dict[str, ServedArm] = {}
        if config.serving is not None:
            with clock.stage("serving"), blaming({f"arms.{arm}": policy for arm, policy in fitted.items()}):
                served = serve_arms(config, built.world, fitted, log, phases, pool, progress)
        with clock.stage("warm-up"):
            warmups, states = warm_up(config, built, fitted, arm_of_row, shards, phases, pool, progress, attempt)
        del log, fit, shards  # with many users every copy of what they did counts
        with clock.stage("arms"):
            tasks = largest_first(
                task
                for variant in variants
                for task in arm_tasks(
                    config, variant, shards_of[variant.name], built, fitted, served, arm_of_row, states, phases
                )
            )
            del states
            if workers > 1:  # as for the history: compile once
                for task in {
                    task.arm: task
                    for task in tasks
                    if task.world.users and (task.assigned_arm in needed or (not task.assigned_arm and needed))
                }.values():
                    play_arm(a_glimpse(task), _nobody)
            days = phases.follow_up_end - phases.experiment_start
            with progress.stage("playing the arms", days * len(tasks)) as stage:
                found = days_found([task.piece for task in tasks], phases.experiment_start, stage)
                parts = pool.map(play_arm, tasks, stage.advance, found)
    with clock.stage("analysis"), progress.stage("analysis", 1) as stage:
        if isinstance(config.assignment, ByCityHours):
            switched = join_switched(config, built.world, phases, tasks, parts, warmups)
            results = switchback_results(config, built.world, phases, switched, config_hash(config))
            tables = {USER_DAYS: switched.user_days, BLOCKS: switched.table}
        else:
            played = join_parts(config, variants, tasks, parts, warmups, served, arm_of_row)
            results = build_results(config, built.world, phases, played, config_hash(config))
            tables = {USER_DAYS: played.user_days}
            if config.oracle:
                tables[COUNTERFACTUALS] = counterfactuals(played)
        stage.advance()
    for name, table in tables.items():
        directory.write_parquet(name, table)
    directory.write_json(RESULTS, results)
    thinking_seconds = seconds_of(tasks, parts, warmups)
    directory.write_json(
        MANIFEST,
        manifest(
            config_hash(config),
            {"run": config.seed},
            clock.seconds,
            workers,
            built.counts,
            thinking_seconds,
            attempt.resumed,
            engine.name,
        ),
    )
    return results


Cut = Sequence[tuple[Ints, Piece | None]]
"""Rows of each shard, and where it is kept; None for nowhere."""


@dataclass(frozen=True)
class Variant:
    """What is played: an arm as its users get it, or the same arm at another lambda, on all users, for the frontier.

    Attributes:
        name: the arm's name, or ``arm@lambda``.
        arm: the arm.
        allocation: how exposures are decided.
        frontier: lambda of a variant played for the frontier, or None.
        turn: of a variant in which cities change arms by blocks of hours, how many arms further on each block is than
            the experiment has it; None of all others.
    """

    name: str
    arm: str
    allocation: Allocation
    frontier: float | None
    turn: int | None = None


def modules_of(config: ExperimentConfig) -> list[str]:
    """Where other processes find what they play."""
    policies = dict.fromkeys([LOGGER, *(arm.policy for arm in config.arms.values())])
    return [play_arm.__module__, *(policy_class(name).__module__ for name in policies)]


def assigned_arms(config: ExperimentConfig, built: BuiltWorld) -> npt.NDArray[np.str_]:
    """The arm of each user, by row: drawn for the user, or for the user's city; empty where users meet all arms."""
    shares = {name: arm.share for name, arm in config.arms.items()}
    if config.assignment.unit == "city":
        of_city = assign_cities(len(built.world.environment.cities), shares, config.name, config.seed)
        drawn = of_city[built.world.population.observed.city]
    elif config.assignment.unit == "city_hours":
        return np.full(built.world.users, "")
    else:
        drawn = assign(built.rows, shares, config.name, config.seed)
    return np.array(list(config.arms))[drawn]


def variants_of(config: ExperimentConfig) -> list[Variant]:
    """The arms, then the frontier's variants; an arm's own lambda is not played twice.

    Of a switchback the experiment comes first; where the truth is wanted, then what each block would have had
    otherwise, then the arms.
    """
    variants = [Variant(name, name, arm.allocation, None) for name, arm in config.arms.items()]
    if isinstance(config.assignment, ByCityHours):
        turns = range(len(config.arms) if config.oracle else 1)
        switched = [Variant(switched_name(turn), "", NoAllocation(), None, turn) for turn in turns]
        return [*switched, *(variants if config.oracle else [])]
    if config.frontier is not None:
        name = config.frontier.arm
        allocation = config.arms[name].allocation
        assert isinstance(allocation, ExposureAllocation)
        variants += [
            Variant(f"{name}@{value!r}", name, allocation.model_copy(update={"penalty": value}), value)
            for value in config.frontier.lambdas
            if value != allocation.penalty
        ]
    return variants


def warm_up(
    config: ExperimentConfig,
    built: BuiltWorld,
    fitted: dict[str, RegisteredPolicy],
    arm_of_row: npt.NDArray[np.str_],
    shards: list[tuple[Ints, State]],
    phases: Phases,
    pool: Pool,
    progress: Progress,
    attempt: Attempt,
) -> tuple[list[WarmupResult], ShardStates]:
    """Play the warm-up of every shard under the control policy.

    Returns:
        What the shards left, without their states; and these, on the experiment's first morning.
    """
    policy, hours = fitted[config.control_name], period_of(config)
    tasks = [
        WarmupTask(
            built.world.take(rows),
            state,
            policy,
            config.control_name,
            arm_of_row[rows],
            phases,
            attempt.piece("warmup", n),
            hours=hours,
        )
        for n, (rows, state) in enumerate(shards)
    ]
    days = phases.experiment_start - phases.warmup_start
    with progress.stage("warming up", max(days * len(tasks), 1)) as stage:
        found = days_found([task.piece for task in tasks], phases.warmup_start, stage)
        parts = pool.map(play_warmup, tasks, stage.advance, found)
    states = ShardStates(tuple(part.state for part in parts))
    nobody = states.of(np.zeros(0, np.int64))
    return [replace(part, state=nobody) for part in parts], states


def cut_variant(
    config: ExperimentConfig,
    variant: Variant,
    all_rows: Ints,
    arm_of_row: npt.NDArray[np.str_],
    attempt: Attempt,
) -> Cut:
    """What to play of a variant, by shard: all users where the truth is wanted, else its own; and where it is kept.

    Users are cut into shards where they do not matter to each other, and played in one piece where they do.
    """
    rows = all_rows if config.oracle or variant.turn is not None else all_rows[arm_of_row == variant.arm]
    together = learns_across_users(variant.allocation)
    shards = [rows] if together else [rows[part] for part in cut(len(rows), attempt.workers)]
    return [(shard, attempt.piece(f"arm.{variant.name}", n)) for n, shard in enumerate(shards)]


def arms_to_play(
    config: ExperimentConfig,
    variants: list[Variant],
    shards_of: dict[str, Cut],
    warmup_shards: int,
    attempt: Attempt,
) -> dict[str, Arm]:
    """The arms whose policies have something left to play, or whose jobs a cluster does."""
    left = [v for v in variants if not all(piece and piece.days_kept()[0] for _, piece in shards_of[v.name])]
    needed = {arm for v in left for arm in (config.arms if v.turn is not None else [v.arm])}
    warmups = [attempt.piece("warmup", n) for n in range(warmup_shards)]
    if config.horizon.warmup_days and not all(piece.days_kept()[0] for piece in warmups):
        needed.add(config.control_name)
    if config.serving is not None:
        needed |= {name for name, arm in config.arms.items() if policy_class(arm.policy).near_line}
    return {name: arm for name, arm in config.arms.items() if name in needed}


def arm_tasks(
    config: ExperimentConfig,
    variant: Variant,
    shards: Cut,
    built: BuiltWorld,
    fitted: dict[str, RegisteredPolicy],
    served: dict[str, ServedArm],
    arm_of_row: npt.NDArray[np.str_],
    states: ShardStates,
    phases: Phases,
) -> list[ArmTask]:
    """What to play of a variant."""
    arm = served.get(variant.arm)
    seconds = arm.gpu_seconds if arm else None
    cities = built.world.environment.cities

    def allocator_of(name: str, allocation: Allocation, learners: npt.NDArray[np.bool_]) -> Allocator:
        if not fitted[name].two_channels:
            return TopSlots()
        return build_allocator(allocation, config.seed, cities, learners, seconds)

    hours = period_of(config)
    looked_at = users_to_look_at(built.world.population.observed.user, config.seed)
    tasks = []
    for rows, piece in shards:
        policy: RegisteredPolicy
        allocator: Allocator
        if variant.turn is not None:
            schedule = schedule_of(config, len(cities), phases).rotated(variant.turn, len(config.arms))
            everybody = np.ones(len(rows), np.bool_)
            policy = Switching({name: fitted[name] for name in config.arms}, schedule)
            allocator = SwitchingAllocator(
                {name: allocator_of(name, each.allocation, everybody) for name, each in config.arms.items()}, schedule
            )
        else:
            policy = fitted[variant.arm]
            allocator = allocator_of(variant.arm, variant.allocation, arm_of_row[rows] == variant.arm)
        tasks.append(
            ArmTask(
                world=built.world.take(rows),
                state=states.of(rows),
                policy=policy,
                allocator=allocator,
                arm_of_row=arm_of_row[rows],
                arm=variant.name,
                assigned_arm=variant.arm,
                phases=phases,
                deliveries=arm.queue.deliveries.only(built.world.population.observed.user[rows]) if arm else None,
                piece=piece,
                hours=hours,
                looked_at=None if variant.frontier is not None or hours is not None else looked_at[rows],
            )
        )
    return tasks


def largest_first(tasks: Iterable[ArmTask]) -> list[ArmTask]:
    """In the order in which they are best begun: an arm that is played in one piece, if begun last, would end alone.

    The shards of an arm keep their order, since none is larger than the one before.
    """
    return sorted(tasks, key=lambda task: -task.world.users)


def a_glimpse(task: ArmTask) -> ArmTask:
    """The first user of a task on the first day."""
    start = task.phases.experiment_start
    row = np.zeros(1, np.int64)
    return replace(
        task,
        world=task.world.take(row),
        state=take_state(task.state, row),
        allocator=copy.deepcopy(task.allocator),
        arm_of_row=task.arm_of_row[:1],
        phases=replace(task.phases, experiment_end=start + 1, follow_up_end=start + 1),
        piece=None,
        looked_at=None,
    )


def _nobody() -> None:
    """Listens to nothing."""


def join_parts(
    config: ExperimentConfig,
    variants: list[Variant],
    tasks: list[ArmTask],
    parts: list[ArmResult],
    warmups: list[WarmupResult],
    served: dict[str, ServedArm],
    arm_of_row: npt.NDArray[np.str_],
) -> Played:
    """The shards' tables as one, in user order, which is the order of the shards."""
    warmup = pl.concat([part.table for part in warmups])
    visits = {"warmup": VisitCount(), **{arm: VisitCount() for arm in config.arms}}
    for part in warmups:
        visits["warmup"].add(part.visits)
    churned = dict.fromkeys(config.arms, 0)
    tables: dict[str, list[pl.DataFrame]] = {variant.name: [] for variant in variants}
    diaries: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    thoughts: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    users = {variant.name: 0 for variant in variants}
    pages: dict[str, list[dict[str, Any]]] = {arm: [] for arm in config.arms}
    for task, result in zip(tasks, parts, strict=True):
        tables[task.arm].append(result.table)
        users[task.arm] += task.world.users
        if result.diary is not None:
            diaries[task.arm].append(result.diary)
        if result.notes.diary is not None:
            thoughts[task.arm].append(result.notes.diary)
        if task.arm in config.arms:
            visits[task.arm].add(result.visits)
            churned[task.arm] += result.churned
            pages[task.arm] += result.pages
    warmup_thoughts = [part.notes.diary for part in warmups if part.notes.diary is not None]
    played = {name: pl.concat(parts_of) for name, parts_of in tables.items()}
    own = [played[arm].filter(pl.col("arm") == arm) for arm in config.arms]
    return Played(
        user_days=pl.concat([warmup, *own]).sort("user", "day"),
        warmup=warmup,
        under_arm={arm: played[arm] for arm in config.arms} if config.oracle else None,
        frontier={v.frontier: played[v.name] for v in variants if v.frontier is not None},
        diaries={arm: join_diaries(diaries[arm]) for arm in config.arms if diaries[arm]},
        thinking={arm: join_thinking(thoughts[arm], users[arm]) for arm in config.arms if thoughts[arm]},
        warmup_thinking=join_thinking(warmup_thoughts, len(arm_of_row)) if warmup_thoughts else None,
        served=served,
        pages=pages,
        freshness={arm: join_freshness([part["freshness"] for part in thoughts[arm]]) for arm in served},
        visits=visits,
        churned=churned,
        assigned={arm: int((arm_of_row == arm).sum()) for arm in config.arms},
    )


def seconds_of(
    tasks: list[ArmTask], parts: list[ArmResult], warmups: list[WarmupResult]
) -> dict[str, dict[str, float]]:
    """Wall seconds that policies thought, by role, under "warmup" and for each variant that was played."""
    spent = {"warmup": add_seconds(part.notes.seconds for part in warmups)}
    for name in dict.fromkeys(task.arm for task in tasks):
        mine = (part.notes.seconds for task, part in zip(tasks, parts, strict=True) if task.arm == name)
        spent[name] = add_seconds(mine)
    return {name: seconds for name, seconds in spent.items() if seconds}


def counterfactuals(played: Played) -> pl.DataFrame:
    """User days under the arms that users were not assigned to, with the arm played in ``played``."""
    tables = [
        table.filter(pl.col("arm") != arm).with_columns(pl.lit(arm).alias("played"))
        for arm, table in (played.under_arm or {}).items()
    ]
    return pl.concat(tables).sort("user", "day", "played")
