import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from experiments.cli import app
from experiments.config import ExperimentConfig
from experiments.pieces import Piece
from experiments.progress import Progress
from experiments.run_directory import MANIFEST, PARTS, REPORT, RESULTS, RunDirectory
from policies.registry import RegisteredPolicy, register_policy
from simulator.batches import Candidates, Requests
from simulator.datasets.interactions import DatasetError
from simulator.pools import Engine, EngineError


@register_policy("cli_test_policy")
class Named(RegisteredPolicy):
    """A policy only ever named.

    With a second paragraph.
    """

    def candidates(self, requests: Requests) -> Candidates:
        """Never called."""
        raise NotImplementedError


TEXT = """
name: small
seed: 7
world: {kind: generated, users: 100, items: 200, cities: [seattle], country: US}
horizon: {start: 2015-10-05, history_days: 10, days: 3}
arms:
  control: {policy: cli_test_policy, share: 0.5}
  treatment: {policy: cli_test_policy, share: 0.5}
"""
EVALUATION = """
kind: evaluation
name: offline
seed: 7
world: {kind: generated, users: 100, items: 200, cities: [seattle], country: US}
horizon: {start: 2015-10-05, history_days: 10}
holdout_days: 2
policies: {one: {policy: cli_test_policy}}
"""


class Backstage:
    """Stands in for what runs, evaluates, prints and reports, and counts."""

    def __init__(self) -> None:
        self.runs = 0
        self.workers, self.engine = 0, ""
        self.failure: BaseException | None = None
        self.keeps = False

    def run(
        self, config: ExperimentConfig, directory: RunDirectory, workers: int, progress: Progress, engine: Engine
    ) -> dict[str, Any]:
        """A run that finds its own seed."""
        self.runs += 1
        self.workers, self.engine = workers, engine.name
        with progress.stage("simulate", 2) as stage:
            stage.advance(2)
            if self.keeps:
                Piece(directory.path / PARTS / "history.0.npz").keep(1, {})
            if self.failure:
                raise self.failure
        results = {"seed": config.seed}
        directory.write_json(RESULTS, results)
        directory.write_json(MANIFEST, {})
        return results

    def print_results(self, console: Console, results: dict[str, Any]) -> None:
        """A verdict in a line."""
        console.print(f"verdict of seed {results['seed']}")

    def write_report(self, directory: RunDirectory) -> Path:
        """A report without content."""
        return directory.write_text(REPORT, "<html></html>")


@pytest.fixture
def backstage(monkeypatch: pytest.MonkeyPatch) -> Backstage:
    """The stand-in in place of the functions that the commands import."""
    stand_in = Backstage()
    modules: dict[str, dict[str, Callable[..., Any]]] = {
        "experiments.runner": {"run_experiment": stand_in.run},
        "experiments.evaluation": {"run_evaluation": stand_in.run},
        "experiments.terminal": {
            "print_verdict": stand_in.print_results,
            "print_evaluation": stand_in.print_results,
        },
        "experiments.report": {"write_report": stand_in.write_report},
    }
    for name, functions in modules.items():
        module = import_module(name)
        for function, instead in functions.items():
            monkeypatch.setattr(module, function, instead)
    return stand_in


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, holding a config of each kind."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(TEXT)
    Path("offline.yaml").write_text(EVALUATION)
    return tmp_path


def invoke(*arguments: str) -> Result:
    """What a command line does."""
    return CliRunner().invoke(app, list(arguments))


