"""How commands speak when something goes wrong: a line for each mistake on standard error, and an exit code.

What the user can put right ends in exit code 2, without a traceback (before the line come the frames of a policy of the
user's own, if its code raised an error); Ctrl-C in 130; anything else is a defect and keeps
its traceback.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from experiments.config import EvaluationConfig, ExperimentConfig
    from experiments.run_directory import RunDirectory

USER_ERROR: Final = 2
INTERRUPTED: Final = 130


class Place:
    """Where a command writes, for the message of an interruption."""

    path: Path | None = None
    _directory: "RunDirectory | None" = None

    def open(self, out: Path | None, config: "ExperimentConfig | EvaluationConfig", force: bool) -> "RunDirectory":
        """Open the run directory of a config."""
        from experiments.config import resolved
        from experiments.run_directory import RunDirectory

        directory = RunDirectory.open(out, config.name, resolved(config), force=force)
        self.path, self._directory = directory.path, directory
        return directory

    def withdraw(self) -> None:
        """Leave nothing of a run that could not begin."""
        if self._directory is not None:
            self._directory.withdraw()

    def how_to_go_on(self) -> str:
        """What follows the message of an interruption: how to go on, where something was kept to go on from."""
        if self._directory is None or not self._directory.interrupted:
            return ""
        return f"; {self._directory.remedy} goes on"


@contextlib.contextmanager
def speaking_plainly(*, every_mistake: bool = False) -> Iterator[Place]:
    """Turn what the user can put right into one line and exit code 2, and Ctrl-C into one line and 130.

    Args:
        every_mistake: of a file with several mistakes tell all, a line each, in place of the first and their number.
    """
    place = Place()
    try:
        from experiments.errors import MistakesError, PolicyFaultError, UserError
        from policies.language.errors import LanguageError
        from simulator.datasets.interactions import DatasetError
        from simulator.pools import EngineError, WorkerDiedError
        from simulator.serving.errors import ServingError

        try:
            yield place
        except (UserError, DatasetError, EngineError, LanguageError, ServingError) as error:
            if isinstance(error, PolicyFaultError) and error.frames:
                typer.echo(error.frames, err=True)
            several = every_mistake and isinstance(error, MistakesError)
            for said in error.lines if several else (str(error),):  # type: ignore[union-attr]
                typer.echo(f"error: {' '.join(said.split())}", err=True)
            place.withdraw()
            raise typer.Exit(USER_ERROR) from error
        except MemoryError as error:
            said = " ".join(str(error).split()) or "not said how much was asked for"
            typer.echo(f"error: memory is short ({said}); use fewer users, items or --workers", err=True)
            place.withdraw()
            raise typer.Exit(USER_ERROR) from error
        except WorkerDiedError as error:
            typer.echo(f"error: {error}{place.how_to_go_on()}", err=True)
            raise typer.Exit(1) from error
    except (KeyboardInterrupt, SystemError) as error:
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise  # numba raises SystemError from what interrupts a call of compiled code
        said = f"interrupted; nothing half-written in {place.path}" if place.path else "interrupted"
        typer.echo(f"{said}{place.how_to_go_on()}", err=True)
        raise typer.Exit(INTERRUPTED) from error
