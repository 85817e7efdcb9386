"""What serving came to, as ``results.json`` holds it: counted, modelled and projected figures under names of their own.

*Measured* is what this run counted: calls and tokens that the language model was really asked for, visits, the value of
transactions. *Modelled* is what the simulated queue made of the simulated users: who was served how stale. *Projected*
is anything in seconds of a card: it rests on data sheets and step times, its names begin with ``projected_``, and where
the error of the step times is known it carries the range that they give when all of them are shorter or longer by it.
No card was measured, so ``gpu_seconds``, ``mfu`` and ``cost`` of the measured figures are null.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from scipy.stats import norm

from experiments.config import ExperimentConfig
from experiments.playing import Phases
from experiments.serving import ServedArm
from experiments.serving_config import PlatformServing
from experiments.serving_queue import HOUR, ArmQueue, QueueDay
from simulator.batches import Floats
from simulator.serving.backlog import DAY

AGE_QUANTILES: Final = {"p50": 0.5, "p90": 0.9}
DateOf = Callable[[int], str]


def join_freshness(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One tally of an arm that was played in several pieces (see ``policies.delivery.Freshness``)."""
    joined: dict[str, Any] = {"visits": {}, "overdue": {}, "seconds": {}, "hours": {}}
    for part in parts:
        for name in ("visits", "overdue", "seconds"):
            for day, count in part[name].items():
                joined[name][day] = joined[name].get(day, 0) + count
        for day, hours in part["hours"].items():
            tally = joined["hours"].setdefault(day, {})
            for hour, visits in hours.items():
                tally[hour] = tally.get(hour, 0) + visits
    return joined


def serving_results(
    config: ExperimentConfig,
    served: Mapping[str, ServedArm],
    freshness: Mapping[str, Mapping[str, Any]],
    thinking: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, tuple[pl.DataFrame, int]],
    totals: pl.DataFrame,
    true_tv: Mapping[str, float],
    users: int,
    phases: Phases,
    date_of: DateOf,
) -> dict[str, Any]:
    """The ``serving`` section.

    Figures are of the experiment's days from the second on: on the first everybody's thoughts are there already.

    Args:
        config: with a ``serving`` block.
        served: arms that think.
        freshness: their joined tallies.
        thinking: their joined accounts.
        tables: of every arm, user days of those who were played under it, and how many users these are.
        totals: of exposed users under their own arm; see ``user_totals``.
        true_tv: transaction value of a user under each arm, over all users; empty where it is not known.
        users: of the world.
        phases: days.
        date_of: ISO date of a day.
    """
    block = config.serving
    assert block is not None
    days = range(phases.experiment_start + 1, phases.experiment_end)
    arms = {}
    for name in config.arms:
        table, here = tables[name]
        visits = _visits(table, days) / max(here, 1)
        found: dict[str, Any] = {
            "transaction_value": _value(totals, name, config.analysis.alpha) | {"true": true_tv.get(name)},
            "visits_a_user_and_day": visits / len(days),
        }
        if name in served:
            arm = served[name]
            platform_visits = visits * block.users
            found |= {
                "cards": arm.queue.cluster.pool.instances,
                "measured": _measured(arm.queue, thinking.get(name)),
                "modelled": _modelled(arm.queue, freshness.get(name), days, phases),
                "projected": _with_band(block, arm, platform_visits, days),
                "days": [_day(each, arm.queue, date_of) for each in arm.queue.days],
            }
        arms[name] = found
    step = block.cluster().pool.coefficients
    return {
        "settings": {
            "model": block.model,
            "hardware": block.hardware,
            "precision": block.precision,
            "users": block.users,
            "users_each": block.users / users,
            "jobs_at_once": block.jobs_at_once,
            "spread_hours": block.spread_hours,
            "slo": block.slo.model_dump() if block.slo else None,
            "price": block.price.model_dump(mode="json") if block.price else None,
            "step_time_source": "given" if block.step_time else "assumed",
            "step_time_error": step.error,
            "first_date": date_of(days[0]),
            "last_date": date_of(days[-1]),
        },
        "arms": arms,
        "efficient": _efficient(arms),
    }


def _visits(table: pl.DataFrame, days: range) -> int:
    return int(table.filter(pl.col("day").is_between(days[0], days[-1]))["sessions"].sum())


def _value(totals: pl.DataFrame, arm: str, alpha: float) -> dict[str, Any]:
    """Mean over exposed users with its interval, by the normal limit."""
    mine = totals.filter(pl.col("arm") == arm)["tv"].to_numpy().astype(np.float64)
    if len(mine) < 2:
        return {"value": float(mine.mean()) if len(mine) else None, "ci": None}
    mean = float(mine.mean())
    margin = float(norm.ppf(1 - alpha / 2)) * float(mine.std(ddof=1)) / np.sqrt(len(mine))
    return {"value": mean, "ci": [mean - margin, mean + margin]}


