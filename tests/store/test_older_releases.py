"""A store that an older release wrote opens, and keeps every fact."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from controller.store import schema
from controller.store.records import Record
from controller.store.sqlite import SqliteStore
from topology.model import Fact, Host, Network, Put, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Vlan, Vni, VtepIp

Open = Callable[[], SqliteStore]

# Written by release 0.1.0; these bytes are in users' files, and what they mean must never change.
RELEASE_0_1: dict[tuple[str, str], str] = {
    ("host", "0000000000000001"): (
        "920187a46470696401a46e616d65a468762d31ad6465636c617265645f76746570c404c0a8210bac7365656e5f"
        "61646472657373c0a97365656e5f76746570c0b06465636c617265645f72656d6f7465739192a676786c616e30"
        "a4666c6f77ac7365656e5f72656d6f74657390"
    ),
    ("host", "0000000000000002"): (
        "920187a46470696402a46e616d65c0ad6465636c617265645f76746570c0ac7365656e5f61646472657373c404"
        "0a09090ca97365656e5f76746570c404c0a8210cb06465636c617265645f72656d6f74657390ac7365656e5f72"
        "656d6f7465739192a676786c616e30c404c0a8210b"
    ),
    ("network", "000000"): (
        "920186a3766e6900a46e616d65a57365656473a4766c616ec0af756e6b6e6f776e5f756e6963617374a464726f"
        "70ad6172705f726573706f6e646572c2a86c6561726e696e67c2"
    ),
    ("network", "000064"): (
        "920186a3766e6964a46e616d65a4626c7565a4766c616e0aaf756e6b6e6f776e5f756e6963617374a5666c6f6f"
        "64ad6172705f726573706f6e646572c3a86c6561726e696e67c3"
    ),
    ("vm", "000000525400000002"): (
        "920186a36d6163c406525400000002a3766e6900a4686f737402a369707390a46e616d65c0a7726573706f6e64"
        "c2"
    ),
    ("vm", "000064525400000001"): (
        "920186a36d6163c406525400000001a3766e6964a4686f737401a369707392c4040a010102c410fd0000000000"
        "00000000000000000002a46e616d65a57765622d31a7726573706f6e64c3"
    ),
}
# Of the versions in between, where a later one has other fields.
IN_BETWEEN: dict[tuple[str, str], str] = {
    ("host", "0000000000000001"): (
        "920288a46470696401a46e616d65a468762d31ad6465636c617265645f76746570c404c0a8210bac7365656e5f"
        "61646472657373c0a97365656e5f76746570c0b06465636c617265645f72656d6f7465739192a676786c616e30"
        "a4666c6f77ac7365656e5f72656d6f74657390ac7365656e5f6b65796c65737391a676786c616e31"
    ),
}
FACTS: list[Fact] = [
    Host(
        Dpid(1),
        "hv-1",
        declared_vtep=VtepIp.parse("192.168.33.11"),
        declared_remotes=(("vxlan0", "flow"),),
    ),
    Host(
        Dpid(2),
        seen_address=VtepIp.parse("10.9.9.12"),
        seen_vtep=VtepIp.parse("192.168.33.12"),
        seen_remotes=(("vxlan0", VtepIp.parse("192.168.33.11")),),
    ),
    Network(Vni(0), "seeds", None, "drop", False, False),
    Network(Vni(100), "blue", Vlan(10)),
    Vm(Mac(0x525400000002), Vni(0), Dpid(2), respond=False),
    Vm(
        Mac(0x525400000001),
        Vni(100),
        Dpid(1),
        (Ip.parse("10.1.1.2"), Ip.parse("fd00::2")),
        "web-1",
    ),
]


def write_release_0_1(path: Path, records: dict[tuple[str, str], str] = RELEASE_0_1) -> None:
    """What that release left behind: schema version 1."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        for statement in schema.MIGRATIONS[0]:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        for (kind, key), value in records.items():
            record = Record(kind, bytes.fromhex(key), bytes.fromhex(value))
            row = (kind, record.key, record.value, schema.crc_of(record))
            db.execute("INSERT INTO facts (kind, key, value, crc) VALUES (?, ?, ?, ?)", row)


def test_every_fact_of_release_0_1_is_kept(path: Path, open_store: Open) -> None:
    write_release_0_1(path)

    store = open_store()

    assert store.load() == FACTS
    store.close()
    assert open_store().load() == FACTS


def test_records_of_the_versions_in_between_are_kept(path: Path, open_store: Open) -> None:
    write_release_0_1(path, RELEASE_0_1 | IN_BETWEEN)
    host = FACTS[0]
    assert isinstance(host, Host)

    assert open_store().load() == [replace(host, seen_keyless=("vxlan1",)), *FACTS[1:]]


def test_old_facts_are_changed_beside_new_ones(path: Path, open_store: Open) -> None:
    write_release_0_1(path)
    rack = Vtep(VtepIp.parse("192.168.33.20"), (Vni(100),), "rack")
    shared = Vip(Vni(100), Ip.parse("10.1.1.9"), (Mac(0x525400000001),), "gw")
    hosts, networks, vms = FACTS[:2], FACTS[2:4], FACTS[4:]
    networks[1] = replace(networks[1], port_security=True, hosts=(Dpid(2),))
    vms[1] = replace(vms[1], host=Foreign.at(rack.ip))
    changed = [networks[1], vms[1], rack, shared]

    store = open_store()
    store.commit([Put(fact) for fact in changed])
    store.close()

    assert open_store().load() == [*hosts, *networks, *vms, rack, shared]
