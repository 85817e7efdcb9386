from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from metrics.definitions import METRICS, resolve
from metrics.effects import compare
from metrics.truth import true_effects

Builder = Callable[..., pl.DataFrame]


def test_true_effects_by_hand() -> None:
    """Values divide sums over all users under an arm; lift is relative to the control."""
    control = pl.DataFrame({"user": [1, 2], "clicks": [1, 2], "impressions": [10, 10], "gmv": [0.0, 0.0]})
    treatment = pl.DataFrame({"user": [2, 1], "clicks": [3, 3], "impressions": [10, 20], "gmv": [4.0, 2.0]})
    found = true_effects({"v1": control, "v2": treatment}, "v1", resolve(["ctr", "gmv"]))
    assert found["ctr", "v2"] == pytest.approx(
        {"effect": 0.05, "lift": 1 / 3, "control_value": 0.15, "treatment_value": 0.2}
    )
    assert found["gmv", "v2"] == {"effect": 3.0, "lift": None, "control_value": 0.0, "treatment_value": 3.0}
    assert set(found) == {("ctr", "v2"), ("gmv", "v2")}


def test_equal_tables_have_an_effect_of_exactly_zero(population: Builder) -> None:
    """The same policy under two names differs by nothing, whatever the order of the rows."""
    totals = population(6, 3000)
    played = {"a": totals, "b": totals.sample(fraction=1.0, shuffle=True, seed=3)}
    metrics = [metric for metric in METRICS.values() if metric.window is None]
    for values in true_effects(played, "a", metrics).values():
        assert values["effect"] == 0.0
        assert values["lift"] == 0.0


def test_open_windows_and_zero_denominators_have_no_truth() -> None:
    """Where no user was observed long enough, or nothing was shown, the values are ``None``."""
    totals = pl.DataFrame({"user": [1], "clicks": [0], "impressions": [0], "lt30": [None]}).cast(pl.Int64)
    found = true_effects({"a": totals, "b": totals}, "a", resolve(["ctr", "lt30"]))
    assert all(value is None for values in found.values() for value in values.values())


def test_estimates_cover_the_truth(population: Builder) -> None:
    """Intervals of many random splits of one population hold the true effect about as often as promised."""
    control = population(12, 1000)
    rng = np.random.default_rng(1)
    extra = pl.Series(rng.binomial(control["impressions"].to_numpy(), 0.02))
    treatment = control.with_columns(clicks=pl.col("clicks") + extra)
    metrics = resolve(["ctr"])
    truth = true_effects({"control": control, "treatment": treatment}, "control", metrics)
    effect = truth["ctr", "treatment"]["effect"]
    assert effect is not None
    covered = 0
    for _ in range(100):
        treated = pl.Series(rng.random(control.height) < 0.5)
        split = pl.concat(
            [
                control.filter(~treated).with_columns(arm=pl.lit("control")),
                treatment.filter(treated).with_columns(arm=pl.lit("treatment")),
            ]
        )
        (found,) = compare(split, "control", ["treatment"], metrics, 0.05, True, "none")
        covered += found.ci is not None and found.ci[0] <= effect <= found.ci[1]
    assert covered >= 88


def test_different_users_are_refused() -> None:
    """Pairs need the same users under every arm, and a control that was played."""
    one, two = (pl.DataFrame({"user": users, "gmv": [1.0] * len(users)}) for users in ([1, 2], [1, 3]))
    with pytest.raises(ValueError, match=r"totals_by_arm\.b: users differ"):
        true_effects({"a": one, "b": two}, "a", resolve(["gmv"]))
    with pytest.raises(ValueError, match="control: 'c' has no totals"):
        true_effects({"a": one}, "c", resolve(["gmv"]))
