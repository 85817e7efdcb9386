"""The engine that plays shards on a Ray cluster: one that is started here, or one that is there already.

Needs the extra ``ray``; importing this module without it is an ``ImportError``.
"""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import ray
from ray.exceptions import AuthenticationError

from simulator.pools import EngineError, Pool
from simulator.ray_pool import RayPool, Surroundings, processors
from simulator.sending import packed

_CONNECT_SECONDS: Final = 10.0


class RayCluster:
    """The engine that plays shards on a connected Ray cluster.

    Args:
        fingerprint: a function of a module that tells what decides the bytes of a run, by name; a worker for which it
            tells something else refuses to play.
    """

    name: Final = "ray"

    def __init__(self, fingerprint: Callable[[], Mapping[str, str]]) -> None:
        path = tuple(entry for entry in map(os.path.abspath, sys.path) if Path(entry).exists())
        self._surroundings = Surroundings(str(Path.cwd()), path, fingerprint(), packed(fingerprint))

    @property
    def cores(self) -> int:
        """Processors of all machines of the cluster."""
        return processors()

    def pool(self, workers: int, modules: Sequence[str] = ()) -> AbstractContextManager[Pool]:
        """See ``Engine``; its processes are Ray's own, and load what they need with their first task."""
        return self._pool(workers)

    @contextmanager
    def _pool(self, workers: int) -> Iterator[RayPool]:
        pool = RayPool(workers, self._surroundings)
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def ray_cluster(
    fingerprint: Callable[[], Mapping[str, str]], cores: int, address: str | None = None
) -> Iterator[RayCluster]:
    """A connected cluster; one that was started here ends with the context.

    One that is started here serves no dashboard, reports no usage, and lets nobody in who does not have its token:
    the one in ``RAY_AUTH_TOKEN``, or one drawn anew and written nowhere. With ``RAY_AUTH_MODE=disabled`` there is none,
    as Ray has it.

    Args:
        fingerprint: see ``RayCluster``.
        cores: processors of a cluster that is started here; each plays one task at a time.
        address: of a cluster that is there already, as in ``10.0.0.5:6379``, or ``auto`` for that of this machine.

    Raises:
        EngineError: no cluster is found at the address, or it has no processors.
    """
    quiet = {"log_to_driver": False, "logging_level": "error"}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address not in (None, "auto"):
        _knock(address)
    with ExitStack() as at_the_end:
        folder = at_the_end.enter_context(TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        at_the_end.callback(ray.shutdown)
        if address is None:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            ray.init("local", num_cpus=cores, include_dashboard=False, _temp_dir=folder, **quiet)
        else:
            _join(address, quiet)
        cluster = RayCluster(fingerprint)
        if cluster.cores < 1:
            raise EngineError(f"--ray-address: {address}; the cluster has no processors (add a machine that has)")
        yield cluster


def _join(address: str, quiet: Mapping[str, Any]) -> None:
    """Connect to a cluster that is there.

    Raises:
        EngineError: it is not, or it does not let us in.
    """
    try:
        ray.init(address, **quiet)
    except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        remedy = "is it a Ray cluster of this version, and if it has a token, is RAY_AUTH_MODE=token set here too?"
        raise EngineError(f"--ray-address: {address}; {reason} ({remedy})") from error


def _knock(address: str) -> None:
    """See whether anybody listens there, since Ray itself would wait for minutes.

    Raises:
        EngineError: nobody does.
    """
    host, _, port = address.rpartition(":")
    remedy = "give HOST:PORT of a running cluster, as `ray start --head` prints it, or auto for that of this machine"
    if not host or "/" in host or not port.isdecimal():
        raise EngineError(f"--ray-address: {address}; {remedy}")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineError(f"--ray-address: {address} does not answer ({error.strerror or error}); {remedy}") from error
