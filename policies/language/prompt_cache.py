"""Answers of language models, kept on disk between runs and found again by what was asked.

One SQLite file, which several processes of one machine may read and write at once. An answer is written whole or not at
all, whenever a process dies. A cache only saves work: where its file cannot be used, work goes on without it and a
warning says so. Knows nothing of models: keys are digests, values are token ids.
"""

import fcntl
import hashlib
import os
import sqlite3
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from policies.language.errors import LanguageError

MOST_BYTES: Final = 2 << 30
"""Room for answers unless another is asked for."""
KEPT_SHARE: Final = 0.9
"""Share of its room that a full cache keeps: what was used longest ago goes, in bulk."""
FOLDER_VARIABLE: Final = "RECGPT_TESTBED_CACHE"
"""Environment variable that names the folder of the cache."""
FILE: Final = "prompts.sqlite"

_APPLICATION: Final = 0x52475442
_VERSION: Final = 1
# Rows lie in order of last use, so that what is dropped together lies together and leaves whole pages free.
_TABLES: Final = (
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)",
    "CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (0, 0)",
)
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PARTS: Final = ("-wal", "-shm", "")
_WAIT_SECONDS: Final = 30.0
_LOG_BYTES: Final = 16 << 20
_KEYS_AT_ONCE: Final = 512
_WRITTEN_AT_ONCE: Final = 4096
_TOUCHES_AT_ONCE: Final = 1024
_CHECKSUM_BYTES: Final = 4

Tokens = tuple[int, ...]
_Result = TypeVar("_Result")
_Part = TypeVar("_Part")


class CacheError(LanguageError):
    """The cache's file cannot be used: one line ``path: what is wrong (remedy)``."""


class _DamageError(sqlite3.DatabaseError):
    """What SQLite does not see: a value that is not what was written."""


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds.

    Attributes:
        path: its file.
        entries: answers in it.
        bytes: size of the file and of its write-ahead log; 0 where there is none.
        most_bytes: the file's bound.
    """

    path: Path
    entries: int
    bytes: int
    most_bytes: int


def default_path() -> Path:
    """``prompts.sqlite`` in the folder that ``RECGPT_TESTBED_CACHE`` names, else in the user's cache directory.

    The latter is ``recgpt-testbed`` in ``$XDG_CACHE_HOME`` or, where that is not set, in ``~/.cache``.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser() / FILE
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "recgpt-testbed" / FILE


def cache_key(
    fingerprint: str, soft_fingerprint: str, prefix: Sequence[int], suffix: Sequence[int], settings: str
) -> bytes:
    """The key of an answer: SHA-256 over everything that it depends on.

    Args:
        fingerprint: of the language model.
        soft_fingerprint: of the vectors that stand for entities; empty where there are none.
        prefix: token ids, 0 to 2^31 - 1.
        suffix: token ids that follow; where one ends and the other begins is part of the key.
        settings: how the answer is written, in any unambiguous form.

    Raises:
        OverflowError: a token id does not fit in 32 bits.
    """
    parts = (fingerprint.encode(), soft_fingerprint.encode(), _packed(prefix), _packed(suffix), settings.encode())
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


