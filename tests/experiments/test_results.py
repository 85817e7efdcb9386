import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from experiments.config import Arm, config_hash
from experiments.results import TOTALS, Played, build_results, changed_params, context_strip
from experiments.run_directory import RESULTS
from experiments.runner import phases_of
from experiments.worlds import build_world
from simulator.engine import VisitCount
from simulator.parameters import ContextParameters, Parameters
from simulator.world import World

COMPARISON = {
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
    "method",
    "variance_reduction",
    "truth",
}
RATIOS = {"ctr": ("clicks", "impressions"), "ner": ("novel_impressions", "impressions")}
SUMS = ("ipv", "atc", "gmv", "tv", "sessions")


@pytest.fixture(scope="module")
def world(finished: SimpleNamespace) -> World:
    """The world of the finished run."""
    config = finished.config
    days = phases_of(config).follow_up_end
    return build_world(
        config.world,
        start=config.horizon.start,
        days=days,
        scenario=config.scenario,
        slots=config.page.slots,
        seed=config.seed,
    ).world


def every_user(finished: SimpleNamespace, arm: str) -> pl.DataFrame:
    """The experiment's days of all users under an arm."""
    own = finished.user_days.filter(pl.col("arm") == arm)
    others = finished.counterfactuals.filter(pl.col("played") == arm).select(own.columns)
    return pl.concat([own, others]).filter(pl.col("phase") == "experiment")


def test_results_have_the_schema(finished: SimpleNamespace) -> None:
    """What other programs read is there under its name, in version 2."""
    results = finished.results
    assert results["schema"] == 2
    assert (results["name"], results["seed"]) == ("small", 7)
    assert results["config_hash"] == config_hash(finished.config)
    assert list(results["arms"]) == list(finished.config.arms)
    for name, arm in results["arms"].items():
        assert {"policy", "users", "totals"} <= arm.keys()
        assert arm["policy"] == name
        assert list(arm["totals"]) == [
            "sessions",
            "impressions",
            "clicks",
            "ipv",
            "atc",
            "orders",
            "gmv",
            "tv",
            "novel_impressions",
        ]
        assert 0 < arm["users"] <= arm["assigned"]
    assert set(results["srm"]) == {"p_value", "ok"}
    pairs = [(c["metric"], c["treatment"]) for c in results["comparisons"]]
    metrics = finished.config.analysis.metrics
    assert sorted(pairs) == sorted((m, arm) for m in metrics for arm in ("utility", "contextual"))
    for comparison in results["comparisons"]:
        assert comparison.keys() >= COMPARISON
        assert comparison["control"] == "popularity"
        assert {"effect", "lift"} <= comparison["truth"].keys()
        if comparison["ci"] is None:
            assert comparison["method"].startswith("not tested: ")
        else:
            assert comparison["ci"][0] <= comparison["effect"] <= comparison["ci"][1]
    assert sum(comparison["ci"] is not None for comparison in results["comparisons"]) >= 14
    assert set(results["metrics"]) == set(metrics)


def test_results_are_plain_json(finished: SimpleNamespace) -> None:
    """The file holds exactly what was returned, with finite numbers alone."""

    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict | list):
            return [n for each in (value.values() if isinstance(value, dict) else value) for n in numbers(each)]
        return [value] if isinstance(value, float) else []

    assert json.loads((finished.path / RESULTS).read_text(encoding="utf-8")) == finished.results
    assert all(math.isfinite(number) for number in numbers(finished.results))


def test_totals_are_sums_of_the_experiment(finished: SimpleNamespace) -> None:
    """An arm's totals are the sums over its users' days in the experiment, warm-up and follow-up left out."""
    days = finished.user_days.filter(pl.col("phase") == "experiment")
    for name, arm in finished.results["arms"].items():
        mine = days.filter(pl.col("arm") == name)
        assert arm["totals"] == {total: mine[total].sum() for total in TOTALS}
        assert arm["users"] == mine["user"].n_unique() == finished.results["diagnostics"]["exposed"][name]
    assigned = [arm["assigned"] for arm in finished.results["arms"].values()]
    assert sum(assigned) == 300


