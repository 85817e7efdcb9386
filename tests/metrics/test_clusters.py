import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.stats import binom

from metrics.clusters import FEWEST, clustered, design_effect_of
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


def test_few_clusters_keep_the_level_and_units_do_not() -> None:
    """With six clusters an arm and no effect, tests over clusters alarm as promised, those over units far too often."""
    over_clusters = over_units = 0
    for seed in range(300):
        units = table(seed, clusters=12, size=20)
        rows, (metric,) = clustered(units, "city", [MEAN])
        over_clusters += (measured(rows, metric).p_value or 1.0) < 0.05
        over_units += (measured(units, MEAN).p_value or 1.0) < 0.05
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
