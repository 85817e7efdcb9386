"""A pilot on a config's own history: what a planned test could notice, and the users and days it would need.

The last days of the history are played under the exploring logger, with a log's arrivals where there is one, and read
as if they were a warm-up and an experiment without arms. That costs a fraction of a run: no policy is fitted and no arm
is played. Variances are those under the logger, which shows half of its items at random; under the arms they differ
somewhat.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from allocation.top_slots import TopSlots
from experiments.assignment_config import ByCityHours
from experiments.blocks import Grid, block_metrics, block_rows, with_covariates
from experiments.cluster_analysis import CITY
from experiments.config import ExperimentConfig
from experiments.errors import UserError
from experiments.history import make_logger
from experiments.playing import Phases
from experiments.progress import Progress
from experiments.run_analysis import scorecard
from experiments.runner import phases_of
from experiments.segmenting import Surroundings
from experiments.switchback import period_of
from experiments.verdict import design_of
from experiments.world_config import GeneratedWorld
from experiments.worlds import BuiltWorld, build_world
from metrics.clusters import FEWEST, clustered, intraclass_correlation
from metrics.cuped import NO_VARIANCE, UnadjustableError, adjusted_moments, plain_moments
from metrics.definitions import Metric
from metrics.estimates import arm_aggregates, columns_of
from metrics.power import power_of, smallest_effect
from metrics.sequential.path import looks_cost
from metrics.user_totals import user_totals
from policies.registry import RegisteredPolicy
from simulator.engine import Simulation, opening_state
from simulator.pools import Engine, Tick
from simulator.shards import PROCESSES, cut
from simulator.state import State, take_state
from simulator.tables import UserDays, UserPeriods
from simulator.world import World

RANDOMISED: Final = {"user": "users", "city": "cities", "city_hours": "blocks"}
_PILOT = "pilot"


@dataclass(frozen=True)
class PilotTask:
    """Days of a shard under the logger, of which the last are recorded, by periods of ``hours`` or by days."""

    world: World
    state: State
    logger: RegisteredPolicy
    phases: Phases
    begins: int
    hours: int | None = None


def play_pilot(task: PilotTask, tick: Tick) -> pl.DataFrame:
    """Play a shard's pilot; user days from the pilot's warm-up on."""
    first, last = task.phases.warmup_start, task.phases.experiment_end
    if task.begins < first:
        Simulation(task.world, task.state, task.logger, TopSlots(), [], lambda day: tick()).run(task.begins, first)
    users, hours = task.world.users, task.hours
    record = UserDays(users, first, last) if hours is None else UserPeriods(users, first, last, hours)
    Simulation(task.world, task.state, task.logger, TopSlots(), [record], lambda day: tick()).run(first, last)
    user = task.world.population.observed.user
    arm = pl.Series([_PILOT]).to_numpy().repeat(len(user))
    return record.table(user, arm, task.phases.of(first, last))


def pilot_phases(config: ExperimentConfig) -> Phases:
    """The last days of the history in the place of warm-up and experiment; fewer where the history is shorter.

    A short history gives the experiment what the planned proportion of the two leaves.
    """
    planned = phases_of(config)
    history, warmup, days = config.horizon.history_days, config.horizon.warmup_days, config.horizon.days
    if warmup + days > history:
        warmup = min(history - 1, history * warmup // (warmup + days))
        days = history - warmup
    end = planned.warmup_start
    return Phases(end - days - warmup, end - days, end, end)


def run_pilot(
    config: ExperimentConfig, workers: int, progress: Progress, engine: Engine = PROCESSES
) -> tuple[pl.DataFrame, Phases]:
    """Play the pilot: user days of all users, and which days they are.

    Where cities are randomised the rows have the user's ``city``; where blocks of hours are, they are periods of a day
    with ``hour``, and with the index of the user's city as ``place``.

    Raises:
        DatasetError: a world's log cannot be used.
        WorkerDiedError: workers died again and again.
    """
    phases = pilot_phases(config)
    with engine.pool(workers) as pool:
        with progress.stage("building the world", 1) as stage:
            built = build_world(
                config.world,
                start=config.horizon.start,
                days=phases.experiment_end,
                scenario=config.scenario,
                slots=config.page.slots,
                seed=config.seed,
                seen_days=config.horizon.history_days,
            )
            stage.advance()
        begins = phases.warmup_start if built.recorded else 0
        logger = make_logger(built, config.seed)
        tasks = [
            PilotTask(built.world.take(rows), _state(built, rows, begins), logger, phases, begins, period_of(config))
            for rows in cut(built.world.users, pool.workers)
        ]
        days = phases.experiment_end - begins
        with progress.stage("playing the pilot", days * len(tasks)) as stage:
            parts = pool.map(play_pilot, tasks, stage.advance)
    user_days = pl.concat(parts).sort("user", "day")
    if config.assignment.unit == "city_hours":
        return user_days.sort("user", "day", "hour").with_columns(
            pl.Series("place", built.world.population.observed.city[user_days["user"].to_numpy()])
        ), phases
    if config.assignment.unit == "city":
        user_days = Surroundings.of(built.world).with_city(user_days)
    return user_days, phases


def _state(built: BuiltWorld, rows: Any, begins: int) -> State:
    if built.recorded is not None:
        return take_state(built.recorded.state(begins), rows)
    return opening_state(built.world.take(rows), 0)


def plan_power(config: ExperimentConfig, user_days: pl.DataFrame, phases: Phases) -> dict[str, Any]:
    """What the planned test could notice, from a pilot's user days.

    Every metric is planned with the users of the control and of the smallest treatment. With several looks the primary
    metric pays for them (Jennison and Turnbull's inflation factor).

    Returns:
        ``randomised`` (users, cities or blocks), ``clusters`` (cities of the pilot, or None), ``exposed`` (users of
        the pilot), ``days`` (planned), ``pilot_days``, ``alpha``, ``target_lift``, ``wanted``,
        ``comparisons``, ``looks``, ``looks_cost``, ``primary`` and ``metrics``: for each ``metric``, ``title``,
        ``value``, ``unit``, ``log_variance`` (of one user, on the scale of lifts, after CUPED),
        ``variance_reduction``, ``users`` (exposed, both arms), ``power`` for the target, ``smallest_lift``, the same
        ``corrected`` as the first of all comparisons, ``users_needed`` (exposed, both arms), ``growth_needed`` (of the
        world) and ``days_needed``; ``None`` where the pilot cannot tell. Where blocks are randomised, ``exposed``,
        ``users`` and ``users_needed`` count them. Where cities are, ``users``,
        ``users_needed`` and ``log_variance`` are those of cities as large as these, and ``design_effect`` and
        ``correlation`` are there too.
    """
    analysis = config.analysis
    planned = config.horizon.days
    pilot_days = phases.experiment_end - phases.experiment_start
    looks = [day / planned for day in analysis.sequential.days_of(planned)]
    cost = looks_cost(looks, design_of(analysis), analysis.power.power)
    control = config.arms[config.control_name].share
    treatment = min(arm.share for name, arm in config.arms.items() if name != config.control_name)
    metrics = scorecard(config)
    start, unit = phases.experiment_start, config.assignment.unit
    by_day: dict[int, pl.DataFrame]
    if unit == "city_hours":
        metrics = tuple(block_metrics(metrics))
        by_day = _blocks_by_day(config, user_days, phases)
        pilot_days = max(by_day)
    else:
        by_day = {
            day: user_totals(user_days, start, start + day, start + day, metrics) for day in range(1, pilot_days + 1)
        }
    if unit == "city":
        cities = user_days.select("user", CITY).unique()
        by_day = {
            day: totals.join(cities, on="user", how="left", maintain_order="left") for day, totals in by_day.items()
        }
    rows = []
    for metric in metrics:
        growth = cost if metric.name == analysis.primary else 1.0
        plan = _Plan(config, metric, control, treatment, growth)
        rows.append(plan.row(by_day))
    return {
        "name": config.name,
        "primary": analysis.primary,
        "randomised": RANDOMISED[unit],
        "clusters": by_day[pilot_days][CITY].n_unique() if unit == "city" else None,
        "exposed": by_day[pilot_days].height,
        "days": planned,
        "pilot_days": pilot_days,
        "alpha": analysis.alpha,
        "target_lift": analysis.power.lift,
        "wanted": analysis.power.power,
        "comparisons": len(metrics) * (len(config.arms) - 1),
        "looks": len(looks),
        "looks_cost": cost,
        "metrics": rows,
    }


def _blocks_by_day(config: ExperimentConfig, periods: pl.DataFrame, phases: Phases) -> dict[int, pl.DataFrame]:
    """The pilot's blocks, with their warm-up, after each number of days that holds whole blocks.

    Raises:
        UserError: the pilot is shorter than a block.
    """
    design = config.assignment
    assert isinstance(design, ByCityHours)
    assert isinstance(config.world, GeneratedWorld)
    start, step = phases.experiment_start, max(design.hours // 24, 1)
    days = range(step, phases.experiment_end - start + 1, step)
    if not days:
        raise UserError(
            f"assignment.hours: {design.hours}, and the pilot on the history has {phases.experiment_end - start} days; "
            "use shorter blocks or raise horizon.history_days"
        )
    city = np.zeros(int(periods["user"].to_numpy().max(initial=0)) + 1, np.int64)
    city[periods["user"].to_numpy()] = periods["place"].to_numpy()
    names = tuple(str(n) for n in range(len(config.world.cities) * config.world.cities_per_climate))
    warmup = periods.filter(pl.col("day") < start)
    found = {}
    for day in days:
        grid = Grid(names, city, start, day, design.hours, design.burn_in_hours)
        played = periods.filter((pl.col("day") >= start) & (pl.col("day") < start + day))
        rows = block_rows(grid, played, np.full((len(names), grid.blocks), _PILOT))
        found[day] = with_covariates(grid, rows, warmup)
    return found


class _Plan:
    """One metric of a planned test.

    Args:
        config: the experiment.
        metric: what is compared.
        control: share of the control.
        treatment: share of the smallest treatment.
        growth: how much more information the looks take.
    """

    def __init__(
        self, config: ExperimentConfig, metric: Metric, control: float, treatment: float, growth: float
    ) -> None:
        self._config, self._metric, self._growth = config, metric, growth
        self._shares = (control, treatment)
        self._by_city = config.assignment.unit == "city"
        self._few = config.assignment.unit != "user"

    def row(self, by_day: dict[int, pl.DataFrame]) -> dict[str, Any]:
        """The metric's plan, from totals after each number of days."""
        metric, analysis = self._metric, self._config.analysis
        last = max(by_day)
        found: dict[str, Any] = {"metric": metric.name, "title": metric.title, "unit": metric.unit}
        empty = dict.fromkeys(
            (
                "value",
                "log_variance",
                "variance_reduction",
                "users",
                "power",
                "smallest_lift",
                "smallest_lift_corrected",
                "users_needed",
                "growth_needed",
                "days_needed",
            )
        )
        measured = self._measured(by_day[last])
        if self._by_city:
            found |= {"design_effect": None, "correlation": None}
        if measured is None:
            return found | empty
        value, variance, reduction, exposed = measured
        if self._by_city:
            found |= self._clustering(by_day[last], variance / exposed)
        degrees = self._degrees(exposed)
        error = self._error(variance, exposed)
        family = len(analysis.metrics) * (len(self._config.arms) - 1)
        alphas = (analysis.alpha, analysis.alpha if analysis.correction == "none" else analysis.alpha / family)
        smallest = [math.expm1(smallest_effect(error, alpha, analysis.power.power, degrees)) for alpha in alphas]
        target = math.log1p(analysis.power.lift)
        enough = (smallest_effect(error, analysis.alpha, analysis.power.power, degrees) / target) ** 2
        both = sum(self._shares)
        return found | {
            "value": value,
            "log_variance": variance,
            "variance_reduction": reduction,
            "users": round(exposed * both),
            "power": power_of(target, error, analysis.alpha, degrees=degrees),
            "smallest_lift": smallest[0],
            "smallest_lift_corrected": smallest[1],
            "users_needed": max(math.ceil(exposed * both * enough), 2 * FEWEST if self._few else 1),
            "growth_needed": enough,
            "days_needed": self._days_needed(by_day),
        }

    def _days_needed(self, by_day: dict[int, pl.DataFrame]) -> int | None:
        """The fewest days of the pilot after which the target is noticed as wanted; None if they do not suffice."""
        analysis = self._config.analysis
        for day, totals in sorted(by_day.items()):
            measured = self._measured(totals)
            if measured is None:
                continue
            error = self._error(measured[1], measured[3])
            degrees = self._degrees(measured[3])
            target = math.log1p(analysis.power.lift)
            if power_of(target, error, analysis.alpha, degrees=degrees) >= analysis.power.power:
                return day
        return None

    def _error(self, variance: float, exposed: int) -> float:
        """Standard error of the log lift, with as many users as the pilot had."""
        control, treatment = self._shares
        return math.sqrt(self._growth * variance * (1.0 / control + 1.0 / treatment) / exposed)

    def _degrees(self, units: int) -> float | None:
        """Degrees of freedom of the test, where its units are few."""
        return max(units * sum(self._shares) - 2.0, 1.0) if self._few else None

    def _clustering(self, totals: pl.DataFrame, squared_error: float) -> dict[str, float | None]:
        """What randomising cities costs beside users, and how alike users of a city are."""
        alone = self._measured(totals, clusters=False)
        assert alone is not None  # cities were measured, and they have users
        return {
            "design_effect": squared_error / (alone[1] / alone[3]),
            "correlation": intraclass_correlation(totals, CITY, self._metric),
        }

    def _measured(self, totals: pl.DataFrame, clusters: bool = True) -> tuple[float, float, float | None, int] | None:
        """Value, variance of one unit's part in its logarithm, what CUPED removes, and units: users, or cities."""
        metric, cuped = self._metric, self._config.analysis.cuped
        rows = totals.drop_nulls(columns_of(metric, cuped))
        if self._by_city and clusters:
            if rows[CITY].n_unique() < FEWEST:
                return None
            rows, (metric,) = clustered(rows, CITY, [metric])
        if rows.height < 2:
            return None
        arm = arm_aggregates(rows, [_PILOT], [metric], cuped)[_PILOT]
        if arm.mean(metric.denominator) <= 0.0 or arm.mean(metric.numerator) <= 0.0:
            return None
        plain = plain_moments(metric, arm)
        if plain.variance <= NO_VARIANCE * plain.value**2:
            return None
        variance, reduction = plain.variance, None
        if cuped:
            try:
                (adjusted, _), _ = adjusted_moments(metric, arm, arm)
                variance, reduction = adjusted.variance, 1.0 - adjusted.variance / plain.variance
            except UnadjustableError:
                pass
        return plain.value, variance / plain.value**2, reduction, rows.height
