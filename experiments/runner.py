"""The story of an experiment, from a checked config to a finished run directory.

``run_experiment`` reads from top to bottom as what happens; each step is a room of its own. Simulating against drawn
traffic and replaying a real log differ in which world is built, and in nothing after that.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from allocation.assignment import assign
from experiments.config import ExperimentConfig, config_hash
from experiments.fitting import fit_policies
from experiments.playing import ArmsResult, ArmsTask, HistoryTask, Phases, play_arms, play_history
from experiments.progress import Progress
from experiments.provenance import manifest
from experiments.results import Played, build_results
from experiments.run_directory import COUNTERFACTUALS, MANIFEST, RESULTS, USER_DAYS, RunDirectory
from experiments.worlds import BuiltWorld, build_world
from policies.registry import RegisteredPolicy, policy_class
from simulator.batches import InteractionLog
from simulator.engine import VisitCount
from simulator.shards import ShardPool, cut, shard_pool
from simulator.state import State, take_state
from simulator.tables import join_logs

LOGGER = "exploring_logger"


def phases_of(config: ExperimentConfig) -> Phases:
    """The experiment's days, counted from the horizon's start."""
    h = config.horizon
    experiment = h.history_days + h.warmup_days
    return Phases(h.history_days, experiment, experiment + h.days, experiment + h.days + h.follow_up_days)


def run_experiment(
    config: ExperimentConfig, directory: RunDirectory, workers: int, progress: Progress
) -> dict[str, Any]:
    """Run an experiment and leave everything in ``directory``.

    Args:
        config: the checked config.
        directory: where to write; the manifest is written last.
        workers: processes; the outcome does not depend on it.
        progress: is told how far things are.

    Returns:
        The contents of ``results.json``.

    Raises:
        DatasetError: a world's log cannot be used.
        WorkerDiedError: a worker process was killed.
    """
    clock = Stopwatch()
    phases = phases_of(config)
    with shard_pool(workers) as pool:
        with clock.stage("world"), progress.stage("building the world", 1) as stage:
            built = build_world(
                config.world,
                start=config.horizon.start,
                days=phases.follow_up_end,
                scenario=config.scenario,
                slots=config.page.slots,
                seed=config.seed,
            )
            stage.advance()
        with clock.stage("history"):
            log, states = play_or_read_history(built, config.horizon.history_days, config.seed, pool, progress)
        with clock.stage("fit"):
            fitted = fit_policies(config.arms, log, built.world, config.seed, progress)
        with clock.stage("arms"):
            shares = {name: arm.share for name, arm in config.arms.items()}
            assigned = assign(built.rows, shares, config.name, config.seed)
            tasks = [
                ArmsTask(
                    world=built.world.take(rows),
                    state=state,
                    control=config.control_name,
                    policies=fitted,
                    assigned=assigned[rows],
                    phases=phases,
                    every_arm=config.oracle,
                )
                for rows, state in states
            ]
            if workers > 1:  # as for the history: compile once
                play_arms(_a_glimpse(tasks[0]), _nobody)
            days = phases.experiment_start - phases.warmup_start
            days += (phases.follow_up_end - phases.experiment_start) * len(config.arms)
            with progress.stage("playing the arms", days * len(tasks)) as stage:
                parts = pool.map(play_arms, tasks, stage.advance)
    with clock.stage("analysis"), progress.stage("analysis", 1) as stage:
        played = join_parts(parts, config, assigned)
        results = build_results(config, built.world, phases, played, config_hash(config))
        stage.advance()
    directory.write_parquet(USER_DAYS, played.user_days)
    if config.oracle:
        directory.write_parquet(COUNTERFACTUALS, counterfactuals(played))
    directory.write_json(RESULTS, results)
    counts = built.recorded.counts if built.recorded else None
    directory.write_json(MANIFEST, manifest(config_hash(config), {"run": config.seed}, clock.seconds, workers, counts))
    return results


def play_or_read_history(
    built: BuiltWorld, history_days: int, seed: int, pool: ShardPool, progress: Progress
) -> tuple[InteractionLog, list[tuple[np.ndarray, State]]]:
    """The log that policies learn from, and each shard's rows with their state on the morning after it."""
    shards = cut(built.world.users, pool.workers)
    if built.recorded is not None:
        with progress.stage("reading the history", 1) as stage:
            state = built.recorded.state(history_days)
            stage.advance()
        return built.recorded.history(history_days), [(rows, take_state(state, rows)) for rows in shards]
    logger = make_logger(built, seed)
    if pool.workers > 1:  # kernels are compiled here once and cached, instead of in every worker at the same time
        play_history(HistoryTask(built.world.take(shards[0][:1]), logger, 1), _nobody)
    tasks = [HistoryTask(built.world.take(rows), logger, history_days) for rows in shards]
    with progress.stage("logging the history", history_days * len(tasks)) as stage:
        parts = pool.map(play_history, tasks, stage.advance)
    log = join_logs([part.columns for part in parts], 0, history_days)
    return log, [(rows, part.state) for rows, part in zip(shards, parts, strict=True)]


def _a_glimpse(task: ArmsTask) -> ArmsTask:
    """The first user of a shard on the first day, under each arm."""
    start = task.phases.warmup_start
    row = np.zeros(1, np.int64)
    return replace(
        task,
        world=task.world.take(row),
        state=take_state(task.state, row),
        assigned=row,
        phases=Phases(start, start, start + 1, start + 1),
        every_arm=True,
    )


def _nobody() -> None:
    """Listens to nothing."""


def make_logger(built: BuiltWorld, seed: int) -> RegisteredPolicy:
    """The exploring logger, which needs to know the catalogue and nothing else."""
    chosen = policy_class(LOGGER)
    logger = chosen(chosen.Params(), seed)
    world = built.world
    logger.fit(no_log(), world.catalog.observed, world.population.observed, world.environment.observed().until(0))
    return logger


def no_log() -> InteractionLog:
    """The log before anything happened."""
    nothing = np.zeros(0, np.int64)
    return InteractionLog(0, 0, nothing, nothing.astype(np.int32), nothing, nothing.astype(np.int8), None)


def join_parts(parts: list[ArmsResult], config: ExperimentConfig, assigned: np.ndarray) -> Played:
    """The shards' tables as one, in user order, which is the order of the shards."""
    arms = list(config.arms)
    warmup = pl.concat([part.warmup for part in parts])
    played = {arm: pl.concat([part.played[arm] for part in parts]) for arm in arms}
    visits = {arm: VisitCount() for arm in ("warmup", *arms)}
    for part in parts:
        for arm, count in part.visits.items():
            visits[arm].add(count)
    own = [played[arm].filter(pl.col("arm") == arm) for arm in arms]
    return Played(
        user_days=pl.concat([warmup, *own]).sort("user", "day"),
        warmup=warmup,
        under_arm=played if config.oracle else None,
        visits=visits,
        churned={arm: sum(part.churned[arm] for part in parts) for arm in arms},
        assigned={arm: int((assigned == index).sum()) for index, arm in enumerate(arms)},
    )


def counterfactuals(played: Played) -> pl.DataFrame:
    """User days under the arms that users were not assigned to, with the arm played in ``played``."""
    tables = [
        table.filter(pl.col("arm") != arm).with_columns(pl.lit(arm).alias("played"))
        for arm, table in (played.under_arm or {}).items()
    ]
    return pl.concat(tables).sort("user", "day", "played")


class Stopwatch:
    """Wall-clock seconds of named stages, for the manifest."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        begun = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begun, 3)
