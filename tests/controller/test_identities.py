"""Who may be which host: certificates, and switches that nobody declared."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from controller.certificates import Certificate
from controller.engine import Settings
from controller.events import PacketsIn, Received
from controller.frames import Arp
from controller.identities import HELD_MAX
from controller.journey import Packet
from controller.pipeline import COOKIE_OWNER, Kind
from controller.replica import TRUST_S
from controller.standing import host_status
from controller.wire.decode import PacketIn
from tests.fake import FakeFabric
from tests.fake.fabric import PATCH
from tests.fake.frames import to_bytes
from tests.fake.stations import BROADCAST
from topology.model import Host
from topology.types import Dpid, Fingerprint, VtepIp

HOLDING = Settings(hold_unknown=True)


def certificate(*names: str, key: str = "one") -> Certificate:
    digest = hashlib.sha256(f"{key} {names}".encode()).digest()
    return Certificate(Fingerprint.unpack(digest), names)


def objection(fabric: FakeFabric, dpid: int, presented: Certificate | None) -> str | None:
    return fabric.engine.identities.objection(dpid, presented)


def bind(fabric: FakeFabric, dpid: int, presented: Certificate | None) -> None:
    host = fabric.engine.topology.hosts.get(dpid, Host(Dpid(dpid)))
    bound = None if presented is None else presented.fingerprint
    fabric.commit(lambda draft: draft.set_host(replace(host, certificate=bound)))
    fabric.settle()


# -- certificates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dpid"),
    [
        ("00006e12f4fd6949", 0x6E12F4FD6949),
        ("00006E12F4FD6949 id:8d92ab66-c4d2-49b0-88de-c8c0e46affe7", 0x6E12F4FD6949),
        ("br-tun.00006e12f4fd6949.rack-7.example", 0x6E12F4FD6949),
        ("urn:dpid:00006e12f4fd6949", 0x6E12F4FD6949),
    ],
)
def test_a_certificate_that_names_a_dpid_is_of_that_switch_only(name, dpid):
    fabric = FakeFabric(2)
    assert objection(fabric, dpid, certificate("compute-1", name)) is None
    refused = objection(fabric, dpid + 1, certificate("compute-1", name))
    assert f"it says it is {dpid + 1:016x}" in refused
    assert f"is of {dpid:016x}" in refused


@pytest.mark.parametrize(
    "name",
    [
        "compute-1",
        "6e12f4fd6949",
        "000006e12f4fd6949",  # 17 digits
        "x00006e12f4fd6949",
        "00006e12f4fd6949_b",
        "8d92ab66-c4d2-49b0-88de-c8c0e46affe7",
        "d41d8cd98f00b204e9800998ecf8427e",
    ],
)
def test_a_name_without_a_dpid_binds_nothing_unless_binding_is_wanted(name):
    fabric = FakeFabric(2)
    assert objection(fabric, 7, certificate(name)) is None
    strict = FakeFabric(2, settings=Settings(bind_certificates=True))
    refused = objection(strict, 7, certificate(name))
    seen = certificate(name).fingerprint
    assert f"vxlanctl host declare 0000000000000007 --certificate {seen}" in refused
    assert "presents no certificate" in objection(strict, 7, None)
    bind(strict, 7, certificate(name))
    assert objection(strict, 7, certificate(name)) is None


def test_a_declared_certificate_is_the_only_one():
    fabric = FakeFabric(2)
    mine, other = certificate("compute-1", key="mine"), certificate("compute-1", key="other")
    bind(fabric, 1, mine)
    assert objection(fabric, 1, mine) is None
    refused = objection(fabric, 1, other)
    assert str(other.fingerprint) in refused
    assert str(mine.fingerprint) in refused
    assert f"is bound to {mine.fingerprint}" in objection(fabric, 1, None)
    assert objection(fabric, 2, other) is None


def test_a_declaration_does_not_make_one_hosts_certificate_anothers():
    fabric = FakeFabric(2)
    of_two = certificate("0000000000000002")
    bind(fabric, 1, of_two)
    assert "is of 0000000000000002" in objection(fabric, 1, of_two)


def test_what_a_certificate_says_cannot_break_a_line_of_the_log():
    told = str(certificate("a\nb\x1b[31m" + "x" * 500))
    assert told.isprintable()
    assert len(told) < 200


def test_another_certificate_cuts_the_connection_that_has_the_old_one(fabric):
    old, new = certificate("hv-2", key="old"), certificate("hv-2", key="new")
    fabric.connect(2, certificate=old)
    fabric.settle()
    bind(fabric, 2, old)
    assert fabric.connected == {1, 2, 3}
    bind(fabric, 2, new)
    assert fabric.connected == {1, 3}
    assert 2 not in fabric.engine.replicas
    assert str(new.fingerprint) in fabric.log[-1]
    assert str(old.fingerprint) in fabric.log[-1]
    fabric.connect(2, certificate=new)
    fabric.settle()
    bind(fabric, 2, None)
    assert fabric.connected == {1, 2, 3}


def test_a_bound_host_over_plain_tcp_is_cut(fabric):
    bind(fabric, 3, certificate("hv-3"))
    assert fabric.connected == {1, 2}


def test_a_certificate_that_is_bound_while_a_switch_is_let_in_counts(fabric):
    """It was asked before, and waited for another connection of its dpid to end."""
    former = fabric.replica(2).epoch
    fabric.disconnect(2)
    bind(fabric, 2, certificate("hv-2", key="new"))
    fabric.connect(2, certificate=certificate("hv-2", key="old"))
    fabric.settle()
    assert fabric.connected == {1, 3}
    assert 2 not in fabric.engine.replicas
    assert "is bound to" in fabric.log[-1]
    fabric.connect(2, certificate=certificate("hv-2", key="new"))
    fabric.settle()
    assert fabric.replica(2).epoch > former


def test_another_name_of_a_host_cuts_nobody(fabric):
    fabric.connect(2, certificate=certificate("hv-2"))
    fabric.settle()
    bind(fabric, 2, certificate("hv-2"))
    host = fabric.engine.topology.hosts[2]
    fabric.commit(lambda draft: draft.set_host(replace(host, name="compute-2")))
    fabric.settle()
    assert fabric.connected == {1, 2, 3}


# -- held ------------------------------------------------------------------------------------------


@pytest.fixture
def holding(tunnels):
    """Three hosts, of which the third is a stranger's: it is connected, and held."""
    fabric = FakeFabric(3, tunnels, HOLDING)
    for dpid in (1, 2):
        fabric.declare(dpid=Dpid(dpid))
    return fabric.connect_all()


