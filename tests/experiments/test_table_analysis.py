import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from experiments.plan import Plan
from experiments.report import checks, render_report, words
from experiments.table_analysis import table_results
from experiments.terminal import print_verdict
from experiments.unit_table import read_units

METRICS: list[dict[str, Any]] = [
    {"name": "ctr", "kind": "ratio", "numerator": "clicks", "denominator": "impressions"},
    {"name": "spend", "kind": "mean", "column": "spend", "covariate": "spend_before", "cap": 0.99},
    {"name": "converted", "kind": "proportion", "column": "converted"},
]
MANIFEST = {
    "schema": 1,
    "created": "2026-01-05T10:00:00+00:00",
    "code_version": "0.1.0",
    "config_hash": "abc",
    "python": "3.11",
    "packages": {},
    "machine": {"cpus": 2, "platform": "Linux"},
    "seeds": {},
    "timings": {},
    "data": None,
}


def a_plan(**changes: Any) -> Plan:
    """A plan for the drawn table."""
    return Plan.model_validate({"unit": "user", "variant": "variant", "metrics": METRICS} | changes)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 4,000 units exposed over ten days, of whom those under B click and spend more."""
    rng = np.random.default_rng(12)
    users = 4000
    treated, taste = rng.random(users) < 0.5, rng.beta(2.0, 8.0, users)
    impressions = 10 * (1 + rng.poisson(3.0, users))
    clicks = rng.binomial(impressions, np.minimum(taste * (1.0 + 0.15 * treated), 1.0))
    spend = clicks * rng.lognormal(0.0, 1.0, users)
    path = tmp_path_factory.mktemp("table") / "units.parquet"
    pl.DataFrame(
        {
            "user": np.arange(users),
            "variant": np.where(treated, "B", "A"),
            "clicks": clicks,
            "impressions": impressions,
            "spend": spend,
            "spend_before": rng.binomial(impressions, taste) * rng.lognormal(0.0, 1.0, users),
            "converted": spend > 5.0,
            "day": np.datetime64("2026-01-01") + rng.integers(0, 10, users),
        }
    ).write_parquet(path)
    return path


def analysed(table: Path, **changes: Any) -> dict[str, Any]:
    """The results of the table under a plan."""
    plan = a_plan(**changes)
    return table_results(read_units(table, plan), plan, "mine", "hash")


def test_results_have_the_shape_of_a_run(table: Path, finished: SimpleNamespace) -> None:
    """Whatever reads a run's results can read a table's: every key is there, in plain JSON."""
    results = analysed(table)
    assert finished.results.keys() - results.keys() == set()
    for block in ("horizon", "world", "analysis"):
        assert finished.results[block].keys() == results[block].keys()
    assert finished.results["comparisons"][0].keys() == results["comparisons"][0].keys()
    assert finished.results["sequential"][0]["looks"][0].keys() == results["sequential"][0]["looks"][0].keys()
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_values_are_those_of_the_columns(table: Path) -> None:
    """Ratios divide sums, means divide by units, proportions count."""
    rows, results = pl.read_parquet(table), analysed(table)
    found = {row["metric"]: row for row in results["comparisons"]}
    for arm, side in (("A", "control_value"), ("B", "treatment_value")):
        mine = rows.filter(pl.col("variant") == arm)
        assert found["ctr"][side] == pytest.approx(mine["clicks"].sum() / mine["impressions"].sum())
        assert found["spend"][side] == pytest.approx(mine["spend"].mean())
        assert found["converted"][side] == pytest.approx(mine["converted"].mean())
        assert results["arms"][arm]["users"] == mine.height
    assert found["spend"]["method"] == "difference of means, CUPED from warm-up, Welch t"
    assert found["converted"]["method"].startswith("difference of proportions")
    assert found["ctr"]["p_adjusted"] < 0.05
    assert results["decisions"][0]["decision"] == "ship"


def test_capping_uses_the_covariate_and_leaves_the_estimate_alone(table: Path) -> None:
    """The height is the covariate's quantile; the uncapped estimate is the one without a cap."""
    rows = pl.read_parquet(table)
    (spend,) = (row for row in analysed(table)["comparisons"] if row["metric"] == "spend")
    assert spend["capped"]["height"] == pytest.approx(np.quantile(rows["spend_before"].to_numpy(), 0.99))
    plain = analysed(table, metrics=[METRICS[0], {**METRICS[1], "cap": None}, METRICS[2]])
    assert plain["comparisons"][1] == {**spend, "capped": None}
    alone = analysed(table, metrics=[METRICS[0], {**METRICS[1], "covariate": None}])["comparisons"][1]
    assert alone["capped"]["height"] == pytest.approx(np.quantile(rows["spend"].to_numpy(), 0.99))


