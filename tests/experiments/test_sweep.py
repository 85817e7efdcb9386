import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from experiments import sweep_command
from experiments.cli import app
from experiments.config import resolved
from experiments.progress import SilentProgress
from experiments.run_directory import RunDirectory
from experiments.runner import run_experiment
from experiments.sweep import Done, folder_of, run_sweep
from experiments.sweep_points import load_points
from experiments.terminal_sweep import print_done, print_sweep
from metrics.replicates import mean_of_replicates

CONFIG: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "world": {"kind": "generated", "users": 120, "items": 200, "cities": ["seattle"], "country": "US"},
    "horizon": {"start": "2015-10-05", "history_days": 8, "warmup_days": 2, "days": 3},
    "arms": {"old": {"policy": "popularity", "share": 0.5}, "new": {"policy": "utility", "share": 0.5}},
    "analysis": {"metrics": ["ctr", "ipv"]},
    "oracle": True,
    "sweep": {"grid": {"arms.new.policy": ["utility", "random"], "page.slots": [4, 8]}, "seeds": [7, 8]},
}


def written(folder: Path, **changes: Any) -> Path:
    """The config as a file, with some sections replaced."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False), encoding="utf-8")
    return path


class Swept:
    """A sweep that was carried out, and what was told meanwhile."""

    def __init__(self, path: Path, out: Path, workers: int = 1, force: bool = False) -> None:
        self.told: list[Done] = []
        self.out = out
        self.base, self.points = load_points(path)
        self.sweep = run_sweep(self.base, self.points, out, workers, SilentProgress(), self.told.append, force=force)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Two policies on two sizes of a page with two seeds; not to be changed."""
    folder = tmp_path_factory.mktemp("sweep")
    return Swept(written(folder), folder / "out")


def test_a_point_leaves_the_bytes_of_the_run_alone(swept: Swept, tmp_path: Path) -> None:
    """What shared world, history and fits give is what running the point by itself gives, to the byte."""
    for number in (0, 1, 3, 6):
        point = swept.points[number]
        alone = RunDirectory.open(tmp_path / str(number), point.config.name, resolved(point.config))
        run_experiment(point.config, alone, 1, SilentProgress())
        together = folder_of(swept.out, point)
        for name in ("results.json", "user_days.parquet", "counterfactuals.parquet", "config.yaml"):
            assert (together / name).read_bytes() == (alone.path / name).read_bytes(), (number, name)


@pytest.mark.slow
def test_workers_change_nothing(swept: Swept, tmp_path: Path) -> None:
    """Two processes leave the same sweep, to the byte."""
    again = Swept(written(tmp_path, sweep={"grid": {"arms.new.policy": ["utility", "random"]}}), tmp_path / "two", 2)
    once = Swept(written(tmp_path, sweep={"grid": {"arms.new.policy": ["utility", "random"]}}), tmp_path / "one", 1)
    assert (again.out / "sweep.json").read_bytes() == (once.out / "sweep.json").read_bytes()
    for point in once.points:
        name = folder_of(once.out, point).relative_to(once.out)
        assert (once.out / name / "user_days.parquet").read_bytes() == (
            again.out / name / "user_days.parquet"
        ).read_bytes()


def test_finished_points_are_found_again(swept: Swept, tmp_path: Path) -> None:
    """A sweep that goes on, or whose grid has grown, runs what is missing and leaves the same files."""
    path, out = written(tmp_path, sweep={"grid": {"arms.new.policy": ["utility"]}}), tmp_path / "out"
    first = Swept(path, out)
    assert [done.found for done in first.told] == [False]
    before = (out / "sweep.json").read_bytes()
    (out / "sweep.json").unlink()
    assert [done.found for done in Swept(path, out).told] == [True]
    assert (out / "sweep.json").read_bytes() == before
    grown = Swept(written(tmp_path, sweep={"grid": {"arms.new.policy": ["random", "utility"]}}), out)
    assert [(done.point.values["arms.new.policy"], done.found) for done in grown.told] == [
        ("random", False),
        ("utility", True),
    ]
    path = written(tmp_path, sweep={"grid": {"arms.new.policy": ["utility"]}})
    assert [done.found for done in Swept(path, out, force=True).told] == [False]
    assert (out / "sweep.json").read_bytes() == before


def test_an_interrupted_point_is_run_again(tmp_path: Path) -> None:
    """A point without its manifest is not taken for finished."""
    path, out = written(tmp_path, sweep={"grid": {"arms.new.policy": ["random"]}}), tmp_path / "out"
    first = Swept(path, out)
    folder = folder_of(out, first.points[0])
    bytes_before = (folder / "results.json").read_bytes()
    (folder / "manifest.json").unlink()
    (folder / "results.json").write_text("{", encoding="utf-8")
    assert [done.found for done in Swept(path, out).told] == [False]
    assert (folder / "results.json").read_bytes() == bytes_before


