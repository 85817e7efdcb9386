"""Writing down the visits of an experiment, so that others can be met by the same.

What is recorded is what the experimenter would see: the history under the logger, the warm-up under the control's
policy, then each user under the arm that the user is assigned to. Nothing is analysed.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from allocation.channels import learns_across_users
from experiments.config import ExperimentConfig
from experiments.fitting import fit_policies
from experiments.history import play_history_of_all
from experiments.playing import WarmupTask, play_arm, play_warmup
from experiments.progress import Progress
from experiments.runner import arm_tasks, assigned_arms, largest_first, modules_of, phases_of, variants_of, world_of
from experiments.serving import serve_arms
from experiments.shard_states import ShardStates
from experiments.worlds import BuiltWorld
from simulator.batches import Ints
from simulator.pools import Engine, Pool
from simulator.shards import PROCESSES, cut
from simulator.tables import join_logs
from simulator.traffic import trace_of


def record_traffic(
    config: ExperimentConfig, workers: int, progress: Progress, engine: Engine = PROCESSES
) -> pl.DataFrame:
    """All visits of an experiment's days as a trace, in ``TRACE_SCHEMA``.

    In a log world these are the visits of the log. Elsewhere the experiment is played, which takes as long as running
    it without the truth. The rows depend neither on the number of workers nor on the engine.

    Raises:
        DatasetError: a world's log cannot be used.
        WorkerDiedError: workers died again and again.
    """
    with engine.pool(workers, modules_of(config)) as pool:
        with progress.stage("building the world", 1) as stage:
            built = world_of(config)
            stage.advance()
        world = built.world
        if built.recorded is not None:
            assert world.visits is not None
            visits = world.visits
            user = np.repeat(np.arange(world.users), np.diff(visits.offset))
            seen = np.stack([user, visits.visit, visits.time, world.population.observed.city[user]])
        else:
            seen = _play_all(config, built, pool, progress)
    user, visit, seconds, city = seen
    return trace_of(
        user,
        visit,
        seconds,
        np.asarray(world.environment.cities)[city],
        world.environment.start,
        config.scenario,
        world.behaviour.response.max_pages,
    )


def _play_all(config: ExperimentConfig, built: BuiltWorld, pool: Pool, progress: Progress) -> Ints:
    """Play history, warm-up and arms; all visits as ``Visits.columns``."""
    phases, world = phases_of(config), built.world
    history = play_history_of_all(built, config.horizon.history_days, config.seed, pool, progress, watch=True)
    log = join_logs([part.columns for _, part in history], 0, config.horizon.history_days)
    fitted = fit_policies(config.arms, log, world, config.seed, progress)
    served = serve_arms(config, world, fitted, log, phases, pool, progress)
    arm_of_row = assigned_arms(config, built)
    control = fitted[config.control_name]
    before = [
        WarmupTask(world.take(rows), part.state, control, config.control_name, arm_of_row[rows], phases, watch=True)
        for rows, part in history
    ]
    with progress.stage("warming up", max(config.horizon.warmup_days * len(before), 1)) as stage:
        warmups = pool.map(play_warmup, before, stage.advance)
    states = ShardStates(tuple(warmup.state for warmup in warmups))
    tasks = []
    for variant in variants_of(config.model_copy(update={"frontier": None})):
        rows = built.rows[arm_of_row == variant.arm]
        together = learns_across_users(variant.allocation)
        shards = [rows] if together else [rows[part] for part in cut(len(rows), pool.workers)]
        kept_nowhere = [(shard, None) for shard in shards]
        tasks += arm_tasks(config, variant, kept_nowhere, built, fitted, served, arm_of_row, states, phases)
    with progress.stage("playing the arms", (phases.follow_up_end - phases.experiment_start) * len(tasks)) as stage:
        watched = [replace(task, watch=True) for task in largest_first(tasks)]
        arms = pool.map(play_arm, watched, stage.advance)
    seen = [part.seen for _, part in history] + [part.seen for part in warmups] + [part.seen for part in arms]
    return np.concatenate([visits for visits in seen if visits is not None], axis=1)
