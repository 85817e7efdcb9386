import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from metrics.definitions import METRICS, resolve
from metrics.effects import Comparison, compare, corrected

Builder = Callable[..., pl.DataFrame]

# Student's sleep data (R, ?sleep): extra hours of sleep under two drugs.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

# Benjamini and Hochberg (1995), section 4.1: 15 hypotheses of a study of myocardial infarction.
BENJAMINI_HOCHBERG = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
BENJAMINI_HOCHBERG += [0.4262, 0.5719, 0.6528, 0.7590, 1.0000]

JSON_KEYS = [
    "metric",
    "control",
    "treatment",
    "control_value",
    "treatment_value",
    "effect",
    "ci",
    "lift",
    "lift_ci",
    "p_value",
    "p_adjusted",
    "p_sequential",
    "role",
    "std_error",
    "method",
    "variance_reduction",
    "users",
]


def two_arms(control: dict[str, list[float]], treatment: dict[str, list[float]]) -> pl.DataFrame:
    """Totals with these columns in each arm."""
    arms = {"control": control, "treatment": treatment}
    return pl.concat(
        pl.DataFrame(columns).cast(pl.Float64).with_columns(arm=pl.lit(arm)) for arm, columns in arms.items()
    )


def only(totals: pl.DataFrame, metric: str, cuped: bool = False, alpha: float = 0.05) -> Comparison:
    """The comparison of treatment with control on one metric."""
    (comparison,) = compare(totals, "control", ["treatment"], resolve([metric]), alpha, cuped, "none")
    return comparison


def test_welch_t_on_the_sleep_data() -> None:
    """R gives t = -1.8608, df = 17.776, p = 0.07939 and the interval -3.3654832 to 0.2054832."""
    found = only(two_arms({"gmv": SLEEP_1}, {"gmv": SLEEP_2}), "gmv")
    assert found.control_value == pytest.approx(0.75)
    assert found.treatment_value == pytest.approx(2.33)
    assert found.effect == pytest.approx(1.58)
    assert found.ci == pytest.approx((-0.2054832, 3.3654832), abs=1e-7)
    assert found.p_value == pytest.approx(0.07939, abs=5e-6)
    assert found.lift == pytest.approx(2.33 / 0.75 - 1)
    assert found.method == "difference of means, Welch t"
    assert found.variance_reduction is None
    assert (found.users_control, found.users_treatment) == (10, 10)


def test_ratio_divides_sums_and_not_users_rates() -> None:
    """CTR is all clicks over all impressions, so a user with more impressions weighs more."""
    totals = two_arms({"clicks": [1, 0, 3], "impressions": [2, 1, 12]}, {"clicks": [4, 0, 1], "impressions": [8, 1, 1]})
    found = only(totals, "ctr")
    assert found.control_value == pytest.approx(4 / 15)
    assert found.treatment_value == pytest.approx(5 / 10)
    assert found.effect == pytest.approx(5 / 10 - 4 / 15)
    assert found.method == "ratio of means, delta method, Welch t"


def test_delta_method_agrees_with_the_bootstrap(population: Builder) -> None:
    """The standard error of a CTR difference is that of resampling users, to the bootstrap's own error."""
    totals = population(3, 2000)
    found = only(totals, "ctr", alpha=0.05)
    assert found.ci is not None
    error = (found.ci[1] - found.ci[0]) / (2 * 1.9611)
    rng = np.random.default_rng(0)
    ratios = []
    for arm in ("control", "treatment"):
        pairs = totals.filter(pl.col("arm") == arm).select("clicks", "impressions").to_numpy()
        drawn = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=2000) @ pairs
        ratios.append(drawn[:, 0] / drawn[:, 1])
    assert error == pytest.approx(np.std(ratios[1] - ratios[0]), rel=0.07)


def test_a_a_rejects_as_often_as_promised(population: Builder) -> None:
    """Re-randomising users without an effect rejects at 5% within the binomial 99.9% interval."""
    totals = population(11, 1200).drop("arm")
    rng = np.random.default_rng(5)
    names, rounds = ["ctr", "gmv", "sessions"], 300
    rejected = dict.fromkeys(names, 0)
    for _ in range(rounds):
        arms = np.where(rng.random(totals.height) < 0.5, "control", "treatment")
        split = totals.with_columns(arm=pl.Series(arms))
        for found in compare(split, "control", ["treatment"], resolve(names), 0.05, True, "none"):
            rejected[found.metric] += found.p_value is not None and found.p_value < 0.05
    least, most = binom.interval(0.999, rounds, 0.05)
    assert all(least <= count <= most for count in rejected.values()), rejected


