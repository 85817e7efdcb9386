"""Files that appear whole under their name or not at all, whatever kills the process that writes them.

Knows bytes and names. Does not know what is written.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TEMPORARY: Final = re.compile(r"\.tmp-(\d+)-.+")


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path to write to; at the end of the context it is flushed to the disk and takes the target's name.

    What stood under that name stays as it was until then, and for good if anything goes wrong.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full.
    """
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that processes which are no more have left in a folder."""
    for file in folder.glob(".tmp-*"):
        match = _TEMPORARY.fullmatch(file.name)
        if match and not Path("/proc", match[1]).exists():
            file.unlink(missing_ok=True)
