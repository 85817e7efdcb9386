"""Telling a waiting person how far a run is. Knows stages and counts; does not know what is being counted."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars


class Progress(Protocol):
    """Listens to a run: ``with progress.stage("simulate", 64) as stage: stage.advance()``."""

    def stage(self, name: str, total: int) -> AbstractContextManager["Progress"]:
        """A stage of ``total`` equal steps begins, and ends with the context; the context is this object."""
        ...

    def advance(self, steps: int = 1) -> None:
        """``steps`` more steps of the innermost stage are done."""
        ...

    def found(self, steps: int) -> None:
        """``steps`` of the innermost stage were done by an earlier attempt."""
        ...


class SilentProgress:
    """Says nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator["SilentProgress"]:
        """See ``Progress``."""
        yield self

    def advance(self, steps: int = 1) -> None:
        """See ``Progress``."""

    def found(self, steps: int) -> None:
        """See ``Progress``."""


class LineProgress:
    """One line when a stage has ended: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._found = 0

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator["LineProgress"]:
        """See ``Progress``."""
        begun = time.monotonic()
        outer, self._found = self._found, 0
        yield self
        before = f", {self._found:,} of {total:,} steps done before" if self._found else ""
        line = f"{name}: done in {time.monotonic() - begun:.1f} s{before}"
        self._console.print(line, markup=False, highlight=False)
        self._found = outer

    def advance(self, steps: int = 1) -> None:
        """See ``Progress``."""

    def found(self, steps: int) -> None:
        """See ``Progress``."""
        self._found = steps


class BarProgress:
    """A bar with elapsed and remaining time a stage: for terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._open: list[TaskID] = []

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator["BarProgress"]:
        """See ``Progress``."""
        if self._bars is not None:
            with self._task(self._bars, name, total):
                yield self
            return
        with Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        ) as self._bars:
            try:
                with self._task(self._bars, name, total):
                    yield self
            finally:
                self._bars = None

    @contextlib.contextmanager
    def _task(self, bars: Bars, name: str, total: int) -> Iterator[None]:
        self._open.append(bars.add_task(name, total=total))
        try:
            yield
        finally:
            self._open.pop()

    def advance(self, steps: int = 1) -> None:
        """See ``Progress``."""
        if self._bars is not None and self._open:
            self._bars.advance(self._open[-1], steps)

    def found(self, steps: int) -> None:
        """See ``Progress``."""
        if self._bars is not None and self._open:
            task = self._open[-1]
            name = self._bars.tasks[task].description
            # Set anew rather than advanced, so that the remaining time is estimated from what is played now.
            self._bars.reset(task, completed=steps, description=f"{name} ({steps:,} done before)")


def progress_for(console: Console, *, quiet: bool = False) -> Progress:
    """Bars on a terminal, lines elsewhere, nothing if quiet."""
    if quiet:
        return SilentProgress()
    return BarProgress(console) if console.is_terminal else LineProgress(console)
