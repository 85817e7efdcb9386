from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from experiments.config import ExperimentConfig
from experiments.run_analysis import analyse
from experiments.runner import phases_of
from experiments.segmenting import Surroundings
from experiments.user_units import Users
from experiments.worlds import build_world

Analyser = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def under_arm(finished: SimpleNamespace) -> dict[str, pl.DataFrame]:
    """User days of all users under each arm, with the warm-up they share."""
    warmup = finished.user_days.filter(pl.col("phase") == "warmup")
    outcome = finished.user_days.filter(pl.col("phase") != "warmup")
    return {
        arm: pl.concat(
            [
                warmup,
                outcome.filter(pl.col("arm") == arm),
                finished.counterfactuals.filter(pl.col("played") == arm).select(outcome.columns),
            ]
        )
        for arm in finished.config.arms
    }


@pytest.fixture(scope="module")
def surroundings(finished: SimpleNamespace) -> Surroundings:
    """Cities and days of the finished run."""
    config = finished.config
    world = build_world(
        config.world,
        start=config.horizon.start,
        days=phases_of(config).follow_up_end,
        scenario=config.scenario,
        slots=config.page.slots,
        seed=config.seed,
    ).world
    return Surroundings.of(world)


@pytest.fixture(scope="module")
def analysed(finished: SimpleNamespace, under_arm: dict[str, pl.DataFrame], surroundings: Surroundings) -> Analyser:
    """``analysed(**analysis)``: the finished run, analysed anew with some keys of ``analysis`` replaced."""

    def again(known: bool = True, user_days: pl.DataFrame | None = None, **analysis: Any) -> dict[str, Any]:
        block = finished.config.analysis.model_dump() | analysis
        config = ExperimentConfig.model_validate(finished.config.model_dump(by_alias=True) | {"analysis": block})
        phases = phases_of(config)
        table = finished.user_days if user_days is None else user_days
        return analyse(Users(config, phases, table, under_arm if known else None, str, surroundings))

    return again


def test_a_single_look_at_the_end_changes_nothing(finished: SimpleNamespace) -> None:
    """By default the path has one look, which is the comparison of the primary metric itself."""
    for path in finished.results["sequential"]:
        (look,) = path["looks"]
        (row,) = [
            row
            for row in finished.results["comparisons"]
            if (row["metric"], row["treatment"]) == ("ctr", path["treatment"])
        ]
        assert path["p_value"] == look["p_value"] == row["p_value"]
        assert look["ci"] == pytest.approx(row["ci"])
        assert look["lift_ci"] == pytest.approx(row["lift_ci"])
        assert look["truth"]["effect"] == row["truth"]["effect"]
        assert row["p_sequential"] is None
        assert (look["time"], look["bound"]) == (1.0, pytest.approx(1.959964, abs=1e-6))


def test_looks_see_the_days_up_to_them(finished: SimpleNamespace, analysed: Analyser) -> None:
    """Each look compares totals of its days alone, and its truth is that of those days."""
    found = analysed(sequential={"looks": 5})
    start = phases_of(finished.config).experiment_start
    for path in found["sequential"]:
        assert [look["day"] for look in path["looks"]] == [start + day for day in range(5)]
        assert [look["time"] for look in path["looks"]] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        first = finished.user_days.filter(pl.col("day") == start)
        assert path["looks"][0]["users"] == first.filter(pl.col("arm").is_in(["popularity", path["treatment"]])).height
        information = [look["information"] for look in path["looks"] if look["information"] is not None]
        assert information == sorted(information)
        assert all(look["truth"] is not None for look in path["looks"])
    one = analysed()
    for row, before in zip(found["comparisons"], one["comparisons"], strict=True):
        assert row["p_value"] == before["p_value"]
        assert (row["p_sequential"] is not None) == (row["role"] == "primary")
        if row["role"] == "primary":
            assert row["p_sequential"] != row["p_value"]


def test_always_valid_looks_are_daily_unless_told(analysed: Analyser) -> None:
    """A method that is valid at every moment is read every day."""
    for method in ("asymptotic_cs", "msprt"):
        found = analysed(sequential={"method": method})
        assert all(len(path["looks"]) == 5 for path in found["sequential"])
        assert all(look["alpha_spent"] is None for path in found["sequential"] for look in path["looks"])


