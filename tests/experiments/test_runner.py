import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from experiments.config import ExperimentConfig, resolved
from experiments.history import make_logger
from experiments.progress import SilentProgress
from experiments.provenance import Stopwatch
from experiments.report import write_report
from experiments.run_directory import (
    CONFIG,
    COUNTERFACTUALS,
    MANIFEST,
    PARTS,
    REPORT,
    RESULTS,
    USER_DAYS,
    RunDirectory,
)
from experiments.runner import phases_of, run_experiment
from experiments.worlds import build_world
from simulator.tables import USER_DAY_SCHEMA

Run = Callable[..., SimpleNamespace]
TWO = {"control": {"policy": "utility", "share": 0.5}, "treatment": {"policy": "contextual", "share": 0.5}}


def true_lift(results: dict[str, Any], metric: str, treatment: str) -> float:
    """The exact lift of a metric in a treatment arm."""
    (found,) = [c for c in results["comparisons"] if (c["metric"], c["treatment"]) == (metric, treatment)]
    return float(found["truth"]["lift"])


@pytest.fixture(scope="module")
def assigned_only(run: Run) -> SimpleNamespace:
    """The finished experiment once more, each user under the assigned arm alone."""
    return run(oracle=False)


def test_processes_do_not_matter(finished: SimpleNamespace, run: Run) -> None:
    """Two processes leave the same files to the byte as one, the manifest excepted, and count as many steps each."""
    by_two = run(workers=2)
    same = [CONFIG, COUNTERFACTUALS, RESULTS, USER_DAYS]
    assert sorted(file.name for file in by_two.path.iterdir()) == sorted([*same, MANIFEST])
    for name in same:
        assert (finished.path / name).read_bytes() == (by_two.path / name).read_bytes(), name
    workers = [json.loads((each.path / MANIFEST).read_text())["machine"]["workers"] for each in (finished, by_two)]
    assert workers == [1, 2]
    assert by_two.directory.complete
    assert by_two.directory.read_results() == by_two.results
    assert by_two.steps.done == by_two.steps.totals
    assert by_two.steps.totals["playing the arms"] == 2 * finished.steps.totals["playing the arms"]


def test_rerun_leaves_the_same_bytes(finished: SimpleNamespace, run: Run) -> None:
    """A run is a pure function of config and code."""
    again = run()
    for name in (USER_DAYS, COUNTERFACTUALS, RESULTS):
        assert (finished.path / name).read_bytes() == (again.path / name).read_bytes()


def test_seed_changes_the_run(finished: SimpleNamespace, run: Run) -> None:
    """Another seed is another world."""
    other = run(seed=8, oracle=False)
    assert not finished.user_days.equals(other.user_days)


def test_truth_changes_nothing_for_the_experimenter(finished: SimpleNamespace, assigned_only: SimpleNamespace) -> None:
    """Playing every user under every arm leaves the user days the same to the byte, and the estimates too."""
    assert (finished.path / USER_DAYS).read_bytes() == (assigned_only.path / USER_DAYS).read_bytes()
    assert not (assigned_only.path / COUNTERFACTUALS).exists()

    def estimates(found: Any) -> Any:
        if isinstance(found, dict):
            return {key: estimates(value) for key, value in found.items() if key != "truth"}
        return [estimates(each) for each in found] if isinstance(found, list) else found

    for block in ("comparisons", "sequential", "guardrails", "quantiles", "segments", "trends", "power", "decisions"):
        assert estimates(finished.results[block]) == estimates(assigned_only.results[block]), block
    assert all(c["truth"] is None for c in assigned_only.results["comparisons"])
    assert all(c["truth"] is not None for c in finished.results["comparisons"])


def test_experiment_plays_assigned_users_only(assigned_only: SimpleNamespace) -> None:
    """Without the truth an arm serves its own users' visits and no others."""
    days = assigned_only.user_days
    visits = assigned_only.results["diagnostics"]["visits"]
    for arm in assigned_only.config.arms:
        own = days.filter((pl.col("arm") == arm) & (pl.col("phase") != "warmup"))
        assert visits[arm]["served"] == own["sessions"].sum()


