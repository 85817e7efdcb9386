import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.stats import binom

from metrics.clusters import FEWEST, clustered, design_effect_of, effective_clusters, intraclass_correlation
from metrics.definitions import Covariate, Metric
from metrics.estimates import Estimate, arm_aggregates, estimate

ARMS = ("control", "treatment")
MEAN = Metric(name="y", title="y", unit="", formula="", kind="mean", numerator="y")


def table(seed: int, clusters: int = 40, size: int = 25, spread: float = 1.0) -> pl.DataFrame:
    """Units in clusters of their own level, whole clusters under one arm."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), size)
    level = rng.normal(10.0, spread, clusters)
    treated = rng.permutation(clusters) < clusters // 2
    return pl.DataFrame(
        {
            "city": [f"c{number:03d}" for number in cluster],
            "arm": np.where(treated[cluster], "treatment", "control"),
            "y": level[cluster] + rng.normal(0.0, 2.0, len(cluster)),
            "x": level[cluster] + rng.normal(0.0, 1.0, len(cluster)),
        }
    )


def measured(rows: pl.DataFrame, metric: Metric, cuped: bool = False) -> Estimate:
    """The comparison of the two arms."""
    of_arm = arm_aggregates(rows, ARMS, [metric], cuped)
    return estimate(metric, of_arm["control"], of_arm["treatment"], 0.05, cuped)


def test_the_error_is_the_cluster_robust_one() -> None:
    """Values are those of units; the error is near that of least squares with errors clustered by city."""
    units = table(1)
    rows, (metric,) = clustered(units, "city", [MEAN])
    found, plain = measured(rows, metric), measured(units, MEAN)
    design = sm.add_constant((units["arm"] == "treatment").to_numpy().astype(float))
    _, groups = np.unique(units["city"].to_numpy(), return_inverse=True)
    fitted = sm.OLS(units["y"].to_numpy(), design).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert found.control_value == pytest.approx(plain.control_value)
    assert found.effect == pytest.approx(fitted.params[1])
    assert found.std_error == pytest.approx(fitted.bse[1], rel=0.03)
    assert design_effect_of(found.std_error or 0.0, plain.std_error or 1.0) > 2.0
    assert (found.users_control, found.users_treatment) == (20, 20)


def alarmed(found: Estimate) -> bool:
    """Whether a test that was carried out rejects at 5%."""
    assert found.p_value is not None
    return found.p_value < 0.05


def test_few_clusters_keep_the_level_and_units_do_not() -> None:
    """With six clusters an arm and no effect, tests over clusters alarm as promised, those over units far too often."""
    over_clusters = over_units = 0
    for seed in range(300):
        units = table(seed, clusters=12, size=20)
        rows, (metric,) = clustered(units, "city", [MEAN])
        over_clusters += alarmed(measured(rows, metric))
        over_units += alarmed(measured(units, MEAN))
    least, most = binom.interval(0.999, 300, 0.05)
    assert least <= over_clusters <= most
    assert over_units > 2 * most


def test_covariates_become_ratios_too() -> None:
    """A covariate is taken by unit of the cluster, and removes what it explains between clusters."""
    units = table(3)
    metric = Metric(**{**MEAN.__dict__, "covariates": (Covariate("x"),)})
    rows, (over,) = clustered(units, "city", [metric])
    found = measured(rows, over, cuped=True)
    assert found.variance_reduction is not None
    assert found.variance_reduction > 0.5


def test_switchback_cells_are_clusters() -> None:
    """Cells of a city's hours are clusters like any other: both arms see each city, no arm shares a cell."""
    units = table(4, clusters=48).with_columns((pl.col("city") + "h").alias("cell"))
    rows, _ = clustered(units, "cell", [MEAN])
    assert rows.height == 48


@pytest.mark.parametrize("clusters", [2 * FEWEST - 2, 4])
def test_too_few_clusters_are_refused(clusters: int) -> None:
    """Below a handful of clusters in an arm there is no error to trust."""
    with pytest.raises(ValueError, match=f"city: arm .* has {clusters // 2} clusters"):
        clustered(table(1, clusters=clusters), "city", [MEAN])


