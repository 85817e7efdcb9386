"""A cluster of Ray, beyond what holds for every engine; `test_pools.py` has that."""

import importlib
import socket
from pathlib import Path
from types import ModuleType

import pytest

from simulator.pools import EngineError

pytest.importorskip("ray", reason="Ray, the extra `ray`, is not installed")

from simulator.ray_cluster import RayCluster, ray_cluster


@pytest.mark.usefixtures("ray_running")
def test_a_machine_with_other_versions_refuses_to_play(tasks: ModuleType) -> None:
    """A worker for which the fingerprint differs is an error of one line that names machine, difference and remedy."""
    words = rf"machine {socket.gethostname()} has process \d+, and this one \d+; install"
    with RayCluster(tasks.of_this_process).pool(1) as pool, pytest.raises(EngineError, match=words):
        pool.map(tasks.double, [1], lambda: None)


@pytest.mark.usefixtures("ray_running")
def test_a_machine_without_the_folder_refuses_to_play(
    tasks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has not the folder in which the command was given is an error that names machine and folder."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    elsewhere = RayCluster(tasks.same_everywhere)
    gone.rmdir()
    words = f"machine {socket.gethostname()} has no folder {gone}; run from one"
    with elsewhere.pool(1) as pool, pytest.raises(EngineError, match=words):
        pool.map(tasks.double, [1], lambda: None)


@pytest.mark.usefixtures("ray_running")
def test_a_machine_without_a_module_refuses_to_play(tasks: ModuleType, tmp_path: Path) -> None:
    """A worker that cannot find the module of what it is sent is an error that names the module and what to do."""
    (tmp_path / "only_here.py").write_text("def work(task, tick):\n    return task\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        only_here = importlib.import_module("only_here")
    words = f"machine {socket.gethostname()}: No module named 'only_here'; install"
    with RayCluster(tasks.same_everywhere).pool(1) as pool, pytest.raises(EngineError, match=words):
        pool.map(only_here.work, [1], lambda: None)


@pytest.mark.usefixtures("ray_running")
def test_a_cluster_tells_its_processors(tasks: ModuleType) -> None:
    """Without another word there is a worker for each processor of the cluster."""
    cluster = RayCluster(tasks.same_everywhere)
    assert (cluster.name, cluster.cores) == ("ray", 2)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:port", "ray://127.0.0.1:10001"])
def test_an_address_that_is_none_is_refused(tasks: ModuleType, address: str) -> None:
    """What is no HOST:PORT is an error that names it and says what to give."""
    with (
        pytest.raises(EngineError, match=f"--ray-address: {address}.*HOST:PORT"),
        ray_cluster(tasks.same_everywhere, 1, address),
    ):
        pass


def test_an_address_without_a_cluster_is_refused_at_once(tasks: ModuleType) -> None:
    """Where nobody listens there is an error, before Ray begins to wait."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, so that nobody else listens on it
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(EngineError, match=f"--ray-address: {address} does not answer"),
            ray_cluster(tasks.same_everywhere, 1, address),
        ):
            pass