def test_every_visit_is_served_or_lost(finished: SimpleNamespace) -> None:
    """Visits drawn are visits served plus lost, and those served are the sessions of the tables."""
    visits = finished.results["diagnostics"]["visits"]
    assert set(visits) == {"warmup", *finished.config.arms}
    for count in visits.values():
        assert count["drawn"] == count["served"] + count["lost"]
        assert count["lost"] == 0
    days = finished.user_days
    assert visits["warmup"]["served"] == days.filter(pl.col("phase") == "warmup")["sessions"].sum()
    for arm in finished.config.arms:
        own = days.filter((pl.col("arm") == arm) & (pl.col("phase") != "warmup"))
        others = finished.counterfactuals.filter(pl.col("played") == arm)
        assert visits[arm]["served"] == own["sessions"].sum() + others["sessions"].sum()


def test_tables_keep_their_promises(finished: SimpleNamespace) -> None:
    """User days have the schema, one row a user and day in order, phases by day, and counts that fit together."""
    days = finished.user_days
    assert days.schema == USER_DAY_SCHEMA
    assert_frame_equal(days, days.sort("user", "day"))
    assert days.select("user", "day").is_unique().all()
    assert (days.group_by("user").agg(pl.col("arm").n_unique())["arm"] == 1).all()
    phases = phases_of(finished.config)
    spans = {
        "warmup": (phases.warmup_start, phases.experiment_start),
        "experiment": (phases.experiment_start, phases.experiment_end),
        "follow_up": (phases.experiment_end, phases.follow_up_end),
    }
    assert list(spans.values()) == [(15, 18), (18, 23), (23, 26)]
    for phase, (first, end) in spans.items():
        found = days.filter(pl.col("phase") == phase)["day"]
        assert found.min() == first
        assert found.max() == end - 1
    for table in (days, finished.counterfactuals):
        assert (table["atc"] <= table["clicks"]).all()
        assert (table["clicks"] <= table["ipv"]).all()
        assert (table["clicks"] <= table["impressions"]).all()
        assert (table["novel_impressions"] <= table["impressions"]).all()
        assert (table["tv"] <= table["gmv"]).all()
        assert (table["impressions"] == 8 * table["pages"]).all()
        assert (table["pages"] >= table["sessions"]).all()


def test_counterfactuals_are_the_other_arms(finished: SimpleNamespace) -> None:
    """The second table holds each user under the arms not assigned, after the warm-up only."""
    others = finished.counterfactuals
    assert (others["played"] != others["arm"]).all()
    assert set(others["played"]) == set(finished.config.arms)
    assert set(others["phase"]) == {"experiment", "follow_up"}
    assert others.select("user", "day", "played").is_unique().all()
    arms = finished.user_days.select("user", "arm").unique()
    assert (
        others.select("user", "arm")
        .unique()
        .join(arms, on="user")
        .filter(pl.col("arm") != pl.col("arm_right"))
        .is_empty()
    )


def test_same_luck_under_every_arm(finished: SimpleNamespace) -> None:
    """The first visit of the experiment falls on the same day whichever policy serves it."""
    own = finished.user_days.filter(pl.col("phase") != "warmup").with_columns(played=pl.col("arm"))
    every = pl.concat([own, finished.counterfactuals.select(own.columns)])
    first = every.group_by("user", "played").agg(pl.col("day").min()).group_by("user").agg(pl.col("day").n_unique())
    assert (first["day"] == 1).all()
    assert (
        not every.filter(pl.col("played") == "utility")
        .select("user", "day", "clicks")
        .equals(every.filter(pl.col("played") == "popularity").select("user", "day", "clicks"))
    )


def test_progress_counts_to_its_totals(finished: SimpleNamespace, assigned_only: SimpleNamespace) -> None:
    """Every stage ends at the number of steps it announced."""
    for found in (finished, assigned_only):
        assert found.steps.done == found.steps.totals


def test_same_policy_twice_has_no_effect(run: Run) -> None:
    """In an A/A test the exact effect is 0.0 on every metric, whatever the estimate."""
    arms = {name: {"policy": "utility", "share": 0.5} for name in ("control", "treatment")}
    results = run(arms=arms).results
    assert len(results["comparisons"]) == 8
    for comparison in results["comparisons"]:
        assert comparison["truth"]["effect"] == 0.0
        assert comparison["truth"]["lift"] == 0.0
    assert all(point["truth"]["effect"] == 0.0 for point in results["daily"] if point["truth"])
    assert any(comparison["effect"] != 0.0 for comparison in results["comparisons"])


