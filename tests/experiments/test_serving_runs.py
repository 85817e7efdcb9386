"""Whole runs with a serving cluster, on a policy that thinks without a language model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from experiments.cli import app
from experiments.progress import Progress
from experiments.run_directory import RESULTS, USER_DAYS

Run = Callable[..., SimpleNamespace]

PARAMS: dict[str, Any] = {
    "tags": 8,
    "explained": 0,
    "calibration_visits": 20,
    "towers": {"width": 16, "epochs": 1},
    "utility": {"factors": 8, "iterations": 3},
    "refresh": {"max_age_days": 2, "on": []},
}
FIXED = {"kind": "fixed", "slots": 3}


def thinks(share: float, allocation: Any = FIXED, **params: Any) -> dict[str, Any]:
    """An arm whose policy thinks near line."""
    return {"policy": "hurrying", "share": share, "params": PARAMS | params, "allocation": allocation}


ARMS = {"small": thinks(0.4), "large": thinks(0.3), "blind": {"policy": "popularity", "share": 0.3}}
USERS = 16_000_000
SERVING: dict[str, Any] = {
    "model": "qwen3-8b",
    "hardware": "h20",
    "instances": 1,
    "instances_by_arm": {"large": 40},
    "users": USERS,
    "sample": 12,
    "jobs": 60,
    "slo": {"job": 3600},
    "price": {"per_hour": 2.0, "currency": "USD", "at": "2025-06-01"},
}


@pytest.fixture(scope="module")
def hurries() -> Iterator[None]:
    """A policy with near-line jobs that configs may name, in this process and in workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import hurrying_policy  # noqa: F401 - its import registers the policy

        yield


@pytest.fixture(scope="module")
def served(hurries: None, run: Run) -> SimpleNamespace:
    """The same policy on a card and on forty, and one that does not think; not to be changed."""
    return run(arms=ARMS, serving=SERVING)


def test_stale_thoughts_serve_until_the_job_is_done(served: SimpleNamespace) -> None:
    """On the small cluster visits must meet older tags than asked for, on the large one next to none."""
    small, large = (served.results["serving"]["arms"][arm] for arm in ("small", "large"))
    assert (small["cards"], large["cards"]) == (1, 40)
    assert small["projected"]["projected_load_busiest"]["value"] > 1.5
    assert large["projected"]["projected_load_busiest"]["value"] < 0.1
    assert small["modelled"]["older_than_asked"] > 0.3
    assert large["modelled"]["older_than_asked"] < 0.01
    assert small["modelled"]["age_hours"]["mean"] > large["modelled"]["age_hours"]["mean"] + 6.0
    assert small["modelled"]["jobs_merged"] > 0


def test_latency_changes_what_users_meet(served: SimpleNamespace) -> None:
    """Users must be shown something else where thoughts come late, although policy and draws are the same."""
    whole = pl.concat([served.user_days, served.counterfactuals.select(served.user_days.columns)])
    assert whole.height == served.user_days.height + served.counterfactuals.height
    under = served.counterfactuals.filter(pl.col("played").is_in(["small", "large"]))
    blind = under.filter(pl.col("arm") == "blind").sort("user", "day")
    small, large = (blind.filter(pl.col("played") == arm).drop("played") for arm in ("small", "large"))
    first = small["day"].min()
    assert small.filter(pl.col("day") == first).equals(large.filter(pl.col("day") == first))
    assert not small.equals(large)


def test_without_a_cluster_nothing_is_served(hurries: None, run: Run) -> None:
    """Without a block results must say nothing of serving, and arms of one policy must think alike."""
    without = run(arms=ARMS)
    assert "serving" not in without.results
    assert "freshness" not in json.dumps(without.results)
    accounts = without.results["thinking"]
    assert accounts["small"] == accounts["large"]


def test_workers_change_nothing(served: SimpleNamespace, run: Run) -> None:
    """Two processes must leave the same bytes as one."""
    two = run(workers=2, arms=ARMS, serving=SERVING)
    for name in (RESULTS, USER_DAYS):
        assert (two.path / name).read_bytes() == (served.path / name).read_bytes()


@pytest.mark.parametrize("left", [4, 20])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    left: int, served: SimpleNamespace, run: Run, interrupted_after: Callable[[int], Progress], tmp_path: Path
) -> None:
    """A run that is stopped while arms are played, and goes on, meets the same deliveries and leaves the same bytes."""
    steps = sum(served.steps.totals.values())
    with pytest.raises(ZeroDivisionError):
        run(arms=ARMS, serving=SERVING, path=tmp_path / "out", progress=interrupted_after(steps - left))
    run(arms=ARMS, serving=SERVING, path=tmp_path / "out")
    for name in (RESULTS, USER_DAYS):
        assert (tmp_path / "out" / name).read_bytes() == (served.path / name).read_bytes(), name