def test_an_early_stop_decides_whatever_follows(finished: SimpleNamespace, analysed: Analyser) -> None:
    """An effect that is huge on the first days and gone on the last stops the test on the first days, and ships."""
    start = phases_of(finished.config).experiment_start
    early = pl.col("day").is_between(start, start + 2) & (pl.col("arm") != "popularity")
    changed = finished.user_days.with_columns(
        pl.when(early).then(pl.col("impressions")).otherwise(pl.col("clicks")).cast(pl.Int64).alias("clicks")
    )
    found = analysed(user_days=changed, sequential={"looks": 5, "method": "pocock"})
    assert all(path["stopped"] is not None and path["stopped"] < 4 for path in found["sequential"])
    assert {row["decision"] for row in found["decisions"]} == {"ship"}


def test_capped_stands_beside_uncapped(finished: SimpleNamespace, analysed: Analyser) -> None:
    """Amounts have a capped estimate, each day cut at the warm-up's quantile; other metrics have none."""
    squared = (pl.col("clicks") ** 2).cast(pl.Float64)
    heavy = finished.user_days.with_columns(squared.alias("gmv"), squared.alias("tv"))
    found = analysed(capping=0.9, user_days=heavy)
    height = np.quantile(heavy.filter(pl.col("phase") == "warmup")["gmv"].to_numpy(), 0.9)
    mine = heavy.filter((pl.col("phase") == "experiment") & (pl.col("arm") == "popularity"))
    for row in found["comparisons"]:
        if row["metric"] not in ("gmv", "tv"):
            assert row["capped"] is None
            continue
        capped = row["capped"]
        assert capped["height"] == pytest.approx(height)
        cut = np.minimum(mine["gmv"].to_numpy(), height).sum()
        assert capped["control_value"] == pytest.approx(cut / mine["user"].n_unique())
        assert capped["control_value"] < row["control_value"]
        assert capped["share"]["popularity"] == np.mean(mine["gmv"].to_numpy() > height)
        assert capped["truth"]["effect"] is not None
    assert all(row["capped"] is None for row in analysed(capping=None)["comparisons"])


def test_covariates_are_added_to_a_metrics_own(analysed: Analyser) -> None:
    """Asked for more, CUPED uses more than one covariate and says so."""
    found = analysed(covariates=("sessions", "active_days"))
    rows = [row for row in found["comparisons"] if row["metric"] == "ipv"]
    assert all("with 3 covariates" in row["method"] for row in rows)


def test_guardrails_are_a_family_of_their_own_and_bear_on_the_decision(analysed: Analyser) -> None:
    """A guardrail's p-value no longer counts in the others' family; a failed one holds the launch."""
    plain, guarded = analysed(), analysed(guardrails={"sessions": 0.5})
    family = [row for row in guarded["comparisons"] if row["role"] != "guardrail" and row["p_value"] is not None]
    smallest = min(family, key=lambda row: row["p_value"])
    assert smallest["p_adjusted"] == pytest.approx(min(1.0, len(family) * smallest["p_value"]))
    assert len(family) < len([row for row in plain["comparisons"] if row["p_value"] is not None])
    assert {row["metric"] for row in guarded["guardrails"]} == {"sessions"}
    assert all(row["truth"]["lift"] is not None for row in guarded["guardrails"])
    assert plain["guardrails"] == []


def test_quantiles_have_their_truth(finished: SimpleNamespace, under_arm: dict[str, pl.DataFrame]) -> None:
    """A quantile's true effect is the difference between whole populations, and ratios have no quantile."""
    rows = finished.results["quantiles"]
    assert {row["metric"] for row in rows} == {"ipv", "atc", "gmv", "tv", "sessions"}
    row = next(row for row in rows if (row["metric"], row["quantile"]) == ("sessions", 0.9))
    sums = [
        under_arm[arm]
        .filter(pl.col("phase") == "experiment")
        .group_by("user")
        .agg(pl.col("sessions").sum())["sessions"]
        for arm in ("popularity", row["treatment"])
    ]
    assert row["truth"]["effect"] == np.quantile(sums[1], 0.9) - np.quantile(sums[0], 0.9)


def test_without_the_truth_nothing_pretends_to_know_it(analysed: Analyser) -> None:
    """An experimenter's analysis has the same estimates and no truth anywhere."""
    known, found = analysed(), analysed(known=False)
    assert [row["effect"] for row in found["comparisons"]] == [row["effect"] for row in known["comparisons"]]
    assert all(row["truth"] is None for row in found["comparisons"] + found["quantiles"])
    assert all(look["truth"] is None for path in found["sequential"] for look in path["looks"])