def test_points_of_a_seed_share_users_and_assignment(swept: Swept) -> None:
    """Points that differ in an arm alone have the same users in the same arms, and the same control to the byte."""
    one, two = (
        next(
            p
            for p in swept.points
            if p.config.seed == 7 and p.config.page.slots == 4 and p.values["arms.new.policy"] == each
        )
        for each in ("utility", "random")
    )
    tables = [
        pl.read_parquet(folder_of(swept.out, point) / "user_days.parquet").filter(pl.col("arm") == "old")
        for point in (one, two)
    ]
    assert tables[0].equals(tables[1])


def test_the_summary_holds_points_and_means_over_seeds(swept: Swept) -> None:
    """Each point has its run's comparisons, and a curve's lift is the mean of its seeds with Student's interval."""
    sweep = json.loads((swept.out / "sweep.json").read_text(encoding="utf-8"))
    assert sweep == swept.sweep
    assert [axis["key"] for axis in sweep["axes"]] == ["arms.new.policy", "page.slots"]
    assert len(sweep["points"]) == 8
    assert len(sweep["curves"]) == 4 * 2
    for point in sweep["points"]:
        results = json.loads((swept.out / point["run"] / "results.json").read_text(encoding="utf-8"))
        assert (swept.out / point["run"] / "report.html").is_file()
        for mine, original in zip(point["comparisons"], results["comparisons"], strict=True):
            assert mine["lift"] == original["lift"]
            assert mine["truth"] == original["truth"]
    for curve in sweep["curves"]:
        rows = [
            row
            for point in sweep["points"]
            if point["values"] == curve["values"]
            for row in point["comparisons"]
            if row["metric"] == curve["metric"]
        ]
        mean = mean_of_replicates([row["lift"] for row in rows])
        assert curve["lift"] == mean.mean
        assert tuple(curve["ci"]) == mean.ci
        assert curve["seeds"] == 2
        assert curve["truth"] == pytest.approx(sum(row["truth"]["lift"] for row in rows) / 2)


def test_one_seed_keeps_the_experiments_own_interval(tmp_path: Path) -> None:
    """Without repetitions a curve shows the interval of each experiment."""
    sweep = Swept(written(tmp_path, sweep={"grid": {"arms.new.policy": ["random"]}}), tmp_path / "out").sweep
    [curve] = [each for each in sweep["curves"] if each["metric"] == "ctr"]
    [row] = [each for each in sweep["points"][0]["comparisons"] if each["metric"] == "ctr"]
    assert curve["ci"] == row["lift_ci"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_tells_each_point_and_all(swept: Swept, width: int) -> None:
    """A line for each experiment says its values, effect and time; the table fits the width and holds every point."""
    file = io.StringIO()
    console = Console(width=width, file=file, no_color=True)
    print_done(console, swept.told[0], 1, 8, 12.3)
    line = file.getvalue()
    assert line.startswith("[1/8] policy utility, slots 4, seed 7: new ")
    assert line.rstrip().endswith("12 s")
    file.seek(0)
    file.truncate()
    print_sweep(console, swept.sweep)
    printed = file.getvalue()
    assert max(len(each) for each in printed.splitlines()) <= width
    assert printed.count("random") == printed.count("utility") == 4


def test_the_command_runs_shows_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and the report's path are printed; too many points, foreign folders and plain runs are refused."""
    runner = CliRunner()
    path, out = written(tmp_path, sweep={"grid": {"arms.new.policy": ["random", "utility"]}}), tmp_path / "out"
    done = runner.invoke(app, ["sweep", str(path), "--out", str(out), "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "2 experiments, 0 of them finished before" in done.output
    assert f"report: {out / 'report.html'}" in done.output
    assert "points/" in (out / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr(sweep_command, "MOST_POINTS", 1)
    found = runner.invoke(app, ["sweep", str(path), "--out", str(out), "--quiet"])
    assert found.exit_code == 0
    refused = runner.invoke(app, ["sweep", str(path), "--out", str(tmp_path / "other")])
    assert refused.exit_code == 2
    assert "2 experiments to run (more than 1); add --yes" in refused.output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    foreign = runner.invoke(app, ["sweep", str(path), "--out", str(tmp_path / "full"), "--yes"])
    assert foreign.exit_code == 2
    assert "holds files but no sweep" in foreign.output
    single = runner.invoke(app, ["run", str(path)])
    assert single.exit_code == 2
    assert f"describes a sweep; use `testbed sweep {path}`" in " ".join(single.output.split())
    valid = runner.invoke(app, ["validate", str(path)])
    assert "valid, 2 experiments" in valid.output
    few = runner.invoke(app, ["sweep", str(path), "--workers", "0"])
    assert few.exit_code == 2