class PromptCache:
    """Answers on disk, bounded in size; what was used longest ago makes room.

    The file is opened when first needed. Each process, and each copy made by pickling, opens its own connection; one
    object belongs to one thread and must not be used across a fork. A file that turns out to be damaged is set aside as
    ``*.damaged``, in place of an earlier one, with a warning, and a new one is begun. Where the file cannot be used at
    all, as in a folder that cannot be written, reading finds nothing and writing keeps nothing after one warning.

    Times of use are noted in batches: a process that ends without ``close`` forgets its last reads, which can only
    change what is dropped first.

    Args:
        path: the file; its folder is made if need be.
        most_bytes: bound of the file, at least 1; the write-ahead log beside it takes some 16 MiB at most after a
            large write.

    Raises:
        ValueError: the bound is below 1.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        if most_bytes < 1:
            raise ValueError(f"most_bytes: {most_bytes} (at least 1)")
        self.path = Path(path)
        self.most_bytes = most_bytes
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        """Which file it is; not the connection."""
        return {"path": self.path, "most_bytes": self.most_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As if newly made."""
        self.__dict__.update(state)
        self._begin()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Tokens]:
        """The answers that are there, by key."""
        return self._try(lambda connection: self._read(connection, list(dict.fromkeys(keys))), {})

    def put_many(self, answers: Mapping[bytes, Sequence[int]]) -> None:
        """Keep answers; one that is there already stays, since a key says everything that an answer depends on.

        Raises:
            OverflowError: a token id does not fit in 32 bits.
        """
        rows = [(key, _sealed(key, tokens)) for key, tokens in answers.items()]
        self._try(lambda connection: self._write(connection, rows), None)

    def stats(self) -> CacheStats:
        """What the cache holds; makes no file where there is none.

        Raises:
            CacheError: the file cannot be used.
        """
        if not _exists(self.path):
            return CacheStats(self.path, 0, 0, self.most_bytes)
        entries = self._do(lambda connection: _totals(connection)[0])
        return CacheStats(self.path, entries, sum(map(_size, self._files())), self.most_bytes)

    def clear(self) -> int:
        """Drop every answer and give the room back to the disk; makes no file where there is none.

        Returns:
            Answers dropped.

        Raises:
            CacheError: the file cannot be used.
        """
        self._touched.clear()
        return self._do(_emptied) if _exists(self.path) else 0

    def close(self) -> None:
        """Note what was read lately and let go of the file; it is opened again when needed."""
        if self._connection is not None and self._touched:
            self._try(self._note_use, None)
        self._let_go()

    def _begin(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._inode = -1
        self._usable = True
        self._touched: dict[bytes, None] = {}

    def _try(self, work: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        """Do some work with the file if it can be used; the first time that it cannot, say so."""
        if not self._usable:
            return otherwise
        try:
            return self._do(work)
        except CacheError as error:
            self._usable = False
            self._let_go()
            warnings.warn(f"prompt cache: {error}; going on without it", RuntimeWarning, stacklevel=3)
            return otherwise

    def _do(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do some work with the file; once more with a new file if it is damaged."""
        try:
            try:
                return work(self._connected())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                return work(self._connected())
        except sqlite3.ProgrammingError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise _unusable(self.path, error) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.path):
                connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
                try:
                    self._inode = self.path.stat().st_ino
                    _prepare(connection, self.path)
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename the damaged file, unless another process did so first and the path is a new one's already."""
        self._let_go()
        self._touched.clear()
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with _alone(self.path):
            if not self.path.exists() or self.path.stat().st_ino != self._inode:
                return
            # The log goes first: beside a new file it would be taken for the new one's.
            for file, suffix in zip(self._files(), _PARTS, strict=True):
                target = aside.with_name(f"{aside.name}{suffix}")
                if file.exists():
                    file.replace(target)
                else:
                    target.unlink(missing_ok=True)
        warnings.warn(
            f"prompt cache: {self.path} is damaged ({error}); kept as {aside.name}, a new one is begun",
            RuntimeWarning,
            stacklevel=5,
        )

    def _files(self) -> list[Path]:
        return [self.path.with_name(f"{self.path.name}{suffix}") for suffix in _PARTS]

    def _read(self, connection: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, Tokens]:
        found = {key: _opened(key, value) for key, value in _select(connection, "key, value", keys)}
        self._touched.update(dict.fromkeys(found))
        if len(self._touched) >= _TOUCHES_AT_ONCE:
            self._note_use(connection)
        return found

    def _write(self, connection: sqlite3.Connection, rows: list[tuple[bytes, bytes]]) -> None:
        for part in _parts(rows, _WRITTEN_AT_ONCE):
            with _transaction(connection):
                there = {key for (key,) in _select(connection, "key", [key for key, _ in part])}
                self._touched.update(dict.fromkeys(there))
                self._renew(connection)
                new = [row for row in part if row[0] not in there]
                connection.executemany("INSERT INTO answers (key, value) VALUES (?, ?)", new)
                _count(connection, len(new), sum(_room(len(value)) for _, value in new))
                self._make_room(connection)

    def _note_use(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            self._renew(connection)

    def _renew(self, connection: sqlite3.Connection) -> None:
        """Move what was read lately to the end, within a transaction."""
        connection.executemany(
            "UPDATE answers SET id = (SELECT max(id) + 1 FROM answers) WHERE key = ?",
            [(key,) for key in self._touched],
        )
        self._touched.clear()

    def _make_room(self, connection: sqlite3.Connection) -> None:
        _, room = _totals(connection)
        if room <= self.most_bytes:
            return
        dropped, freed = [], 0
        for number, size in connection.execute("SELECT id, length(value) FROM answers ORDER BY id"):
            dropped.append(number)
            freed += _room(size)
            if room - freed <= KEPT_SHARE * self.most_bytes:
                break
        else:
            raise _DamageError("its totals are wrong")
        connection.execute("DELETE FROM answers WHERE id <= ?", (dropped[-1],))
        _count(connection, -len(dropped), -freed)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or see that they are there; alone with the file."""
    connection.text_factory = bytes
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables and (application, version) != (_APPLICATION, _VERSION):
        raise CacheError(
            f"{path}: holds no prompt cache of this version (remove it, or name another folder in {FOLDER_VARIABLE})"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    if not tables:
        with _transaction(connection):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def _emptied(connection: sqlite3.Connection) -> int:
    with _transaction(connection):
        entries, room = _totals(connection)
        connection.execute("DELETE FROM answers")
        _count(connection, -entries, -room)
    # Another process at work may keep the room from being given back; it is used again all the same.
    with suppress(sqlite3.OperationalError):
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return entries


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """Entries, and their room in bytes."""
    row = connection.execute("SELECT entries, bytes FROM totals").fetchone()
    if row is None:
        raise _DamageError("its totals are missing")
    return row


def _count(connection: sqlite3.Connection, entries: int, room: int) -> None:
    connection.execute("UPDATE totals SET entries = entries + ?, bytes = bytes + ?", (entries, room))


def _select(connection: sqlite3.Connection, columns: str, keys: list[bytes]) -> list[tuple[Any, ...]]:
    rows = []
    for part in _parts(keys, _KEYS_AT_ONCE):
        marks = ",".join("?" * len(part))
        rows += connection.execute(f"SELECT {columns} FROM answers WHERE key IN ({marks})", part).fetchall()  # noqa: S608 - constants and question marks
    return rows


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from opening the file or setting it aside meanwhile."""
    with path.with_name(f"{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unusable(path: Path, error: Exception) -> CacheError:
    reason = getattr(error, "strerror", None) or error
    return CacheError(f"{path}: {reason} (name another folder in {FOLDER_VARIABLE})")


def _is_damage(error: sqlite3.Error) -> bool:
    return isinstance(error, _DamageError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _packed(tokens: Sequence[int]) -> bytes:
    """Token ids as 32-bit little-endian integers."""
    return np.array(tokens, "<i4").tobytes()


def _sealed(key: bytes, tokens: Sequence[int]) -> bytes:
    """Token ids and a checksum: SQLite sees that a page is broken, not that a byte of a value has changed."""
    packed = _packed(tokens)
    return packed + zlib.crc32(key + packed).to_bytes(_CHECKSUM_BYTES, "little")


def _opened(key: bytes, value: bytes) -> Tokens:
    if not isinstance(value, bytes) or len(value) % 4 or len(value) < _CHECKSUM_BYTES:
        raise _DamageError("a value has a wrong length")
    packed, checksum = value[:-_CHECKSUM_BYTES], value[-_CHECKSUM_BYTES:]
    if zlib.crc32(key + packed) != int.from_bytes(checksum, "little"):
        raise _DamageError("a value has changed")
    return tuple(np.frombuffer(packed, "<i4").tolist())


def _room(value_bytes: int) -> int:
    """Bytes that an entry takes in the file, rather more than less: its row, and its place in the index of keys.

    The index grows in random order, so its pages are 69% full (Yao 1978); a row wastes what is left of its page.
    """
    return (value_bytes + 100) * 3 // 2


def _parts(values: list[_Part], size: int) -> Iterator[list[_Part]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _unusable(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
