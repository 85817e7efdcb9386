"""What a user can put right. Knows nothing, so that whoever raises it need not load the rest."""

from pathlib import Path


class UserError(Exception):
    """Something only the user can put right; one line naming the field, the value and the remedy."""


def unwritable(path: Path, error: OSError, remedy: str) -> UserError:
    """What a failing write is worded as."""
    return UserError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")
