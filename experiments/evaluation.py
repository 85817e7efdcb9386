"""Open loop: policies learn from a log's earlier days and answer for the real visits of its last ones.

What the user did next is the target of rankings and tags alike; what thoughts and explanations are like, and what they
cost, is measured beside it. Every metric is compared between policies on the same visits, and what is found on all
visits is corrected as one family: every metric times every two policies that have it. Strata are for exploring.
"""

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any, Final

import numpy as np

from experiments.config import EvaluationConfig, config_hash
from experiments.fitting import fit_policies
from experiments.history import play_or_read_history
from experiments.progress import Progress
from experiments.provenance import Stopwatch, manifest
from experiments.replay import (
    Answers,
    RankingTask,
    Tags,
    Visits,
    by_arrival,
    draw_visits,
    held_out_visits,
    rank_visits,
)
from experiments.run_directory import EVALUATION, MANIFEST, RunDirectory
from experiments.strata import DEFINITIONS, unseen_strata
from experiments.world_config import GeneratedWorld
from experiments.worlds import build_world
from metrics.bootstrap import complete_requests, finest_p_value, paired_bootstrap, replicates_for
from metrics.intents import distinct_share, explanation_diversity, mean_distance, valid_share
from metrics.multiplicity import Correction, adjusted
from metrics.offline import (
    categories_of,
    category_hit_at_k,
    exclusive_recall_at_k,
    ndcg_at_k,
    novelty_at_k,
    primary_categories,
    recall_at_k,
)
from metrics.offline_definitions import describe, offline_metric
from policies.thoughts import duplicate_share
from simulator.batches import DAY_SECONDS, Bools, Floats, Ints, Ints32
from simulator.datasets.interactions import DatasetError
from simulator.pools import Engine
from simulator.shards import PROCESSES
from simulator.world import World

SCHEMA: Final = 3

CORRECTION: Final[Correction] = "holm"
"""Of the p-values over all visits; what experiments use unless configured otherwise."""


def metric_values(name: str, answers: Mapping[str, Answers], visits: Visits, category: Ints32) -> dict[str, Floats]:
    """A value for each visit of a metric named as in ``recall@20``, NaN where the visit has none.

    Args:
        name: see ``metrics.offline_definitions``.
        answers: of each policy, at these visits.
        visits: what happened.
        category: of each item.

    Returns:
        Values of the policies that the metric applies to: [visits].
    """
    metric, k = offline_metric(name)
    if metric.kind == "tag_diversity":
        tags = {policy: each.tags for policy, each in answers.items() if each.tags is not None}
        embedded = all(each.vectors is not None for each in tags.values())
        found = {policy: _tag_diversity(each, embedded) for policy, each in tags.items()}
    else:
        values = {policy: _values(metric.kind, k, each, visits, category) for policy, each in answers.items()}
        found = {policy: each for policy, each in values.items() if each is not None}
    return {policy: values for policy, values in found.items() if not np.isnan(values).all()}


def _values(kind: str, k: int, answers: Answers, visits: Visits, category: Ints32) -> Floats | None:
    targets, tags = visits.targets, answers.tags
    match kind:
        case "recall":
            return recall_at_k(answers.ranked, targets, k)
        case "ndcg":
            return ndcg_at_k(answers.ranked, targets, k)
        case "novelty":
            return novelty_at_k(answers.ranked, answers.seen, k)
        case "hr":
            named = categories_of(answers.ranked, category)
            if tags is not None:
                named = categories_of(tags.thoughts.tags, tags.category)
            return category_hit_at_k(named, targets, category, k)
        case "exclusive_recall":
            channels = answers.channels
            if channels is None:
                return None
            return exclusive_recall_at_k(channels.cognitive, channels.utility, targets, k)
        case "explanation_diversity":
            said = answers.explanations
            return None if said is None else explanation_diversity(said.items, said.texts, said.wording)
    return None if tags is None else _of_thoughts(kind, tags)


def _of_thoughts(kind: str, tags: Tags) -> Floats:
    thoughts = tags.thoughts
    if kind == "duplicate_share":
        return duplicate_share(thoughts.proposed, tags.category)
    if kind == "tag_validity":
        return valid_share(thoughts.generated, thoughts.invalid)
    if kind == "gflops":
        return thoughts.flops / 1e9
    tokens: Ints = getattr(thoughts, kind)
    return tokens.astype(np.float64)


def _tag_diversity(tags: Tags, embedded: bool) -> Floats:
    if embedded and tags.vectors is not None:
        return mean_distance(tags.thoughts.tags, tags.vectors)
    return distinct_share(categories_of(tags.thoughts.tags, tags.category))