def test_no_arm_slows_another(served: SimpleNamespace, run: Run) -> None:
    """An arm's cluster must do the same whatever the other arms are."""
    arms = {"small": ARMS["small"], "other": {"policy": "popularity", "share": 0.6}}
    alone = run(arms=arms, serving=SERVING | {"instances_by_arm": {}}).results["serving"]["arms"]["small"]
    together = served.results["serving"]["arms"]["small"]
    for part in ("measured", "modelled", "projected", "days"):
        assert alone[part] == together[part]


def test_figures_say_how_they_are_known(served: SimpleNamespace) -> None:
    """Nothing in seconds of a card may be called measured, and without a known error no range is told."""
    section = served.results["serving"]
    assert section["settings"]["step_time_source"] == "assumed"
    for name in ("small", "large"):
        arm = section["arms"][name]
        assert [arm["measured"][key] for key in ("gpu_seconds", "mfu", "cost")] == [None, None, None]
        assert all(key.startswith("projected_") for key in arm["projected"])
        assert all(each["low"] is None and each["high"] is None for each in arm["projected"].values())
    assert set(section["arms"]["blind"]) == {"transaction_value", "visits_a_user_and_day"}


def test_figures_agree_with_each_other(served: SimpleNamespace) -> None:
    """Seconds, hours, cost and use of cards must be the same work seen from several sides."""
    section = served.results["serving"]
    days = 4  # of five; on the first nobody waits
    for name in ("small", "large"):
        arm = section["arms"][name]
        told = {key.removeprefix("projected_"): each["value"] for key, each in arm["projected"].items()}
        visits = arm["visits_a_user_and_day"] * USERS  # a day
        assert told["gpu_hours_provisioned_a_day"] == pytest.approx(24 * arm["cards"])
        for kind in ("work", "busy", "provisioned"):
            a_day = told[f"gpu_seconds_{kind}_per_1000_visits"] * visits / 1000 / 3600
            assert told[f"gpu_hours_{kind}_a_day"] == pytest.approx(a_day)
        cost = told["gpu_hours_provisioned_a_day"] * 2.0 / visits * 1000
        assert told["cost_per_1000_visits"] == pytest.approx(cost)
        assert told["utilisation"] == pytest.approx(told["gpu_hours_busy_a_day"] / told["gpu_hours_provisioned_a_day"])
        assert 0.0 < told["mfu_provisioned"] <= told["mfu_busy"] < 0.45 + 1e-9
        assert told["mfu_busy"] * told["utilisation"] == pytest.approx(told["mfu_provisioned"])
        jobs = sum(day["projected_jobs"] for day in arm["days"][:days])
        if name == "large":
            assert told["gpu_seconds_work_per_job"] * jobs / 3600 / days == pytest.approx(
                told["gpu_hours_work_a_day"], rel=1e-6
            )
        assert told["queue_wait_seconds_mean"] <= told["refresh_seconds_mean"]
    assert section["arms"]["small"]["projected"]["projected_gpus_for_slo"]["value"] > 1
    assert section["arms"]["small"]["projected"]["projected_slo_kept"]["value"] < 0.5
    assert section["arms"]["large"]["projected"]["projected_slo_kept"]["value"] == 1.0


def test_visits_are_those_of_the_tables(served: SimpleNamespace) -> None:
    """Ages must be counted for every visit of the experiment from the second day on."""
    days = served.user_days.filter(pl.col("phase") == "experiment")
    second = days["day"].min() + 1
    whole = pl.concat(
        [
            served.user_days.filter(pl.col("arm") == "small"),
            served.counterfactuals.filter(pl.col("played") == "small").select(served.user_days.columns),
        ]
    )
    expected = whole.filter((pl.col("phase") == "experiment") & (pl.col("day") >= second))["sessions"].sum()
    assert served.results["serving"]["arms"]["small"]["modelled"]["visits"] == expected


