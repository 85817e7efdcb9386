import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from rich.console import Console
from scipy.stats import binom, ttest_ind
from typer.testing import CliRunner

from allocation.assignment import assign_blocks
from experiments.blocks import block_metrics
from experiments.cli import app
from experiments.config import ExperimentConfig, resolved
from experiments.pilot import plan_power, run_pilot
from experiments.progress import Progress, SilentProgress
from experiments.report import render_report
from experiments.report.designs import sentences
from experiments.run_directory import BLOCKS, RESULTS, USER_DAYS, RunDirectory
from experiments.runner import run_experiment
from experiments.terminal import print_verdict
from metrics.definitions import resolve
from metrics.estimates import arm_aggregates, estimate

TWO_CHANNEL: dict[str, Any] = {"policy": "two_channel", "params": {"trees": 5}, "share": 0.5}
SWITCHBACK: dict[str, Any] = {
    "name": "switching",
    "seed": 7,
    "world": {
        "kind": "generated",
        "users": 240,
        "items": 300,
        "cities": ["seattle", "new_york"],
        "cities_per_climate": 2,
        "country": "US",
    },
    "horizon": {"start": "2015-10-05", "history_days": 10, "warmup_days": 3, "days": 6},
    "page": {"slots": 6},
    "assignment": {"unit": "city_hours", "hours": 6},
    "arms": {
        "control": {"policy": "utility", "share": 0.5},
        "treatment": TWO_CHANNEL | {"allocation": {"kind": "fixed", "slots": 2}},
    },
    "analysis": {"metrics": ["ctr", "ipv", "gmv", "ner"]},
    "oracle": True,
}
TABLES = (RESULTS, USER_DAYS, BLOCKS)


def carried_out(path: Path, workers: int = 1, progress: Progress | None = None, **changes: Any) -> SimpleNamespace:
    """The experiment with some sections replaced."""
    config = ExperimentConfig.model_validate(SWITCHBACK | changes)
    directory = RunDirectory.open(path, config.name, resolved(config))
    results = run_experiment(config, directory, workers, progress or SilentProgress())
    blocks = pl.read_parquet(path / BLOCKS)
    return SimpleNamespace(config=config, path=path, directory=directory, results=results, blocks=blocks)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Not to be changed."""
    return carried_out(tmp_path_factory.mktemp("switchback") / "run")


def world(played: SimpleNamespace, name: str) -> pl.DataFrame:
    """Blocks of one play."""
    return played.blocks.filter(pl.col("world") == name)


def test_arms_share_the_blocks_of_every_city(played: SimpleNamespace) -> None:
    """Half of each city's blocks are under each arm, as drawn, and every block is there though nobody came."""
    rows = world(played, "experiment").sort("city", "block")
    assert rows.height == 4 * 24
    halves = rows.group_by("city").agg((pl.col("arm") == "treatment").sum())["arm"].to_list()
    assert halves == [12] * 4
    drawn = assign_blocks(4, 24, {"control": 0.5, "treatment": 0.5}, "switching", 7)
    cities = played.results["world"]["cities"]
    for row in rows.iter_rows(named=True):
        arm = ("control", "treatment")[drawn[cities.index(row["city"]), row["block"]]]
        assert row["arm"] == arm
    assert played.results["clusters"]["by_arm"] == {"control": 48, "treatment": 48}


def test_what_users_did_is_what_blocks_did(played: SimpleNamespace) -> None:
    """Days by user and arm, and blocks, sum up to the same; a user meets both arms, at times on one day."""
    days = pl.read_parquet(played.path / USER_DAYS).filter(pl.col("phase") == "experiment")
    for column in ("sessions", "clicks", "novel_impressions"):
        for arm in ("control", "treatment"):
            blocks = world(played, "experiment").filter(pl.col("arm") == arm)[column].sum()
            assert days.filter(pl.col("arm") == arm)[column].sum() == blocks
    assert (days.group_by("user").agg(pl.col("arm").n_unique())["arm"] == 2).any()
    assert played.results["diagnostics"]["visits"]["experiment"]["served"] == days["sessions"].sum()


@pytest.mark.parametrize("workers", [2])
def test_the_bytes_do_not_depend_on_the_workers(played: SimpleNamespace, tmp_path: Path, workers: int) -> None:
    """Users of a city are spread over shards, and its blocks sum up to the same bytes."""
    other = carried_out(tmp_path / "run", workers=workers)
    for name in TABLES:
        assert (other.path / name).read_bytes() == (played.path / name).read_bytes()


@pytest.mark.parametrize("steps", [17, 22, 30, 40])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    played: SimpleNamespace, interrupted_after: Callable[[int], Progress], tmp_path: Path, steps: int
) -> None:
    """Wherever it was stopped: in the switching play, in a turned one, under one arm."""
    with pytest.raises(ZeroDivisionError):
        carried_out(tmp_path / "run", progress=interrupted_after(steps))
    other = carried_out(tmp_path / "run")
    for name in TABLES:
        assert (other.path / name).read_bytes() == (played.path / name).read_bytes()


