"""Open loop: policies learn from a log's earlier days and rank items for the real visits of its last ones.

Nobody responds here. At the moment of each held-out visit of a returning user, every policy ranks the catalogue from
what was known just then, earlier held-out visits included; what the user did next is the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.config import EvaluationConfig, config_hash
from experiments.fitting import fit_policies
from experiments.history import play_or_read_history
from experiments.progress import Progress
from experiments.provenance import Stopwatch, manifest
from experiments.run_directory import EVALUATION, MANIFEST, RunDirectory
from experiments.worlds import build_world
from metrics.offline import (
    ItemLists,
    category_hit_at_k,
    ndcg_at_k,
    novelty_at_k,
    paired_bootstrap,
    recall_at_k,
)
from policies.registry import RegisteredPolicy
from simulator.batches import DAY_SECONDS, Floats, InteractionLog, Ints, Ints32, Requests
from simulator.datasets.interactions import DatasetError
from simulator.shards import Tick, shard_pool
from simulator.state import new_state, observed_history, write_all_shown, write_events
from simulator.world import World

SCHEMA = 1
WIDTH = 200
"""Items ranked for each visit: deep enough to hold 30 categories in nearly every ranking."""


@dataclass(frozen=True)
class Visits:
    """Held-out visits with at least one interaction, in time order.

    Attributes:
        user, time: int64 [visits].
        targets: the distinct items interacted with, in the order of the log.
        kind: of each target, int8.
    """

    user: Ints
    time: Ints
    targets: ItemLists
    kind: npt.NDArray[np.int8]


def held_out_visits(log: InteractionLog, split: int) -> Visits:
    """Visits at or after ``split`` (seconds) of users with an interaction before it.

    Interactions of one visit share a start time in a ledger; in an impression log, pages of one visit lie less than
    half an hour apart, and a gap of that length begins a new visit.
    """
    returning = np.zeros(int(log.user.max(initial=-1)) + 1, np.bool_)
    returning[log.user[log.time < split]] = True
    chosen = np.flatnonzero((log.time >= split) & returning[log.user])
    chosen = chosen[np.lexsort((log.time[chosen], log.user[chosen]))]
    user, time = log.user[chosen], log.time[chosen]
    first = np.ones(len(chosen), np.bool_)
    first[1:] = (user[1:] != user[:-1]) | (time[1:] - time[:-1] >= 1800)
    visit = np.cumsum(first) - 1
    _, once = np.unique(np.stack([visit, log.item[chosen]]), axis=1, return_index=True)
    once = np.sort(once)
    visit, chosen = visit[once], chosen[once]
    starts = np.flatnonzero(np.diff(visit, prepend=-1))
    order = np.lexsort((user[first], time[first]))
    sizes = np.diff(np.append(starts, len(visit)))[order]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    index = np.repeat(starts[order] - offsets[:-1], sizes) + np.arange(offsets[-1])
    return Visits(
        user=user[first][order],
        time=time[first][order],
        targets=ItemLists(offsets, log.item[chosen][index].astype(np.int64)),
        kind=log.kind[chosen][index],
    )


@dataclass(frozen=True)
class RankingTask:
    """One policy over all held-out visits."""

    world: World
    policy: RegisteredPolicy
    train: InteractionLog
    visits: Visits


@dataclass(frozen=True)
class Rankings:
    """What a policy ranked, int32 [visits, WIDTH], and what each user had met before."""

    ranked: Ints32
    seen: ItemLists


def rank_visits(task: RankingTask, tick: Tick) -> Rankings:
    """Replay the held-out days: at each visit rank, then let the visit's interactions happen."""
    world, visits = task.world, task.visits
    state = new_state(world.users, world.catalog.items, world.behaviour.returning.neutral)
    train = task.train
    write_events(state, train.user, train.item, train.kind, train.time)
    if train.impressions is not None:
        vain = ~train.impressions.clicked
        write_all_shown(state, train.impressions.user[vain], train.impressions.item[vain])
    history, context = observed_history(state), world.environment.observed()
    users = world.population.observed
    n, width = len(visits.user), min(WIDTH, world.catalog.items)
    ranked = np.full((n, width), -1, np.int32)
    seen: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * n
    day_of = visits.time // DAY_SECONDS
    task.policy.begin(world.users)
    for day in np.unique(day_of):
        today = context.until(int(day))
        task.policy.refresh(int(day), today)
        waiting = np.flatnonzero(day_of == day)
        while len(waiting):
            _, first = np.unique(visits.user[waiting], return_index=True)
            batch = waiting[np.sort(first)]  # each user's next visit; a later one of the day waits for it
            user = visits.user[batch]
            requests = Requests(
                row=user,
                user=user,
                visit=batch,
                page=0,
                slots=width,
                max_pages=1,
                time=visits.time[batch],
                day=np.full(len(batch), day),
                city=users.city[user],
                users=users,
                history=history,
                context=today,
                already=np.zeros((len(batch), 0), np.int32),
            )
            answer = task.policy.candidates(requests).items[:, :width]
            ranked[batch, : answer.shape[1]] = answer
            known = np.unpackbits(state.interacted[user].view(np.uint8), axis=1, bitorder="little")
            for k, index in enumerate(batch):
                seen[index] = np.flatnonzero(known[k])
            _let_happen(state, visits, batch)
            waiting = np.setdiff1d(waiting, batch)
        tick()
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in seen])]).astype(np.int64)
    return Rankings(ranked, ItemLists(offsets, np.concatenate([*seen, np.zeros(0, np.int64)])))


