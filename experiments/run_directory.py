"""The folder a run leaves: what belongs to it, whether it is finished, and writes that are whole or absent.

Knows file names and bytes. Does not know what the results say, nor how they were found.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from experiments.atomic import remove_leftovers, replacing
from experiments.config import canonical, resolved_hash
from experiments.errors import UserError, unwritable
from experiments.loading import read_mapping

CONFIG: Final = "config.yaml"
MANIFEST: Final = "manifest.json"
RESULTS: Final = "results.json"
EVALUATION: Final = "evaluation.json"
TIMING: Final = "timing.json"
AUDIT: Final = "audit.json"
AUDIT_REPORT: Final = "audit.html"
REALISM: Final = "realism.json"
REALISM_REPORT: Final = "realism.html"
REPORT: Final = "report.html"
USER_DAYS: Final = "user_days.parquet"
COUNTERFACTUALS: Final = "counterfactuals.parquet"
BLOCKS: Final = "blocks.parquet"
PARTS: Final = "parts"
LOG: Final = "log"

_ELSEWHERE: Final = "choose another --out"


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder.

    All files lie in it or in its folders ``parts`` (what an unfinished run can go on from) and ``log``. It is
    complete once the manifest is there, which is why the manifest is written last.

    Attributes:
        path: the folder; it exists and holds the resolved config.
        config: the resolved config.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, out: Path | None, name: str, resolved: dict[str, Any], *, force: bool = False) -> "RunDirectory":
        """The folder for a run of this config: new, or to be resumed, or complete and to be shown.

        Args:
            out: the folder; ``default_path`` if None.
            name: the experiment's name.
            resolved: the resolved config.
            force: discard an earlier run found there, whatever its config and however far it came.

        Raises:
            UserError: if the folder holds another config's run or foreign files, or cannot be written.
        """
        path = out if out is not None else default_path(name, resolved)
        directory = cls(path, resolved)
        try:
            path.mkdir(parents=True, exist_ok=True)
            directory._remove_leftovers()
            config = path / CONFIG
            if not config.exists() and any(path.iterdir()):
                raise UserError(f"{path}: holds files but no run; give another --out, empty or new")
            if config.exists() and force:
                with directory.to_oneself():
                    directory._discard()
            elif config.exists() and canonical(read_mapping(config)) != canonical(resolved):
                raise UserError(f"{path}: holds a run of another config; give another --out, or --force to replace it")
            if directory.complete:  # the run may have been killed between its manifest and this
                directory.remove_pieces()
        except OSError as error:
            raise unwritable(path, error, _ELSEWHERE) from error
        if not (path / CONFIG).exists():
            directory.write_text(CONFIG, yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
        return directory

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """The folder of a complete run, to read from.

        Raises:
            UserError: if there is no run, or it is not complete.
        """
        if not (path / CONFIG).is_file():
            raise UserError(f"{path}: not a run directory; give a folder that `testbed run` has written")
        directory = cls(path, read_mapping(path / CONFIG))
        if not directory.complete:
            raise UserError(f"{path}: the run is unfinished; finish it with {directory.remedy}")
        return directory

    @property
    def complete(self) -> bool:
        """Whether the run was carried to its end."""
        return (self.path / MANIFEST).is_file()

    @property
    def interrupted(self) -> bool:
        """Whether a run has ended before its end and left pieces to go on from."""
        return not self.complete and any((self.path / PARTS).glob("*.npz"))

    @property
    def remedy(self) -> str:
        """The command that finishes an unfinished run."""
        if self.interrupted:
            return f"`testbed run --resume {self.path}`"
        command = "evaluate" if self.config.get("kind") == "evaluation" else "run"
        return f"`testbed {command} {self.path / CONFIG} --out {self.path}`"

    @contextlib.contextmanager
    def to_oneself(self) -> Iterator[None]:
        """Keep other processes from working in the folder at the same time; none leaves anything half-written there.

        Raises:
            UserError: one is at work in it.
        """
        descriptor = os.open(self.path, os.O_RDONLY)  # closed, and the lock with it, however this process ends
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise UserError(f"{self.path}: another process is at work in it; wait for its end, or end it") from error
        except OSError:  # some network file systems know no locks; nothing is lost but this protection
            pass
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._remove_leftovers()  # a worker may have been ended while it wrote
            os.close(descriptor)

    def withdraw(self) -> None:
        """Remove a run that ended before it had anything to go on from, so that a corrected one can take its place.

        What is complete, can be gone on with, or is another process's stays.
        """
        with contextlib.suppress(UserError, OSError), self.to_oneself():
            if not self.complete and not self.interrupted and (self.path / CONFIG).exists():
                self._discard()
        with contextlib.suppress(OSError):
            self.path.rmdir()  # if nothing else is in it

    def remove_pieces(self) -> None:
        """Remove what was kept for going on after an interruption."""
        shutil.rmtree(self.path / PARTS, ignore_errors=True)

    def read_results(self, name: str = RESULTS) -> dict[str, Any]:
        """What ``results.json``, ``evaluation.json`` or ``timing.json`` holds.

        Raises:
            UserError: if it is missing or damaged.
        """
        path = self.path / name
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: missing or damaged; run again with --force") from error
        if not isinstance(results, dict):
            raise UserError(f"{path}: missing or damaged; run again with --force")
        return results

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file whole: it appears complete under its name, or not at all."""
        with self._replacing(name) as temporary:
            temporary.write_bytes(data)
        return self.path / name

    def write_text(self, name: str, text: str) -> Path:
        """Write text as UTF-8, whole."""
        return self.write_bytes(name, text.encode())

    def write_json(self, name: str, data: Mapping[str, Any]) -> Path:
        """Write JSON, whole.

        Raises:
            ValueError: if a number is NaN or infinite, which JSON cannot say.
        """
        return self.write_text(name, json.dumps(data, allow_nan=False, ensure_ascii=False, indent=2) + "\n")

    def write_parquet(self, name: str, frame: pl.DataFrame) -> Path:
        """Write a table, whole."""
        with self._replacing(name) as temporary:
            frame.write_parquet(temporary)
        return self.path / name

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        target = self.path / name
        try:
            with replacing(target) as temporary:
                yield temporary
        except OSError as error:
            raise unwritable(target, error, self.remedy) from error

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of processes that are no more."""
        for folder in (self.path, self.path / PARTS, self.path / LOG):
            remove_leftovers(folder)

    def _discard(self) -> None:
        """Remove an earlier run and nothing else; the manifest first, so that it never looks complete."""
        for name in (
            MANIFEST,
            RESULTS,
            EVALUATION,
            TIMING,
            AUDIT,
            AUDIT_REPORT,
            REPORT,
            USER_DAYS,
            COUNTERFACTUALS,
            BLOCKS,
        ):
            (self.path / name).unlink(missing_ok=True)
        for name in (PARTS, LOG):
            shutil.rmtree(self.path / name, ignore_errors=True)
        (self.path / CONFIG).unlink()


def default_path(name: str, resolved: Mapping[str, Any]) -> Path:
    """Where a run goes that was not told where: ``runs/<name>-<first 8 digits of the config's hash>``."""
    return Path("runs") / f"{name}-{resolved_hash(resolved)[:8]}"
