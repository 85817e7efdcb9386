from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, ttest_ind
from typer.testing import CliRunner

from allocation.assignment import assign_cities
from experiments.cli import app
from experiments.pilot import plan_power, run_pilot
from experiments.progress import SilentProgress
from experiments.report import render_report
from experiments.report.designs import sentences
from experiments.runner import world_of
from metrics.clusters import clustered
from metrics.definitions import resolve
from metrics.estimates import arm_aggregates, estimate
from metrics.user_totals import user_totals

BY_CITY: dict[str, Any] = {
    "world": {
        "kind": "generated",
        "users": 600,
        "items": 400,
        "cities": ["seattle", "new_york"],
        "cities_per_climate": 10,
        "country": "US",
    },
    "horizon": {"start": "2015-10-05", "history_days": 12, "warmup_days": 3, "days": 7, "follow_up_days": 2},
    "assignment": {"unit": "city"},
    "arms": {"control": {"policy": "popularity", "share": 0.5}, "treatment": {"policy": "utility", "share": 0.5}},
    "analysis": {"metrics": ["ctr", "ipv", "gmv", "retention_7"], "capping": 0.99},
}


@pytest.fixture(scope="module")
def played(run: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """A small experiment by city."""
    return run(**BY_CITY)


def city_of(played: SimpleNamespace) -> pl.DataFrame:
    """The city of every user, by index."""
    observed = world_of(played.config).world.population.observed
    return pl.DataFrame({"user": observed.user, "place": observed.city.astype(np.int64)})


def test_a_city_meets_one_arm(played: SimpleNamespace) -> None:
    """All users of a city are under one arm, half of the cities under each, and what was drawn is what is played."""
    cities = played.user_days.join(city_of(played), on="user").group_by("place").agg(pl.col("arm").unique())
    assert cities["arm"].list.len().to_list() == [1] * 20
    drawn = assign_cities(20, {"control": 0.5, "treatment": 0.5}, "small", 7)
    by_city = dict(zip(cities["place"], cities["arm"].list.first(), strict=True))
    assert [by_city[place] for place in range(20)] == [("control", "treatment")[arm] for arm in drawn]
    assert played.results["clusters"]["by_arm"] == {"control": 10, "treatment": 10}
    assert played.results["srm"]["ok"]


def test_the_bytes_do_not_depend_on_the_workers(
    run: Callable[..., SimpleNamespace], played: SimpleNamespace, tmp_path: Path
) -> None:
    """Two workers leave the tables and results of one."""
    other = run(workers=2, path=tmp_path / "two", **BY_CITY)
    for name in ("user_days.parquet", "counterfactuals.parquet", "results.json"):
        assert (other.path / name).read_bytes() == (played.path / name).read_bytes()


def test_the_test_is_over_cities(run: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    """Without CUPED error and p-value are near those of Welch's test of the cities' own values."""
    plain = run(path=tmp_path / "plain", **(BY_CITY | {"analysis": {"metrics": ["ctr", "ipv"], "cuped": False}}))
    phases = plain.config.horizon
    start = phases.history_days + phases.warmup_days
    totals = user_totals(plain.user_days, start, start + phases.days, start + phases.days, resolve(("ipv",)))
    means = totals.join(city_of(plain), on="user").group_by("arm", "place").agg(pl.col("ipv").mean()).sort("place")
    sides = [means.filter(pl.col("arm") == arm)["ipv"].to_numpy() for arm in ("control", "treatment")]
    row = next(row for row in plain.results["comparisons"] if row["metric"] == "ipv")
    assert row["users"] == {"control": 10, "treatment": 10}
    assert row["control_value"] == pytest.approx(totals.filter(pl.col("arm") == "control")["ipv"].mean())
    assert row["std_error"] == pytest.approx(np.sqrt(sum(side.var(ddof=1) / 10 for side in sides)), rel=0.25)
    assert np.log(row["p_value"]) == pytest.approx(np.log(ttest_ind(*sides, equal_var=False).pvalue), abs=2.0)


def test_the_truth_is_that_of_all_users(played: SimpleNamespace, run: Callable[..., SimpleNamespace]) -> None:
    """Users do not act on one another, so a world has one truth, however its experiment is randomised."""
    by_user = run(**(BY_CITY | {"assignment": {"unit": "user"}}))
    truths = [[row["truth"]["effect"] for row in each.results["comparisons"]] for each in (played, by_user)]
    assert truths[0] == pytest.approx(truths[1])
    assert "clusters" not in by_user.results


def test_what_users_alone_can_tell_is_left_out_and_said(played: SimpleNamespace) -> None:
    """No row rests on users randomised one by one; report and terminal say so, and what cities cost."""
    results = played.results
    assert [results[key] for key in ("quantiles", "segments", "interactions", "trends")] == [[], [], [], []]
    assert results["retention"] is None
    assert {row["metric"] for row in results["clusters"]["design_effects"]} == set(results["analysis"]["metrics"])
    assert all(row["users"] == 20 for row in results["power"])
    assert results["comparisons"][2]["capped"]["ci"] is not None
    assert len(results["daily"]) == 3 * 7
    told = sentences(results)
    assert "Cities were randomised" in told[0]
    assert "design effect" in told[1]
    assert "Left out" in told[2]
    page = render_report(results, played.directory.read_results("manifest.json"))
    assert all(sentence.split(";")[0].split("(")[0] in page for sentence in told)
    assert "Counts of cities fit" in page


def test_days_are_over_cities_too(played: SimpleNamespace) -> None:
    """A day's value is that of its users; its interval, of cities, is there on each day."""
    point = next(row for row in played.results["daily"] if row["metric"] == "ipv")
    day = played.user_days.filter((pl.col("day") == point["day"]) & (pl.col("arm") == "control"))
    assert point["control_value"] == pytest.approx(day["ipv"].mean())
    assert point["ci"] is not None


@pytest.mark.parametrize("cuped", [False, True])
def test_cities_drawn_again_find_nothing_where_nothing_is(played: SimpleNamespace, cuped: bool) -> None:
    """The run's own users under its control, cities dealt out anew: false alarms as promised."""
    horizon = played.config.horizon
    start = horizon.history_days + horizon.warmup_days
    end = start + horizon.days
    others = pl.read_parquet(played.path / "counterfactuals.parquet").filter(pl.col("played") == "control")
    warm = played.user_days.filter(pl.col("phase") == "warmup").with_columns(pl.lit("all").alias("arm"))
    own = played.user_days.filter((pl.col("phase") != "warmup") & (pl.col("arm") == "control"))
    rows = pl.concat([warm, own, others.drop("played")]).with_columns(pl.lit("all").alias("arm"))
    metrics = resolve(("ctr", "ipv"))
    totals = user_totals(rows, start, end, end, metrics).join(city_of(played), on="user", maintain_order="left")
    alarms = {metric.name: 0 for metric in metrics}
    for number in range(400):
        drawn = assign_cities(20, {"control": 0.5, "treatment": 0.5}, f"again-{number}", 7)
        arm = np.array(["control", "treatment"])[drawn[totals["place"].to_numpy()]]
        units, over = clustered(totals.with_columns(pl.Series("arm", arm)), "place", metrics)
        of_arm = arm_aggregates(units, ("control", "treatment"), over, cuped)
        for metric in over:
            found = estimate(metric, of_arm["control"], of_arm["treatment"], 0.05, cuped)
            assert found.p_value is not None
            alarms[metric.name] += found.p_value < 0.05
    least, most = binom.interval(0.999, 400, 0.05)
    assert all(least <= count <= most for count in alarms.values()), alarms


def test_a_plan_counts_cities(played: SimpleNamespace) -> None:
    """Power, and what it needs, are those of cities, with what they cost beside users."""
    found = plan_power(played.config, *run_pilot(played.config, 1, SilentProgress()))
    row = found["metrics"][0]
    assert (found["randomised"], found["clusters"], row["users"]) == ("cities", 20, 20)
    assert row["design_effect"] > 0.0
    assert -0.1 < row["correlation"] < 1.0
    assert row["users_needed"] >= 10


def test_an_audit_is_refused(played: SimpleNamespace) -> None:
    """It draws users one by one, which this design does not."""
    found = CliRunner().invoke(app, ["audit", str(played.path), "--quiet"])
    assert found.exit_code == 2
    assert "assignment.unit is city" in found.output


def test_results_of_cities_have_the_outline_of_others(played: SimpleNamespace, finished: SimpleNamespace) -> None:
    """Whatever was randomised, the same blocks stand in the same order, and only what this unit has comes to them."""
    own = {"clusters"}
    assert [key for key in played.results if key not in own] == list(finished.results)
    assert own < played.results.keys()
    arms = [next(iter(each.results["arms"].values())) for each in (played, finished)]
    assert list(arms[0]) == list(arms[1])
    assert played.results["diagnostics"].keys() >= finished.results["diagnostics"].keys()
