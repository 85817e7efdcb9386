from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest
import tea_tasting as tt

from metrics.definitions import resolve
from metrics.estimates import arm_aggregates, estimate, finite

Builder = Callable[..., pl.DataFrame]


@pytest.mark.parametrize("cuped", [False, True])
@pytest.mark.parametrize("name", ["ctr", "gmv"])
def test_estimates_are_those_of_a_whole_tea_tasting_experiment(population: Builder, name: str, cuped: bool) -> None:
    """Reading aggregates arm by arm changes nothing against the library's own way from the table."""
    totals, (metric,) = population(8, 1500), resolve([name])
    aggregates = arm_aggregates(totals, ["control", "treatment"], [metric], cuped)
    found = estimate(metric, aggregates["control"], aggregates["treatment"], 0.1, cuped)
    covariate = metric.covariates[0] if cuped else (None, None)
    test = tt.RatioOfMeans(metric.numerator, metric.denominator, *covariate, confidence_level=0.9)
    whole = tt.Experiment({"metric": test}, variant="arm").analyze(totals, control="control")["metric"]
    assert found.effect == pytest.approx(whole.effect_size)
    assert found.ci == pytest.approx((whole.effect_size_ci_lower, whole.effect_size_ci_upper))
    assert found.lift == pytest.approx(whole.rel_effect_size)
    assert found.lift_ci == pytest.approx((whole.rel_effect_size_ci_lower, whole.rel_effect_size_ci_upper))
    assert found.p_value == pytest.approx(whole.pvalue)


def test_an_adjusted_value_near_zero_falls_back_to_the_plain_one() -> None:
    """Where CUPED moves a value so close to 0 that its log interval overflows, the plain result stands."""
    totals = pl.DataFrame(
        {
            "gmv": [0.0, 0.0, 11.0, 0.0, 0.0, 73.0 - 1e-6],
            "gmv_before": [4.0, 4.0, 4.0, 0.0, 0.0, 9.0],
            "arm": ["control"] * 3 + ["treatment"] * 3,
        }
    )
    (metric,) = resolve(["gmv"])
    aggregates = arm_aggregates(totals, ["control", "treatment"], [metric], True)
    plain, adjusted = (
        estimate(metric, aggregates["control"], aggregates["treatment"], 0.05, cuped) for cuped in (False, True)
    )
    assert plain.p_value is not None
    assert adjusted.method == (
        "difference of means, Welch t (CUPED left out: the error is too large beside the adjusted value)"
    )
    assert replace(adjusted, method=plain.method) == plain


def test_an_interval_beyond_all_bounds_is_not_tested() -> None:
    """Two users an arm and a level of one in a billion have no finite log interval, and no exception."""
    totals = pl.DataFrame({"gmv": [0.0, 1.0, 0.0, 2.0], "arm": ["control"] * 2 + ["treatment"] * 2})
    (metric,) = resolve(["gmv"])
    aggregates = arm_aggregates(totals, ["control", "treatment"], [metric], False)
    found = estimate(metric, aggregates["control"], aggregates["treatment"], 1e-9, False)
    assert found.method == "not tested: the error is too large beside the value"
    assert (found.control_value, found.effect, found.p_value) == (0.5, None, None)


def test_finite_maps_what_json_cannot_write_to_none() -> None:
    """NaN and the infinities become ``None``; numbers stay."""
    assert [finite(value) for value in (1.5, float("nan"), float("inf"), None)] == [1.5, None, None, None]


@pytest.mark.parametrize("cuped", [False, True])
def test_an_arm_near_zero_has_a_difference_and_no_lift(population: Builder, cuped: bool) -> None:
    """Nothing in an arm, or as much gained as lost, leaves no ratio to give an interval to; the difference has one."""
    (metric,) = resolve(["atc"])
    totals = population(8, 1500)
    treated = pl.col("arm") == "treatment"
    for left in (pl.lit(0), pl.col("user") % 2 * 2 - 1):
        rows = totals.with_columns(pl.when(treated).then(left).otherwise(pl.col("atc")).alias("atc"))
        of_arm = arm_aggregates(rows, ["control", "treatment"], [metric], cuped)
        for control, treatment, sign in (("control", "treatment", -1.0), ("treatment", "control", 1.0)):
            found = estimate(metric, of_arm[control], of_arm[treatment], 0.05, cuped)
            assert (found.lift, found.lift_ci, found.log_error) == (None, None, None)
            assert found.effect is not None
            assert found.ci is not None
            assert found.effect * sign > 0.0
            assert found.ci[0] < found.effect < found.ci[1]
            assert found.ci[0] * found.ci[1] > 0.0
            assert found.p_value is not None
            assert found.p_value < 1e-6
    whole = arm_aggregates(totals, ["control", "treatment"], [metric], cuped)
    assert estimate(metric, whole["control"], whole["treatment"], 0.05, cuped).lift is not None
