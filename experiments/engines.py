"""The options by which commands say who plays: how many workers, on what engine.

Every command that plays has the same ones. Knows the engines' names; does not know what is played.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulator.pools import Engine


class EngineName(StrEnum):
    """What can play."""

    processes = "processes"
    ray = "ray"


Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Shards at once; one a core if left out. Results do not change."),
]
EngineChoice = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="What plays: processes of this machine, or a Ray cluster (extra `ray`). Results do not change.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        help="With --engine ray: HOST:PORT of a running cluster, or auto for that of this machine; left out, one is "
        "started here and ended with the command.",
    ),
]


@dataclass(frozen=True)
class Players:
    """What a command was asked to play on.

    Attributes:
        name: of the engine.
        workers: as asked for; None for one on each of the engine's cores.
        address: of a Ray cluster; None for one of its own.

    Raises:
        UserError: the number is below 1, the address is for another engine, or Ray is not installed.
    """

    name: EngineName
    workers: int | None
    address: str | None

    def __post_init__(self) -> None:
        from experiments.errors import UserError

        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers: {self.workers}; use at least 1")
        if self.name != EngineName.ray and self.address is not None:
            raise UserError(f"--ray-address: {self.address}; only with --engine ray")
        if self.name == EngineName.ray and find_spec("ray") is None:
            raise UserError("--engine ray: Ray is not installed; install the extra `ray`, or leave --engine out")

    @contextmanager
    def ready(self) -> Iterator[tuple["Engine", int]]:
        """The engine, and the number of workers on it.

        Raises:
            EngineError: the engine cannot be had.
        """
        from simulator.shards import PROCESSES, cores

        if self.name == EngineName.processes:
            yield PROCESSES, self.workers or cores()
            return
        from simulator.ray_cluster import ray_cluster

        with ray_cluster(fingerprint, self.workers or cores(), self.address) as cluster:
            yield cluster, self.workers or cluster.cores


def fingerprint() -> Mapping[str, str]:
    """What decides the bytes of a run on a machine, by name: code and packages."""
    from experiments.provenance import code_version, package_versions

    return {"code": code_version(), **package_versions()}
