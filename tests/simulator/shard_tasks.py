"""Tasks for other processes, which find them in a module of this name."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.pools import Tick


def double(task: int, tick: Tick) -> int:
    """Three steps."""
    for _ in range(3):
        tick()
    return 2 * task


def tick_often(task: int, tick: Tick) -> None:
    """As many steps as it is told."""
    for _ in range(task):
        tick()


def threads(task: int, tick: Tick) -> str | None:
    """What libraries of linear algebra are told."""
    return os.environ.get("OMP_NUM_THREADS")


def refuse(task: int, tick: Tick) -> int:
    """The second task is an error."""
    if task == 1:
        raise ValueError(f"task: {task}")
    return task


def die_once(task: tuple[str, int], tick: Tick) -> int:
    """The first process that has the second task in hand is killed after two of four steps."""
    folder, number = task
    died = Path(folder, "died")
    for step in range(4):
        tick()
        if step == 1 and number == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


def die_holding(task: tuple[str, int, npt.NDArray[Any]], tick: Tick) -> npt.NDArray[Any]:
    """The first process that has the second task in hand is killed; the others give back what they got."""
    folder, number, held = task
    died = Path(folder, "died")
    if number == 1 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return held


def loaded(task: str, tick: Tick) -> bool:
    """Whether a module is there."""
    return task in sys.modules


def outlive(task: Any, tick: Tick) -> None:
    """Takes longer than any test, after a first step."""
    tick()
    time.sleep(600)


def die(task: int, tick: Tick) -> None:
    """Any process that has it in hand is killed."""
    tick()
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Sum:
    """Numbers to add, of which many tasks have the same."""

    common: npt.NDArray[np.float64]
    own: npt.NDArray[np.float64]


def add_in_place(task: Sum, tick: Tick) -> npt.NDArray[np.float64]:
    """A task may write to what it got, as play does; nobody else sees it."""
    task.common[:] += task.own
    return task.common


def same_everywhere() -> dict[str, str]:
    """A fingerprint that all processes have."""
    return {"code": "1"}


def of_this_process() -> dict[str, str]:
    """A fingerprint that no other process has."""
    return {"process": str(os.getpid())}