def test_dates_give_looks_and_days(table: Path) -> None:
    """A look counts the units exposed by then; days compare those of each day."""
    results = analysed(table, date="day", sequential={"looks": 5, "method": "pocock"})
    rows = pl.read_parquet(table)
    (path,) = results["sequential"]
    assert [look["date"] for look in path["looks"]] == [f"2026-01-{day:02d}" for day in (2, 4, 6, 8, 10)]
    for look in path["looks"]:
        assert look["users"] == rows.filter(pl.col("day").cast(pl.String).str.slice(0, 10) <= look["date"]).height
    assert results["horizon"]["experiment_start"] == "2026-01-01"
    assert results["horizon"]["experiment_end"] == "2026-01-11"
    assert next(point["date"] for point in results["daily"] if point["metric"] == "ctr") == "2026-01-01"
    assert len(results["daily"]) == 30


def test_a_test_that_still_runs_has_not_spent_its_level(table: Path) -> None:
    """With twenty planned days the ten at hand are half the plan, and the last look is one before its end."""
    results = analysed(table, date="day", planned_days=20, sequential={"looks": 4})
    (path,) = results["sequential"]
    assert [look["time"] for look in path["looks"]] == [0.25, 0.5]
    assert path["looks"][-1]["alpha_spent"] < 0.05
    (ctr,) = (row for row in results["comparisons"] if row["metric"] == "ctr")
    assert ctr["p_sequential"] > ctr["p_value"]
    ended = analysed(table, date="day", sequential={"looks": 2})["sequential"][0]
    assert ended["looks"][-1]["time"] == 1.0


def test_units_with_gaps_are_left_out_of_that_metric_alone(table: Path, tmp_path: Path) -> None:
    """With missing: drop, other metrics keep every unit, and the gaps are told by arm."""
    holes = pl.read_parquet(table).with_columns(
        pl.when(pl.col("user") % 4 == 0).then(None).otherwise(pl.col("spend")).alias("spend")
    )
    holes.write_parquet(tmp_path / "holes.parquet")
    results = analysed(tmp_path / "holes.parquet", missing="drop")
    users = {row["metric"]: sum(row["users"].values()) for row in results["comparisons"]}
    assert users == {"ctr": 4000, "spend": 3000, "converted": 4000}
    (gap,) = results["diagnostics"]["missing"]
    assert gap["column"] == "spend"
    assert gap["share"] == pytest.approx({"A": 0.25, "B": 0.25}, abs=0.03)
    assert analysed(table)["diagnostics"]["missing"] == []
    (check,) = checks.outcomes_missing(results)
    assert check.sentence == "spend (B and A together) rests on 3,000 of 4,000 units: those with a value."
    console = Console(width=80, record=True, file=StringIO())
    print_verdict(console, results)
    shown = console.export_text()
    assert check.sentence in shown
    assert "truth" not in shown


def test_units_on_the_wrong_arms_void_everything(table: Path, tmp_path: Path) -> None:
    """Planned shares that the units do not follow are a mismatch, and the decision is to hold."""
    results = analysed(table, shares={"A": 0.6, "B": 0.4})
    assert not results["srm"]["ok"]
    assert results["decisions"][0]["decision"] == "hold"


def test_the_report_of_a_table_is_whole(table: Path) -> None:
    """The same page shows a table, without a word of worlds."""
    html = render_report(analysed(table, date="day", name="mine"), {**MANIFEST, "data": {"rows": 4000}})
    assert "4,000 units of a table" in html
    assert " items, " not in html
    assert "Decision: ship." in html
    for word in ("true effect of this run", "<dt>Seeds</dt>", "the log's rows", "True lift", "of users,"):
        assert word not in html


