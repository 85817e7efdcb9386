import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from experiments import audit as story
from experiments.cli import app
from experiments.run_directory import AUDIT, AUDIT_REPORT, MANIFEST, RunDirectory

Maker = Callable[..., dict[str, Any]]


def invoke(*arguments: str) -> Result:
    """What ``testbed audit`` does."""
    return CliRunner().invoke(app, ["audit", *arguments, "--quiet"], terminal_width=100)


def refused(result: Result, part: str) -> None:
    """Exit code 2 and one line that holds the part."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert part in line


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch, audit_of: Maker) -> Callable[[int], list[tuple[Any, ...]]]:
    """``canned(alarms)``: an audit that finds what it is told to, and notes what it was asked."""

    def install(alarms: int) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []

        def run_audit(
            directory: RunDirectory, replications: int, seed: int | None, workers: int, progress: Any, engine: Any
        ) -> Any:
            asked.append((directory.path, replications, seed, workers))
            return audit_of(alarms=alarms)

        monkeypatch.setattr(story, "run_audit", run_audit)
        return asked

    return install


def test_a_finished_run(finished: SimpleNamespace, canned: Callable[..., Any], tmp_path: Path, audit_of: Maker) -> None:
    """The audit of a run goes where --out says, its table to the terminal, and the run stays as it was."""
    asked, before = canned(50), sorted(path.name for path in finished.path.iterdir())
    result = invoke(str(finished.path), "--out", str(tmp_path / "new"), "--replications", "30", "--seed", "9")
    assert result.exit_code == 0, result.output
    assert [each[:3] for each in asked] == [(finished.path, 30, 9)]
    assert "Every promise holds" in result.stdout
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [AUDIT_REPORT, AUDIT]
    assert json.loads((tmp_path / "new" / AUDIT).read_text()) == audit_of(alarms=50)
    assert sorted(path.name for path in finished.path.iterdir()) == before


def test_a_defect_has_an_exit_code_of_its_own(
    finished: SimpleNamespace, canned: Callable[..., Any], tmp_path: Path
) -> None:
    """A broken promise is said, written, and makes the exit code 3."""
    canned(120)
    result = invoke(str(finished.path), "--out", str(tmp_path))
    assert result.exit_code == 3
    assert "2 promises are broken" in result.stdout
    assert (tmp_path / AUDIT).is_file()


def test_a_config_is_run_once(finished: SimpleNamespace, canned: Callable[..., Any], tmp_path: Path) -> None:
    """A config whose run is complete is audited in its folder without running it again."""
    asked, place = canned(50), tmp_path / "run"
    shutil.copytree(finished.path, place)
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(finished.directory.config, sort_keys=False))
    made = (place / MANIFEST).stat().st_mtime_ns
    result = invoke(str(config), "--out", str(place), "--workers", "1")
    assert result.exit_code == 0, result.output
    assert asked == [(place, 1000, None, 1)]
    assert (place / AUDIT_REPORT).is_file()
    assert (place / MANIFEST).stat().st_mtime_ns == made
    RunDirectory.open(place, "small", finished.directory.config, force=True)
    assert not (place / AUDIT).exists()


@pytest.mark.slow
def test_a_config_is_run_first(tmp_path: Path) -> None:
    """A config that was not run before is run, reported and audited by one command, with nothing canned."""
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nseed: 7\n"
        "world: {kind: generated, users: 60, items: 200, cities: [seattle], country: US}\n"
        "horizon: {start: 2015-10-05, history_days: 8, warmup_days: 2, days: 3}\n"
        "arms:\n  a: {policy: popularity, share: 0.5}\n  b: {policy: random, share: 0.5}\n"
        "analysis: {metrics: [ctr], quantiles: []}\noracle: true\n"
    )
    result = invoke(str(config), "--out", str(tmp_path / "out"), "--replications", "20", "--workers", "1")
    assert result.exit_code in (0, 3), result.output
    found = json.loads((tmp_path / "out" / AUDIT).read_text())
    assert found["effects_known"] is True
    assert (result.exit_code == 3) == (found["defects"] > 0)
    assert (tmp_path / "out" / "report.html").is_file()
    assert "tiny" in (tmp_path / "out" / AUDIT_REPORT).read_text()


def test_what_only_the_user_can_put_right(finished: SimpleNamespace, tmp_path: Path) -> None:
    """Each mistake ends in one line that names it, and exit code 2."""
    run = str(finished.path)
    refused(invoke(run, "--replications", "5"), "--replications: 5; use 20 to 100000")
    refused(invoke(run, "--workers", "0"), "--workers: 0; use at least 1")
    refused(invoke(run, "--set", "seed=8"), "--set needs a CONFIG")
    refused(invoke(str(tmp_path)), "not a run directory")
    refused(invoke(str(tmp_path / "no.yaml")), "no such file")
    offline = tmp_path / "offline.yaml"
    offline.write_text(
        "kind: evaluation\nname: offline\nseed: 7\n"
        "world: {kind: generated, users: 100, items: 200, cities: [seattle], country: US}\n"
        "horizon: {start: 2015-10-05, history_days: 10}\nholdout_days: 2\npolicies: {one: {policy: random}}\n"
    )
    refused(invoke(str(offline)), "its kind is evaluation; an audit needs an experiment")
    (tmp_path / "file").write_text("")
    refused(invoke(run, "--out", str(tmp_path / "file" / "x")), "choose another --out")


def test_help_teaches() -> None:
    """The help says what is drawn, how to read the intervals, and what exit codes mean."""
    text = " ".join(CliRunner().invoke(app, ["audit", "--help"], terminal_width=100).stdout.replace("│", " ").split())
    for part in (
        "drawn",
        "corrected for the number of promises",
        "oracle: true",
        "Exit code",
        "3: at least one defect",
    ):
        assert part in text