@pytest.mark.parametrize("treatment", ["utility", "contextual"])
def test_truth_is_the_difference_between_whole_populations(finished: SimpleNamespace, treatment: str) -> None:
    """The exact effect is what all users do under one arm less what the same users do under the other."""
    control, treated = (every_user(finished, arm) for arm in ("popularity", treatment))
    exposed = pl.concat([control, treated])["user"].n_unique()
    assert exposed == control["user"].n_unique() == treated["user"].n_unique()
    truth = {c["metric"]: c["truth"] for c in finished.results["comparisons"] if c["treatment"] == treatment}
    for metric, (top, bottom) in RATIOS.items():
        base, other = (table[top].sum() / table[bottom].sum() for table in (control, treated))
        assert truth[metric]["effect"] == pytest.approx(other - base)
        assert truth[metric]["lift"] == pytest.approx(other / base - 1)
    for metric in SUMS:
        base, other = (table[metric].sum() / exposed for table in (control, treated))
        assert truth[metric]["effect"] == pytest.approx(other - base)
        assert truth[metric]["lift"] == pytest.approx(other / base - 1)


def test_coverage_is_said_of_each_interval(finished: SimpleNamespace) -> None:
    """The truth is marked as covered exactly where it lies in the interval that is shown; without one it is not."""
    for comparison in finished.results["comparisons"]:
        truth = comparison["truth"]
        if comparison["ci"] is None:
            assert truth["covered"] is None
        else:
            low, high = comparison["lift_ci"]
            assert truth["covered"] == (low <= truth["lift"] <= high)


def test_arm_values_are_those_of_the_arms(finished: SimpleNamespace) -> None:
    """The values of the arms are plain totals over plain totals, or over exposed users."""
    arms = finished.results["arms"]
    for comparison in finished.results["comparisons"]:
        for side in ("control", "treatment"):
            arm = arms[comparison[side]]
            if comparison["metric"] in RATIOS:
                top, bottom = RATIOS[comparison["metric"]]
                expected = arm["totals"][top] / arm["totals"][bottom]
            elif comparison["metric"] in SUMS:
                expected = arm["totals"][comparison["metric"]] / arm["users"]
            else:
                continue
            assert comparison[f"{side}_value"] == pytest.approx(expected)


def test_every_day_is_compared_and_has_its_truth(finished: SimpleNamespace) -> None:
    """Each day of the experiment has its date, and its true difference over all users active under each arm."""
    daily = finished.results["daily"]
    assert {point["day"] for point in daily} == set(range(18, 23))
    for point in daily:
        assert point["date"] == (date(2015, 10, 5) + timedelta(days=point["day"])).isoformat()
        if point["metric"] == "ctr":
            base, other = (
                every_user(finished, arm).filter(pl.col("day") == point["day"])
                for arm in ("popularity", point["treatment"])
            )
            expected = (
                other["clicks"].sum() / other["impressions"].sum() - base["clicks"].sum() / base["impressions"].sum()
            )
            assert point["truth"]["effect"] == pytest.approx(expected)


def test_horizon_is_told_in_dates(finished: SimpleNamespace) -> None:
    """The phases begin on the dates that the config's days lead to."""
    assert finished.results["horizon"] == {
        "start": "2015-10-05",
        "warmup_start": "2015-10-20",
        "experiment_start": "2015-10-23",
        "experiment_end": "2015-10-28",
        "follow_up_end": "2015-10-31",
    }


def test_only_changed_parameters_are_shown() -> None:
    """A resolved arm holds all its policy's parameters; the report names those that someone set."""
    arm = Arm.model_validate({"policy": "contextual", "share": 0.5, "params": {"trees": 7, "pool": 120}})
    assert len(arm.params) > 5
    assert changed_params(arm) == {"trees": 7}
    assert changed_params(Arm.model_validate({"policy": "utility", "share": 0.5})) == {}