def _measured(queue: ArmQueue, account: Mapping[str, Any] | None) -> dict[str, Any]:
    jobs = queue.jobs
    return {
        "sampled_jobs": len(jobs),
        "calls_a_job": jobs.calls,
        "prompt_tokens_a_job": jobs.prompt_tokens,
        "read_tokens_a_job": jobs.read_tokens,
        "written_tokens_a_job": jobs.written_tokens,
        "executed": _executed(account),
        "gpu_seconds": None,
        "mfu": None,
        "cost": None,
    }


def _executed(account: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the jobs of this run's own users took, to be held against the sample; None where a student thought.

    Explanations are written at visits and are in no job: ``explanation_tokens_left_out`` are those read and written for
    them, ``explanation_share_left_out`` is their share of all that the arm's model read and wrote.
    """
    refreshes = (account or {}).get("ledger", {}).get("jobs", {}).get("refresh")
    if account is None or not refreshes or not refreshes["jobs"]:
        return None
    roles = account["ledger"]["roles"]
    inside = [role for name, role in roles.items() if name != "explainer"]
    jobs = refreshes["jobs"]
    read = sum(role["prompt_tokens"] - role["cached_tokens"] for role in inside)
    # The token that ends an answer is written too.
    written = sum(role["generated_tokens"] + role["calls"] for role in inside)
    left_out = 0
    if told := roles.get("explainer"):
        left_out = told["prompt_tokens"] - told["cached_tokens"] + told["generated_tokens"] + told["calls"]
    return {
        "jobs": jobs,
        "prompt_tokens_a_job": sum(role["prompt_tokens"] for role in inside) / jobs,
        "read_tokens_a_job": read / jobs,
        "written_tokens_a_job": written / jobs,
        "explanation_tokens_left_out": left_out,
        "explanation_share_left_out": left_out / (left_out + read + written),
    }


def _modelled(queue: ArmQueue, freshness: Mapping[str, Any] | None, days: range, phases: Phases) -> dict[str, Any]:
    inside = [day for day in queue.days if day.day in days]
    mine = np.isin(queue.done.day, days)
    ended = queue.done.ready[mine] <= phases.experiment_end * DAY
    granted = sum(day.granted for day in inside)
    return {
        "jobs_granted": granted,
        "jobs_merged": sum(day.merged for day in inside),
        "jobs_unfinished": int((~ended).sum()),
        **_ages(freshness, days),
    }


def _ages(freshness: Mapping[str, Any] | None, days: range) -> dict[str, Any]:
    """Age of the tags that visits were served by, in hours; quantiles in whole hours begun."""
    hours: dict[int, int] = {}
    visits = overdue = seconds = 0
    if freshness is not None:
        for day in days:
            visits += freshness["visits"].get(day, 0)
            overdue += freshness["overdue"].get(day, 0)
            seconds += freshness["seconds"].get(day, 0)
            for hour, count in freshness["hours"].get(day, {}).items():
                hours[hour] = hours.get(hour, 0) + count
    if not visits:
        return {"visits": 0, "age_hours": None, "older_than_asked": None}
    reached = np.cumsum([hours[hour] for hour in sorted(hours)])
    quantiles = {
        name: int(sorted(hours)[int(np.searchsorted(reached, share * visits))]) for name, share in AGE_QUANTILES.items()
    }
    return {
        "visits": visits,
        "age_hours": {"mean": seconds / visits / HOUR, **quantiles},
        "older_than_asked": overdue / visits,
    }


def _with_band(
    block: PlatformServing, arm: ServedArm, visits: float, days: range
) -> dict[str, dict[str, float | None]]:
    """Projected figures, each with its range where the error of the step times is known."""
    gpus: tuple[int | None, ...] = arm.gpus_for_slo or (None, None, None)
    cases = [
        _projected(block, queue, number, visits, days)
        for queue, number in zip((arm.queue, *(arm.band or ())), gpus, strict=False)
    ]
    central = cases[0]
    found = {}
    for name, value in central.items():
        range_ = [each for case in cases if (each := case[name]) is not None]
        known = len(cases) > 1 and value is not None
        found[name] = {
            "value": value,
            "low": min(range_) if known else None,
            "high": max(range_) if known else None,
        }
    return found


def _projected(
    block: PlatformServing, queue: ArmQueue, gpus_for_slo: int | None, visits: float, days: range
) -> dict[str, float | None]:
    """Figures of one set of step times; ``visits`` are the platform's on these days."""
    cards = queue.cluster.pool.instances
    inside = [day for day in queue.days if day.day in days]
    seconds = len(days) * DAY * cards
    served = sum(day.queue.served for day in inside)
    busy = sum(day.busy(cards) for day in inside)
    work = served * queue.full.busy
    operations = served * queue.full.flops
    peak = queue.cluster.pool.accelerator.peak(queue.cluster.precision)
    thousands = visits / 1000.0
    mine = np.isin(queue.done.day, days)
    wait = (queue.done.begun - queue.done.due)[mine]
    took = (queue.done.ready - queue.done.due)[mine]
    price = block.price

    def each(total: float, whole: float) -> float | None:
        return total / whole if whole else None

    found: dict[str, float | None] = {
        "projected_gpu_seconds_work_per_job": queue.full.busy,
        "projected_gpu_seconds_work_per_1000_visits": each(work, thousands),
        "projected_gpu_seconds_busy_per_1000_visits": each(busy, thousands),
        "projected_gpu_seconds_provisioned_per_1000_visits": each(seconds, thousands),
        "projected_gpu_hours_work_a_day": work / HOUR / len(days),
        "projected_gpu_hours_busy_a_day": busy / HOUR / len(days),
        "projected_gpu_hours_provisioned_a_day": seconds / HOUR / len(days),
        "projected_cost_per_1000_visits": each(seconds / HOUR * price.per_hour, thousands) if price else None,
        "projected_load_mean": float(np.mean([day.queue.load for day in inside])) if inside else None,
        "projected_load_busiest": max((day.queue.load for day in inside), default=None),
        "projected_utilisation": busy / seconds,
        "projected_mfu_busy": each(operations, busy * peak),
        "projected_mfu_provisioned": operations / (seconds * peak),
        "projected_gpus_for_slo": gpus_for_slo,
        "projected_slo_kept": float((took <= block.slo.job).mean()) if block.slo and len(took) else None,
    }
    found |= _quantiles("projected_queue_wait_seconds", wait, np.ones(len(wait)))
    found |= _quantiles("projected_refresh_seconds", took, np.ones(len(took)))
    for name in ("ttft", "tpot"):
        found |= _quantiles(f"projected_{name}_seconds", *_over_days(queue, inside, name))
    return found


def _over_days(queue: ArmQueue, days: Sequence[QueueDay], name: str) -> tuple[Floats, Floats]:
    """A latency of calls in the cluster over all days with the jobs that each value stands for, [values] each."""
    values, weights = [np.zeros(0)], [np.zeros(0)]
    for day in days:
        light = day.light_jobs if day.light else 0.0
        for stretch, jobs in ((queue.full, day.queue.served - light), (day.light, light)):
            if stretch is None or jobs <= 0.0:
                continue
            found = getattr(stretch, name)
            there = found[~np.isnan(found)]
            if len(there):
                values.append(there)
                weights.append(np.full(len(there), jobs / len(there)))
    return np.concatenate(values), np.concatenate(weights)


def _quantiles(name: str, values: Floats, weights: Floats) -> dict[str, float | None]:
    """Mean and quantiles of weighted values, None where there are none."""
    keys = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    if not len(values):
        return {f"{name}_{key}": None for key in ("mean", *keys)}
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    found: dict[str, float | None] = {f"{name}_mean": float(values @ weights / weights.sum())}
    for key, share in keys.items():
        place = min(int(np.searchsorted(reached, share * reached[-1])), len(values) - 1)
        found[f"{name}_{key}"] = float(values[order[place]])
    return found


def _day(day: QueueDay, queue: ArmQueue, date_of: DateOf) -> dict[str, Any]:
    cards = queue.cluster.pool.instances
    return {
        "date": date_of(day.day),
        "granted": day.granted,
        "merged": day.merged,
        "projected_jobs": day.queue.jobs,
        "projected_load": day.queue.load,
        "projected_utilisation": day.busy(cards) / (cards * DAY),
        "projected_waiting_hours": day.queue.after / day.queue.capacity / HOUR,
    }


def _efficient(arms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Arms for which no other has as much transaction value for as few hours of cards, and more of one of the two."""

    def point(arm: Mapping[str, Any]) -> tuple[float, float] | None:
        value = arm["transaction_value"]["value"]
        hours = arm["projected"]["projected_gpu_hours_work_a_day"]["value"] if "projected" in arm else 0.0
        return None if value is None else (hours, value)

    points = {name: at for name, arm in arms.items() if (at := point(arm)) is not None}
    return [
        name
        for name, (hours, value) in points.items()
        if not any(h <= hours and v >= value and (h, v) != (hours, value) for h, v in points.values())
    ]