def test_the_value_of_an_arm_has_its_interval(served: SimpleNamespace) -> None:
    """An arm's transaction value must be the mean over its own exposed users, inside its interval."""
    for arm in ARMS:
        found = served.results["serving"]["arms"][arm]["transaction_value"]
        mine = served.user_days.filter((pl.col("arm") == arm) & (pl.col("phase") == "experiment"))
        totals = mine.group_by("user").agg(pl.col("tv").sum())["tv"].to_numpy()
        assert found["value"] == pytest.approx(totals.mean())
        half = 1.959964 * totals.std(ddof=1) / np.sqrt(len(totals))
        assert found["ci"] == pytest.approx([totals.mean() - half, totals.mean() + half], rel=1e-5)
        assert found["true"] > 0.0


def test_a_dearer_arm_gets_less_of_the_channel(hurries: None, run: Run) -> None:
    """Under one budget of GPU-seconds an arm whose jobs read ten times as much must open its channel less often."""
    split = {
        "kind": "fixed",
        "slots": 3,
        "split": {"gpu_seconds": 2.0, "least": 0.02, "start": 0.5, "ramp": 1.0, "caution": 0.0},
    }
    arms = {
        "cheap": thinks(0.5, split, prompt=100),
        "dear": thinks(0.5, split, prompt=1000),
    }
    # of fewer users each arm's gains are too uncertain for the split to follow the cost
    many = {"kind": "generated", "users": 900, "items": 500, "cities": ["seattle", "new_york"], "country": "US"}
    serving = SERVING | {"instances": 20, "instances_by_arm": {}}
    results = run(world=many, arms=arms, serving=serving, oracle=False).results
    shares = {}
    for arm in arms:
        days = results["allocation"][arm]["split"]["days"][1:]
        shares[arm] = np.mean([np.average(day["share"], weights=day["visits"]) for day in days if sum(day["visits"])])
    work = {
        arm: results["serving"]["arms"][arm]["projected"]["projected_gpu_seconds_work_per_job"]["value"] for arm in arms
    }
    assert work["dear"] > 5 * work["cheap"]
    assert shares["dear"] < 0.5 * shares["cheap"]


def test_a_measured_card_brings_a_range(hurries: None, run: Run) -> None:
    """With step times of known error every projected figure must lie within its range."""
    step = {"compute_efficiency": 0.5, "memory_efficiency": 0.8, "per_step": 1e-3, "error": 0.08}
    arms = {"small": thinks(0.5), "blind": {"policy": "popularity", "share": 0.5}}
    changed = SERVING | {"instances_by_arm": {}, "step_time": step, "instances": 2}
    section = run(arms=arms, serving=changed, oracle=False).results["serving"]
    assert (section["settings"]["step_time_source"], section["settings"]["step_time_error"]) == ("given", 0.08)
    told = section["arms"]["small"]["projected"]
    for name, each in told.items():
        if each["value"] is not None:
            assert each["low"] <= each["value"] <= each["high"], name
    work = told["projected_gpu_seconds_work_per_job"]
    assert work["high"] / work["value"] == pytest.approx(1.08, rel=0.02)
    hours = told["projected_gpu_hours_provisioned_a_day"]
    assert hours["low"] == hours["high"] == 48.0


def test_a_promise_that_no_cluster_keeps_is_one_line(hurries: None, run: Run) -> None:
    """A promise under what a job alone takes must be refused with what was reached."""
    arms = {"small": thinks(0.5), "blind": {"policy": "popularity", "share": 0.5}}
    changed = SERVING | {"instances_by_arm": {}, "slo": {"job": 0.01}}
    with pytest.raises(ValueError, match=r"serving\.slo: kept for 0\.0% of jobs .* promised; promise less") as error:
        run(arms=arms, serving=changed, oracle=False)
    assert "(arm small, h20)" in str(error.value)


def test_the_command_line_says_it_in_one_line(hurries: None, tmp_path: Path) -> None:
    """What no cluster can do must end the command with one line and exit code 2, and leave no results."""
    config = {
        "name": "late",
        "seed": 7,
        "world": {"kind": "generated", "users": 60, "items": 200, "cities": ["seattle"], "country": "US"},
        "horizon": {"start": "2015-10-05", "history_days": 8, "days": 3},
        "arms": {"small": thinks(0.5), "blind": {"policy": "popularity", "share": 0.5}},
        "serving": SERVING | {"instances_by_arm": {}, "slo": {"job": 0.01}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "out"
    found = CliRunner().invoke(
        app, ["run", str(tmp_path / "config.yaml"), "--out", str(out), "--workers", "1", "--quiet"]
    )
    assert found.exit_code == 2
    assert found.stderr.startswith("error: serving.slo: kept for 0.0% of jobs")
    assert found.stderr.count("\n") == 1
    assert not (out / RESULTS).exists()