def test_power_is_that_of_the_lift_that_was_asked_for(analysed: Analyser) -> None:
    """A larger target is noticed more surely and needs fewer users; the smallest lift does not depend on it."""
    small, large = (analysed(power={"lift": lift})["power"] for lift in (0.01, 0.5))
    for less, more in zip(small, large, strict=True):
        if less["power"] is None:
            continue
        assert less["power"] < more["power"]
        assert less["users_needed"] > more["users_needed"]
        assert less["smallest_lift"] == more["smallest_lift"]


def test_contexts_divide_the_days_and_traits_the_users(finished: SimpleNamespace, surroundings: Surroundings) -> None:
    """Parts of a trait hold each user once; parts of a context hold each click once."""
    results = finished.results
    rows = {(row["dimension"], row["level"], row["treatment"]): row for row in results["segments"]}
    users = {row["treatment"]: sum(row["users"].values()) for row in results["comparisons"] if row["metric"] == "ctr"}
    for dimension in ("city", "activity", "newcomer"):
        for treatment, count in users.items():
            parts = [row["users"] for key, row in rows.items() if (key[0], key[2]) == (dimension, treatment)]
            assert sum(parts) == count
    days = finished.user_days.filter(pl.col("phase") == "experiment")
    rainy = days.filter(pl.Series(surroundings.has("rain", days)) & (pl.col("arm") == "popularity"))
    for (dimension, level, _), row in rows.items():
        if (dimension, level) == ("rain", "rain"):
            assert row["control_value"] == pytest.approx(rainy["clicks"].sum() / rainy["impressions"].sum())
            assert row["truth"]["effect"] is not None
            assert "visits made on such days" in row["conditioned_on"]
    assert ("rain", "rain", "utility") in rows


def test_days_have_the_weather_of_their_users_city(finished: SimpleNamespace, surroundings: Surroundings) -> None:
    """A day's context is looked up in the city in which its user lives."""
    days = finished.user_days
    city = surroundings.city_of(days["user"])
    found = surroundings.has("rain", days)
    for row in range(0, days.height, 37):
        assert found[row] == surroundings.contexts["rain"][city[row], days["day"][row]]
    assert set(city) == {0, 1}


def test_differences_between_parts_are_one_family(finished: SimpleNamespace, analysed: Analyser) -> None:
    """Every test of difference is corrected together; a split that does not split is not there."""
    tests = finished.results["interactions"]
    p_values = [row["p_value"] for row in tests if row["p_value"] is not None]
    smallest = min((row for row in tests if row["p_value"] is not None), key=lambda row: row["p_value"])
    assert smallest["p_adjusted"] == pytest.approx(min(1.0, len(p_values) * smallest["p_value"]))
    split = {(row["dimension"], row["treatment"]) for row in finished.results["segments"]}
    assert {(row["dimension"], row["treatment"]) for row in tests} == split
    assert analysed(segments=())["segments"] == []


def test_an_arm_that_wins_in_the_rain_wins_in_the_rain(
    finished: SimpleNamespace, surroundings: Surroundings, analysed: Analyser
) -> None:
    """If rain alone makes an arm click, the interaction with rain is found and no other is so clear."""
    days = finished.user_days
    helped = pl.Series(surroundings.has("rain", days)) & (days["arm"] == "utility") & (days["phase"] == "experiment")
    changed = days.with_columns(
        pl.when(helped).then(pl.col("impressions")).otherwise(pl.col("clicks")).cast(pl.Int64).alias("clicks")
    )
    tests = [row for row in analysed(user_days=changed)["interactions"] if row["treatment"] == "utility"]
    clearest = min((row for row in tests if row["p_value"] is not None), key=lambda row: row["p_value"])
    assert clearest["dimension"] == "rain"
    assert clearest["p_adjusted"] < 0.01


def test_trends_and_retention_have_their_truth(finished: SimpleNamespace) -> None:
    """Slopes and shares of users still there stand beside those of all users under every arm."""
    results = finished.results
    assert {row["metric"] for row in results["trends"]} == {"ctr", "ipv", "atc", "gmv", "tv", "ner", "sessions"}
    assert all(row["truth"]["slope"] is not None for row in results["trends"] if row["slope"] is not None)
    retention = results["retention"]
    assert [curve["arm"] for curve in retention["curves"]] == list(finished.config.arms)
    assert [row["treatment"] for row in retention["tests"]] == ["utility", "contextual"]
    for curve in retention["curves"]:
        shares = [point["share"] for point in curve["points"]]
        assert shares == sorted(shares, reverse=True)
        assert 0.0 <= curve["truth"]["share"] <= 1.0
    for row in retention["returns"]:
        assert [point["day"] for point in row["points"]] == list(range(1, 8))
