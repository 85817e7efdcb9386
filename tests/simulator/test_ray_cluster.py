"""A cluster of Ray, beyond what holds for every engine; `test_pools.py` has that."""

import socket
from pathlib import Path
from types import ModuleType

import pytest

from simulator.pools import EngineError

pytest.importorskip("ray", reason="Ray, the extra `ray`, is not installed")

from simulator.ray_cluster import RayCluster, ray_cluster


def test_a_machine_with_something_else_refuses_to_play(
    tasks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has other versions, or not the folder, is an error of one line that names machine and remedy."""
    with ray_cluster(tasks.same_everywhere, 1) as cluster:
        assert (cluster.name, cluster.cores) == ("ray", 1)
        for own, words in ((True, r"has process \d+, and this one \d+; install"), (False, "has no folder .*gone; run")):
            if not own:
                (tmp_path / "gone").mkdir()
                monkeypatch.chdir(tmp_path / "gone")
            other = RayCluster(tasks.of_this_process if own else tasks.same_everywhere)
            if not own:
                (tmp_path / "gone").rmdir()
            with other.pool(1) as pool, pytest.raises(EngineError, match=f"machine {socket.gethostname()} {words}"):
                pool.map(tasks.double, [1], lambda: None)


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
