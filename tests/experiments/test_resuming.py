"""Runs that are killed, and what becomes of them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from experiments import resuming
from experiments.config import ExperimentConfig, resolved
from experiments.errors import UserError
from experiments.pieces import Piece
from experiments.progress import Progress, SilentProgress
from experiments.resuming import begin_or_go_on, standing
from experiments.run_directory import CONFIG, COUNTERFACTUALS, MANIFEST, PARTS, REPORT, RESULTS, USER_DAYS, RunDirectory
from experiments.runner import run_experiment

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
KILLS = 20
Run = Callable[..., SimpleNamespace]

TWO_CHANNEL: dict[str, Any] = {"policy": "two_channel", "params": {"trees": 5}}
CONFIG_OF_KILLED: dict[str, Any] = {
    "name": "killed",
    "seed": 3,
    "world": {"kind": "generated", "users": 60, "items": 120, "cities": ["seattle"], "country": "US"},
    "horizon": {"start": "2015-10-05", "history_days": 6, "warmup_days": 2, "days": 3, "follow_up_days": 1},
    "page": {"slots": 6},
    "arms": {
        "control": {"policy": "utility", "share": 0.3},
        "learning": TWO_CHANNEL
        | {
            "share": 0.4,
            "allocation": {
                "kind": "exposure_qp",
                "lambda": 0.03,
                "solver": "threshold",
                "max": 2,
                "split": {"start": 0.5, "half_life_days": 3},
            },
        },
        "guest": {"policy": "pondering", "share": 0.3},
    },
    "analysis": {"metrics": ["ctr"]},
    "oracle": True,
}
CONFIG_TWO = {name: {"policy": "popularity", "share": 0.5} for name in ("one", "two")}
CONFIG_OF_COMMANDS: dict[str, Any] = CONFIG_OF_KILLED | {"name": "commands", "arms": CONFIG_TWO}
TABLES = (RESULTS, USER_DAYS, COUNTERFACTUALS)


@pytest.fixture(scope="module")
def order() -> Iterator[Callable[[Path, int | None], dict[str, Any]]]:
    """``order(path, kill_at)``: carry the config out in a folder, in a process that kills itself at a moment."""
    process = subprocess.Popen(  # noqa: S603  the project's own interpreter and code
        [sys.executable, str(HERE / "killed_runs.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ordered(path: Path, kill_at: int | None) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"config": CONFIG_OF_KILLED, "path": str(path), "kill_at": kill_at}) + "\n")
        process.stdin.flush()
        return dict(json.loads(process.stdout.readline()))

    yield ordered
    process.stdin.close()
    process.stdout.close()
    assert process.wait(60) == 0


@pytest.mark.slow
def test_twenty_kills_change_nothing(order: Callable[[Path, int | None], dict[str, Any]], tmp_path: Path) -> None:
    """Killed at random moments, again and again, runs end in the bytes of the undisturbed one and leave no trace."""
    undisturbed = order(tmp_path / "whole", None)
    assert undisturbed["code"] == 0
    luck = random.Random(1)  # noqa: S311  no secret
    kills = run = 0
    while True:
        path = tmp_path / str(run)
        found = order(path, luck.randint(1, undisturbed["moments"]) if kills < KILLS else None)
        if found["code"] == -signal.SIGKILL:
            kills += 1
            if not (path / MANIFEST).exists():
                continue
            config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
            RunDirectory.open(path, "killed", config)  # it was whole, and killed while clearing away
        else:
            assert found["code"] == 0
        for name in TABLES:
            assert (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (run, name)
        assert sorted(file.name for file in path.iterdir()) == sorted([CONFIG, MANIFEST, *TABLES])
        run += 1
        if kills == KILLS:
            break
    assert run > 2


def command(*arguments: str) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-c", "from experiments.cli import main; main()", *arguments]


def descendants(process: int) -> list[int]:
    """Ids of the processes that a process has started, and of theirs."""
    found = []
    for task in Path("/proc", str(process), "task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def lives(process: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise TimeoutError


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run that nobody disturbed."""
    path = tmp_path_factory.mktemp("undisturbed") / "out"
    config = ExperimentConfig.model_validate(CONFIG_OF_COMMANDS)
    run_experiment(config, RunDirectory.open(path, config.name, resolved(config)), 1, SilentProgress())
    return path