@pytest.mark.parametrize("metric", ["ctr", "sessions", "ipv"])
def test_cuped_shrinks_the_interval_when_the_warmup_predicts(population: Builder, metric: str) -> None:
    """A correlated warm-up narrows the interval by what ``variance_reduction`` says and is named."""
    totals = population(7, 3000)
    plain, cuped = only(totals, metric), only(totals, metric, cuped=True)
    assert plain.ci is not None
    assert cuped.ci is not None
    assert cuped.variance_reduction is not None
    assert cuped.variance_reduction > 0.2
    narrower = (cuped.ci[1] - cuped.ci[0]) / (plain.ci[1] - plain.ci[0])
    assert narrower**2 == pytest.approx(1 - cuped.variance_reduction, rel=1e-3)
    assert "CUPED from warm-up" in cuped.method
    assert (cuped.control_value, cuped.treatment_value) == (plain.control_value, plain.treatment_value)


def test_cuped_removes_what_the_warmup_explains_by_the_regression() -> None:
    """The variance left is 1 minus the squared correlation with the covariate (Deng et al. 2013)."""
    rng = np.random.default_rng(2)
    before = rng.normal(10, 2, 4000)
    after = before + rng.normal(0, 2, 4000)
    totals = pl.DataFrame({"sessions": after, "sessions_before": before}).with_columns(
        arm=pl.Series(["control", "treatment"] * 2000)
    )
    found = only(totals, "sessions", cuped=True)
    assert found.variance_reduction == pytest.approx(np.corrcoef(before, after)[0, 1] ** 2, abs=5e-3)


@pytest.mark.parametrize("before", [0, 0.1])
def test_cuped_is_left_out_when_the_warmup_does_not_vary(population: Builder, before: float) -> None:
    """A constant covariate gives the plain result, and the method says so."""
    totals = population(7, 200).with_columns(
        pl.lit(before).alias(name) for name in ("gmv_before", "clicks_before", "impressions_before")
    )
    for metric in ("gmv", "ctr"):
        plain, cuped = only(totals, metric), only(totals, metric, cuped=True)
        assert "CUPED left out" in cuped.method
        assert replace(cuped, method=plain.method) == plain


def test_cuped_is_left_out_when_the_warmup_is_the_outcome(population: Builder) -> None:
    """No variance at all would be left to test with, so the plain result stands."""
    totals = population(7, 200).with_columns(pl.col("sessions").alias("sessions_before"))
    found = only(totals, "sessions", cuped=True)
    assert "CUPED left out: the covariate predicts the metric exactly" in found.method
    assert found.p_value is not None


def test_lift_interval_is_missing_without_positive_means() -> None:
    """A relative effect needs two positive values; the absolute effect stays."""
    found = only(two_arms({"gmv": [-2.0, -1.0, 0.5]}, {"gmv": [1.0, 2.0, 4.0]}), "gmv")
    assert found.lift is None
    assert found.lift_ci is None
    assert found.effect == pytest.approx(7 / 3 + 2.5 / 3)
    assert found.ci is not None