def _let_happen(state: Any, visits: Visits, batch: Ints) -> None:
    offsets = visits.targets.offsets
    sizes = offsets[batch + 1] - offsets[batch]
    index = np.concatenate([np.arange(offsets[v], offsets[v + 1]) for v in batch])
    write_events(
        state,
        np.repeat(visits.user[batch], sizes),
        visits.targets.items[index].astype(np.int32),
        visits.kind[index],
        np.repeat(visits.time[batch], sizes),
    )


def metric_values(name: str, rankings: Rankings, visits: Visits, category: Ints32) -> Floats:
    """One value a visit of a metric named as in ``recall@20``."""
    kind, _, depth = name.partition("@")
    k = int(depth)
    if kind == "recall":
        return recall_at_k(rankings.ranked.astype(np.int64), visits.targets, k)
    if kind == "ndcg":
        return ndcg_at_k(rankings.ranked.astype(np.int64), visits.targets, k)
    if kind == "hr":
        return category_hit_at_k(rankings.ranked.astype(np.int64), visits.targets, category.astype(np.int64), k)
    return novelty_at_k(rankings.ranked.astype(np.int64), rankings.seen, k)


def run_evaluation(
    config: EvaluationConfig, directory: RunDirectory, workers: int, progress: Progress
) -> dict[str, Any]:
    """Evaluate policies offline and leave everything in ``directory``.

    Args:
        config: the checked config.
        directory: where to write; the manifest is written last.
        workers: processes; policies are played side by side.
        progress: is told how far things are.

    Returns:
        The contents of ``evaluation.json``.

    Raises:
        DatasetError: the log cannot be used, or nobody returns in the held-out days.
    """
    clock = Stopwatch()
    with shard_pool(workers) as pool:
        with clock.stage("world"), progress.stage("building the world", 1) as stage:
            built = build_world(
                config.world,
                start=config.horizon.start if config.horizon else None,
                days=config.horizon.history_days if config.horizon else None,
                scenario="item",
                slots=10,
                seed=config.seed,
            )
            stage.advance()
        world = built.world
        split = world.days - config.holdout_days
        if split < 1:
            raise DatasetError(f"holdout_days: {config.holdout_days} (the log has {world.days} days; hold out fewer)")
        with clock.stage("history"):
            if built.recorded is not None:
                log = built.recorded.log
            else:
                log, _ = play_or_read_history(built, world.days, config.seed, pool, progress)
            train = log.before(split)
        visits = held_out_visits(log, split * DAY_SECONDS)
        if len(visits.user) == 0:
            raise DatasetError(
                f"holdout_days: {config.holdout_days} (no returning user comes in these days; hold out more)"
            )
        with clock.stage("fit"):
            fitted = fit_policies(config.policies, train, world, config.seed, progress)
        with clock.stage("ranking"):
            tasks = [RankingTask(world, policy, train, visits) for policy in fitted.values()]
            days = len(np.unique(visits.time // DAY_SECONDS))
            with progress.stage("ranking held-out visits", days * len(tasks)) as stage:
                rankings = dict(zip(fitted, pool.map(rank_visits, tasks, stage.advance), strict=True))
    with clock.stage("analysis"), progress.stage("analysis", len(config.metrics)) as stage:
        evaluation = _analyse(config, world, visits, rankings, stage)
    directory.write_json(EVALUATION, evaluation)
    counts = built.recorded.counts if built.recorded else None
    directory.write_json(MANIFEST, manifest(config_hash(config), {"run": config.seed}, clock.seconds, workers, counts))
    return evaluation


def _analyse(
    config: EvaluationConfig, world: World, visits: Visits, rankings: dict[str, Rankings], stage: Progress
) -> dict[str, Any]:
    names: Sequence[str] = [config.control_name, *(n for n in rankings if n != config.control_name)]
    policies: dict[str, dict[str, Any]] = {name: {} for name in names}
    comparisons: list[dict[str, Any]] = []
    for metric in config.metrics:
        values = {
            name: metric_values(metric, rankings[name], visits, world.catalog.observed.category) for name in names
        }
        found = paired_bootstrap(values, visits.user, config.replicates, config.seed, config.alpha)
        for name in names:
            policies[name][metric] = found["policies"][name]
        comparisons += [{"metric": metric, **pair} for pair in found["comparisons"]]
        stage.advance()
    return {
        "schema": SCHEMA,
        "name": config.name,
        "seed": config.seed,
        "config_hash": config_hash(config),
        "control": config.control_name,
        "alpha": config.alpha,
        "policies": policies,
        "comparisons": comparisons,
        "requests": len(visits.user),
        "users": len(np.unique(visits.user)),
    }
