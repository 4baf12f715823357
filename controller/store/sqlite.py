"""Facts in one SQLite file: write-ahead log, every commit synced to the disk.

A file that is damaged, another program's or a newer release's is refused before anything is written
to it, and never replaced by an empty one. What was there is looked at through a read-only
connection first, since SQLite would move the write-ahead log into a file as soon as a connection
that may write is closed.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Final
from urllib.parse import quote

from controller.store import schema
from controller.store.base import Named
from controller.store.files import Files
from controller.store.lockfile import LockFile
from controller.store.marks import Marks
from controller.store.records import encode, is_durable, key_of
from topology.errors import StoreRefused, StoreUnavailable
from topology.model import Change, Fact, Put

_BUSY_TIMEOUT_MS: Final = 5000  # how long an operator's backup may hold a commit up
_LOG_LIMIT_BYTES: Final = 16 << 20  # what a large batch leaves of the write-ahead log

_ROWS_AT_ONCE: Final = 200
"""Rows of one statement. SQLite lets other threads run, the hub's among them, while it executes a
statement: so the hub waits for the encoding of so many rows at most, and is not asked for leave to
go on for each row."""

_SINCE: Final = "SELECT since_s FROM facts WHERE kind = ? AND key = ?"
_DELETE: Final = "DELETE FROM facts WHERE kind = ? AND key = ?"


class SqliteStore:
    """A store in the SQLite file at ``path``, or in memory without one."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else os.path.realpath(path)
        self._lock = None if self._path is None else LockFile(f"{self._path}.lock")
        self._db: sqlite3.Connection | None = None
        self._checked: list[Fact] | None = None
        self._files: Files | None = None
        self._marks = None if self._lock is None else Marks(self._lock)
        self._seal = (0, 0)

    def describe(self) -> str:
        return "SQLite, in memory only" if self._path is None else f"SQLite file {self._path}"

    def usage(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        size_bytes = 0
        for path in (self._path, f"{self._path}-wal"):
            with suppress(OSError):
                size_bytes += os.stat(path).st_size
        try:
            room = os.statvfs(os.path.dirname(self._path))
        except OSError:
            return None
        return size_bytes, room.f_bavail * room.f_frsize

    def open(self) -> None:
        if self._db is not None:
            raise RuntimeError("the store is open already")
        if self._path is None or self._lock is None:
            self._db = _connect(":memory:")
            schema.create(self._db)
            return
        _make_directory(os.path.dirname(self._path))
        self._lock.acquire()
        try:
            self._open_file(self._path)
        except (StoreRefused, sqlite3.Error, OSError, UnicodeDecodeError) as error:
            # The last one comes from the text of an error that quotes a damaged name.
            self.close()
            raise _refusal(self._path, error) from error

    def _open_file(self, path: str) -> None:
        if os.path.lexists(path):
            self._checked = _look(path, self._marks)
        elif _has_content(f"{path}-wal"):
            raise StoreRefused(f"the file is gone, but its write-ahead log {path}-wal is there")
        else:
            _create_file(path)
        self._db = _connect(path)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        if not schema.is_current(self._db):
            schema.upgrade(self._db)
        # A process that was killed may have written what it never synced; from now on it counts.
        _sync(f"{path}-wal")
        self._note(schema.seal(self._db))
        self._files = Files(path)

    def load(self) -> list[Fact]:
        checked, self._checked = self._checked, None
        if checked is not None:
            return checked
        try:
            return schema.read(self._opened())
        except (StoreRefused, sqlite3.Error) as error:
            raise _refusal(self.describe(), error) from error

    def commit(self, changes: Sequence[Change]) -> None:
        db = self._opened()
        self._checked = None
        self._check_files()
        try:
            db.execute("BEGIN IMMEDIATE")
            for at in range(0, len(changes), _ROWS_AT_ONCE):
                _write(db, changes[at : at + _ROWS_AT_ONCE])
            seal = schema.seal(db)
            if self._marks is not None:
                self._marks.note(self._seal, seal)
            db.execute("COMMIT")
        except BaseException as error:
            # SQLite has rolled back by itself after some errors, and answers with another one.
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error | OSError):
                raise
            with suppress(StoreUnavailable):
                self.recover()
            raise self._unavailable(error) from error
        self._note(seal)

    def _note(self, seal: tuple[int, int]) -> None:
        self._seal = seal
        if self._marks is not None:
            # Where it cannot be written, the last note allows for this state too.
            with suppress(OSError):
                self._marks.note(seal)

    def recover(self) -> None:
        self._check_files()
        try:
            self._settle()
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._opened().execute("ROLLBACK")
            raise self._unavailable(error) from error

    def _settle(self) -> None:
        """Commit a page that says what it said.

        A commit whose last sync failed is over for this process, but whole in the log: the next
        process would find it. This takes its place there, also where it cannot be synced either.
        """
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA user_version = {schema.version()}")
        db.execute("COMMIT")

    def _check_files(self) -> None:
        """Refuse to write into files that are not those which the next start would find."""
        try:
            if self._lock is not None:
                self._lock.renew()
            if self._files is not None:
                self._files.check()
        except (StoreRefused, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self.describe()} takes no writes: {error}; nothing was changed")

    def since(self, facts: Iterable[Named]) -> dict[Named, datetime]:
        db = self._opened()
        found: dict[Named, datetime] = {}
        try:
            for kind, key in facts:
                for (since_s,) in db.execute(_SINCE, key_of(kind, key)):
                    if since_s is not None:
                        found[kind, key] = datetime.fromtimestamp(since_s, UTC)
        except (sqlite3.Error, ValueError, OverflowError, OSError) as error:
            # The latter three: a clock that was far off when the fact was written.
            raise StoreUnavailable(f"{self.describe()} cannot be read: {error}") from error
        return found

    def close(self) -> None:
        try:
            if self._db is not None:
                self._db.close()
                if self._marks is not None and self._files is not None:
                    self._marks.forget()
        finally:
            self._db = None
            self._checked = None
            self._files = None
            if self._lock is not None:
                self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreUnavailable(f"{self.describe()} is not open")
        return self._db


