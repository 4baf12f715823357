"""Bytes anywhere in a small store, flipped: noticed, or nothing that was stored reads differently.

VXLAN_KILL_ROUNDS: 40 places of it for each round.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from controller.store.sqlite import SqliteStore
from topology.errors import StoreRefused
from topology.model import Fact, Put

PLACES = 40 * int(os.environ.get("VXLAN_KILL_ROUNDS", "4"))
SEED = os.environ.get("VXLAN_SEED", "1")


@pytest.fixture(params=["closed in order", "killed"])
def files(request: pytest.FixtureRequest, tmp_path: Path, facts: list[Fact]) -> dict[str, bytes]:
    """The files of a store that holds ``facts``, as each end of the process leaves them."""
    live = tmp_path / "live"
    live.mkdir()
    store = SqliteStore(str(live / "state.db"))
    store.open()
    for fact in facts:
        store.commit([Put(fact)])
    if request.param != "killed":
        store.close()
    copy = tmp_path / "copy"
    shutil.copytree(live, copy)
    if request.param == "killed":
        store.close()
    names = ("state.db", "state.db-wal", "state.db.lock")
    return {name: (copy / name).read_bytes() for name in names if (copy / name).exists()}


def test_no_flipped_byte_changes_a_fact(
    files: dict[str, bytes], facts: list[Fact], tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    everywhere = [
        (name, at)
        for name in ("state.db", "state.db-wal")
        for at in range(len(files.get(name, b"")))
    ]
    noticed = harmless = 0
    for name, at in chance.sample(everywhere, min(PLACES, len(everywhere))):
        store = tmp_path / "state.db"
        for each, data in files.items():
            (tmp_path / each).write_bytes(data)
        damaged = bytearray(files[name])
        damaged[at] ^= chance.randint(1, 255)
        (tmp_path / name).write_bytes(damaged)
        opened = SqliteStore(str(store))
        try:
            opened.open()
            found = opened.load()
        except StoreRefused:
            assert (tmp_path / name).read_bytes() == damaged
            noticed += 1
            continue
        finally:
            opened.close()
            for left in ("state.db", "state.db-wal", "state.db-shm"):
                (tmp_path / left).unlink(missing_ok=True)
        assert found == facts, f"byte {at} of {name} changed facts unnoticed"
        harmless += 1
    print(f"{noticed} noticed, {harmless} harmless")
    assert noticed > harmless / 20


def test_a_log_that_is_gone_is_noticed(files: dict[str, bytes], tmp_path: Path) -> None:
    """Of a store whose process was killed: its facts are nowhere else."""
    if "state.db-wal" not in files:
        pytest.skip("closed in order: there is no log to lose")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for lose in (lambda log: os.truncate(log, 5000), lambda log: log.unlink()):
        lose(tmp_path / "state.db-wal")
        with pytest.raises(StoreRefused, match="facts that were acknowledged are missing") as told:
            SqliteStore(str(tmp_path / "state.db")).open()
        assert "remove" in str(told.value)
    (tmp_path / "state.db.lock").unlink()
    store = SqliteStore(str(tmp_path / "state.db"))
    store.open()
    assert store.load() == []
    store.close()