def check_refused(result: Result, *parts: str) -> None:
    """Exit code 2, nothing on standard output, one line on standard error that holds the parts."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "wrld=1"], ["wrld: unknown key (did you mean world?)"]),
        (["--set", "arms.control.policy=nobody"], ["unknown policy 'nobody'", "cli_test_policy"]),
        (["--set", "arms.treatment.share=0.7"], ["arms: shares sum to 1.2 (control 0.5, treatment 0.7)"]),
        (["--set", "horizon.end=2015-09-01"], ["horizon.end: end before start"]),
        (["--set", "world.users=0"], ["world.users: 0 must be greater than or equal to 1"]),
        (["--set", "world={kind: log, dataset: online_retail, path: x.csv}"], ["world.path: x.csv: no such"]),
        (["--set", "world.users"], ["--set 'world.users': write path.to.key=value"]),
        (["--workers", "0"], ["--workers: 0; use at least 1"]),
        (["--ray-address", "auto"], ["--ray-address: auto; only with --engine ray"]),
        (["--out", "small.yaml/run"], ["small.yaml/run: cannot be written (Not a directory)"]),
        (["--out", "."], [".: holds files but no run; give another --out"]),
    ],
)  # fmt: skip
def test_what_the_user_can_put_right_is_one_line(backstage: Backstage, arguments: list[str], parts: list[str]) -> None:
    """Every mistake in a config or an option ends in one line and exit code 2, before anything runs."""
    check_refused(invoke("run", "small.yaml", *arguments), *parts)
    assert backstage.runs == 0


def test_missing_config_is_one_line(backstage: Backstage) -> None:
    """A config that does not exist is refused by every command that reads one."""
    for command in ("run", "evaluate", "validate"):
        check_refused(invoke(command, "none.yaml"), "none.yaml: no such file")


def test_run_directory_of_another_config_is_refused(backstage: Backstage) -> None:
    """A folder that holds a run is not overwritten by another config unless forced."""
    assert invoke("run", "small.yaml", "--out", "here").exit_code == 0
    other = ["run", "small.yaml", "--set", "seed=8", "--out", "here"]
    check_refused(invoke(*other), "here: holds a run of another config; give another --out, or --force to replace it")
    forced = invoke(*other, "--force")
    assert forced.exit_code == 0
    assert "verdict of seed 8" in forced.stdout


def test_dataset_errors_are_one_line(backstage: Backstage) -> None:
    """What is wrong with a data set is the user's to put right too, and shown on one line."""
    backstage.failure = DatasetError("log.csv: damaged\nfetch it again")
    result = invoke("run", "small.yaml", "--quiet")
    check_refused(result, "error: log.csv: damaged fetch it again")


def test_an_engine_that_cannot_be_had_is_one_line(backstage: Backstage) -> None:
    """A cluster that is not there is the user's to put right."""
    backstage.failure = EngineError("--ray-address: h:1 does not answer; give another")
    check_refused(invoke("run", "small.yaml", "--quiet"), "error: --ray-address: h:1 does not answer; give another")


def test_defects_keep_their_traceback(backstage: Backstage) -> None:
    """An error that is nobody's input is not disguised as one."""
    backstage.failure = ValueError("shapes differ")
    result = invoke("run", "small.yaml")
    assert result.exception is backstage.failure


def test_complete_run_is_shown_not_repeated(backstage: Backstage) -> None:
    """A second identical command prints the stored verdict; --force runs again."""
    first, second = invoke("run", "small.yaml"), invoke("run", "small.yaml")
    assert (first.exit_code, second.exit_code, backstage.runs) == (0, 0, 1)
    assert second.stdout == first.stdout
    assert "complete: showing what it found (--force runs again)" in second.stderr
    assert invoke("run", "small.yaml", "--quiet").stderr == ""
    invoke("run", "small.yaml", "--force")
    assert backstage.runs == 2


def test_run_prints_the_verdict_and_where_the_report_is(backstage: Backstage, folder: Path) -> None:
    """The verdict and the report's place go to standard output, progress to standard error unless quiet."""
    result = invoke("run", "small.yaml", "--out", "here", "--workers", "3", "--set", "seed=9")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["verdict of seed 9", "report: here/report.html"]
    assert result.stderr.startswith("simulate: done in ")
    assert (backstage.workers, backstage.engine) == (3, "processes")
    assert invoke("run", "small.yaml", "--out", "there", "--quiet").stderr == ""
    assert (folder / "here" / REPORT).exists()


def test_interruption_is_one_line_and_130(backstage: Backstage, folder: Path) -> None:
    """Ctrl-C says that nothing is half-written, and a later run takes the same folder."""
    backstage.failure = KeyboardInterrupt()
    result = invoke("run", "small.yaml", "--out", "here", "--quiet")
    assert result.exit_code == 130
    assert result.stderr == "interrupted; nothing half-written in here\n"
    assert [file.name for file in (folder / "here").iterdir()] == ["config.yaml"]
    backstage.failure = None
    assert invoke("run", "small.yaml", "--out", "here").exit_code == 0


def interrupt(backstage: Backstage, out: str = "here") -> Result:
    """A run that was ended by Ctrl-C after it kept a piece."""
    backstage.failure, backstage.keeps = KeyboardInterrupt(), True
    result = invoke("run", "small.yaml", "--out", out, "--quiet")
    backstage.failure, backstage.keeps = None, False
    return result


def test_an_interrupted_run_says_how_to_go_on(backstage: Backstage) -> None:
    """Ctrl-C names the command that goes on, and so does the next attempt at the same run, which does not begin."""
    result = interrupt(backstage)
    assert result.exit_code == 130
    assert result.stderr == "interrupted; nothing half-written in here; `testbed run --resume here` goes on\n"
    check_refused(
        invoke("run", "small.yaml", "--out", "here"),
        "here: holds an interrupted run (0 pieces finished, 1 under way)",
        "go on with it by `testbed run --resume here`, or begin anew with --force",
    )
    check_refused(invoke("report", "here"), "the run is unfinished; finish it with `testbed run --resume here`")
    assert backstage.runs == 1


