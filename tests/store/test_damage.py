"""A store that cannot be trusted is refused, says what to do, and is left as it was."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from controller.store import schema
from controller.store.records import encode
from controller.store.sqlite import SqliteStore
from topology.errors import StoreRefused
from topology.model import Fact, Put, Remove

Open = Callable[[], SqliteStore]


@pytest.fixture
def written(path: Path, open_store: Open, facts: list[Fact]) -> bytes:
    """The bytes of a store that was closed in order and holds ``facts``."""
    store = open_store()
    store.commit([Put(fact) for fact in facts])
    store.close()
    return path.read_bytes()


def _refused(path: Path, says: str) -> None:
    before = path.read_bytes()
    store = SqliteStore(str(path))
    with pytest.raises(StoreRefused, match=says) as caught:
        store.open()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} <= {"state.db", "state.db.lock"}
    # Refused again, not half open, and not replaced by an empty one.
    with pytest.raises(StoreRefused, match=says):
        store.open()
    store.close()


@pytest.mark.parametrize("left", [0, 1, 50, 100, 512, 4095, 4096, 8192, -4096, -1])
def test_truncated(path: Path, written: bytes, left: int) -> None:
    path.write_bytes(written[:left])
    _refused(path, "Put back a backup")


def test_empty_file_says_what_it_means(path: Path) -> None:
    path.touch()
    _refused(path, "a store is never empty")


@pytest.mark.parametrize("content", [b"hello\n" * 100, bytes(8192), b"SQLite format 3\0"])
def test_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _refused(path, "no SQLite database")


def test_another_programs_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE facts (kind TEXT)")
    _refused(path, "another program's database")


def test_newer_release(path: Path, written: bytes) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.version() + 1}")
    _refused(path, "a newer release wrote it: its schema is version 3")


def test_newer_release_in_the_log_only(path: Path, written: bytes, tmp_path: Path) -> None:
    """Killed before its first checkpoint, a newer release leaves the old version in the header."""
    live = tmp_path / "live.db"
    live.write_bytes(written)
    with closing(sqlite3.connect(live)) as db:
        db.execute("PRAGMA user_version = 7")
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{path}{suffix}")
    log = Path(f"{path}-wal").read_bytes()
    with pytest.raises(StoreRefused, match="a newer release wrote it: its schema is version 7"):
        SqliteStore(str(path)).open()
    assert path.read_bytes() == written
    assert Path(f"{path}-wal").read_bytes() == log


def test_directory(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreRefused, match="no regular file"):
        SqliteStore(str(path)).open()


def test_dangling_link(path: Path, open_store: Open) -> None:
    """A link is followed to where the file is to be, and the file is made there."""
    path.symlink_to(path.parent / "elsewhere.db")
    assert open_store().load() == []
    assert path.is_symlink()
    assert (path.parent / "elsewhere.db").is_file()


def test_lost_file_beside_its_log(path: Path, written: bytes) -> None:
    path.unlink()
    Path(f"{path}-wal").write_bytes(b"x" * 100)
    with pytest.raises(StoreRefused, match="the file is gone"):
        SqliteStore(str(path)).open()
    assert not path.exists()


def test_flipped_bits_are_noticed_or_harmless(
    path: Path, written: bytes, facts: list[Fact]
) -> None:
    chance = random.Random(7)
    places = [*range(100), *(chance.randrange(len(written)) for _ in range(900))]
    refused = 0
    for place in places:
        damaged = bytearray(written)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        store = SqliteStore(str(path))
        try:
            store.open()
            assert store.load() == facts
        except StoreRefused:
            refused += 1
            assert path.read_bytes() == damaged
        finally:
            store.close()
    assert refused > len(places) / 4  # the rest is free space, or says nothing


def _edit(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement, values)


def test_record_under_anothers_key(path: Path, written: bytes, facts: list[Fact]) -> None:
    record = encode(facts[-1])
    _edit(path, "UPDATE facts SET key = ? WHERE key = ?", record.key[:-1] + b"\xff", record.key)
    _refused(path, "checksum is wrong")


def test_lost_record(path: Path, written: bytes) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        trigger = "SELECT sql FROM sqlite_schema WHERE name = 'facts_removed'"
        (sql,) = db.execute(trigger).fetchone()
        db.execute("DROP TRIGGER facts_removed")
        db.execute("DELETE FROM facts WHERE key = (SELECT max(key) FROM facts)")
        db.execute(sql)
    _refused(path, "records were lost or changed")


def test_strange_tables(path: Path, written: bytes) -> None:
    _edit(path, "CREATE TABLE notes (text TEXT)")
    _refused(path, "its tables are not those of a store")


def test_older_release_is_upgraded(
    path: Path, written: bytes, facts: list[Fact], open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ("CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('hello')")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    store = open_store()
    assert store.load() == facts
    store.commit([Remove(type(facts[-1]), facts[-1].key)])
    store.close()
    store = open_store()
    assert store.load() == facts[:-1]
    assert path.read_bytes()[60:64] == schema.version().to_bytes(4, "big")


def test_upgrade_that_fails_changes_nothing(
    path: Path, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ("CREATE TABLE notes (text TEXT)", "DELETE FROM seal")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    _refused(path, "records were lost or changed")