def test_both_truths_are_those_of_their_worlds(played: SimpleNamespace) -> None:
    """One arm all the time against the other; and every block under each arm while cities switch."""
    rows = played.results["comparisons"]
    switching = {row["metric"]: row for row in played.results["switchback"]["effects"]}
    plays = pl.concat(
        [
            world(played, name).select("city", "block", "arm", "clicks", "impressions", "ipv")
            for name in ("experiment", "turned by 1")
        ]
    )
    assert (plays.group_by("city", "block").agg(pl.col("arm").n_unique())["arm"] == 2).all()

    def ctr(table: pl.DataFrame) -> float:
        return float(table["clicks"].sum() / table["impressions"].sum())

    row = next(row for row in rows if row["metric"] == "ctr")
    always = ctr(world(played, "all treatment")) - ctr(world(played, "all control"))
    while_switching = ctr(plays.filter(pl.col("arm") == "treatment")) - ctr(plays.filter(pl.col("arm") == "control"))
    assert row["truth"]["effect"] == pytest.approx(always)
    assert switching["ctr"]["while_switching"]["effect"] == pytest.approx(while_switching)
    assert switching["ctr"]["carry_over"]["effect"] == pytest.approx(while_switching - always)
    ipv = next(row for row in rows if row["metric"] == "ipv")["truth"]["effect"]
    means = [float(world(played, f"all {arm}")["ipv"].mean()) for arm in ("control", "treatment")]  # type: ignore[arg-type]
    assert ipv == pytest.approx(means[1] - means[0])


def test_the_test_is_over_blocks(tmp_path: Path) -> None:
    """Without CUPED a mean is Welch's test of the blocks' sums, to the last digits that matter."""
    plain = carried_out(tmp_path / "run", oracle=False, analysis={"metrics": ["ctr", "ipv"], "cuped": False})
    rows = plain.blocks
    sides = [rows.filter(pl.col("arm") == arm)["ipv"].to_numpy() for arm in ("control", "treatment")]
    row = next(row for row in plain.results["comparisons"] if row["metric"] == "ipv")
    assert row["p_value"] == pytest.approx(ttest_ind(*sides, equal_var=False).pvalue)
    assert row["users"] == {"control": 48, "treatment": 48}
    assert row["truth"] is None
    assert plain.results["switchback"]["effects"][0]["while_switching"] is None
    assert any("no number of blocks removes that" in each for each in sentences(plain.results))


def test_equal_arms_carry_nothing_over(tmp_path: Path) -> None:
    """The same policy under both arms: nothing is true, nothing is carried over, and every play is the same play."""
    arms = {name: {"policy": "utility", "share": 0.5} for name in ("one", "two")}
    same = carried_out(tmp_path / "run", arms=arms)
    assert all(row["truth"]["effect"] == 0.0 for row in same.results["comparisons"])
    plays = [
        world(same, name).sort("city", "block").select("clicks", "gmv", "sessions")
        for name in ("experiment", "turned by 1", "all one", "all two")
    ]
    assert all(plays[0].equals(play) for play in plays[1:])
    for row in same.results["switchback"]["effects"]:
        assert row["while_switching"]["effect"] == pytest.approx(0.0, abs=1e-12)


def test_a_burn_in_leaves_the_beginning_of_blocks_out(played: SimpleNamespace, tmp_path: Path) -> None:
    """The same world is played; the first hours of a block count in no sum of blocks."""
    later = carried_out(tmp_path / "run", assignment={"unit": "city_hours", "hours": 6, "burn_in_hours": 2})
    whole, rest = world(played, "experiment"), world(later, "experiment")
    assert 0 < rest["clicks"].sum() < whole["clicks"].sum()
    assert (rest["clicks"] <= whole["clicks"]).all()
    assert (later.path / USER_DAYS).read_bytes() == (played.path / USER_DAYS).read_bytes()
    assert "first 2 are not counted" in " ".join(sentences(later.results))


