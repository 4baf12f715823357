"""Whatever happens to a fabric: once it is left alone, switches hold what they should."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.frames import Arp
from controller.journey import Packet
from controller.pipeline import ND_RESPONDER_KINDS, cookie_kind
from controller.replica import State
from controller.wire import encode
from tests.fake import FakeFabric, Station
from topology.errors import VxlanError
from topology.model import Network, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

HOSTS = [1, 2, 3]
VMS = [Station(1, Mac(0x525400000000 | n), Ip.v4(0x0A010100 | n), 0) for n in (2, 3, 4)]
BLUE = [Station(1, Mac(0x525400000000 | n), Ip.v4(0x0A010200 | n), 100, 10) for n in (2, 3)]

RACK = VtepIp(Ip.parse("192.168.33.200"))
VIP = Ip.parse("10.1.1.99")
SUBNETS = (Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64"))

host = st.sampled_from(HOSTS)
policies = st.sampled_from(["flood", "drop"])
policy = st.fixed_dictionaries(
    {
        "arp_responder": st.booleans(),
        "learning": st.booleans(),
        "unknown_unicast": policies,
        "unknown_arp": policies,
        "multicast": policies,
        "quiet": st.booleans(),
        "mode": st.sampled_from(["proactive", "reactive"]),
        "follow_moves": st.booleans(),
        "subnets": st.sampled_from([(), SUBNETS]),
    }
)
vm = st.sampled_from([*VMS, *BLUE])
moments = st.one_of(
    st.tuples(st.just("register"), vm, host),
    st.tuples(st.just("register"), vm, host),
    st.tuples(st.just("unregister"), vm),
    st.tuples(st.just("announce"), vm, host),
    st.tuples(st.just("talk"), vm, host, vm),
    st.tuples(st.just("disconnect"), host),
    st.tuples(st.just("connect"), host),
    st.tuples(st.just("restart_switch"), host),
    st.tuples(st.just("restart_controller")),
    st.tuples(st.just("tamper"), host, st.integers(2, 5)),
    st.tuples(st.just("renumber"), host, st.integers(0, 1)),
    st.tuples(st.just("unplug"), host),
    st.tuples(st.just("policy"), policy),
    st.tuples(st.just("blue"), policy, st.booleans(), st.sampled_from([10, 30]), st.booleans()),
    st.tuples(st.just("vtep"), st.sampled_from([(), (0,), (100,), (0, 100)]), st.booleans()),
    st.tuples(st.just("no vtep")),
    st.tuples(st.just("rack"), vm),
    st.tuples(st.just("arrive"), vm, host),
    st.tuples(st.just("vip"), st.lists(st.sampled_from(VMS), min_size=1, max_size=2)),
    st.tuples(st.just("no vip")),
    st.tuples(st.just("claim"), st.sampled_from(VMS), host),
    st.tuples(st.just("ask"), vm, host, vm),
    st.tuples(st.just("key"), host, st.sampled_from(["vxlan0", "vxlan1"])),
    st.tuples(st.just("poor"), host),
    st.tuples(st.just("wait"), st.sampled_from([0.3, 2.0, 21.0, 210.0])),
    st.tuples(st.just("some"), st.integers(1, 40)),
    st.tuples(st.just("settle")),
)


def want(fabric, plan):
    """A write of a user: it may be refused."""
    with suppress(VxlanError):
        fabric.commit(plan)


def register(fabric, station, place):
    fact = Vm(station.mac, Vni(station.vni), place, (station.ip, station.ip6))
    want(fabric, lambda draft: draft.set_vm(fact))


def broadcast(station, tpa, vlan):
    arp = Arp(1, station.mac, station.ip.low32, 0, tpa.low32)
    return Packet.carrying(arp, (1 << 48) - 1, vlan)


def refuse_nd(mod):
    kind = cookie_kind(encode.cookie_of(mod))
    return (4, 9) if mod[25] == encode.ADD and kind in ND_RESPONDER_KINDS else None


def write(fabric, moment):
    """Users change facts; what the API would refuse changes nothing."""
    match moment:
        case ("register", station, on):
            register(fabric, station, Dpid(on))
        case ("unregister", station):
            want(fabric, lambda draft: draft.remove_vm((station.vni, station.mac)))
        case ("policy", policy):
            want(fabric, lambda draft: draft.set_network(Network(Vni(0), **policy)))
        case ("blue", policy, secured, vlan, pinned):
            more = {"follow_moves": False, "port_security": True} if secured else {}
            hosts = "all" if pinned else ()
            fact = Network(Vni(100), vlan=Vlan(vlan), hosts=hosts, **(policy | more))
            want(fabric, lambda draft: draft.set_network(fact))
        case ("vtep", vnis, learning):
            fabric.strangers.add(RACK)
            fact = Vtep(RACK, tuple(map(Vni, vnis)), learning=learning)
            want(fabric, lambda draft: draft.set_vtep(fact))
        case ("no vtep",):
            want(fabric, lambda draft: draft.remove_vtep(RACK))
        case ("rack", station):
            register(fabric, station, Foreign.at(RACK))
        case ("vip", stations):
            fact = Vip(Vni(0), VIP, tuple(station.mac for station in stations))
            want(fabric, lambda draft: draft.set_vip(fact))
        case ("no vip",):
            want(fabric, lambda draft: draft.remove_vip((0, VIP)))


def speak(fabric, moment):
    """VMs speak, and what lies behind a foreign VTEP."""
    match moment:
        case ("announce", station, on):
            packet = broadcast(station, station.ip, station.vlan)
            fabric.send(replace(station, host=on), packet, settle=False)
        case ("ask", station, on, to):
            packet = broadcast(station, to.ip, station.vlan)
            fabric.send(replace(station, host=on), packet, settle=False)
        case ("talk", station, on, to):
            packet = Packet(station.mac, to.mac, station.vlan)
            fabric.send(replace(station, host=on), packet, settle=False)
        case ("arrive", station, on):
            packet = broadcast(station, station.ip, None)
            fabric.arrive(on, RACK, station.vni, packet, settle=False)
        case ("claim", station, on):
            packet = broadcast(replace(station, ip=VIP), VIP, station.vlan)
            fabric.send(replace(station, host=on), packet, settle=False)


def befall(fabric, moment):
    """Switches, ports, the controller and time."""
    match moment:
        case ("disconnect", on):
            fabric.disconnect(on)
        case ("connect", on):
            fabric.connect(on)
        case ("restart_switch", on):
            fabric.restart_switch(on)
        case ("restart_controller",):
            fabric.restart_controller()
        case ("tamper", on, every):
            fabric.switches[on].delete(lambda entry: entry.cookie % every == 0)
        case ("renumber", on, which):
            ports = fabric.switches[on].ports
            tunnels = sorted(number for number, name in ports.items() if name != "patch-tun")
            if which < len(tunnels):
                number = tunnels[which]
                name = ports[number]
                fabric.set_port(on, number, None)
                fabric.set_port(on, max(ports, default=1) + 3, name)
        case ("unplug", on):
            number = next(n for n, name in fabric.switches[on].ports.items() if name == "patch-tun")
            fabric.set_port(on, number, None)
            fabric.set_port(on, number + 50, "patch-tun")
        case ("key", on, name):
            fabric.keyless ^= {(on, name)}
        case ("poor", on):
            fabric.switches[on].refuse = refuse_nd
        case ("wait", seconds):
            fabric.advance(seconds, step_s=0.3 if seconds < 5 else 3)
        case ("some", steps):
            for _ in range(steps):
                fabric.step()
        case ("settle",):
            fabric.settle()


def live(fabric, moment):
    """One moment in the life of a fabric; messages may still be under way after it."""
    write(fabric, moment)
    speak(fabric, moment)
    befall(fabric, moment)


def leave_alone(fabric):
    fabric.keyless.clear()
    for dpid, switch in fabric.switches.items():
        if dpid not in fabric.connected:
            fabric.connect(dpid)
        switch.refuse = None
    fabric.settle()
    fabric.advance(10, step_s=1)
    fabric.advance(300, step_s=3)


@pytest.mark.parametrize("wires", ["peer", "flow"])
def test_after_any_history_switches_hold_what_they_should(wires):
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(history=st.lists(moments, max_size=25))
    def prove(history):
        fabric = FakeFabric(3, wires).connect_all()
        fabric.network(100, vlan=10)
        for moment in history:
            live(fabric, moment)
        leave_alone(fabric)

        fabric.assert_in_sync()
        assert {replica.state for replica in fabric.engine.replicas.values()} == {State.LIVE}
        vms = [
            Station(v.host, v.mac, v.ips[0])
            for k, v in fabric.engine.topology.vms.items()
            if k[0] == 0 and v.host in HOSTS
        ]
        for a in vms:
            for b in vms:
                if a.host != b.host:
                    assert fabric.ping(a, b) or fabric.ping(a, b)  # a reactive network's first

    prove()


@pytest.mark.parametrize("wires", ["peer", "flow"])
def test_whatever_happens_a_restarted_controller_comes_to_the_same_flows(wires):
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(history=st.lists(moments, max_size=15))
    def prove(history):
        fabric = FakeFabric(3, wires).connect_all()
        fabric.network(100, vlan=10)
        for moment in history:
            live(fabric, moment)
        leave_alone(fabric)
        before = {dpid: set(switch.cookies) for dpid, switch in fabric.switches.items()}

        fabric.restart_controller()
        leave_alone(fabric)

        assert {dpid: set(switch.cookies) for dpid, switch in fabric.switches.items()} == before

    prove()
