"""The SQLite schema of a store: its mark, its versions, and the steps from each to the next.

``facts`` holds one record per fact (controller.store.records). SQLite does not notice a bit that
flips within a value, so each row has a CRC-32 over kind, key and value; and ``seal`` counts and
sums them, kept by triggers, so that a row that is lost or doubled is noticed as well.
"""

from __future__ import annotations

import gc
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from types import NoneType
from typing import Final

from controller.store.records import Record, decode
from topology.errors import StoreRefused
from topology.model import Fact, Host, Network, Vip, Vm, Vtep

APPLICATION_ID: Final = 0x76786C32  # "vxl2", in the file's header
HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"

# Step n leads from schema version n to n + 1. A step that a release has shipped never changes.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE facts (
               kind TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL,
               PRIMARY KEY (kind, key)) WITHOUT ROWID""",
        "CREATE TABLE seal (facts INTEGER NOT NULL, crc_sum INTEGER NOT NULL)",
        "INSERT INTO seal VALUES (0, 0)",
        """CREATE TRIGGER facts_added AFTER INSERT ON facts BEGIN
               UPDATE seal SET facts = facts + 1, crc_sum = (crc_sum + NEW.crc) & 0xffffffff;
           END""",
        """CREATE TRIGGER facts_changed AFTER UPDATE ON facts BEGIN
               UPDATE seal SET crc_sum = (crc_sum - OLD.crc + NEW.crc) & 0xffffffff;
           END""",
        """CREATE TRIGGER facts_removed AFTER DELETE ON facts BEGIN
               UPDATE seal SET facts = facts - 1, crc_sum = (crc_sum - OLD.crc) & 0xffffffff;
           END""",
    ),
    # When a fact was written, in seconds since 1970; not known of what is older than this.
    ("ALTER TABLE facts ADD COLUMN since_s INTEGER",),
)

_ORDER: Final = (Host, Network, Vm, Vtep, Vip)
_ROW: Final = (str, bytes, bytes, int)  # kind, key, value, crc; and since_s, if it is known


_READ: Final = "SELECT kind, key, value, crc, since_s FROM facts ORDER BY kind, key"


def version() -> int:
    """The schema version that this release writes."""
    return len(MIGRATIONS)


def check_header(header: bytes) -> None:
    """Refuse a file that is not a store of ours, before SQLite touches it.

    The header is the file's first 100 bytes (https://www.sqlite.org/fileformat.html, 1.3).
    """
    if not header:
        raise StoreRefused("the file is empty; a store is never empty, so its content was lost")
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        raise StoreRefused("the file is no SQLite database, or its start is damaged")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreRefused("the file is another program's database")
    _check_version(int.from_bytes(header[60:64], "big"))


def check(db: sqlite3.Connection) -> None:
    """Refuse a database whose structure is damaged, or that is not ours; reads all of it."""
    for (finding,) in db.execute("PRAGMA quick_check(1)"):
        if finding != "ok":
            raise StoreRefused(f"the database is damaged: {finding}")
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise StoreRefused("the file is another program's database")
    found = _pragma(db, "user_version")
    _check_version(found)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        _migrate(fresh, 0, found)
        if _definitions(db) != _definitions(fresh):
            raise StoreRefused("the database is damaged: its tables are not those of a store")


def _definitions(db: sqlite3.Connection) -> list[object]:
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
    return db.execute(query).fetchall()


def _check_version(found: int) -> None:
    if found > version():
        raise StoreRefused(
            f"a newer release wrote it: its schema is version {found},"
            f" and this release knows up to {version()}; start that release, or a newer one"
        )
    if found < 1:
        raise StoreRefused(f"the file is damaged: there is no schema version {found}")


def is_current(db: sqlite3.Connection) -> bool:
    return _pragma(db, "user_version") == version()


def create(db: sqlite3.Connection) -> None:
    """Make an empty store of the newest schema version."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _migrate(db, 0, version())
    db.execute("COMMIT")


def upgrade(db: sqlite3.Connection) -> None:
    """Bring an older schema to the newest, and keep it only if every fact can be read then."""
    db.execute("BEGIN IMMEDIATE")
    try:
        _migrate(db, _pragma(db, "user_version"), version())
        read(db)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _migrate(db: sqlite3.Connection, found: int, wanted: int) -> None:
    for step in MIGRATIONS[found:wanted]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {wanted}")


def read(db: sqlite3.Connection) -> list[Fact]:
    """Every fact, as Store.load has them; StoreRefused if one is damaged."""
    with _no_collections():
        return _read(db)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the garbage collector from going through a growing heap of facts, again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(db: sqlite3.Connection) -> list[Fact]:
    facts: dict[type[Fact], list[Fact]] = {kind: [] for kind in _ORDER}
    count = crc_sum = 0
    # A record's key sorts like the fact's.
    for row in db.execute(_READ):
        kind, key, value, crc, since_s = row
        if tuple(map(type, row[:4])) != _ROW or type(since_s) not in (int, NoneType):
            raise StoreRefused("the database is damaged: a record holds values of other types")
        record = Record(kind, key, value)
        if crc != crc_of(record, since_s):
            raise StoreRefused(f"the {kind} record {key.hex()} is damaged: its checksum is wrong")
        fact = decode(record)
        facts[type(fact)].append(fact)
        count += 1
        crc_sum += crc
    if db.execute("SELECT facts, crc_sum FROM seal").fetchall() != [(count, crc_sum & 0xFFFFFFFF)]:
        raise StoreRefused("the database is damaged: records were lost or changed")
    return list(chain.from_iterable(facts.values()))


def crc_of(record: Record, since_s: int | None = None) -> int:
    """CRC-32 over kind, key and value, and since when it is so if that is known."""
    kind, key, value = record
    crc = zlib.crc32(value, zlib.crc32(key, zlib.crc32(kind.encode())))
    return crc if since_s is None else zlib.crc32(b"%d" % since_s, crc)


def seal(db: sqlite3.Connection) -> tuple[int, int]:
    """How many facts there are, and the sum of their CRCs, as the transaction sees it."""
    facts, crc_sum = db.execute("SELECT facts, crc_sum FROM seal").fetchone()
    return facts, crc_sum


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)