def test_a_cluster_under_two_arms_is_refused() -> None:
    """A column that the arms share was not what was randomised."""
    with pytest.raises(ValueError, match="'c000' has units of two arms"):
        clustered(table(1).with_columns(arm=pl.Series(["control", "treatment"] * 500)), "city", [MEAN])


def test_what_is_not_known_of_a_unit_is_left_out_of_its_metric_alone() -> None:
    """A metric with gaps is that of the units without; another metric keeps all units."""
    units = table(5).with_columns(pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.col("y")).alias("late"))
    late = Metric(**{**MEAN.__dict__, "name": "late", "numerator": "late", "covariates": (Covariate("x"),)})
    rows, (with_gaps, whole) = clustered(units, "city", [late, MEAN])
    known, (alone,) = clustered(units.drop_nulls("late"), "city", [late])
    both = measured(rows, with_gaps, cuped=True), measured(known, alone, cuped=True)
    assert both[0] == both[1]
    assert measured(rows, whole).control_value == pytest.approx(measured(units, MEAN).control_value)


def test_clusters_of_very_different_sizes_are_not_so_many() -> None:
    """One city with nearly all users is one city, however many small ones stand beside it."""
    units = table(6, clusters=20).with_row_index().filter((pl.col("city") < "c002") | (pl.col("index") % 25 == 0))
    with pytest.raises(ValueError, match=r"city: the \d+ clusters of arm .* differ so much in size"):
        clustered(units, "city", [MEAN])
    assert effective_clusters(np.full(7, 3.0)) == pytest.approx(7.0)
    assert effective_clusters(np.array([1.0, 1.0, 98.0])) == pytest.approx(1.0, abs=0.05)


def test_the_correlation_is_the_one_that_was_drawn() -> None:
    """Levels of variance 1 beside noise of variance 4 correlate by a fifth; without levels by nothing."""
    assert intraclass_correlation(table(7, clusters=400), "city", MEAN) == pytest.approx(0.2, abs=0.03)
    assert intraclass_correlation(table(8, clusters=400, spread=0.0), "city", MEAN) == pytest.approx(0.0, abs=0.01)
    ratio = Metric(**{**MEAN.__dict__, "kind": "ratio", "denominator": "one"})
    units = table(9, clusters=400).with_columns(one=pl.lit(2.0))
    whole = intraclass_correlation(units, "city", MEAN)
    assert intraclass_correlation(units, "city", ratio) == pytest.approx(whole, rel=1e-9)


def test_the_correlation_needs_clusters_of_two() -> None:
    """Units alone in their cluster, or units that do not vary, have none."""
    units = table(10, clusters=40, size=1)
    assert intraclass_correlation(units, "city", MEAN) is None
    assert intraclass_correlation(table(10).with_columns(y=pl.lit(3.0)), "city", MEAN) is None


def test_design_effect_follows_from_the_correlation() -> None:
    """Kish's 1 + (m - 1) rho is what the two errors show, where clusters are many."""
    units = table(11, clusters=600, size=20)
    rows, (metric,) = clustered(units, "city", [MEAN])
    shown = design_effect_of(measured(rows, metric).std_error or 0.0, measured(units, MEAN).std_error or 1.0)
    rho = intraclass_correlation(units, "city", MEAN)
    assert rho is not None
    assert shown == pytest.approx(1.0 + (20.0 - 1.0) * rho, rel=0.12)


@pytest.mark.parametrize("cuped", [False, True])
def test_few_clusters_keep_their_promises(cuped: bool) -> None:
    """With twelve clusters, false alarms stay at 5% and intervals hold a true effect in 95%, with CUPED and without."""
    metric = Metric(**{**MEAN.__dict__, "covariates": (Covariate("x"),)})
    alarms = held = 0
    for seed in range(400):
        units = table(seed, clusters=12, size=15)
        moved = units.with_columns(y=pl.col("y") + pl.when(pl.col("arm") == "treatment").then(2.0).otherwise(0.0))
        for which, rows in (("null", units), ("effect", moved)):
            over, (each,) = clustered(rows, "city", [metric])
            found = measured(over, each, cuped)
            if which == "null":
                alarms += alarmed(found)
            else:
                held += found.ci is not None and found.ci[0] <= 2.0 <= found.ci[1]
    least, most = binom.interval(0.999, 400, 0.05)
    assert least <= alarms <= most
    assert least <= 400 - held <= most
