"""The log that policies learn from: played under the exploring logger, or read from a real log.

Knows worlds and shards. Does not know arms, nor what is learned from the log.
"""

import numpy as np

from experiments.playing import HistoryResult, HistoryTask, play_history
from experiments.progress import Progress
from experiments.resuming import Attempt, days_found
from experiments.worlds import BuiltWorld
from policies.registry import RegisteredPolicy, policy_class
from simulator.batches import InteractionLog, Ints
from simulator.pools import Pool
from simulator.shards import cut
from simulator.state import State, take_state
from simulator.tables import join_logs

LOGGER = "exploring_logger"


def play_or_read_history(
    built: BuiltWorld,
    history_days: int,
    seed: int,
    pool: Pool,
    progress: Progress,
    attempt: Attempt | None = None,
) -> tuple[InteractionLog, list[tuple[Ints, State]]]:
    """The log that policies learn from, and each shard's rows with their state on the morning after it.

    What is played is kept as ``attempt`` says; without one it is not kept.
    """
    if built.recorded is not None:
        shards = cut(built.world.users, pool.workers if attempt is None else attempt.workers)
        with progress.stage("reading the history", 1) as stage:
            state = built.recorded.state(history_days)
            stage.advance()
        return built.recorded.log.before(history_days), [(rows, take_state(state, rows)) for rows in shards]
    played = play_history_of_all(built, history_days, seed, pool, progress, attempt)
    log = join_logs([part.columns for _, part in played], 0, history_days)
    return log, [(rows, part.state) for rows, part in played]


def play_history_of_all(
    built: BuiltWorld,
    history_days: int,
    seed: int,
    pool: Pool,
    progress: Progress,
    attempt: Attempt | None = None,
    *,
    watch: bool = False,
) -> list[tuple[Ints, HistoryResult]]:
    """Each shard's rows and what they did under the exploring logger; ``watch`` asks for their visits too."""
    shards = cut(built.world.users, pool.workers if attempt is None else attempt.workers)
    logger = make_logger(built, seed)
    if pool.workers > 1:  # kernels are compiled here once and cached, instead of in every worker at the same time
        play_history(HistoryTask(built.world.take(shards[0][:1]), logger, 1), lambda: None)
    pieces = [None if attempt is None else attempt.piece("history", n) for n in range(len(shards))]
    tasks = [
        HistoryTask(built.world.take(rows), logger, history_days, piece, watch)
        for rows, piece in zip(shards, pieces, strict=True)
    ]
    with progress.stage("logging the history", history_days * len(tasks)) as stage:
        parts = pool.map(play_history, tasks, stage.advance, days_found(pieces, 0, stage))
    return list(zip(shards, parts, strict=True))


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
