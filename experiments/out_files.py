"""The file that a command is told to write: whether what stands under its name may give way.

As with the folder of a run: what the same command wrote before is replaced with ``--force``, anything else never. Knows
names. What a file holds, its writer knows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from experiments.errors import UserError, unwritable

Force = Annotated[
    bool, typer.Option("--force", help="Replace a file that this command wrote before; no other file is replaced.")
]


def check_out(out: Path, force: bool, what: str, is_one: Callable[[Path], bool]) -> None:
    """Refuse to write where something stands that is to be kept, before anything takes time.

    Args:
        out: the file that is to be written.
        force: whether one that the command wrote before is to be replaced.
        what: what the command writes, as ``a trace``.
        is_one: whether a file is that.

    Raises:
        UserError: ``out`` is a folder, cannot be looked at, holds something else, or holds one already and ``force``
            was not given.
    """
    try:
        if out.is_dir():
            raise UserError(f"--out {out}: a folder; give the name of a file in it")
        if not out.exists():
            return
        of_use = out.is_file() and is_one(out)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise unwritable(out, error, "give another --out") from error
    if not of_use:
        raise UserError(f"--out {out}: holds something other than {what}; give another --out")
    if not force:
        raise UserError(f"--out {out}: holds {what} already; give another --out, or --force to replace it")
