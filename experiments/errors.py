"""What a user can put right. Knows nothing, so that whoever raises it need not load the rest."""

from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something only the user can put right; one line naming the field, the value and the remedy."""


class MistakesError(UserError):
    """What is wrong with a file, all of it; as text the first mistake and how many more there are.

    Attributes:
        lines: one for each mistake, at least one.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(dict.fromkeys(lines))
        first, *more = self.lines
        super().__init__(f"{first} (and {len(more)} more; `testbed validate` tells all)" if more else first)


class PolicyFaultError(UserError):
    """A policy that is not of this project failed, or answered with something that cannot be shown.

    Attributes:
        line: which policy of which arm, what is wrong, and what is wanted.
        frames: where in its own code an error was raised, as a traceback of several lines; empty where none was.
    """

    def __init__(self, line: str, frames: str = "") -> None:
        super().__init__(line, frames)  # with both it goes from process to process
        self.line, self.frames = line, frames

    def __str__(self) -> str:
        return self.line


class RefusedError(ValueError):
    """What a validator found wrong, one line for each mistake: keys may hold several that do not hide each other."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(self.lines))


def refuse(lines: Iterable[str]) -> None:
    """Refuse what is wrong, if anything is.

    Raises:
        RefusedError: there is at least one line.
    """
    found = tuple(lines)
    if found:
        raise RefusedError(found)


def unwritable(path: Path, error: OSError, remedy: str) -> UserError:
    """What a failing write is worded as."""
    return UserError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")
