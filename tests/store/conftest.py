"""A store file of its own for each test, and facts to put there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.store.sqlite import SqliteStore
from topology.model import Fact, Host, Network, Vip, Vm, Vtep
from topology.types import Dpid, Fingerprint, Ip, Mac, Subnet, Vlan, Vni, VtepIp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[[], SqliteStore]]:
    """Open the store at ``path``; those that are still open at the end are closed."""
    opened: list[SqliteStore] = []

    def open_it() -> SqliteStore:
        store = SqliteStore(str(path))
        opened.append(store)
        store.open()
        return store

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def facts() -> list[Fact]:
    """Some of each kind, in the order in which a store answers them."""
    hosts = [
        Host(
            Dpid(1),
            "hv-1",
            declared_vtep=VtepIp.parse("192.168.33.11"),
            declared_remotes=(("vxlan0", "flow"),),
        ),
        Host(
            Dpid(2**64 - 1),
            seen_address=VtepIp.parse("10.9.9.12"),
            seen_vtep=VtepIp.parse("192.168.33.12"),
            seen_remotes=(("vxlan0", VtepIp.parse("192.168.33.11")),),
            seen_keyless=("vxlan0",),
            certificate=Fingerprint(2**256 - 2),
        ),
    ]
    networks = [
        Network(
            Vni(2**24 - 1),
            "grün",
            Vlan(10),
            "drop",
            False,
            False,
            subnets=(Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64")),
            hosts=(Dpid(1),),
            dhcp=True,
            gateway=Ip.parse("10.1.1.254"),
        )
    ]
    vteps = [Vtep(VtepIp.parse("192.168.33.20"), (Vni(0), Vni(2**24 - 1)), "rack", False)]
    vips = [Vip(Vni(0), Ip.parse("10.1.1.100"), (Mac(1), Mac(2)), holder=Mac(2))]
    vms = [
        Vm(
            Mac(0x525400000000 + number),
            Vni(0),
            vteps[0].location if number == 7 else Dpid(1),
            (Ip.parse(f"10.1.1.{number}"), Ip.parse(f"fd00::{number}")),
            f"web-{number}",
            respond=number % 2 == 0,
        )
        for number in range(1, 60)
    ]
    return [*hosts, *networks, *vms, *vteps, *vips]
