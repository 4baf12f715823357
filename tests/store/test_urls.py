"""The store's URL means one file, or says what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.urls import store_at
from topology.errors import StoreRefused
from topology.model import Put, Vm
from topology.types import Dpid, Mac, Vni

VM = Vm(Mac(1), Vni(0), Dpid(1))


@pytest.mark.parametrize("slashes", ["sqlite://", "sqlite:///"])
def test_file(tmp_path: Path, slashes: str) -> None:
    store = store_at(f"{slashes}{tmp_path}/a%20b/state.db")
    store.open()
    store.commit([Put(VM)])
    assert store.describe() == f"SQLite file {tmp_path}/a b/state.db"
    assert (tmp_path / "a b" / "state.db").exists()
    store.close()


def test_memory_forgets() -> None:
    store = store_at("sqlite://")
    store.open()
    store.commit([Put(VM)])
    assert store.load() == [VM]
    assert "memory" in store.describe()
    store.close()
    store.open()
    assert store.load() == []
    store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("etcd://127.0.0.1:2379/vxlan", "etcd is not supported in this version"),
        ("sqlite://state.db", "no absolute path"),
        ("sqlite:///var/lib/", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a?mode=ro", "no absolute path"),
        ("sqlite:///a%00b", "names no file"),
        ("state.db", "no kind that is known"),
        ("/var/lib/state.db", "no kind that is known"),
        ("postgres://localhost/x", "no kind that is known"),
        ("", "no kind that is known"),
        ("sqlite://[", "no URL"),
    ],
)
def test_others_are_refused(url: str, says: str) -> None:
    with pytest.raises(StoreRefused, match=says):
        store_at(url)
