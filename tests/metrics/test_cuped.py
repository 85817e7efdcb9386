from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.cuped import UnadjustableError, adjusted_moments, plain_moments
from metrics.definitions import Covariate, Metric, resolve
from metrics.estimates import Estimate, arm_aggregates, estimate

Builder = Callable[..., pl.DataFrame]
ARMS = ("control", "treatment")


def measured(totals: pl.DataFrame, metric: Metric, cuped: bool = True) -> Estimate:
    """The comparison of the two arms."""
    aggregates = arm_aggregates(totals, ARMS, [metric], cuped)
    return estimate(metric, aggregates["control"], aggregates["treatment"], 0.05, cuped)


def with_covariates(name: str, *covariates: Covariate) -> Metric:
    """A metric with these covariates."""
    (metric,) = resolve([name])
    return replace(metric, covariates=covariates)


def test_several_covariates_are_a_regression(population: Builder) -> None:
    """Where arms are alike in size, the adjusted effect is near that of least squares on arm and covariates."""
    totals = population(3, 4000)
    names = ["sessions_before", "clicks_before", "gmv_before"]
    found = measured(totals, with_covariates("ipv", *map(Covariate, names)))
    design = np.column_stack([np.ones(totals.height), totals["arm"] == "treatment", totals.select(names).to_numpy()])
    fitted = sm.OLS(totals["ipv"].to_numpy().astype(float), design).fit(cov_type="HC2")
    assert found.effect == pytest.approx(fitted.params[1], rel=0.02, abs=0.02)
    assert found.std_error == pytest.approx(fitted.bse[1], rel=0.02)
    assert "with 3 covariates" in found.method


@pytest.mark.parametrize("name", ["ctr", "ipv"])
def test_another_covariate_never_loses_variance_reduction(population: Builder, name: str) -> None:
    """With more covariates at least as much variance is removed, means and ratios alike."""
    totals, (metric,) = population(5, 3000), resolve([name])
    more = (Covariate("sessions_before"), Covariate("orders_before", "clicks_before"))
    reductions = [
        measured(totals, replace(metric, covariates=(*metric.covariates, *more[:count]))).variance_reduction
        for count in range(3)
    ]
    assert all(reduction is not None and reduction > 0.1 for reduction in reductions)
    # The coefficients are those of both arms together, the variance is that of each arm.
    assert all(after >= before - 1e-3 for before, after in pairwise(reductions))  # type: ignore[operator]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-3.0, 3.0), st.floats(0.1, 100.0))
def test_units_of_a_covariate_do_not_matter(seed: int, shift: float, scale: float) -> None:
    """Moving and stretching a covariate changes nothing."""
    rng = np.random.default_rng(seed)
    before = rng.normal(5.0, 2.0, (300, 2))
    totals = pl.DataFrame(
        {
            "sessions": before @ [1.0, 0.5] + rng.normal(0.0, 1.0, 300) + 20.0,
            "a": before[:, 0],
            "b": before[:, 1],
            "c": scale * before[:, 0] + shift,
            "arm": ["control", "treatment"] * 150,
        }
    )
    plain = measured(totals, with_covariates("sessions", Covariate("a"), Covariate("b")))
    moved = measured(totals, with_covariates("sessions", Covariate("c"), Covariate("b")))
    assert moved.effect == pytest.approx(plain.effect, rel=1e-6, abs=1e-9)
    assert moved.std_error == pytest.approx(plain.std_error, rel=1e-6)


def test_a_covariate_that_repeats_another_is_left_out(population: Builder) -> None:
    """Twice the same covariate is once the covariate."""
    totals = population(2, 800).with_columns((3 * pl.col("sessions_before") + 1).alias("again"))
    once = measured(totals, with_covariates("sessions", Covariate("sessions_before")))
    twice = measured(totals, with_covariates("sessions", Covariate("sessions_before"), Covariate("again")))
    assert twice == once


def test_ratios_may_share_a_denominator(population: Builder) -> None:
    """Two ratios over the same column, and the column itself, can be covariates together."""
    totals = population(6, 2000)
    whole = "impressions_before"
    shared = (Covariate("clicks_before", whole), Covariate("novel_impressions_before", whole), Covariate(whole))
    found = measured(totals, with_covariates("ctr", *shared))
    alone = measured(totals, with_covariates("ctr", shared[0]))
    assert "with 3 covariates" in found.method
    assert found.std_error == pytest.approx(alone.std_error, rel=0.01)


def test_what_cannot_adjust_says_why(population: Builder) -> None:
    """Without a covariate that varies there is nothing to adjust by, and the reason is that of the first."""
    totals = population(1, 100).with_columns(flat=pl.lit(2.0), nothing=pl.lit(0.0))
    for covariates, reason in (
        ((), "the metric has no covariate"),
        ((Covariate("flat"),), "flat does not vary between users"),
        ((Covariate("clicks_before", "nothing"), Covariate("flat")), "nothing is 0 in an arm"),
    ):
        metric = with_covariates("ipv", *covariates)
        found = arm_aggregates(totals, ARMS, [metric], True)
        with pytest.raises(UnadjustableError, match=reason):
            adjusted_moments(metric, found["control"], found["treatment"])
        assert f"CUPED left out: {reason}" in measured(totals, metric).method


def test_arms_alike_in_the_covariate_keep_their_values(population: Builder) -> None:
    """If chance did not part the arms before, CUPED changes the error and not the values."""
    half = population(4, 500).drop("arm")
    totals = pl.concat([half.with_columns(arm=pl.lit(arm)) for arm in ARMS])
    metric = with_covariates("ipv", Covariate("ipv_before"), Covariate("sessions_before"))
    aggregates = arm_aggregates(totals, ARMS, [metric], True)
    (control, treatment), used = adjusted_moments(metric, aggregates["control"], aggregates["treatment"])
    assert used == 2
    assert control.value == pytest.approx(plain_moments(metric, aggregates["control"]).value)
    assert control == treatment
