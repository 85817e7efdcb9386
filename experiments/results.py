"""From tables to ``results.json``: everything the report shows, and nothing that a rerun would change.

Timings and machine go into the manifest instead, so that equal configs give equal results to the byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from allocation.settings import ExposureAllocation
from experiments.analysis_config import AnalysisSettings
from experiments.config import Arm, ExperimentConfig
from experiments.playing import Phases
from experiments.run_analysis import Unit, analyse, analyse_days
from experiments.segmenting import Surroundings
from experiments.serving import ServedArm
from experiments.serving_results import serving_results
from experiments.shown_pages import shown_pages
from experiments.switchback import Switched
from experiments.thinking import dated_thinking
from experiments.user_units import Cities, Users
from experiments.world_config import GeneratedWorld
from metrics.definitions import Metric, resolve
from metrics.user_totals import user_totals
from policies.registry import policy_class
from simulator.engine import VisitCount
from simulator.environment.weather import CONDITIONS, UNKNOWN_CONDITION
from simulator.world import World

SCHEMA = 2
FRONTIER_METRICS = ("ctr", "ner", "tv")
TOTALS = ("sessions", "impressions", "clicks", "ipv", "atc", "orders", "gmv", "tv", "novel_impressions")


@dataclass(frozen=True)
class Played:
    """What all shards left, joined.

    Attributes:
        user_days: what an experimenter would see: warm-up, then each user under the assigned arm.
        warmup: all users before the arms parted.
        under_arm: all users under each arm, or None where only the assigned were played.
        frontier: all users under the frontier's arm at other lambdas.
        diaries: what allocators wrote down, by arm.
        thinking: what policies wrote down, by arm, for the arms whose policy does.
        warmup_thinking: what the control policy wrote down before the arms parted, or None.
        served: what became of near-line jobs, by arm; empty without a serving cluster.
        freshness: how old tags were at visits, by arm, likewise.
        pages: the first pages of the users looked at, by arm.
        visits: what became of the visits that fell due, by arm and under "warmup".
        churned, assigned: users by arm.
    """

    user_days: pl.DataFrame
    warmup: pl.DataFrame
    under_arm: dict[str, pl.DataFrame] | None
    frontier: dict[float, pl.DataFrame]
    diaries: dict[str, dict[str, Any]]
    thinking: dict[str, dict[str, Any]]
    warmup_thinking: dict[str, Any] | None
    served: dict[str, ServedArm]
    freshness: dict[str, dict[str, Any]]
    pages: dict[str, list[dict[str, Any]]]
    visits: dict[str, VisitCount]
    churned: dict[str, int]
    assigned: dict[str, int]


def build_results(
    config: ExperimentConfig, world: World, phases: Phases, played: Played, config_hash: str
) -> dict[str, Any]:
    """Analyse what was played by users or cities; the contents of ``results.json``, schema 2."""
    under_arm = None
    if played.under_arm is not None:
        under_arm = {arm: pl.concat([played.warmup, table]) for arm, table in played.under_arm.items()}

    def dated(day: int) -> str:
        return date_of(world, day)

    kind = Cities if config.assignment.unit == "city" else Users
    unit = kind(config, phases, played.user_days, under_arm, dated, Surroundings.of(world))
    days = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
    found = outline(
        world,
        phases,
        unit,
        played,
        config_hash,
        assigned=played.assigned,
        gone={"churned": played.churned},
        frontier=_frontier(config, played, days),
        pages=shown_pages(played.pages, config.oracle, world, dated),
    )
    return found | _serving(config, world, phases, played, unit.users)


def outline(
    world: World,
    phases: Phases,
    unit: Unit,
    left: Played | Switched,
    config_hash: str,
    *,
    assigned: Mapping[str, int],
    gone: Mapping[str, Any],
    frontier: dict[str, Any] | None,
    pages: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """What the results of every run hold, in this order, whatever was randomised.

    Args:
        world: where it was played.
        phases: its days.
        unit: of its analysis.
        left: what its plays left.
        config_hash: of the resolved config.
        assigned: users of each arm.
        gone: who left, as diagnostics.
        frontier: true values along lambda, or None.
        pages: first pages of some users under every arm, or None where there are none to show.
    """
    config = unit.config
    return {
        **opening(config, world, phases, unit.metrics, config_hash),
        "arms": {
            name: {
                "policy": arm.policy,
                "params": changed_params(arm),
                "share": arm.share,
                "users": unit.exposed[name],
                "assigned": assigned[name],
                "totals": totals_of(left.user_days, name),
            }
            for name, arm in config.arms.items()
        },
        **analyse(unit),
        "daily": analyse_days(unit, lambda day: date_of(world, day)),
        "context": context_strip(config, world, phases),
        "allocation": allocation_of(world, left.diaries),
        "thinking": thinking_of(world, left.thinking),
        "frontier": frontier,
        "pages": pages,
        "diagnostics": {
            "warmup_balance": [
                {
                    "metric": row["covariate"],
                    "treatment": row["treatment"],
                    "difference_sd": row["smd"],
                    "p_value": row["p_value"],
                }
                for row in unit.balance()
            ],
            "visits": {name: {"drawn": v.drawn, "served": v.served, "lost": v.lost} for name, v in left.visits.items()},
            "exposed": dict(unit.exposed),
            **gone,
            "warmup_thinking": warmup_thinking_of(world, left.warmup_thinking),
        },
    }


def opening(
    config: ExperimentConfig, world: World, phases: Phases, metrics: Sequence[Metric], config_hash: str
) -> dict[str, Any]:
    """What results begin with: which experiment this is, its days, its world, and what its metrics are."""
    analysis = config.analysis
    return {
        "schema": SCHEMA,
        "name": config.name,
        "seed": config.seed,
        "scenario": config.scenario,
        "config_hash": config_hash,
        "currency": world.currency,
        "horizon": {
            "start": date_of(world, 0),
            "warmup_start": date_of(world, phases.warmup_start),
            "experiment_start": date_of(world, phases.experiment_start),
            "experiment_end": date_of(world, phases.experiment_end),
            "follow_up_end": date_of(world, phases.follow_up_end),
        },
        "world": {
            "kind": config.world.kind,
            "users": world.users,
            "items": world.catalog.items,
            "cities": list(world.environment.cities),
            "contexts": config.world.contexts.model_dump() if isinstance(config.world, GeneratedWorld) else None,
        },
        "analysis": {
            "control": config.control_name,
            "primary": analysis.primary,
            "covariates": list(analysis.covariates),
            **settings_told(analysis, metrics),
        },
        "metrics": metrics_told(metrics),
    }


def settings_told(settings: AnalysisSettings, metrics: Sequence[Metric]) -> dict[str, Any]:
    """How metrics were compared, whatever has units and arms; beside it stand its control and its primary metric."""
    return {
        "metrics": [metric.name for metric in metrics],
        "alpha": settings.alpha,
        "cuped": settings.cuped,
        "correction": settings.correction,
        "guardrails": dict(settings.guardrails),
        "sequential": settings.sequential.model_dump(mode="json"),
        "power": settings.power.model_dump(mode="json"),
    }


def metrics_told(metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    """What metrics are, by name."""
    return {
        metric.name: {
            "title": metric.title,
            "unit": metric.unit,
            "kind": metric.kind,
            "higher_is_better": metric.higher_is_better,
            "formula": metric.formula,
        }
        for metric in metrics
    }


def changed_params(arm: Arm) -> dict[str, Any]:
    """The parameters that differ from the policy's defaults, ``outer.inner`` where they lie in a section.

    The resolved config holds them all.
    """
    return _changed(arm.params, policy_class(arm.policy).Params().model_dump(mode="json"), "")


def _changed(given: dict[str, Any], defaults: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            found |= _changed(value, default, f"{prefix}{key}.")
        elif value != default:
            found[prefix + key] = value
    return found


def date_of(world: World, day: int) -> str:
    """The date of a day of the horizon."""
    return (world.environment.start + timedelta(days=day)).isoformat()


def totals_of(user_days: pl.DataFrame, arm: str) -> dict[str, Any]:
    """What the experiment's days of an arm sum up to."""
    mine = user_days.filter((pl.col("arm") == arm) & (pl.col("phase") == "experiment"))
    return {name: mine[name].sum() for name in TOTALS}