def test_reading_contexts_pays_where_they_act(run: Run) -> None:
    """The contextual policy truly beats the context-blind one, and its advantage goes when contexts are off."""
    # A world of this size scatters by about two points from seed to seed, so the claim is made of two together: over
    # seeds 7 and 10 to 14 the true lift was 8% to 26% with contexts on (mean 14%), 0% to 3% with them off (1.4%).
    lifts: dict[float, list[float]] = {1.0: [], 0.0: []}
    world = {"kind": "generated", "users": 1200, "items": 2000, "cities": ["seattle"], "country": "US"}
    horizon = {"start": "2015-10-05", "history_days": 30, "days": 10}
    for strength, found in lifts.items():
        for seed in (10, 14):
            results = run(
                seed=seed,
                world=world | {"contexts": strength},
                horizon=horizon,
                page={},
                arms=TWO,
                analysis={"metrics": ["ctr"]},
            ).results
            found.append(true_lift(results, "ctr", "treatment"))
    assert sum(lifts[1.0]) / 2 > 0.05
    assert abs(sum(lifts[0.0])) < sum(lifts[1.0]) / 4


def test_oracle_is_the_ceiling(run: Run) -> None:
    """Nobody clicks more than under the policy that knows the truth, which may also serve the warm-up."""
    names = ("oracle", "popularity", "utility", "contextual", "random")
    arms = {name: {"policy": name, "share": 0.2} for name in names}
    results = run(arms=arms).results
    for name in names[1:]:
        assert true_lift(results, "ctr", name) < -0.2


def test_feed_shows_fewer_items(finished: SimpleNamespace, run: Run) -> None:
    """On a feed other cards take places: pages hold fewer items than on the item scenario, and are answered."""
    feed = run(scenario="feed", oracle=False, arms=TWO).user_days
    per_page = feed["impressions"].sum() / feed["pages"].sum()
    whole = finished.user_days["impressions"].sum() / finished.user_days["pages"].sum()
    assert whole == 8
    assert 4 < per_page < 7
    assert feed["clicks"].sum() > 0


def test_one_user_is_a_run(run: Run) -> None:
    """Arms that nobody is in, and shards without a user of an arm, are no obstacle."""
    world = {"kind": "generated", "users": 1, "items": 60, "cities": ["seattle"], "country": "US"}
    arms = {"control": {"policy": "popularity", "share": 0.5}, "treatment": {"policy": "utility", "share": 0.5}}
    for oracle in (True, False):
        results = run(world=world, arms=arms, oracle=oracle).results
        assert sorted(arm["assigned"] for arm in results["arms"].values()) == [0, 1]


def test_control_serves_the_warm_up(run: Run) -> None:
    """Which arm is named control decides who serves the warm-up, and the first is the default."""
    arms = {"popular": {"policy": "popularity", "share": 0.5}, "chance": {"policy": "random", "share": 0.5}}
    reverse = {name: arms[name] for name in ("chance", "popular")}

    def warmup(arms: dict[str, Any], **analysis: Any) -> pl.DataFrame:
        days = run(arms=arms, oracle=False, analysis={"metrics": ["ctr"], **analysis}).user_days
        return days.filter(pl.col("phase") == "warmup").drop("arm")

    assert_frame_equal(warmup(arms), warmup(reverse, control="popular"))
    assert not warmup(arms).equals(warmup(reverse))