def test_resume_goes_on_and_says_so(backstage: Backstage) -> None:
    """--resume takes config and place from the run directory; on a complete run it shows what is there."""
    interrupt(backstage)
    result = invoke("run", "--resume", "here", "--workers", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["verdict of seed 7", "report: here/report.html"]
    assert "here: holds an interrupted run (0 pieces finished, 1 under way): going on" in result.stderr
    assert (backstage.runs, backstage.workers) == (2, 3)
    assert "complete: showing what it found" in invoke("run", "--resume", "here").stderr
    assert backstage.runs == 2


def test_force_begins_an_interrupted_run_anew(backstage: Backstage, folder: Path) -> None:
    """--force discards what was kept."""
    interrupt(backstage)
    assert invoke("run", "small.yaml", "--out", "here", "--force").exit_code == 0
    assert not (folder / "here" / PARTS).exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["small.yaml", "--resume", "here"], "CONFIG: not with --resume"),
        (["--resume", "here", "--out", "there"], "--out: not with --resume"),
        (["--resume", "here", "--set", "seed=8"], "--set: not with --resume"),
        (["--resume", "here", "--force"], "--force: not with --resume"),
        (["--resume", "nowhere"], "nowhere: not a run directory; give a folder that `testbed run` has written"),
        ([], "CONFIG: missing; give a config to run, or an interrupted run with --resume RUN"),
    ],
)
def test_resume_stands_alone(backstage: Backstage, arguments: list[str], part: str) -> None:
    """What would make it another run is refused beside --resume, and so is a folder without a run."""
    interrupt(backstage)
    check_refused(invoke("run", *arguments), part)
    assert backstage.runs == 1


def test_kinds_go_to_their_commands(backstage: Backstage) -> None:
    """A config of the other kind is refused with the command that takes it."""
    check_refused(
        invoke("run", "offline.yaml"),
        "its kind is evaluation; use `testbed evaluate offline.yaml`",
    )
    check_refused(invoke("evaluate", "small.yaml"), "its kind is experiment; use `testbed run small.yaml`")
    result = invoke("evaluate", "offline.yaml", "--out", "here")
    assert result.exit_code == 0, result.output
    assert "verdict of seed 7" in result.stdout


def test_report_is_written_again_from_a_complete_run(backstage: Backstage, folder: Path) -> None:
    """Only a complete run has a report to write."""
    check_refused(invoke("report", "here"), "here: not a run directory")
    invoke("run", "small.yaml", "--out", "here")
    (folder / "here" / REPORT).unlink()
    assert invoke("report", "here").stdout == "report: here/report.html\n"
    assert (folder / "here" / REPORT).exists()


def test_validate_tells_every_mistake_and_run_the_first() -> None:
    """Each mistake is a line on standard error and the exit code 2; other commands tell the first and how many more."""
    wrong = ["small.yaml", "--set", "seed=-1", "--set", "name=A"]
    told = invoke("validate", *wrong)
    assert told.exit_code == 2
    assert [line.split(": ")[:2] for line in told.stderr.splitlines()] == [["error", "name"], ["error", "seed"]]
    first = invoke("run", *wrong)
    assert first.exit_code == 2
    (line,) = first.stderr.splitlines()
    assert line == f"{told.stderr.splitlines()[0]} (and 1 more; `testbed validate` tells all)"


def test_validate_says_where_a_run_would_go() -> None:
    """A valid config is told apart by the folder it would write, which does not come to be."""
    result = invoke("validate", "small.yaml")
    assert result.exit_code == 0
    assert result.stdout.startswith("small.yaml: valid; `testbed run` would write runs/small-")
    assert not Path("runs").exists()


def test_schema_is_json_schema() -> None:
    """Both kinds of config have a schema that names their keys and refuses others."""
    for kind, key in (("experiment", "arms"), ("evaluation", "holdout_days")):
        schema = json.loads(invoke("schema", "--kind", kind).stdout)
        assert key in schema["properties"]
        assert schema["additionalProperties"] is False


def test_policies_are_listed_with_their_first_line() -> None:
    """Each registered policy is listed with what it does."""
    result = invoke("policies")
    assert result.exit_code == 0, result.output
    assert "cli_test_policy" in result.stdout
    assert "second paragraph" not in result.stdout


