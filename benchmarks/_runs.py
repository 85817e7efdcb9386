"""Whole runs of ``testbed run`` in a process of their own: what they take and leave. Knows no policy and no figure."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
_COMMAND: Final = "from experiments.cli import main; main()"


class Run(NamedTuple):
    """A finished run.

    Attributes:
        wall: seconds from start to end.
        cpu: CPU-seconds of all of its processes.
        peak: largest resident memory of any one of them, GiB.
        stages: wall seconds by stage, from the run's manifest.
    """

    wall: float
    cpu: float
    peak: float
    stages: dict[str, float]


def run(config: Path, settings: Sequence[str], workers: int) -> Run:
    """Run a config with some keys set, in a folder that is gone afterwards.

    Raises:
        RuntimeError: the run failed.
    """
    command = [sys.executable, "-c", _COMMAND, "run", str(config), "--workers", str(workers), "--quiet"]
    command += [part for setting in settings for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        begun = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--out", str(out)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"testbed run {config}: exit code {process.returncode}")
        stages = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["timings"]
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, stages)