@pytest.mark.parametrize(
    ("control", "treatment", "metric", "reason"),
    [
        ({"gmv": []}, {"gmv": [1.0, 2.0]}, "gmv", "users in an arm are 0"),
        ({"gmv": [1.0, 2.0]}, {"gmv": [3.0]}, "gmv", "users in an arm are 1"),
        ({"gmv": []}, {"gmv": []}, "gmv", "users in an arm are 0"),
        ({"gmv": [0.0] * 3}, {"gmv": [0.0] * 3}, "gmv", "does not vary"),
        ({"gmv": [0.1] * 3}, {"gmv": [0.1] * 3}, "gmv", "does not vary"),
        ({"clicks": [0.0] * 2, "impressions": [0.0] * 2},) * 2 + ("ctr", "impressions is 0"),
        ({"clicks": [3.0, 7.0], "impressions": [9.0, 21.0]},) * 2 + ("ctr", "does not vary"),
    ],
)
@pytest.mark.parametrize("cuped", [False, True])
def test_what_cannot_be_tested_says_why(
    control: dict[str, list[float]], treatment: dict[str, list[float]], metric: str, reason: str, cuped: bool
) -> None:
    """Empty arms, single users, zero denominators and constants give no effect, no error and no warning."""
    totals = two_arms(control, treatment)
    columns = [name for name in totals.columns if name != "arm"]
    totals = totals.with_columns(pl.col(name).alias(f"{name}_before") for name in columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = only(totals, metric, cuped)
    assert reason in found.method
    assert found.effect is found.ci is found.lift is found.lift_ci is found.p_value is found.p_adjusted is None


def test_values_of_an_untested_metric_are_shown() -> None:
    """An arm of one user has a value although nothing can be tested."""
    found = only(two_arms({"gmv": [1.0, 2.0]}, {"gmv": [3.0]}), "gmv")
    assert (found.control_value, found.treatment_value) == (1.5, 3.0)


def test_metrics_of_return_use_only_users_observed_long_enough(population: Builder) -> None:
    """Users whose window is still open are left out, of that metric alone."""
    totals = population(1, 400).with_columns(
        pl.when(pl.col("user") % 4 > 0).then(pl.col("user") % 7).alias("lt14"),
        pl.lit(None, dtype=pl.Int64).alias("lt30"),
    )
    metrics = resolve(["sessions", "lt14", "lt30"])
    sessions, lt14, lt30 = compare(totals, "control", ["treatment"], metrics, 0.05, True, "holm")
    assert sessions.users_control + sessions.users_treatment == 400
    assert lt14.users_control + lt14.users_treatment == 300
    assert lt14.p_value is not None
    assert lt30.method == "no user was observed 30 days; lengthen horizon.days or follow_up_days"
    assert lt30.effect is None


def test_corrections_span_all_pairs(population: Builder) -> None:
    """Every (metric, treatment) with a p-value is in the family; no correction leaves p-values alone."""
    totals = population(4, 900).with_columns(
        arm=pl.Series(["control", "a", "b"] * 300), gmv=pl.lit(0.0), clicks=pl.col("clicks") + 1
    )
    metrics = resolve(["ctr", "gmv", "sessions"])
    holm = compare(totals, "control", ["a", "b"], metrics, 0.05, True, "holm")
    none = compare(totals, "control", ["a", "b"], metrics, 0.05, True, "none")
    assert [(found.metric, found.treatment) for found in holm] == [
        (metric.name, arm) for metric in metrics for arm in ("a", "b")
    ]
    p_values = [found.p_value for found in holm if found.p_value is not None]
    assert len(p_values) == 4
    assert min(found.p_adjusted for found in holm if found.p_adjusted is not None) == min(1.0, 4 * min(p_values))
    assert [found.p_adjusted for found in none] == [found.p_value for found in holm]


def test_corrections_on_published_p_values(population: Builder) -> None:
    """At 5% the false discovery rate procedure rejects four of the 15 hypotheses and Holm's three."""
    one = only(population(1, 50), "sessions")
    family = [replace(one, p_value=p_value) for p_value in BENJAMINI_HOCHBERG]
    for correction, rejected in (("benjamini_hochberg", 4), ("holm", 3), ("none", 9)):
        found = corrected(family, correction)
        assert sum(item.p_adjusted is not None and item.p_adjusted <= 0.05 for item in found) == rejected


def test_json_has_its_keys_and_no_nan(population: Builder) -> None:
    """The JSON form has exactly the agreed keys, and NaN and infinities become null."""
    found = only(population(1, 200), "ctr", cuped=True)
    written = replace(found, lift=math.nan, lift_ci=(-1.0, math.inf), p_adjusted=math.nan).to_json()
    assert list(written) == JSON_KEYS
    assert written["lift"] is None
    assert written["lift_ci"] == [-1.0, None]
    assert written["users"] == {"control": found.users_control, "treatment": found.users_treatment}
    assert json.loads(json.dumps(written, allow_nan=False)) == written


def test_arms_may_be_interleaved_or_not(population: Builder) -> None:
    """Only the order of users within an arm may touch the last bit, not where the other arm's rows lie."""
    totals, metrics = population(9, 5000), tuple(METRICS[name] for name in ("ctr", "gmv", "ner"))
    first = compare(totals, "control", ["treatment"], metrics, 0.05, True, "holm")
    assert first == compare(totals.sort("arm", "user"), "control", ["treatment"], metrics, 0.05, True, "holm")


def test_arguments_out_of_range_are_refused(population: Builder) -> None:
    """A wrong level or an unknown correction raises with the field's name."""
    totals, metrics = population(1, 20), resolve(["ctr"])
    with pytest.raises(ValueError, match=r"alpha: 1\.5"):
        compare(totals, "control", ["treatment"], metrics, 1.5, True, "holm")
    with pytest.raises(ValueError, match="correction: 'bonferroni'"):
        compare(totals, "control", ["treatment"], metrics, 0.05, True, "bonferroni")