def test_data_says_what_was_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching prints what the file holds; what fails is one line."""
    import experiments.data as data

    monkeypatch.setattr(data, "fetch_online_retail", lambda to, progress: f"{to}: 3 purchases")
    assert invoke("data", "online-retail", "--to", "there").stdout == "there: 3 purchases\n"

    def offline(*_: object) -> str:
        raise DatasetError("there: no network")

    monkeypatch.setattr(data, "fetch_online_retail", offline)
    check_refused(invoke("data", "online-retail", "--to", "there"), "there: no network")


@pytest.mark.parametrize(
    "command", [[], ["run"], ["evaluate"], ["report"], ["validate"], ["schema"], ["policies"], ["data"], ["time"]]
)
def test_help_of_every_command(command: list[str]) -> None:
    """Every command explains itself."""
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_version_is_shown() -> None:
    """The version is one line."""
    assert invoke("--version").stdout.startswith("testbed ")


def test_unknown_options_exit_2() -> None:
    """A mistaken command line is a usage error."""
    assert invoke("run", "small.yaml", "--nonsense").exit_code == 2
    assert invoke("schema", "--kind", "party").exit_code == 2


def test_help_does_not_load_the_simulator() -> None:
    """The front door opens without the compiler and the data libraries behind it."""
    code = "import sys, experiments.cli; print({'numba', 'polars', 'pydantic', 'lightgbm'} & set(sys.modules))"
    loaded = subprocess.run(  # noqa: S603  the project's own interpreter and code
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert loaded.stdout == "set()\n"


def test_module_is_the_command() -> None:
    """`python -m experiments.cli` does what `testbed` does."""
    asked = subprocess.run([sys.executable, "-m", "experiments.cli", "--help"], capture_output=True, text=True)
    assert asked.returncode == 0
    assert "validate" in asked.stdout


TRACED = """
name: traced
seed: 7
world: {kind: generated, users: 5, items: 200, cities: [seattle], country: US}
traffic: {kind: trace, path: trace.parquet}
horizon: {start: 2015-10-05, history_days: 10, days: 3}
arms:
  control: {policy: cli_test_policy, share: 0.5}
  treatment: {policy: cli_test_policy, share: 0.5}
"""


def test_trace_is_checked_before_a_run_and_leaves_room_for_it(tmp_path: Path) -> None:
    """`validate` tells all that keeps world and trace apart; a run that it stops leaves no folder in the way."""
    config, out = tmp_path / "traced.yaml", tmp_path / "out"
    config.write_text(TRACED)
    times = [datetime(2015, 10, 5, 3), datetime(2015, 10, 15, 3)]
    pl.DataFrame({"user": [0, 5], "time": times}).write_parquet(tmp_path / "trace.parquet")
    found = CliRunner().invoke(app, ["validate", str(config)])
    assert found.exit_code == 2
    horizon, users = found.stderr.splitlines()
    assert horizon.startswith("error: horizon: 13 days from 2015-10-05 end on 2015-10-17, but the visits of ")
    assert users.startswith("error: world.users: 5 (users of ")
    stopped = CliRunner().invoke(app, ["run", str(config), "--out", str(out), "--workers", "1", "--quiet"])
    assert (stopped.exit_code, stopped.stderr) == (2, f"{horizon}\n")
    assert not out.exists()
    mended = ["--set", "horizon.days=1", "--set", "world.users=6"]
    assert CliRunner().invoke(app, ["validate", str(config), *mended]).exit_code == 0


def test_failure_leaves_what_can_be_gone_on_with(tmp_path: Path, backstage: Backstage) -> None:
    """A run that fails after something was kept stays, so that it can be resumed; so does what is not the run's."""
    config = tmp_path / "small.yaml"
    config.write_text(TEXT)
    backstage.failure, backstage.keeps, out = DatasetError("file: gone"), True, tmp_path / "kept"
    assert CliRunner().invoke(app, ["run", str(config), "--out", str(out)]).exit_code == 2
    assert RunDirectory(out, {}).interrupted


def test_short_memory_is_one_line(tmp_path: Path, backstage: Backstage) -> None:
    """What does not fit into memory is said with what to change, and exit code 2."""
    config = tmp_path / "small.yaml"
    config.write_text(TEXT)
    backstage.failure = MemoryError("Unable to allocate 14.9 GiB")
    result = CliRunner().invoke(app, ["run", str(config), "--out", str(tmp_path / "big"), "--quiet"])
    assert result.exit_code == 2
    assert result.stderr == (
        "error: memory is short (Unable to allocate 14.9 GiB); use fewer users, items or --workers\n"
    )
    assert not (tmp_path / "big").exists()
