from collections.abc import Callable

import polars as pl
import pytest
from scipy.stats import ttest_ind

from metrics.balance import warmup_balance
from metrics.definitions import resolve

Builder = Callable[..., pl.DataFrame]


def test_balance_agrees_with_welch_and_the_formula(population: Builder) -> None:
    """Each covariate once, with scipy's Welch p-value and the standardised difference by its definition."""
    totals = population(5, 500)
    found = warmup_balance(totals, "control", ["treatment"], resolve(["ctr", "ner", "sessions", "lt14"]))
    assert [row["covariate"] for row in found] == [
        "clicks_before",
        "impressions_before",
        "novel_impressions_before",
        "sessions_before",
        "active_days_before",
    ]
    for row in found:
        control, treatment = (
            totals.filter(pl.col("arm") == arm)[row["covariate"]].to_numpy() for arm in ("control", "treatment")
        )
        assert row["p_value"] == pytest.approx(ttest_ind(treatment, control, equal_var=False).pvalue)
        spread = ((control.var(ddof=1) + treatment.var(ddof=1)) / 2) ** 0.5
        assert row["smd"] == pytest.approx((treatment.mean() - control.mean()) / spread)


def test_an_imbalanced_arm_is_seen(population: Builder) -> None:
    """Giving the active users to one arm shows as a large standardised difference."""
    totals = population(5, 500).with_columns(
        arm=pl.when(pl.col("sessions_before") > 5).then(pl.lit("treatment")).otherwise(pl.lit("control"))
    )
    (row,) = warmup_balance(totals, "control", ["treatment"], resolve(["sessions"]))
    assert row["smd"] > 1.0
    assert row["p_value"] < 1e-6


def test_no_warmup_gives_no_verdict(population: Builder) -> None:
    """Covariates that are all 0 are shown without a difference, and empty arms do not raise."""
    totals = population(5, 50).with_columns(sessions_before=pl.lit(0))
    (row,) = warmup_balance(totals, "control", ["treatment"], resolve(["sessions"]))
    assert (row["control_value"], row["smd"], row["p_value"]) == (0.0, None, None)
    (row,) = warmup_balance(totals, "control", ["nobody"], resolve(["gmv"]))
    assert (row["treatment_value"], row["smd"]) == (None, None)