def test_log_world_runs(online_retail: Path, run: Run) -> None:
    """A world made from the real log is played like any other, and the manifest counts the file's rows."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(online_retail)}
    horizon = {"start": "2011-05-01", "history_days": 60, "warmup_days": 2, "days": 4}
    analysis = {"metrics": ["ctr", "gmv"]}
    arms = TWO | {"control": {"policy": "popularity", "share": 0.5}}
    found = run(world=world, horizon=horizon, analysis=analysis, arms=arms)
    counts = json.loads((found.path / MANIFEST).read_text())["data"]
    assert counts["raw_rows"] > 500_000
    assert found.results["currency"] == "GBP"
    assert found.results["world"]["contexts"] is None
    # Arrivals are the log's: no policy can bring anybody back.
    sessions = [
        found.user_days.filter(pl.col("arm") == arm)["sessions"].sum()
        + found.counterfactuals.filter(pl.col("played") == arm)["sessions"].sum()
        + found.user_days.filter((pl.col("arm") != arm) & (pl.col("phase") == "warmup"))["sessions"].sum()
        for arm in arms
    ]
    assert sessions[0] == sessions[1] > 0


def test_log_too_short_for_the_horizon_is_refused(ledger: Path, run: Run) -> None:
    """A horizon that outlasts the log is an error that says by how much."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    with pytest.raises(ValueError, match=r"horizon: 45 days from 2011-03-01 \(the log ends after 30;"):
        run(world=world, horizon={"history_days": 40, "days": 5}, analysis={"metrics": ["ctr"]})


def test_log_of_a_few_customers_runs(ledger: Path, run: Run) -> None:
    """A dozen customers' log is played, every visit of theirs on its day under every arm."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    arms = TWO | {"treatment": {"policy": "popularity", "share": 0.5}}
    horizon = {"history_days": 20, "warmup_days": 2, "days": 5}
    found = run(world=world, horizon=horizon, analysis={"metrics": ["ctr"]}, arms=arms)
    assert found.user_days["sessions"].to_list() == [1] * (12 * 7)
    assert found.counterfactuals["sessions"].to_list() == [1] * (12 * 5)


def test_report_is_written_from_the_run(finished: SimpleNamespace, assigned_only: SimpleNamespace) -> None:
    """What a run leaves is what the report reads, with the truth or without."""
    for found in (finished, assigned_only):
        path = write_report(found.directory)
        assert path.name == REPORT
        text = path.read_text(encoding="utf-8")
        assert found.config.name in text
        assert all(arm in text for arm in found.config.arms)


def check_unfinished(path: Path) -> None:
    """The run is not complete, and no half-written file is left."""
    assert not (path / MANIFEST).exists()
    assert not list(path.glob("**/.tmp-*"))
    assert not multiprocessing.active_children()


def test_manifest_is_written_last(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing the manifest fails everything else is there, and the run does not count as complete."""
    write_json = RunDirectory.write_json

    def full(self: RunDirectory, name: str, data: dict[str, Any]) -> Path:
        if name == MANIFEST:
            raise OSError("disk full")
        return write_json(self, name, data)

    monkeypatch.setattr(RunDirectory, "write_json", full)
    with pytest.raises(OSError, match="disk full"):
        run(path=tmp_path / "out", arms=TWO)
    check_unfinished(tmp_path / "out")
    left = {CONFIG, PARTS, RESULTS, USER_DAYS, COUNTERFACTUALS}
    assert {file.name for file in (tmp_path / "out").iterdir()} == left


class Impatient(SilentProgress):
    """Interrupts a run after some steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def advance(self, steps: int = 1) -> None:
        """As Ctrl-C would."""
        self._left -= steps
        if self._left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("workers", "steps"), [(1, 1), (1, 10), (1, 25), (2, 20)])
def test_interrupt_leaves_nothing_half_done(workers: int, steps: int, tmp_path: Path, run: Run) -> None:
    """An interrupt in the history or in the arms leaves no manifest, no temporary file and no process."""
    with pytest.raises(KeyboardInterrupt):
        run(workers=workers, path=tmp_path / "out", progress=Impatient(steps), arms=TWO)
    check_unfinished(tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {CONFIG, PARTS}


def test_interrupt_while_writing_leaves_no_part_of_a_file(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt in the midst of a table leaves neither the table nor its temporary file; then a rerun succeeds."""

    def interrupted(self: pl.DataFrame, path: Path) -> None:
        path.write_bytes(b"PAR1")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(path=tmp_path / "out", arms=TWO)
    check_unfinished(tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {CONFIG, PARTS}
    assert run(path=tmp_path / "out", arms=TWO).directory.complete


def test_logger_knows_the_catalogue_only(finished: SimpleNamespace) -> None:
    """The policy of the history is the exploring logger with its defaults, fitted on no log."""
    config: ExperimentConfig = finished.config
    built = build_world(
        config.world, start=config.horizon.start, days=26, scenario=config.scenario, slots=8, seed=config.seed
    )
    logger = make_logger(built, config.seed)
    assert type(logger).__name__ == "ExploringLogger"
    assert logger.params == type(logger).Params()


def test_stopwatch_times_stages_that_end() -> None:
    """A stage that fails is not reported as done."""
    clock = Stopwatch()
    with clock.stage("one"):
        pass
    with pytest.raises(ZeroDivisionError), clock.stage("two"):
        raise ZeroDivisionError
    assert list(clock.seconds) == ["one"]
    assert clock.seconds["one"] >= 0


def test_no_worker_is_no_run(tmp_path: Path, finished: SimpleNamespace) -> None:
    """Fewer than one process is an error that says so."""
    directory = RunDirectory.open(tmp_path / "out", "small", resolved(finished.config))
    with pytest.raises(ValueError, match="workers: 0"):
        run_experiment(finished.config, directory, 0, SilentProgress())