def run_evaluation(
    config: EvaluationConfig,
    directory: RunDirectory,
    workers: int,
    progress: Progress,
    engine: Engine = PROCESSES,
) -> dict[str, Any]:
    """Evaluate policies offline and leave everything in ``directory``.

    Args:
        config: the checked config.
        directory: where to write; the manifest is written last.
        workers: policies that are played side by side.
        progress: is told how far things are.
        engine: where shards are played; the outcome does not depend on it.

    Returns:
        The contents of ``evaluation.json``.

    Raises:
        DatasetError: the log cannot be used, or nobody returns in the held-out days.
    """
    clock = Stopwatch()
    if config.world.kind == "log":  # nothing is played by users, and processes start whether or not they are needed
        workers = min(workers, len(config.policies))
    with engine.pool(workers) as pool:
        with clock.stage("world"), progress.stage("building the world", 1) as stage:
            built = build_world(
                config.world,
                start=config.horizon.start if config.horizon else None,
                days=config.horizon.history_days if config.horizon else None,
                scenario="item",
                slots=10,
                seed=config.seed,
                seen_days=config.horizon.history_days - config.holdout_days if config.horizon else None,
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
            train, lived = log.before(split), by_arrival(log)
        visits = held_out_visits(lived, split * DAY_SECONDS)
        if len(visits) == 0:
            raise DatasetError(
                f"holdout_days: {config.holdout_days} (no returning user comes in these days; hold out more)"
            )
        asked = draw_visits(visits, config.max_visits, config.seed)
        with clock.stage("fit"):
            fitted = fit_policies(config.policies, train, world, config.seed, progress, "policies")
        with clock.stage("ranking"):
            tasks = [
                RankingTask(world, policy, name, lived, split * DAY_SECONDS, visits, asked)
                for name, policy in fitted.items()
            ]
            days = int(visits.time.max() // DAY_SECONDS) - split + 1
            with progress.stage("replaying held-out visits", days * len(tasks)) as stage:
                answers = dict(zip(fitted, pool.map(rank_visits, tasks, stage.advance), strict=True))
    with clock.stage("analysis"), progress.stage("analysis", len(config.metrics)) as stage:
        evaluation = _analyse(config, world, visits.take(asked), answers, stage)
        evaluation["held_out"] = len(visits)
    directory.write_json(EVALUATION, evaluation)
    counts = built.recorded.counts if built.recorded else None
    seeds = {"run": config.seed}
    directory.write_json(
        MANIFEST, manifest(config_hash(config), seeds, clock.seconds, workers, counts, engine=engine.name)
    )
    return evaluation


def _analyse(
    config: EvaluationConfig, world: World, visits: Visits, answers: dict[str, Answers], stage: Progress
) -> dict[str, Any]:
    names: Sequence[str] = [config.control_name, *(n for n in answers if n != config.control_name)]
    ordered = {name: answers[name] for name in names}
    category = world.catalog.observed.category
    unseen = config.world.unseen if isinstance(config.world, GeneratedWorld) else ()
    wanted = primary_categories(visits.targets, category).astype(np.int32)
    strata = unseen_strata(world, unseen, visits.time // DAY_SECONDS, wanted)
    by_metric = {metric: metric_values(metric, ordered, visits, category) for metric in config.metrics}
    tested = sum(comb(len(each), 2) for each in by_metric.values() if each and complete_requests(each).any())
    replicates = replicates_for(tested, config.alpha, config.replicates)
    policies: dict[str, dict[str, Any]] = {name: {} for name in names}
    comparisons: list[dict[str, Any]] = []
    for metric, values in by_metric.items():
        whole = _compare(config, values, visits.user, np.ones(len(visits), np.bool_), replicates)
        parts = {name: _compare(config, values, visits.user, rows) for name, rows in strata.items()}
        for name in names:
            here = {part: found["policies"].get(name) for part, found in parts.items()}
            policies[name][metric] = whole["policies"][name] | here if name in values else None
        for number, pair in enumerate(whole["comparisons"]):
            there = {part: _difference(found["comparisons"][number]) for part, found in parts.items()}
            comparisons.append({"metric": metric, **pair, **there})
        stage.advance()
    for pair, p_value in zip(comparisons, adjusted([row["p_value"] for row in comparisons], CORRECTION), strict=True):
        pair["p_adjusted"] = p_value
    return {
        "schema": SCHEMA,
        "name": config.name,
        "seed": config.seed,
        "config_hash": config_hash(config),
        "control": config.control_name,
        "alpha": config.alpha,
        "family": {
            "correction": CORRECTION,
            "comparisons": tested,
            "replicates": replicates,
            "smallest_p_adjusted": min(1.0, tested * finest_p_value(replicates)) if tested else None,
        },
        "metrics": {name: describe(name) for name in config.metrics},
        "strata": {
            name: {
                "definition": DEFINITIONS[name],
                "requests": int(rows.sum()),
                "users": len(np.unique(visits.user[rows])),
            }
            for name, rows in strata.items()
        },
        "policies": policies,
        "comparisons": comparisons,
        "requests": len(visits),
        "users": len(np.unique(visits.user)),
    }


def _compare(
    config: EvaluationConfig, values: Mapping[str, Floats], user: Ints, rows: Bools, p_replicates: int = 0
) -> dict[str, Any]:
    """``paired_bootstrap`` over some visits, of which those count at which every policy has a value.

    ``visits`` says how many these are; where there are none, everything else is None.
    """
    if not values:
        return {"policies": {}, "comparisons": []}
    rows = rows & complete_requests(values)
    visits = int(rows.sum())
    if visits == 0:
        nothing = {"value": None, "ci": None, "visits": 0}
        pairs = [(a, b) for n, a in enumerate(values) for b in list(values)[n + 1 :]]
        unknown = {"effect": None, "ci": None, "p_value": None, "visits": 0}
        return {
            "policies": dict.fromkeys(values, nothing),
            "comparisons": [{"a": a, "b": b, **unknown} for a, b in pairs],
        }
    chosen = {name: each[rows] for name, each in values.items()}
    found = paired_bootstrap(chosen, user[rows], config.replicates, config.seed, config.alpha, p_replicates)
    for entry in [*found["policies"].values(), *found["comparisons"]]:
        entry["visits"] = visits
    return found


def _difference(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison without the names of whom it compares."""
    return {key: value for key, value in pair.items() if key not in ("a", "b")}
