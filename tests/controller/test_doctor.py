"""Each check by itself: evidence in, findings out; and the evidence as the engine gives it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller import doctor
from controller.doctor.evidence import Evidence, HostEvidence, StoreEvidence
from controller.doctor.findings import CHECKS, ago
from controller.doctor.underlay import blamed
from controller.engine import Settings
from controller.journey import Packet
from controller.service import TunnelStatus
from controller.sessions import Sessions
from controller.sightings import SIGHTINGS_MAX, Sighting, Sightings
from tests.fake import FakeFabric
from topology.model import Host, LearnedMac, Network, Put, Topology, Vm, Vtep
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

NOW_S = 10_000.0
MAC, OTHER = Mac(0x525400000001), Mac(0x525400000002)
BLUE = Network(Vni(100), "blue", Vlan(10))
IP = Ip.v4(0x0A010101)


def at(number):
    return VtepIp.parse(f"192.168.33.{10 + number}")


def host(number, **more):
    """A host as it is when nothing is wrong with it."""
    evidence = HostEvidence(
        dpid=Dpid(number),
        name=f"hv-{number}",
        vtep=at(number),
        address_only=False,
        heard_at=at(number),
        vms=0,
        tenants=True,
        connected=True,
        address=str(at(number)),
        tunnel_ports=("vxlan0",),
        in_band=False,
    )
    return replace(evidence, **more)


def tunnel(dpid, peer, state="up", **more):
    found = TunnelStatus(
        dpid,
        f"hv-{dpid}",
        str(at(peer)),
        peer,
        f"hv-{peer}",
        5,
        "vxlan0",
        state,
        mtu_bytes=1450,
        mtu_needed_bytes=1450,
        mtu_ok=True,
    )
    return replace(found, **more)


def mesh(hosts, **odd):
    """Every pair of hosts, those named ``t12=...`` otherwise."""
    return [
        replace(tunnel(a, b), **odd.get(f"t{a}{b}", {}))
        for a in range(1, hosts + 1)
        for b in range(1, hosts + 1)
        if a != b
    ]


def world(*hosts, facts=(), tunnels=None, **more):
    """Evidence of a fabric that is well but for what is told."""
    topology = Topology()
    hosts = hosts or (host(1), host(2), host(3))
    for one in hosts:
        topology.apply(Put(Host(one.dpid, one.name, one.vtep)))
    for fact in facts:
        topology.apply(Put(fact))
    sessions = Sessions(0.0)
    for one in hosts:
        if one.connected:
            sessions.came(one.dpid, one.address, 1.0)
    found = Evidence(
        topology,
        list(hosts),
        mesh(len(hosts)) if tunnels is None else tunnels,
        sessions,
        [],
        [],
        StoreEvidence("SQLite file /var/lib/vxlan-l2/state.db", 1 << 40),
        "patch-tun",
        ("vxlan*",),
        (2048, 16384),
        "tcp:192.168.33.1:6653",
        NOW_S,
    )
    return replace(found, **more)


def bad(evidence, check):
    return [one for one in doctor.results(check, evidence) if one.status != "ok"]


def only(evidence, check):
    (one,) = bad(evidence, check)
    return one


@pytest.mark.parametrize("check", CHECKS)
def test_a_healthy_fabric_passes_and_says_what_was_looked_at(check):
    (one,) = doctor.results(check, world())

    assert (one.check, one.status, one.subject, one.cause, one.command) == (
        check,
        "ok",
        None,
        None,
        None,
    )
    assert len(one.summary) > 15


# Sessions


def test_a_host_that_went_says_since_when_and_whence():
    evidence = world(host(1), host(2, connected=False, vms=3))
    evidence.sessions.came(2, "192.168.33.12", 100.0)
    evidence.sessions.left(2, NOW_S - 300)

    one = only(evidence, "host-disconnected")

    assert (one.status, one.subject) == ("error", "hv-2")
    assert "for 5 min; it was at 192.168.33.12" in one.summary
    assert "3 VMs" in one.cause
    assert one.command == "ovs-vsctl set-controller br-tun tcp:192.168.33.1:6653"


def test_a_host_that_never_came():
    one = only(world(host(1), host(2, connected=False)), "host-disconnected")
    assert "has not connected since the controller started" in one.summary


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        (
            "it speaks OpenFlow 1.0 and not 1.3; set protocols=OpenFlow13 on the bridge",
            "ovs-vsctl set bridge br-tun protocols=OpenFlow13",
        ),
        ("it speaks TLS, and the controller has no ctl_privkey and ctl_cert", "sed s/^ssl/tcp/"),
        ("it speaks OpenFlow without TLS, which is wanted here", "sed s/^tcp/ssl/"),
        ("it presents no certificate; give it one by set-ssl", "ovs-vsctl get-ssl"),
        ("its certificate is refused: certificate has expired", "ovs-vsctl get-ssl"),
        ("a message of 3 bytes", None),
    ],
)
def test_a_host_that_is_away_because_it_was_refused(reason, command):
    evidence = world(host(1), host(2, connected=False))
    evidence.sessions.refuse("192.168.33.12", reason, NOW_S - 5)

    for check in ("host-disconnected", "openflow-refused"):
        one = only(evidence, check)
        assert one.subject == "hv-2"
        assert reason in one.cause
        assert command is None or command in one.command


def test_a_switch_that_is_held_is_named_with_the_command_that_takes_it_over():
    fabric = FakeFabric(2, settings=Settings(hold_unknown=True)).connect_all()
    fabric.declare(dpid=Dpid(1))
    store = StoreEvidence("memory")
    evidence = doctor.gather(fabric.engine, Sessions(0.0), store, [], "tcp:x:1", fabric.now_s)
    one = only(evidence, "host-held")
    assert (one.status, one.subject) == ("warning", "0000000000000002")
    assert "192.168.33.13:40000" in one.summary
    assert one.command == "vxlanctl host declare 0000000000000002"


def test_a_refusal_of_a_host_that_is_here_now_is_over():
    evidence = world()
    evidence.sessions.refuse("192.168.33.12", "OpenFlow 1.0", NOW_S - 5)
    evidence.sessions.refuse("10.9.9.9", "it does not speak OpenFlow", NOW_S - 5000)
    assert bad(evidence, "openflow-refused") == []

    evidence.sessions.refuse("10.9.9.9", "it does not speak OpenFlow", NOW_S - 5)
    evidence.sessions.refuse("10.9.9.9", "it does not speak OpenFlow", NOW_S - 4)
    assert only(evidence, "openflow-refused").subject == "10.9.9.9"


def test_a_refusal_of_before_it_last_connected_is_no_reason_that_it_is_away():
    evidence = world(host(1), host(2, connected=False))
    evidence.sessions.refuse("192.168.33.12", "OpenFlow 1.0", NOW_S - 60)
    evidence.sessions.came(2, "192.168.33.12", NOW_S - 50)
    evidence.sessions.left(2, NOW_S - 5)

    assert "refused" not in only(evidence, "host-disconnected").cause
    assert bad(evidence, "openflow-refused") == []


def test_a_host_that_comes_again_and_again():
    evidence = world()
    for ago_s in (200, 150, 100):
        evidence.sessions.came(2, "192.168.33.12", NOW_S - ago_s)
    assert bad(evidence, "host-flaps") == []

    evidence.sessions.came(2, "192.168.33.12", NOW_S - 50)
    assert "4 times" in only(evidence, "host-flaps").summary
    assert bad(evidence, "duplicate-dpid") == []


def test_two_bridges_that_say_they_are_one():
    evidence = world()
    evidence.sessions.came(2, "192.168.33.12", NOW_S - 9, replaced="192.168.33.12")
    assert bad(evidence, "duplicate-dpid") == [], "it came back before its old session was over"

    evidence.sessions.came(2, "192.168.33.77", NOW_S - 5, replaced="192.168.33.12")
    one = only(evidence, "duplicate-dpid")
    assert "192.168.33.12 and 192.168.33.77" in one.summary
    assert bad(evidence, "host-flaps") == []


def test_sessions_are_remembered_in_bounded_memory():
    sessions = Sessions(0.0)
    for dpid in range(5000):
        sessions.came(dpid, "10.0.0.1", 1.0)
        sessions.refuse("10.0.0.1", f"reason {dpid}", 1.0)
    assert sessions.past(0) is None
    assert sessions.past(4999) is not None
    assert len(list(sessions.refused_since(0))) == 100


# Bridges


@pytest.mark.parametrize(
    ("check", "wrong", "status", "command"),
    [
        ("patch-port", {"has_patch": False}, "error", "add-port br-tun patch-tun"),
        ("tunnel-port", {"tunnel_ports": ()}, "error", "add-port br-tun vxlan0"),
        ("tunnel-port", {"unproven": ("vxlan3",)}, "error", "get interface vxlan3"),
        ("key-flow", {"keyless": ("vxlan3",)}, "error", "set interface vxlan3 options:key=flow"),
        ("flows-refused", {"rejected": 2, "rejection": "bad action"}, "error", "ovs-vswitchd"),
        ("meters", {"meters": False}, "warning", "dpif/show-dp-features"),
        ("nd-responder", {"nd": False}, "warning", None),
        ("in-band", {"in_band": True}, "error", "other_config:disable-in-band=true"),
        ("drift", {"drift": (NOW_S - 30, 8, 1)}, "warning", "ovs-vsctl get-controller br-tun"),
        (
            "drift",
            {"drift": (NOW_S - 3, 8, 1), "contested": True},
            "error",
            "ovs-vsctl get-controller br-tun",
        ),
    ],
)
def test_what_a_bridge_lacks(check, wrong, status, command):
    one = only(world(host(1), host(2, **wrong)), check)

    assert (one.status, one.subject) == (status, "hv-2")
    assert one.command is command is None or command in one.command
    assert bad(world(host(1), host(2, **wrong, connected=False)), check) == []


def test_a_keyless_port_does_no_harm_where_there_are_no_tenants():
    assert bad(world(host(1, keyless=("vxlan0",), tenants=False)), "key-flow") == []


def test_drift_of_an_hour_ago_is_history():
    assert bad(world(host(1, drift=(NOW_S - 3600, 1, 1))), "drift") == []


@pytest.mark.parametrize(
    ("ports_s", "away_s", "accused"),
    [(86400, 40.0, True), (75, 40.0, True), (50, 40.0, False), (11, 1.0, False), (900, 2.0, False)],
)
def test_an_empty_bridge_whose_switch_went_on_running(ports_s, away_s, accused):
    evidence = world(host(1, emptied=True, ports_s=ports_s))
    evidence.sessions.left(1, NOW_S - 10 - away_s)
    evidence.sessions.came(1, "192.168.33.11", NOW_S - 10)

    found = bad(evidence, "fail-mode")

    assert bool(found) is accused
    assert not found or found[0].command == "ovs-vsctl set-fail-mode br-tun secure"


# The underlay


def test_a_host_whose_vtep_nobody_knows():
    one = only(world(host(1), host(2, vtep=None)), "vtep-unknown")
    assert one.command == f"vxlanctl host declare {Dpid(2)} --name hv-2 --vtep ADDRESS"


def test_two_hosts_with_one_vtep():
    evidence = world(host(1), host(2, vtep=at(1), heard_at=at(2)))
    one = only(evidence, "vtep-duplicate")
    assert one.subject == "hv-1"
    assert "hv-1 and hv-2" in one.summary
    assert one.command == f"vxlanctl host declare {Dpid(2)} --name hv-2 --vtep {at(2)}"


def test_a_host_that_was_also_declared_as_foreign():
    one = only(world(facts=[Vtep(at(2), (Vni(0),))]), "vtep-duplicate")
    assert one.command == f"vxlanctl vtep delete {at(2)}"


def test_a_vtep_that_is_not_where_its_tunnels_end():
    hosts = host(1), host(2, vtep=VtepIp.parse("192.168.33.99"), heard_at=at(2))
    down = mesh(2, t12={"state": "down"})

    one = only(world(*hosts, tunnels=down), "vtep-wrong")

    assert one.status == "error"
    assert one.command == f"vxlanctl host declare {Dpid(2)} --name hv-2 --vtep {at(2)}"
    assert bad(world(*hosts, tunnels=down), "tunnel-down") == [], "told once"
    assert only(world(*hosts), "vtep-wrong").status == "warning", "a port of its own leads there"


def test_one_tunnel_that_is_down():
    one = only(world(tunnels=mesh(3, t12={"state": "down"})), "tunnel-down")

    assert one.subject == "hv-1"
    assert "from hv-1 (192.168.33.11) to hv-2 (192.168.33.12)" in one.summary
    assert one.command == "ping -c 3 -I 192.168.33.11 192.168.33.12"


def test_a_port_of_its_own_may_lead_elsewhere():
    """A port for each peer: each has another number, and its remote_ip may be wrong."""
    own = {
        f"t{a}{b}": {"port": 10 + b, "port_name": f"vxlan{b}"}
        for a in (1, 2, 3)
        for b in (1, 2, 3)
        if a != b
    }
    own["t12"]["state"] = "down"
    one = only(world(tunnels=mesh(3, **own)), "tunnel-down")

    assert "the remote_ip of its port vxlan2 is another address" in one.cause
    assert one.command.startswith("ovs-vsctl get interface vxlan2 options:remote_ip; ping ")


def test_a_host_that_is_cut_off_is_told_once():
    cut = {f"t{a}{b}": {"state": "down"} for a, b in ((1, 3), (2, 3), (3, 1), (3, 2))}
    one = only(world(tunnels=mesh(3, **cut)), "tunnel-down")

    assert one.subject == "hv-3"
    assert "to or from hv-3" in one.summary
    assert one.command == "ping -c 3 -I 192.168.33.13 192.168.33.11"


def test_a_vtep_of_the_management_network_is_suspected():
    cut = {f"t{a}{b}": {"state": "down"} for a, b in ((1, 3), (2, 3))}
    one = only(
        world(host(1), host(2), host(3, address_only=True), tunnels=mesh(3, **cut)), "tunnel-down"
    )
    assert "is the source of its OpenFlow connection" in one.cause


def test_a_port_is_missing():
    gone = {"state": "down", "port": None, "port_name": None}
    one = only(world(tunnels=mesh(3, t13=gone)), "tunnel-down")

    assert one.summary == "no tunnel port of hv-1 leads to hv-3 (192.168.33.13)"
    assert "add-port br-tun vxlan1 " in one.command, "vxlan0 is taken"
    assert "options:remote_ip=192.168.33.13 options:key=flow" in one.command


def test_a_narrow_underlay_names_the_host_that_all_of_it_has_in_common():
    short = {"mtu_bytes": 1350, "mtu_ok": False}
    narrow = {f"t{a}{b}": short for a, b in ((1, 2), (2, 1), (2, 3), (3, 2))}
    one = only(world(tunnels=mesh(3, **narrow)), "mtu")

    assert one.subject == "hv-2"
    assert "IP packets of 1450 bytes do not come through to and from hv-2; 1350 do" in one.summary
    assert "below 1500 (1450 + 50)" in one.cause
    assert "mtu 1500" in one.command


def test_unknown_tunnels_and_sizes_are_no_findings():
    evidence = world(tunnels=mesh(3, t12={"state": "unknown", "mtu_ok": None, "mtu_bytes": None}))
    assert bad(evidence, "tunnel-down") == bad(evidence, "mtu") == []


def test_blame_of_two_hosts_at_once():
    cut = [one for one in mesh(5) if {one.dpid, one.peer} & {2, 4}]
    by = {dpid: len(tunnels) for dpid, tunnels in blamed(cut, mesh(5))}
    assert by == {2: 8, 4: 6}
    assert list(blamed([], mesh(5))) == []


# VMs


def vm(where=1, vni=100, mac=MAC, ips=(IP,)):
    return Vm(mac, Vni(vni), Dpid(where), ips, "web-1")


def seen(what=0, place=2, vni=100, mac=MAC, ago_s=5.0):
    return Sighting(vni, mac, what, Dpid(place), NOW_S - ago_s)


def test_a_vm_that_sends_from_another_host():
    evidence = world(facts=[BLUE, vm()], sightings=[seen()])
    one = only(evidence, "vm-place")

    assert (one.status, one.subject) == ("error", "VM web-1")
    assert "network blue) is registered on hv-1, but sends from hv-2" in one.summary
    assert one.command == f"vxlanctl vm move {MAC} hv-2 --network 100"


def test_a_vm_that_was_moved_there_since_is_well():
    evidence = world(facts=[BLUE, vm(where=2)], sightings=[seen()])
    assert bad(evidence, "vm-place") == []


def test_what_was_seen_minutes_ago_may_be_over():
    evidence = world(facts=[BLUE, vm()], sightings=[seen(ago_s=300)])
    assert only(evidence, "vm-place").status == "warning"


def test_a_vm_whose_network_the_other_host_does_not_carry():
    evidence = world(facts=[BLUE, vm()], sightings=[seen(vni=None, what=10)])
    assert only(evidence, "vm-place").command == f"vxlanctl vm move {MAC} hv-2 --network 100"
    assert bad(evidence, "vlan") == []


def test_a_vm_on_a_vlan_of_no_network():
    evidence = world(facts=[BLUE, vm(where=2)], sightings=[seen(vni=None, what=77)])
    one = only(evidence, "vlan")

    assert (one.status, one.subject) == ("error", "VM web-1")
    assert "registered in network blue (VLAN 10), but sends on VLAN 77" in one.summary
    assert "tag=10" in one.command
    assert str(MAC) in one.command
    assert bad(evidence, "vm-place") == []


def test_of_a_tag_that_was_changed_twice_only_the_last_is_told():
    strays = [seen(vni=None, what=77, ago_s=30), seen(vni=None, what=78, ago_s=3)]
    assert "VLAN 78" in only(world(facts=[BLUE, vm(where=2)], sightings=strays), "vlan").summary


def test_strays_of_before_the_network_was_carried_there_are_over():
    evidence = world(facts=[BLUE, vm(where=2)], sightings=[seen(vni=None, what=10)])
    assert bad(evidence, "vlan") == bad(evidence, "vm-place") == []


def test_a_mac_that_nobody_registered_on_a_network_that_is_not_there():
    evidence = world(facts=[BLUE, vm(mac=OTHER)], sightings=[seen(vni=None, what=10)])
    one = only(evidence, "vlan")
    assert (one.status, one.subject) == ("warning", "hv-2")
    assert one.command == f"vxlanctl vm add {MAC} --host hv-2 --network 100"


def test_a_registered_vm_that_is_heard_in_another_network():
    red = Network(Vni(200), "red", Vlan(20))
    heard = LearnedMac(Vni(200), MAC, Dpid(2), NOW_S - 3)
    one = only(world(facts=[BLUE, red, vm(where=2), heard]), "vlan")

    assert (
        "in network blue (VLAN 10), but its frames arrive in network red (VLAN 20)" in one.summary
    )
    assert "tag=10" in one.command

    both = [BLUE, red, vm(where=2), vm(where=2, vni=200), heard]
    assert bad(world(facts=both), "vlan") == [], "it is registered in both"


def test_an_untagged_network_is_reached_without_a_tag():
    plain = Network(Vni(100), "blue")
    home = Network(Vni(0), None, Vlan(1))
    evidence = world(facts=[home, plain, vm(where=2)], sightings=[seen(vni=None, what=77)])
    assert "ovs-vsctl clear port" in only(evidence, "vlan").command


def test_an_ip_that_another_mac_uses():
    evidence = world(facts=[BLUE, vm()], sightings=[seen(what=IP, mac=OTHER)])
    one = only(evidence, "duplicate-ip")

    assert one.subject == "VM web-1"
    assert f"10.1.1.1 of VM web-1 ({MAC}, network blue) is used by {OTHER} on hv-2" in one.summary
    assert bad(evidence, "vm-place") == []


def test_flapping():
    one = only(world(facts=[BLUE], flapping=[(100, MAC, False)]), "flapping")
    assert str(MAC) in one.command
    assert "virtual IP 10.1.1.1" in only(world(flapping=[(100, IP, True)]), "flapping").summary


def test_a_network_that_no_host_carries():
    one = only(world(facts=[BLUE]), "empty-network")
    assert (one.status, one.subject) == ("warning", "network blue")
    assert bad(world(facts=[replace(BLUE, hosts="all")]), "empty-network") == []


# The controller


@pytest.mark.parametrize(
    ("free_bytes", "statuses"),
    [(None, []), (1 << 30, []), (200 << 20, ["warning"]), (5, ["error"])],
)
def test_a_store_that_is_nearly_full(free_bytes, statuses):
    evidence = world(store=StoreEvidence("SQLite", free_bytes))
    assert [one.status for one in bad(evidence, "store")] == statuses


def test_a_store_that_refused_a_write():
    one = only(world(store=StoreEvidence("SQLite", None, "disk I/O error")), "store")
    assert (one.status, one.cause) == ("error", "disk I/O error")


def test_learned_macs_near_their_limit():
    facts = [LearnedMac(Vni(0), Mac(MAC + n), Dpid(1), NOW_S) for n in range(9)]
    found = bad(world(facts=facts, learn_limits=(10, 100)), "learned-limit")
    assert [one.subject for one in found] == ["hv-1"]


def test_spans_of_time():
    assert [ago(s) for s in (0, 59.4, 90, 120, 3600, 7200, 86400 * 3)] == [
        "0 s",
        "59 s",
        "90 s",
        "2 min",
        "1 h",
        "2 h",
        "3 d",
    ]


# What the engine notices


def evidence_of(fabric):
    sessions = Sessions(0.0)
    store = StoreEvidence("SQLite", None)
    return doctor.gather(fabric.engine, sessions, store, [], "tcp:10.0.0.1:6653", fabric.now_s)


def test_the_engine_remembers_who_contradicts_a_registration():
    fabric = FakeFabric(2).connect_all()
    here, there = fabric.vm(0), fabric.vm(1)
    fabric.register(here)
    fabric.send(replace(here, host=2), Packet(here.mac, there.mac))
    fabric.gratuitous(replace(there, ip=here.ip))

    found = evidence_of(fabric)

    assert only(found, "vm-place").subject == f"VM {here.mac}"
    assert str(there.mac) in only(found, "duplicate-ip").summary
    fabric.advance(1000)
    assert bad(evidence_of(fabric), "vm-place") == []


def test_sightings_are_bounded_and_the_latest_stay():
    sightings = Sightings()
    for number in range(3 * SIGHTINGS_MAX):
        sightings.note(0, number, 0, Dpid(1), float(number))
    found = list(sightings.since(0))
    assert len(found) == SIGHTINGS_MAX
    assert found[0].mac == 3 * SIGHTINGS_MAX - 1
    sightings.note(0, found[-1].mac, 0, Dpid(1), 1e6)
    assert next(sightings.since(0)).count == 2


def test_a_removed_patch_port_shows():
    fabric = FakeFabric(2).connect_all()
    fabric.set_port(1, 1, None)
    fabric.settle()
    assert [one.subject for one in bad(evidence_of(fabric), "patch-port")] == [str(Dpid(1))]
