"""The story of a realism scorecard: from a config to how far its world is from a real one.

A log world is drawn anew for the days whose purchases its fit has not seen, and held against them. A generated world is
played, and held against public counts. Does not know how distances are found, nor how findings are shown.
"""

from datetime import date, timedelta
from typing import Any, Final

from experiments.config import ExperimentConfig, config_hash
from experiments.errors import UserError
from experiments.progress import Progress
from experiments.provenance import Stopwatch
from experiments.realism_generated import play_generated
from experiments.realism_log import compare_logs
from experiments.realism_rows import Noise, worst_of
from experiments.runner import phases_of, world_of
from experiments.world_config import FittedPurchases, LogWorld
from experiments.worlds import READERS
from simulator.datasets.interactions import DatasetError, PurchaseLog
from simulator.fitted.continuation import continue_log
from simulator.pools import Engine
from simulator.shards import PROCESSES

SCHEMA: Final = 1
FIT_MONTHS: Final = 9
_TAOBAO: Final = "shares of actions in the Taobao log of 25 November to 3 December 2017"


def run_realism(
    config: ExperimentConfig,
    fit_months: int | None,
    times: int,
    workers: int,
    progress: Progress,
    clock: Stopwatch,
    engine: Engine = PROCESSES,
) -> dict[str, Any]:
    """Hold a config's world against reality.

    Args:
        config: of an experiment; its arms matter for a generated world only.
        fit_months: of a log world whose purchases are recorded, months from its start that are fitted to; 9 if None.
        times: halvings of the real users, or draws from real counts, that make each floor.
        workers: shards of a generated world's history played at once; the outcome does not depend on it.
        progress: is told how far things are.
        clock: is told of the stages.
        engine: where they are played; the outcome does not depend on it.

    Returns:
        The contents of ``realism.json``; docs/guide/realism.md says what they are.

    Raises:
        UserError: months are given where they do not apply, cannot be fitted to, or leave nothing to compare; or too
            little happened for any row.
        DatasetError: the log cannot be used.
    """
    noise = Noise(times, config.seed)
    about = {
        "schema": SCHEMA,
        "name": config.name,
        "config_hash": config_hash(config),
        "seed": config.seed,
        "times": times,
    }
    if isinstance(config.world, LogWorld):
        found = _of_log(config, config.world, fit_months, noise, progress, clock)
    else:
        if fit_months is not None:
            raise UserError(f"--fit-months: {fit_months}, but a generated world is fitted to no log; leave it out")
        found = _of_generated(config, noise, engine, workers, progress, clock)
    if not found["rows"]:
        raise UserError(
            "world: too little happened in the days compared for any row (use more users, more days or a longer log)"
        )
    return {**about, **found, "worst": worst_of(found["rows"])}


def _of_log(
    config: ExperimentConfig,
    world: LogWorld,
    fit_months: int | None,
    noise: Noise,
    progress: Progress,
    clock: Stopwatch,
) -> dict[str, Any]:
    if isinstance(world.purchases, FittedPurchases) and fit_months is not None:
        raise UserError(
            f"--fit-months: {fit_months}, but world.purchases.from_day says {world.purchases.from_day}; give one"
        )
    with clock.stage("log"), progress.stage("reading the log", 1) as stage:
        real = READERS[world.dataset](world.path)
        stage.advance()
    first = _first_day(real, world, fit_months)
    with clock.stage("drawing"), progress.stage("fitting and drawing", 1) as stage:
        try:
            simulated = continue_log(real, first, real.days - first, world.country, config.seed)
        except DatasetError as error:
            raise UserError(f"{_asked(world, fit_months)} ({error})") from error
        stage.advance()
    with clock.stage("comparing"), progress.stage("comparing", 1) as stage:
        found = compare_logs(real, simulated, first, real.days, noise)
        stage.advance()
    recorded = not isinstance(world.purchases, FittedPurchases)
    return {
        "kind": "log",
        "fitted": [real.start.isoformat(), _iso(real, first - 1)],
        "scored": [_iso(real, first), _iso(real, real.days - 1)],
        "from_day": first,
        "plays_the_log": recorded,
        "against": f"purchases of {world.dataset}, {_iso(real, first)} to {_iso(real, real.days - 1)}",
        "calibration": [],
        **found,
    }


def _of_generated(
    config: ExperimentConfig, noise: Noise, engine: Engine, workers: int, progress: Progress, clock: Stopwatch
) -> dict[str, Any]:
    if config.traffic.kind == "trace":
        raise UserError("traffic: a trace's visits are not the world's; leave traffic out to score the world")
    phases = phases_of(config)
    with clock.stage("world"), progress.stage("building the world", 1) as stage:
        built = world_of(config)
        stage.advance()
    if (phases.experiment_end - phases.warmup_start) < 7:
        raise UserError(
            f"horizon: {phases.experiment_end - phases.warmup_start} days of warm-up and experiment; a scorecard needs "
            "a week at least"
        )
    with clock.stage("playing"):
        found = play_generated(config, built, phases, engine, workers, progress, noise)
    start = built.world.environment.start
    return {
        "kind": "generated",
        "scored": [
            (start + timedelta(days=phases.warmup_start)).isoformat(),
            (start + timedelta(days=phases.experiment_end - 1)).isoformat(),
        ],
        "against": _TAOBAO,
        "control": config.control_name,
        "two_sample": None,
        **found,
    }


def _first_day(real: PurchaseLog, world: LogWorld, fit_months: int | None) -> int:
    """First day that is drawn and scored, counted from the log's first."""
    if isinstance(world.purchases, FittedPurchases):
        first = world.purchases.from_day
    else:
        months = FIT_MONTHS if fit_months is None else fit_months
        if months > real.days // 28:
            raise UserError(f"{_asked(world, fit_months)} (the log has {real.days} days; leave some to score)")
        passed = real.start.month - 1 + months
        first = (_clipped(real.start.year + passed // 12, passed % 12 + 1, real.start.day) - real.start).days
    if not 0 < first < real.days:
        raise UserError(
            f"{_asked(world, fit_months)} (that is {first} days, and the log has {real.days}; leave some to score)"
        )
    return first


def _asked(world: LogWorld, fit_months: int | None) -> str:
    """How long a fit was asked for, by what the user can change."""
    if isinstance(world.purchases, FittedPurchases):
        return f"world.purchases.from_day: {world.purchases.from_day}"
    return f"--fit-months: {FIT_MONTHS} if left out" if fit_months is None else f"--fit-months: {fit_months}"


def _clipped(year: int, month: int, day: int) -> date:
    """That date, or the month's last day where it has fewer."""
    following = date(year + month // 12, month % 12 + 1, 1)
    return min(date(year, month, 1) + timedelta(days=day - 1), following - timedelta(days=1))


def _iso(log: PurchaseLog, day: int) -> str:
    return (log.start + timedelta(days=day)).isoformat()
