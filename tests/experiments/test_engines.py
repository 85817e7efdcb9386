"""Who plays: the options of commands, and runs on a Ray cluster where Ray is installed."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import engines
from experiments.engines import EngineName, Players, fingerprint
from experiments.errors import UserError
from experiments.progress import SilentProgress
from experiments.run_directory import COUNTERFACTUALS, MANIFEST, RESULTS, USER_DAYS
from simulator.pools import Engine
from simulator.shards import PROCESSES, cores

Run = Callable[..., SimpleNamespace]


class At(SilentProgress):
    """Does something at each step of one stage."""

    def __init__(self, stage: str, act: Callable[[], None]) -> None:
        self._wanted = stage
        self._act = act
        self._open: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator["At"]:
        """See ``Progress``."""
        self._open.append(name)
        try:
            yield self
        finally:
            self._open.pop()

    def advance(self, steps: int = 1) -> None:
        """See ``Progress``."""
        if self._open[-1] == self._wanted:
            self._act()


def stop() -> None:
    """Ends a run, as a defect would."""
    raise ZeroDivisionError


def descendants(process: int) -> list[int]:
    """Ids of the processes that a process has started, and of theirs."""
    found = []
    for task in Path("/proc", str(process), "task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


class Killer:
    """Kills a worker of the cluster that has a task in hand: the first that it sees, and no other."""

    def __init__(self) -> None:
        self.killed: int | None = None

    def __call__(self) -> None:
        """Look for one, unless it is done."""
        if self.killed is None:
            busy = [
                pid for pid in descendants(os.getpid()) if b"ray::_call" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            for pid in busy[:1]:
                os.kill(pid, signal.SIGKILL)
                self.killed = pid


@pytest.fixture
def ray(ray_running: None) -> Engine:
    """A Ray cluster with two cores."""
    from simulator.ray_cluster import RayCluster

    return RayCluster(fingerprint)


@pytest.mark.slow
def test_engines_take_turns(ray: Engine, run: Run, finished: SimpleNamespace, tmp_path: Path) -> None:
    """Begun on Ray, gone on with here, finished on Ray where a worker is killed: a run has the bytes of one process."""
    out, killer = tmp_path / "out", Killer()
    with pytest.raises(ZeroDivisionError):
        run(path=out, engine=ray, workers=2, progress=At("logging the history", stop))
    with pytest.raises(ZeroDivisionError):
        run(path=out, workers=1, progress=At("warming up", stop))
    run(path=out, engine=ray, workers=2, progress=At("playing the arms", killer))
    assert killer.killed is not None
    for name in (RESULTS, USER_DAYS, COUNTERFACTUALS):
        assert (out / name).read_bytes() == (finished.path / name).read_bytes(), name
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["resumed"] == 2
    assert (manifest["machine"]["engine"], manifest["machine"]["workers"]) == ("ray", 2)


def test_processes_are_the_engine_unless_another_is_asked_for() -> None:
    """Without a word there is a worker for each core of this machine."""
    with Players(EngineName.processes, None, None).ready() as (engine, workers):
        assert engine is PROCESSES
        assert workers == engine.cores == cores()
    with Players(EngineName.processes, 3, None).ready() as (engine, workers):
        assert workers == 3


def test_without_ray_the_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed, asking for it is an error that says what to install."""
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^--engine ray: Ray is not installed; install the extra `ray`"):
        Players(EngineName.ray, None, None)


def test_a_fingerprint_holds_what_decides_the_bytes() -> None:
    """What machines of a cluster must have in common are the code and the packages that decide a run's numbers."""
    assert {"code", "python", "numpy", "numba", "torch", "polars"} <= fingerprint().keys()
    assert fingerprint() == fingerprint()