@pytest.mark.parametrize("planned_days", [None, 20])
def test_the_report_of_a_table_shows_its_looks(table: Path, planned_days: int | None) -> None:
    """A table read at several looks, ended or not, has a page with each look, and no truth beside it."""
    results = analysed(
        table, date="day", planned_days=planned_days, sequential={"looks": 4}, guardrails={"ctr": 0.02}, primary="spend"
    )
    html = render_report(results, MANIFEST)
    assert "Look by look" in html
    assert "Read at" in html
    assert "The truth is that of the days until the look" not in html


def test_a_table_says_until_when_it_goes(table: Path) -> None:
    """The last day of the data stands beside the planned days while some of these are left."""
    assert words.setting(analysed(table, date="day", planned_days=20)) == (
        "1 Jan 2026 to 20 Jan 2026, 4,000 units of a table, with data until 10 Jan 2026 (10 of 20 planned days)"
    )
    assert words.setting(analysed(table, date="day")) == "1 Jan 2026 to 10 Jan 2026, 4,000 units of a table"
    assert words.setting(analysed(table)) == "4,000 units of a table"


def test_segments_of_a_table_are_its_columns(table: Path, tmp_path: Path) -> None:
    """Each value of a column has its estimate, each column its test, and a column of names is none."""
    rows = pl.read_parquet(table).with_columns(
        pl.when(pl.col("user") % 2 == 0).then(pl.lit("old")).otherwise(pl.lit("new")).alias("age")
    )
    rows.write_parquet(tmp_path / "units.parquet")
    results = analysed(tmp_path / "units.parquet", segments=["age"])
    assert [(row["dimension"], row["level"], row["users"]) for row in results["segments"]] == [
        ("age", "new", 2000),
        ("age", "old", 2000),
    ]
    (test,) = results["interactions"]
    assert test["degrees"] == 1
    assert test["p_adjusted"] == test["p_value"]
    rows.with_columns(pl.col("user").alias("name")).write_parquet(tmp_path / "units.parquet")
    with pytest.raises(ValueError, match="segments: name has 4,000 values"):
        analysed(tmp_path / "units.parquet", segments=["name"])


def test_clusters_of_a_table_are_what_is_compared(tmp_path: Path) -> None:
    """With a cluster column the clusters are counted, and the price of randomising them is told."""
    rng = np.random.default_rng(7)
    cluster = np.repeat(np.arange(40), 50)
    level = rng.normal(10.0, 2.0, 40)
    spend = np.maximum(level[cluster] + rng.normal(0.0, 2.0, 2000), 0.0)
    pl.DataFrame(
        {
            "user": np.arange(2000),
            "city": cluster,
            "variant": np.where(cluster % 2 == 0, "A", "B"),
            "spend": spend,
        }
    ).write_parquet(tmp_path / "cities.parquet")
    metric = {"name": "spend", "kind": "mean", "column": "spend", "cap": 0.99}
    results = analysed(tmp_path / "cities.parquet", metrics=[metric], cluster="city")
    (row,) = results["comparisons"]
    assert row["users"] == {"A": 20, "B": 20}
    assert row["control_value"] == pytest.approx(spend[cluster % 2 == 0].mean())
    assert results["clusters"]["count"] == 40
    (cost,) = results["clusters"]["design_effects"]
    assert cost["design_effect"] > 5.0
    assert cost["correlation"] == pytest.approx(0.5, abs=0.15)
    assert results["clusters"]["by_arm"] == {"A": 20, "B": 20}
    assert row["capped"]["control_value"] < row["control_value"]
    few = pl.read_parquet(tmp_path / "cities.parquet").filter(pl.col("city") < 6)
    few.write_parquet(tmp_path / "few.parquet")
    with pytest.raises(ValueError, match="city: arm 'A' has 3 clusters"):
        analysed(tmp_path / "few.parquet", metrics=[metric], cluster="city")