@pytest.mark.parametrize("cuped", [False, True])
def test_blocks_drawn_again_find_nothing_where_nothing_is(played: SimpleNamespace, cuped: bool) -> None:
    """Blocks of one arm for everybody, dealt out anew: neighbours are alike, and false alarms are as promised."""
    rows = world(played, "all control").sort("city", "block")
    before = world(played, "experiment").sort("city", "block").select(pl.col("^.*_before$"))
    rows = rows.drop(before.columns).hstack(before)
    metrics = block_metrics(resolve(("ctr", "ipv")))
    alarms = {metric.name: 0 for metric in metrics}
    for number in range(400):
        drawn = assign_blocks(4, 24, {"control": 0.5, "treatment": 0.5}, f"again-{number}", 7)
        arm = np.array(["control", "treatment"])[drawn.ravel()]
        of_arm = arm_aggregates(rows.with_columns(pl.Series("arm", arm)), ("control", "treatment"), metrics, cuped)
        for metric in metrics:
            found = estimate(metric, of_arm["control"], of_arm["treatment"], 0.05, cuped)
            assert found.p_value is not None
            alarms[metric.name] += found.p_value < 0.05
    _, most = binom.interval(0.999, 400, 0.05)  # within cities arms are balanced, which makes the test cautious
    assert all(count <= most for count in alarms.values()), alarms
    assert sum(alarms.values()) > 0


def test_report_and_terminal_say_what_is_not_there(played: SimpleNamespace) -> None:
    """What needs users of one arm is left out with a sentence, and what users carry over is told."""
    results = played.results
    assert [results[key] for key in ("quantiles", "segments", "interactions", "trends")] == [[], [], [], []]
    assert results["retention"] is None
    assert all(row["capped"] is None for row in results["comparisons"])
    told = sentences(results)
    assert "Blocks were randomised" in told[0]
    assert "carry over" in " ".join(told)
    page = render_report(results, played.directory.read_results("manifest.json"))
    assert "changed arms by blocks of 6 hours" in page
    assert "count a block" in page
    console = Console(file=io.StringIO(), width=80)
    print_verdict(console, results)
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "Left out, since a user meets all arms" in shown


def test_both_arms_are_accounted_for(played: SimpleNamespace) -> None:
    """What an allocator wrote down is that of its arm's blocks."""
    diary = played.results["allocation"]["treatment"]
    pages = sum(day["pages"] for day in diary["days"])
    assert pages == world(played, "experiment").filter(pl.col("arm") == "treatment")["pages"].sum()


def test_a_plan_counts_blocks(played: SimpleNamespace) -> None:
    """Power, and what it needs, are those of blocks."""
    found = plan_power(played.config, *run_pilot(played.config, 1, SilentProgress()))
    assert (found["randomised"], found["exposed"], found["metrics"][0]["users"]) == ("blocks", 96, 96)
    assert found["metrics"][1]["unit"] == "count a block"
    assert found["metrics"][1]["variance_reduction"] > 0.05


@pytest.mark.parametrize("command", ["audit", "record"])
def test_what_draws_users_is_refused(played: SimpleNamespace, tmp_path: Path, command: str) -> None:
    """One line and exit code 2."""
    arguments = ["audit", str(played.path)]
    if command == "record":
        arguments = ["record", str(played.path / "config.yaml"), "--out", str(tmp_path / "trace.parquet")]
    found = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert found.exit_code == 2, found.output
    assert "assignment.unit is city_hours" in found.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"assignment": {"unit": "city_hours", "hours": 5}}, "5 .blocks begin at midnight"),
        ({"assignment": {"unit": "city_hours", "hours": 96}}, "96 does not divide the 6 days; set horizon.days to 8"),
        ({"assignment": {"unit": "city_hours", "hours": 6, "burn_in_hours": 6}}, "6 of the 6 hours"),
        ({"horizon": SWITCHBACK["horizon"] | {"follow_up_days": 2}}, "horizon.follow_up_days: 2"),
        ({"analysis": {"metrics": ["ctr", "lt14"]}}, "'lt14' with assignment.unit city_hours"),
        ({"assignment": {"unit": "city_hours", "hours": 72}}, "of 2 blocks in 4 cities arm 'control'"),
        ({"analysis": {"metrics": ["ctr"], "sequential": {"looks": 2}}}, "2 looks with assignment.unit city_hours"),
        (
            {
                "arms": SWITCHBACK["arms"]
                | {"treatment": TWO_CHANNEL | {"allocation": {"kind": "fixed", "slots": 2, "split": {"start": 0.5}}}}
            },
            "arms.treatment.allocation: learns from its users",
        ),
    ],
)
def test_what_blocks_cannot_do_is_refused(changes: dict[str, Any], message: str) -> None:
    """In one line, before anything is played."""
    with pytest.raises(ValidationError, match=message):
        ExperimentConfig.model_validate(SWITCHBACK | changes)


def test_results_of_blocks_have_the_outline_of_others(played: SimpleNamespace, finished: SimpleNamespace) -> None:
    """Whatever was randomised, the same blocks stand in the same order, and only what this unit has comes to them."""
    own = {"clusters", "switchback"}
    assert [key for key in played.results if key not in own] == list(finished.results)
    assert own < played.results.keys()
    arms = [next(iter(each.results["arms"].values())) for each in (played, finished)]
    assert list(arms[0]) == list(arms[1])
    assert played.results["diagnostics"].keys() >= finished.results["diagnostics"].keys()
