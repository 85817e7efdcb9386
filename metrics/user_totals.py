"""From days to users: one row for every exposed user, with what the metrics and their covariates need.

Knows the windows (warm-up, experiment, follow-up) and the rule of exposure. Does not know any test.
"""

from collections.abc import Sequence

import polars as pl

from metrics.definitions import ACTIVE_DAYS_BEFORE, ADDITIVE_COLUMNS, Metric


def user_totals(
    user_days: pl.DataFrame,
    experiment_start_day: int,
    experiment_end_day: int,
    observed_end_day: int,
    metrics: Sequence[Metric],
) -> pl.DataFrame:
    """Totals of every exposed user.

    A user is exposed by the first session of the experiment; users who never come are not analysed. This
    triggering does not depend on the arm, since every user has the same warm-up. An ``experiment_end_day``
    before the planned end gives the totals as they stood on that morning.

    Args:
        user_days: one row for each user and day with at least one session: ``user``, ``arm``, ``day`` (days
            since the horizon's start), ``phase`` and the additive columns.
        experiment_start_day: first day of the experiment; days before it are the warm-up.
        experiment_end_day: first day after the experiment.
        observed_end_day: first day after the follow-up.
        metrics: those whose windows of return are to be filled.

    Returns:
        Sorted by user: ``user``, ``arm``, ``first_day``; every additive column summed over the experiment;
        the same columns named ``<column>_before`` summed over the warm-up, and ``active_days_before``, 0 for
        users without warm-up sessions; one column for each metric of return, null for users whose window was
        not observed to its end.

    Raises:
        ValueError: if the days are out of order, if phases contradict them, or if a user has two arms.
    """
    if not experiment_start_day < experiment_end_day <= observed_end_day:
        raise ValueError(
            f"experiment_end_day: {experiment_end_day} (must lie after the start, {experiment_start_day}, "
            f"and not after the end of the observation, {observed_end_day})"
        )
    day = pl.col("day")
    in_warmup = day < experiment_start_day
    in_experiment = (day >= experiment_start_day) & (day < experiment_end_day)
    _check_phases(user_days, in_warmup, in_experiment)

    # Float sums depend on the order of their terms: sorting makes equal tables give equal bytes.
    observed = user_days.filter(day < observed_end_day).sort("user", "day")
    totals = (
        observed.filter(in_experiment)
        .group_by("user", "arm")
        .agg(day.min().alias("first_day"), *(pl.col(name).sum() for name in ADDITIVE_COLUMNS))
        .sort("user")
    )
    repeated = totals.height - totals["user"].n_unique()
    if repeated:
        raise ValueError(f"user_days.arm: {repeated} users appear under two arms (a user must keep one arm)")

    before = (
        observed.filter(in_warmup)
        .group_by("user")
        .agg(
            *(pl.col(name).sum().alias(f"{name}_before") for name in ADDITIVE_COLUMNS),
            day.n_unique().cast(pl.Int64).alias(ACTIVE_DAYS_BEFORE),
        )
    )
    totals = totals.join(before, on="user", how="left").with_columns(
        pl.col(ACTIVE_DAYS_BEFORE, *(f"{name}_before" for name in ADDITIVE_COLUMNS)).fill_null(0)
    )
    windowed = [metric for metric in metrics if metric.window is not None]
    if windowed:
        returns = _returns(observed, totals.select("user", "first_day"), windowed, observed_end_day)
        totals = totals.join(returns, on="user", how="left")
    return totals.sort("user")


def _check_phases(user_days: pl.DataFrame, in_warmup: pl.Expr, in_experiment: pl.Expr) -> None:
    phase = pl.col("phase")
    wrong = user_days.filter(
        (in_warmup & (phase != "warmup"))
        | (in_experiment & (phase != "experiment"))
        | (~in_warmup & (phase == "warmup"))
    )
    if wrong.height:
        found, on_day = wrong.select("phase", "day").row(0)
        raise ValueError(
            f"user_days.phase: {found!r} on day {on_day} (contradicts the days of the experiment, "
            "experiment_start_day to experiment_end_day)"
        )


def _returns(
    observed: pl.DataFrame, exposed: pl.DataFrame, metrics: Sequence[Metric], observed_end_day: int
) -> pl.DataFrame:
    """The metrics of return of every exposed user, from the days on which they came: [users] rows."""
    offset = pl.col("day") - pl.col("first_day")
    columns = []
    for metric in metrics:
        first, end = metric.window or (0, 0)
        active = ((offset >= first) & (offset < end)).sum().cast(pl.Int64)
        if metric.window_value == "any":
            active = (active > 0).cast(pl.Int64)
        seen_to_its_end = pl.col("first_day").first() + end <= observed_end_day
        columns.append(pl.when(seen_to_its_end).then(active).alias(metric.numerator))
    return observed.select("user", "day").join(exposed, on="user").group_by("user").agg(columns)