def test_who_is_not_declared_is_left_as_it_is(holding):
    stranger = holding.switches[3]
    assert holding.engine.identities.held.keys() == {3}
    assert set(holding.engine.replicas) == {1, 2}
    assert not stranger.cookies
    assert 3 not in holding.engine.topology.hosts
    assert (Host, 3) not in holding.store
    status = host_status(holding.engine, 3)
    assert (status.connected, status.state, status.flows) == (True, "HELD", 0)
    assert "vxlanctl host declare 0000000000000003" in status.reason
    assert status.address == "192.168.33.14:40000"


def test_nobody_floods_to_a_held_switch_nor_hears_it(holding):
    a, theirs = holding.vm(0), holding.vm(2)
    holding.advance(TRUST_S)  # until then a new bridge's ports are believed to lead to hosts
    journey = holding.broadcast(a)
    assert {copy.to for copy in journey.copies} == {2}
    assert {hop.dpid for hop in journey.hops} == {1, 2}
    forged = PacketIn(
        COOKIE_OWNER << 56 | Kind.LOCAL_UNKNOWN << 48,
        PATCH,
        *(0, 0, 0),
        to_bytes(Packet.carrying(Arp(1, theirs.mac, theirs.ip.low32, 0, 7), BROADCAST)),
    )
    epoch = holding.engine.identities.held[3].epoch
    holding._take(holding.engine.handle(PacketsIn(3, epoch, [forged]), holding.now_s))
    holding._take(holding.engine.handle(Received(3, epoch, forged), holding.now_s))
    assert holding.learned(theirs) is None


def test_a_declaration_takes_it_over_without_another_connection(holding):
    holding.declare(dpid=Dpid(3), name="hv-3")
    holding.advance(4.0)
    assert holding.engine.identities.held == {}
    assert holding.replica(3).state == "LIVE"
    assert holding.switches[3].cookies
    assert host_status(holding.engine, 3).state == "LIVE"
    host = holding.engine.topology.hosts[3]
    assert (host.name, host.vtep) == ("hv-3", VtepIp(holding.switches[3].vtep))


def test_ports_that_came_while_it_was_held_are_known(holding):
    holding.set_port(3, 40, "vxlan-late")
    holding.settle()
    assert (40, "vxlan-late") in holding.engine.identities.held[3].ports.items()
    holding.set_port(3, 41, "vxlan-brief")
    holding.set_port(3, 41, None)
    holding.settle()
    holding.declare(dpid=Dpid(3))
    assert holding.replica(3).ports[40] == "vxlan-late"
    assert 41 not in holding.replica(3).ports


def test_a_held_switch_with_another_certificate_is_not_taken_over(tunnels):
    fabric = FakeFabric(3, tunnels, HOLDING)
    theirs, wanted = certificate("hv-1", key="theirs"), certificate("hv-1", key="wanted")
    fabric.connect(1, certificate=theirs)
    bind(fabric, 1, wanted)
    assert fabric.connected == set()
    assert fabric.engine.replicas == {}
    assert fabric.engine.topology.hosts[1].vtep is None
    assert not fabric.switches[1].cookies


def test_who_was_known_before_is_not_held(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.settings = HOLDING
    fabric.restart_controller()
    fabric.connect_all()
    assert fabric.engine.identities.held == {}
    assert set(fabric.engine.replicas) == {1, 2, 3}


def test_a_held_switch_that_goes_is_forgotten(holding):
    holding.disconnect(3)
    assert holding.engine.identities.held == {}
    assert host_status(holding.engine, 3).state == "DISCONNECTED"


def test_no_more_are_held_than_there_is_room_for():
    fabric = FakeFabric(1, settings=HOLDING)
    for dpid in range(100, 100 + HELD_MAX):
        assert objection(fabric, dpid, None) is None
        fabric.switches[dpid] = fabric.switches[1]
        fabric.connect(dpid)
    assert f"{HELD_MAX} such switches are held" in objection(fabric, 99, None)
    fabric.declare(dpid=Dpid(99))
    assert objection(fabric, 99, None) is None
    assert fabric.store.keys() == {(Host, 99)}
    assert objection(fabric, 100, None) is None  # it comes back while it is there still
