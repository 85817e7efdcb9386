from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from metrics.definitions import Metric, resolve
from metrics.segments import by_context, by_trait, levels_of

(CTR,) = resolve(["ctr"])


def population(seed: int, users: int, lift: dict[str, float], correlated: float = 1.0) -> pl.DataFrame:
    """Users in groups with lifts of their own."""
    rng = np.random.default_rng(seed)
    names = list(lift)
    group, treated = rng.integers(0, len(names), users), rng.random(users) < 0.5
    taste = rng.beta(4.0, 16.0, users)
    impressions = 10 * (1 + rng.poisson(3.0, users))
    rate = taste * (1.0 + treated * np.array(list(lift.values()))[group])
    return pl.DataFrame(
        {
            "user": np.arange(users),
            "arm": np.where(treated, "treatment", "control"),
            "group": np.array(names)[group],
            "clicks": rng.binomial(impressions, np.clip(rate, 0.0, 1.0)),
            "impressions": impressions,
            "clicks_before": rng.binomial(impressions, taste),
            "impressions_before": impressions,
        }
    )


def by_weather(seed: int, users: int, rainy: float = 0.0, dry: float = 0.0) -> dict[bool, pl.DataFrame]:
    """The same users on rainy and on dry days, some of them only on one of these, with a lift on each."""
    rng = np.random.default_rng(seed)
    treated, taste = rng.random(users) < 0.5, rng.beta(2.0, 8.0, users)
    found = {}
    for inside, lift in ((True, rainy), (False, dry)):
        came = rng.random(users) < 0.7
        impressions = 10 * (1 + rng.poisson(2.0, users))
        clicks = rng.binomial(impressions, np.clip(taste * (1.0 + lift * treated), 0.0, 1.0))
        table = pl.DataFrame(
            {
                "user": np.arange(users),
                "arm": np.where(treated, "treatment", "control"),
                "clicks": clicks,
                "impressions": impressions,
            }
        )
        found[inside] = table.filter(pl.Series(came))
    return found


def test_groups_with_different_lifts_are_told_apart() -> None:
    """Each group's estimate is that of its users, and the test says that they differ."""
    totals = population(1, 12_000, {"light": 0.0, "heavy": 0.3})
    found, interaction = by_trait(totals, "group", CTR, "control", "treatment", 0.05, True)
    assert list(found) == ["heavy", "light"]
    assert found["heavy"].lift == pytest.approx(0.3, abs=0.04)
    assert found["light"].lift == pytest.approx(0.0, abs=0.04)
    assert sum(each.users_control + each.users_treatment for each in found.values()) == 12_000
    assert interaction is not None
    assert interaction.p_value < 1e-6
    assert interaction.degrees == 1


def test_groups_with_the_same_lift_seem_to_differ_as_often_as_promised() -> None:
    """Of 200 populations with one lift for all, a binomial at 5% of the tests say that groups differ."""
    least, most = binom.interval(0.999, 200, 0.05)
    small = 0
    for seed in range(200):
        totals = population(seed, 900, {"a": 0.2, "b": 0.2, "c": 0.2})
        _, interaction = by_trait(totals, "group", CTR, "control", "treatment", 0.05, False)
        assert interaction is not None
        small += interaction.p_value < 0.05
    assert least <= small <= most


def test_a_context_that_matters_is_found() -> None:
    """A lift on rainy days alone is estimated there, not on dry days, and the difference is significant."""
    found, interaction = by_context(by_weather(2, 8000, rainy=0.3), CTR, "control", "treatment", 0.05)
    assert found[True].lift == pytest.approx(0.3, abs=0.06)
    assert found[False].lift == pytest.approx(0.0, abs=0.06)
    assert interaction is not None
    assert interaction.p_value < 1e-6


def test_a_context_that_does_not_matter_alarms_as_often_as_promised() -> None:
    """Though the same users come in both contexts, equal lifts seem to differ in a binomial at 5% of 200 cases."""
    least, most = binom.interval(0.999, 200, 0.05)
    small = 0
    for seed in range(200):
        _, interaction = by_context(by_weather(seed, 500, 0.1, 0.1), CTR, "control", "treatment", 0.05)
        assert interaction is not None
        small += interaction.p_value < 0.05
    assert least <= small <= most


def test_a_context_needs_a_ratio() -> None:
    """A sum over days of a context would compare users by how many such days they had."""
    with pytest.raises(ValueError, match="'gmv' is no ratio"):
        by_context(by_weather(1, 50), *resolve(["gmv"]), "control", "treatment", 0.05)


def test_groups_too_thin_have_their_reason_and_no_test() -> None:
    """A group of one user is not estimable, and one group alone cannot differ."""
    totals = population(4, 60, {"a": 0.0}).with_columns(
        pl.when(pl.col("user") == 0).then(pl.lit("b")).otherwise(pl.col("group")).alias("group")
    )
    found, interaction = by_trait(totals, "group", CTR, "control", "treatment", 0.05, False)
    assert "users in an arm are" in found["b"].method
    assert interaction is None


def test_rows_without_a_group_are_left_out() -> None:
    """Nobody is put into a group by guessing."""
    totals = population(5, 400, {"a": 0.0, "b": 0.0}).with_columns(
        pl.when(pl.col("user") < 100).then(None).otherwise(pl.col("group")).alias("group")
    )
    metric: Metric = replace(CTR)
    found, _ = by_trait(totals, "group", metric, "control", "treatment", 0.05, False)
    assert sum(each.users_control + each.users_treatment for each in found.values()) == 300


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_thirds_are_ordered_and_equal_values_stay_together(values: list[int]) -> None:
    """A larger value is never in a lower third, and the same value is always in the same."""
    names = ("light", "medium", "heavy")
    found = levels_of(values, names)
    for one, a in zip(values, found, strict=True):
        for other, b in zip(values, found, strict=True):
            assert one != other or a == b
            assert one <= other or names.index(a) >= names.index(b)