def _kind(change: Change) -> type[Fact]:
    return type(change.fact) if isinstance(change, Put) else change.kind


def _write(db: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Write some changes. The last word on each fact counts; the order among facts does not."""
    rows: dict[tuple[str, bytes], tuple[str, bytes, bytes, int, int] | None] = {}
    since_s = int(time.time())
    for change in changes:
        if not is_durable(_kind(change)):
            continue
        if isinstance(change, Put):
            record = encode(change.fact)
            rows[record.kind, record.key] = (*record, schema.crc_of(record, since_s), since_s)
        else:
            rows[key_of(change.kind, change.key)] = None
    db.executemany(_DELETE, [at for at, row in rows.items() if row is None])
    puts = [row for row in rows.values() if row is not None]
    if puts:
        db.execute(_upsert(len(puts)), tuple(chain.from_iterable(puts)))


@lru_cache(maxsize=_ROWS_AT_ONCE)
def _upsert(rows: int) -> str:
    return (
        "INSERT INTO facts (kind, key, value, crc, since_s)"
        f" VALUES {', '.join(['(?, ?, ?, ?, ?)'] * rows)}"
        " ON CONFLICT (kind, key) DO UPDATE SET"
        " value = excluded.value, crc = excluded.crc, since_s = excluded.since_s"
    )


def _connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection for one thread at a time, whichever it is; transactions are written out."""
    db = sqlite3.connect(path, uri=uri, isolation_level=None, check_same_thread=False)
    db.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    return db


def _look(path: str, marks: Marks | None) -> list[Fact] | None:
    """Check a file without writing to it; its facts, or None when they need an upgrade first."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise StoreRefused("it is no regular file")
    with open(path, "rb") as file:
        schema.check_header(file.read(schema.HEADER_BYTES))
    # With no log to read, "immutable" keeps SQLite from making one beside the file.
    mode = "mode=ro" if _has_content(f"{path}-wal") else "mode=ro&immutable=1"
    with closing(_connect(f"file:{quote(path)}?{mode}", uri=True)) as db:
        schema.check(db)
        if marks is not None:
            marks.check(schema.seal(db))
        return schema.read(db) if schema.is_current(db) else None


def _create_file(path: str) -> None:
    """Make an empty store under another name first: a start cut short leaves no half of one."""
    fresh = f"{path}.new"
    for leftover in (fresh, f"{fresh}-wal", f"{fresh}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(leftover)
    with closing(_connect(fresh)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        schema.create(db)
    _sync(fresh)
    os.rename(fresh, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _make_directory(path: str) -> None:
    """Make it and those above it, so that they are there after a power failure too."""
    try:
        if not os.path.isdir(path):
            above = os.path.dirname(path)
            _make_directory(above)
            os.makedirs(path, exist_ok=True)
            _sync(above)
    except OSError as error:
        raise StoreRefused(f"cannot make the store's directory {path}: {error.strerror}") from error


def _refusal(where: str, error: Exception) -> StoreRefused:
    """An error met while opening, with what to do: about a bad file, or about where it lies."""
    if isinstance(error, OSError | sqlite3.OperationalError):
        return StoreRefused(f"store {where} cannot be used: {error}")
    return StoreRefused(
        f"store {where}: {error}. It was left as it is. Put back a backup, or move it away"
        " (with its -wal and -shm files) to start with no facts, or name another store"
    )