@pytest.mark.slow
def test_a_killed_command_is_finished_by_resume(undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL of a command with two workers ends the workers too; --resume finishes the run, in the same bytes."""
    out, config = tmp_path / "out", str(undisturbed / CONFIG)
    started = command("run", config, "--out", str(out), "--workers", "2", "--quiet")
    for stage in ("history", "arm"):  # once early, once late
        process = subprocess.Popen(started, env=ENVIRONMENT, cwd=tmp_path)  # noqa: S603  the project's own code
        wait_for(lambda stage=stage: list((out / PARTS).glob(f"{stage}.*.npz")))
        workers = descendants(process.pid)
        assert workers
        process.kill()
        assert process.wait() == -signal.SIGKILL
        wait_for(lambda workers=workers: not any(map(lives, workers)))
        again = subprocess.run(  # noqa: S603
            command("run", config, "--out", str(out)), env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert again.returncode == 2
        assert "holds an interrupted run" in again.stderr
        assert f"`testbed run --resume {out}`" in again.stderr
        assert "--force" in again.stderr
        started = command("run", "--resume", str(out), "--workers", "2")
    told = subprocess.run(started, env=ENVIRONMENT, capture_output=True, text=True, check=False)  # noqa: S603
    assert told.returncode == 0, told.stderr
    assert "under way): going on" in told.stderr
    assert "logging the history: done in" in told.stderr
    assert "12 of 12 steps done before" in told.stderr
    for name in TABLES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert not (out / PARTS).exists()
    assert json.loads((out / MANIFEST).read_text())["resumed"] == 2
    assert (out / REPORT).exists()


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_changes_nothing(undisturbed: Path, tmp_path: Path) -> None:
    """When a worker of a run is killed, others take its work over, and the run ends in the same bytes."""
    out = tmp_path / "out"
    process = subprocess.Popen(  # noqa: S603
        command("run", str(undisturbed / CONFIG), "--out", str(out), "--workers", "2", "--quiet"),
        env=ENVIRONMENT,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )

    def worker() -> int | None:
        kept = list((out / PARTS).glob("history.*.npz"))
        names = {pid: Path("/proc", str(pid), "cmdline").read_bytes() for pid in descendants(process.pid)}
        return next((pid for pid, name in names.items() if b"spawn_main" in name), None) if kept else None

    os.kill(wait_for(worker), signal.SIGKILL)
    assert process.wait(300) == 0
    for name in TABLES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.fixture(scope="module")
def stopped(run: Run, interrupted_after: Callable[[int], Progress], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in the arms, on one worker; not to be changed."""
    path = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.raises(ZeroDivisionError):
        run(path=path, progress=interrupted_after(23))
    return path


@pytest.fixture
def interrupted(stopped: Path, tmp_path: Path) -> RunDirectory:
    """A copy of that run."""
    path = shutil.copytree(stopped, tmp_path / "out")
    return RunDirectory.open(path, "small", read_config(path))


def read_config(path: Path) -> dict[str, Any]:
    """The resolved config of a run."""
    from experiments.loading import read_mapping

    return read_mapping(path / CONFIG)


def test_days_are_not_played_again(interrupted: RunDirectory, run: Run, finished: SimpleNamespace) -> None:
    """What was kept is told as done before, the rest is played, and the sums of both are the stages' totals."""
    assert interrupted.interrupted
    assert standing(interrupted) == "2 pieces finished, 1 under way"
    found = run(path=interrupted.path)
    assert found.steps.before["logging the history"] == found.steps.totals["logging the history"] == 15
    assert found.steps.before["warming up"] == 3
    assert 0 < found.steps.before["playing the arms"] < found.steps.totals["playing the arms"]
    assert found.steps.done == found.steps.totals
    for name in TABLES:
        assert (interrupted.path / name).read_bytes() == (finished.path / name).read_bytes(), name


def test_any_number_of_workers_goes_on(interrupted: RunDirectory, run: Run, finished: SimpleNamespace) -> None:
    """A run begun by one worker is finished by two in the same shards and the same bytes."""
    run(path=interrupted.path, workers=2)
    for name in TABLES:
        assert (interrupted.path / name).read_bytes() == (finished.path / name).read_bytes(), name


def test_what_is_finished_is_not_fitted_for(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose days have all been played goes on without fitting a policy."""
    write_json = RunDirectory.write_json

    def stopped(self: RunDirectory, name: str, data: dict[str, Any]) -> Path:
        if name == RESULTS:
            raise ZeroDivisionError
        return write_json(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_json", stopped)
        with pytest.raises(ZeroDivisionError):
            run(path=tmp_path / "out", oracle=False)

    def unwanted(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("policies.utility.Utility.fit", unwanted)
    monkeypatch.setattr("policies.contextual.Contextual.fit", unwanted)
    assert run(path=tmp_path / "out", oracle=False).directory.complete


CHANGED = [
    ("config", "0" * 64, r"config\.yaml: not the config that the run was begun with; put that back, or begin anew"),
    ("code", "0.0.9+abc", r"out: begun with code 0\.0\.9\+abc, and this is .*; go on with that one, or begin anew"),
    ("package numpy", "1.0", r"out: begun with numpy 1\.0, and here is 2\..*; go on with that one"),
    ("policy guest", "abc", r"out: begun with another code of the policy guest; go on with that"),
    ("data log.csv", "abc", r"log\.csv: not the file that .*out was begun with; put that back"),
]


@pytest.mark.parametrize(("what", "then", "said"), CHANGED)
def test_another_run_is_not_gone_on_with(what: str, then: str, said: str, interrupted: RunDirectory, run: Run) -> None:
    """Another config, code, package, policy or data file than the pieces were made with is refused, and they stay."""
    plan = interrupted.path / PARTS / "plan.json"
    data = json.loads(plan.read_text())
    data["made_of"][what] = then
    plan.write_text(json.dumps(data))
    before = {file.name: file.read_bytes() for file in (interrupted.path / PARTS).iterdir()}
    with pytest.raises(UserError, match=f"{said}.*--force"):
        run(path=interrupted.path)
    assert {file.name: file.read_bytes() for file in (interrupted.path / PARTS).iterdir()} == before


def test_what_a_run_depends_on_is_looked_at(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's bytes, the sources' hash, the packages and a foreign policy's module are part of a run's plan."""
    changes = {
        "world": {"kind": "log", "dataset": "online_retail", "path": str(ledger)},
        "horizon": {"start": "2011-03-01", "history_days": 10, "days": 5},
        "arms": {name: {"policy": "pondering", "share": 0.5} for name in ("one", "two")},
    }
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import pondering_policy

        config = ExperimentConfig.model_validate(CONFIG_OF_KILLED | changes)
        made_of = resuming._made_of(config)
    assert {"config", "code", "package python", "package torch", "policy pondering", f"data {ledger}"} <= set(made_of)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(ledger.read_bytes() + b"\n")
    assert resuming._digest(copy) != made_of[f"data {ledger}"]
    assert made_of["policy pondering"] == resuming._digest(Path(str(pondering_policy.__file__)))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"workers": 1}'])
def test_a_damaged_plan_is_refused(content: str | None, interrupted: RunDirectory, run: Run) -> None:
    """Pieces without a readable plan are not gone on with."""
    plan = interrupted.path / PARTS / "plan.json"
    plan.unlink()
    if content is not None:
        plan.write_text(content)
    with pytest.raises(UserError, match=r"plan\.json: missing or damaged.*begin anew with --force"):
        run(path=interrupted.path)


def test_a_damaged_piece_is_refused_and_the_one_before_goes_on(
    interrupted: RunDirectory, run: Run, finished: SimpleNamespace
) -> None:
    """A damaged snapshot ends in an error before anything is played; without it the run goes on from the one before."""
    piece = Piece(interrupted.path / PARTS / "history.0.npz")
    data = bytearray(piece.path.read_bytes())
    data[-len(data) // 4] ^= 4
    piece.path.write_bytes(data)
    with pytest.raises(UserError, match=r"history\.0\.npz: damaged .* remove this file, then .* \(day \d+\)"):
        run(path=interrupted.path)
    piece.path.unlink()
    again = run(path=interrupted.path)
    assert 0 < again.steps.before["logging the history"] < 15
    for name in TABLES:
        assert (interrupted.path / name).read_bytes() == (finished.path / name).read_bytes(), name


def test_a_run_without_pieces_begins_anew(tmp_path: Path) -> None:
    """Where nothing was kept there is nothing to go on with, whatever the plan says."""
    config = ExperimentConfig.model_validate(CONFIG_OF_KILLED | {"arms": CONFIG_TWO})
    directory = RunDirectory.open(tmp_path, config.name, resolved(config))
    assert begin_or_go_on(directory, config, 3).workers == 3
    assert not directory.interrupted
    assert begin_or_go_on(directory, config, 2).workers == 2
    assert begin_or_go_on(directory, config, 2).resumed == 0


def test_two_processes_do_not_work_in_one_folder(interrupted: RunDirectory, run: Run) -> None:
    """While one process is at work in a run directory another is refused, and let in afterwards."""
    with interrupted.to_oneself(), pytest.raises(UserError, match="another process is at work in it"):
        run(path=interrupted.path)
    with interrupted.to_oneself(), pytest.raises(UserError, match="another process is at work in it"):
        RunDirectory.open(interrupted.path, "small", interrupted.config, force=True)
    assert run(path=interrupted.path).directory.complete


def test_a_complete_run_keeps_no_pieces(interrupted: RunDirectory, run: Run) -> None:
    """Pieces go when the run is complete; those that a kill just before their removal left go at the next opening."""
    run(path=interrupted.path)
    assert not (interrupted.path / PARTS).exists()
    (interrupted.path / PARTS).mkdir()
    (interrupted.path / PARTS / "history.0.npz").write_bytes(b"")
    directory = RunDirectory.open(interrupted.path, "small", interrupted.config)
    assert directory.complete
    assert not directory.interrupted
    assert not (interrupted.path / PARTS).exists()


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(interrupted: RunDirectory, finished: SimpleNamespace) -> None:
    """A process that may write no more than some bytes a file fails with what to do, and is finished when it may."""
    code = (
        "import resource, signal, sys; from experiments.cli import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        f"sys.argv = ['testbed', 'run', '--resume', {str(interrupted.path)!r}, '--workers', '1', '--quiet']; main()"
    )
    full = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)  # noqa: S603
    assert full.returncode == 2, full.stderr
    assert "cannot be written (File too large); make room" in full.stderr
    assert f"`testbed run --resume {interrupted.path}`" in full.stderr
    assert standing(interrupted) == "2 pieces finished, 1 under way"
    config = ExperimentConfig.model_validate(interrupted.config)
    run_experiment(config, interrupted, 1, SilentProgress())
    for name in TABLES:
        assert (interrupted.path / name).read_bytes() == (finished.path / name).read_bytes(), name