class Inner(Parameters):
    """A section of parameters."""

    trees: int = 5
    depth: int = 2


class Outer(Parameters):
    """Parameters with a section."""

    inner: Inner = Inner()
    on: tuple[str, ...] = ("weather",)


def test_changed_parameters_of_a_section_are_named_by_their_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a section of parameters only what someone set is shown, under its path in the config."""
    monkeypatch.setattr("experiments.results.policy_class", lambda name: SimpleNamespace(Params=Outer))
    arm = Arm.model_validate({"policy": "utility", "share": 0.5})
    params = {"inner": {"trees": 3, "depth": 2}, "on": ["weather", "trend"]}
    assert changed_params(arm.model_copy(update={"params": params})) == {"inner.trees": 3, "on": ["weather", "trend"]}


def test_context_strip_covers_warm_up_to_end(finished: SimpleNamespace, world: World) -> None:
    """Weather, occasions and trends have one value for each day shown, and only what is noticeable is listed."""
    context = finished.results["context"]
    assert len(context["dates"]) == 11
    assert context["dates"][0] == "2015-10-20"
    assert set(context["cities"]) == {"seattle", "new_york"}
    for city in context["cities"].values():
        assert {len(series) for series in city.values()} == {11}
    assert any("Halloween" in occasion["title"] for occasion in context["occasions"])
    for row in (*context["occasions"], *context["trends"]):
        assert len(row["level"]) == 11
        assert max(row["level"]) > 0
    assert context_strip(finished.config, world, phases_of(finished.config)) == context


def test_contexts_that_do_not_act_show_no_trends(finished: SimpleNamespace, world: World) -> None:
    """Where contexts are off, trends, which nobody would feel, are not drawn."""
    off = finished.config.world.model_copy(update={"contexts": ContextParameters(trends=0.0)})
    config = finished.config.model_copy(update={"world": off})
    assert context_strip(config, world, phases_of(config))["trends"] == []


def test_lost_and_churned_users_are_passed_on(finished: SimpleNamespace, world: World) -> None:
    """What the engine counted is reported as it is, and without counterfactuals no truth is claimed."""
    counts = {"warmup": VisitCount(5, 3, 2), **{arm: VisitCount(9, 8, 1) for arm in finished.config.arms}}
    churned = {"popularity": 4, "utility": 5, "contextual": 6}
    warmup = finished.user_days.filter(pl.col("phase") == "warmup")
    played = Played(
        user_days=finished.user_days,
        warmup=warmup,
        under_arm=None,
        frontier={},
        diaries={},
        thinking={},
        warmup_thinking=None,
        served={},
        freshness={},
        pages={},
        visits=counts,
        churned=churned,
        assigned=dict.fromkeys(churned, 100),
    )
    results = build_results(finished.config, world, phases_of(finished.config), played, "hash")
    assert results["diagnostics"]["visits"]["warmup"] == {"drawn": 5, "served": 3, "lost": 2}
    assert results["diagnostics"]["churned"] == churned
    assert results["config_hash"] == "hash"
    assert all(c["truth"] is None for c in results["comparisons"])
    assert all(point["truth"] is None for point in results["daily"])
    nobody = replace(played, user_days=finished.user_days.clear(), warmup=warmup.clear())
    empty = build_results(finished.config, world, phases_of(finished.config), nobody, "hash")
    assert all(arm["users"] == 0 for arm in empty["arms"].values())
    json.dumps(empty, allow_nan=False)


def test_sample_ratio_is_of_the_exposed(finished: SimpleNamespace, run: Callable[..., SimpleNamespace]) -> None:
    """A healthy split passes the test of its sizes."""
    assert finished.results["srm"]["ok"]
    assert finished.results["srm"]["p_value"] > 0.001