def allocation_of(world: World, diaries: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What allocators wrote down, by arm, with dates; None where no arm has two channels."""

    def dated(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [entry | {"date": date_of(world, entry["day"])} for entry in days]

    found = {}
    for arm, diary in diaries.items():
        found[arm] = diary | {"days": dated(diary["days"])}
        if "split" in diary:
            found[arm]["split"] = diary["split"] | {"days": dated(diary["split"]["days"])}
    return found or None


def thinking_of(world: World, accounts: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What policies wrote down, by arm, with dates; None where no policy thinks."""
    return {arm: _dated(world, account) for arm, account in accounts.items()} or None


def _dated(world: World, account: dict[str, Any]) -> dict[str, Any]:
    return dated_thinking(account, lambda day: date_of(world, day))


def warmup_thinking_of(world: World, told: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the warm-up cost, which is no arm's doing; nobody asks whom it thought about."""
    if told is None:
        return None
    account = _dated(world, told)
    return {key: account[key] for key in ("users", "ledger", "refreshes")}


def _serving(
    config: ExperimentConfig, world: World, phases: Phases, played: Played, totals: pl.DataFrame
) -> dict[str, Any]:
    """The section ``serving`` where the config asks for a cluster, else nothing."""
    if config.serving is None:
        return {}
    metrics = resolve(("tv",))
    days = (phases.experiment_start, phases.experiment_end, phases.follow_up_end)
    under = played.under_arm or {}
    own = {arm: (played.user_days.filter(pl.col("arm") == arm), played.assigned[arm]) for arm in config.arms}
    tables = own | {arm: (table, world.users) for arm, table in under.items()}
    true_value = {
        arm: float(user_totals(pl.concat([played.warmup, table]), *days, metrics)["tv"].to_numpy().mean())
        for arm, table in under.items()
    }
    section = serving_results(
        config,
        played.served,
        played.freshness,
        played.thinking,
        tables,
        totals,
        true_value,
        world.users,
        phases,
        lambda day: date_of(world, day),
    )
    return {"serving": section}


def _frontier(config: ExperimentConfig, played: Played, days: tuple[int, int, int]) -> dict[str, Any] | None:
    """True values of all exposed users along lambda, and under the other arms; None where none was asked for."""
    if config.frontier is None or played.under_arm is None:
        return None
    metrics = resolve(FRONTIER_METRICS)

    def values(table: pl.DataFrame) -> dict[str, float | None]:
        totals = user_totals(pl.concat([played.warmup, table]), *days, metrics)
        sums = {
            name: float(totals[name].to_numpy().sum()) for m in metrics for name in (m.numerator, m.denominator) if name
        }
        whole = {m.name: sums[m.denominator] if m.denominator else float(totals.height) for m in metrics}
        return {m.name: sums[m.numerator] / whole[m.name] if whole[m.name] else None for m in metrics}

    allocation = config.arms[config.frontier.arm].allocation
    assert isinstance(allocation, ExposureAllocation)
    own = allocation.penalty
    points: list[dict[str, Any]] = [
        {"lambda": value, "chosen": False, **values(table)} for value, table in played.frontier.items()
    ]
    points.append({"lambda": own, "chosen": True, **values(played.under_arm[config.frontier.arm])})
    return {
        "arm": config.frontier.arm,
        "points": sorted(points, key=lambda point: point["lambda"]),
        "others": [
            {"arm": arm, **values(table)} for arm, table in played.under_arm.items() if arm != config.frontier.arm
        ],
    }


def context_strip(config: ExperimentConfig, world: World, phases: Phases) -> dict[str, Any]:
    """Weather, occasions and trends from the warm-up to the end, for the report."""
    context = world.environment.observed()
    span = slice(phases.warmup_start, phases.follow_up_end)
    days = range(phases.warmup_start, phases.follow_up_end)
    cities: dict[str, Any] = {}
    for index, city in enumerate(context.cities):
        if (context.condition[index] == UNKNOWN_CONDITION).all():
            continue
        cities[city] = {
            "temp_max": np.round(context.temp_max[index, span], 1).tolist(),
            "temp_min": np.round(context.temp_min[index, span], 1).tolist(),
            "precipitation": np.round(context.precipitation[index, span], 1).tolist(),
            "condition": [CONDITIONS[c] for c in context.condition[index, span]],
        }

    def rows(key: str, names: tuple[str, ...], level: np.ndarray) -> list[dict[str, Any]]:
        return [
            {key: name, "level": np.round(level[span, n], 3).tolist()}
            for n, name in enumerate(names)
            if (level[span, n] > 0.01).any()
        ]

    acts = isinstance(config.world, GeneratedWorld) and config.world.contexts.trends > 0.0
    return {
        "dates": [date_of(world, day) for day in days],
        "cities": cities,
        "occasions": rows("title", context.occasion_titles, context.occasion_level),
        "trends": rows("topic", context.topic_names, context.trend_level) if acts else [],
    }
