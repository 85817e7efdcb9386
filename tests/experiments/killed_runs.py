"""Runs that are killed at a chosen moment: a program that reads orders from standard input and answers each in a line.

It loads everything once and lets a child process carry out each order, so that a kill costs no import. The child counts
the moments at which a run can be hit (days, pages, policies' work, every step of every write) and kills itself at one.
"""

import json
import os
import signal
import sys
import zipfile
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pondering_policy  # noqa: F401 - its import registers a policy that takes no snapshots

from experiments import pieces, runner
from experiments.config import ExperimentConfig, resolved
from experiments.progress import SilentProgress
from experiments.resuming import begin_or_go_on
from experiments.run_directory import RunDirectory
from simulator.engine import Simulation


class Moments:
    """Counts moments, and kills this process at the chosen one."""

    def __init__(self, chosen: int | None) -> None:
        self.count = 0
        self._chosen = chosen

    def one(self) -> None:
        """Here the process can be hit."""
        self.count += 1
        if self.count == self._chosen:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """A moment before and one after each call of a function."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            self.one()
            result = function(*arguments, **named)
            self.one()
            return result

        setattr(owner, name, watched)


def carry_out(order: dict[str, Any]) -> int:
    """Run a config in a folder, to its end or to the chosen moment; the number of moments that passed."""
    moments = Moments(order["kill_at"])
    for owner, name in (
        (Simulation, "_play"),
        (Simulation, "snapshot"),
        (Simulation, "_restore"),
        (runner, "build_world"),
        (runner, "fit_policies"),
        (runner, "build_results"),
        (pieces, "write_arrays"),
        (pieces, "read_arrays"),
        (zipfile.ZipFile, "writestr"),
        (zipfile._ZipWriteFile, "write"),  # type: ignore[attr-defined]  in the midst of a file
        (os, "fsync"),
        (os, "rename"),
        (os, "replace"),
        (os, "unlink"),
    ):
        moments.around(owner, name)
    runner.begin_or_go_on = partial(begin_or_go_on, share=1.0)  # every day is kept, however quickly it is played
    config = ExperimentConfig.model_validate(order["config"])
    directory = RunDirectory.open(Path(order["path"]), config.name, resolved(config))
    runner.run_experiment(config, directory, 1, SilentProgress())
    return moments.count


def main() -> None:
    """Carry out orders until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, str(carry_out(order)).encode())
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        count = os.read(reader, 100).decode()
        os.close(reader)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"code": code, "moments": int(count) if count else None}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
