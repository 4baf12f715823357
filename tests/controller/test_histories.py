"""Whatever happens to a fabric: once it is left alone, switches hold what they should."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.frames import Arp
from controller.journey import Packet
from controller.replica import State
from tests.fake import FakeFabric, Station
from topology.model import Network, Vm
from topology.types import Dpid, Ip, Mac, Vni

HOSTS = [1, 2, 3]
VMS = [Station(1, Mac(0x525400000000 | n), Ip.v4(0x0A010100 | n), 0) for n in (2, 3, 4)]
BLUE = [Station(1, Mac(0x525400000000 | n), Ip.v4(0x0A010200 | n), 100, 10) for n in (2, 3)]

host = st.sampled_from(HOSTS)
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
    st.tuples(st.just("policy"), st.booleans(), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.3, 2.0, 21.0, 210.0])),
    st.tuples(st.just("some"), st.integers(1, 40)),
    st.tuples(st.just("settle")),
)


def register(fabric, station, on):
    taken = fabric.engine.topology.vm_with_ip(station.vni, station.ip)
    if taken is None or taken.mac == station.mac:
        fact = Vm(station.mac, Vni(station.vni), Dpid(on), (station.ip,))
        fabric.commit(lambda draft: draft.set_vm(fact))


def unregister(fabric, station):
    if (station.vni, station.mac) in fabric.engine.topology.vms:
        fabric.commit(lambda draft: draft.remove_vm((station.vni, station.mac)))


def live(fabric, moment):
    """One moment in the life of a fabric; messages may still be under way after it."""
    match moment:
        case ("register", station, on):
            if on in fabric.engine.topology.hosts:
                register(fabric, station, on)
        case ("unregister", station):
            unregister(fabric, station)
        case ("announce", station, on):
            arp = Arp(1, station.mac, station.ip.low32, 0, station.ip.low32)
            packet = Packet.carrying(arp, (1 << 48) - 1, station.vlan)
            fabric.send(replace(station, host=on), packet, settle=False)
        case ("talk", station, on, to):
            packet = Packet(station.mac, to.mac, station.vlan)
            fabric.send(replace(station, host=on), packet, settle=False)
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
        case ("policy", responder, learning):
            fact = Network(Vni(0), arp_responder=responder, learning=learning)
            fabric.commit(lambda draft: draft.set_network(fact))
        case ("wait", seconds):
            fabric.advance(seconds, step_s=0.3 if seconds < 5 else 3)
        case ("some", steps):
            for _ in range(steps):
                fabric.step()
        case ("settle",):
            fabric.settle()


def leave_alone(fabric):
    for dpid, switch in fabric.switches.items():
        if dpid not in fabric.connected:
            fabric.connect(dpid)
        switch.refuse = None
    fabric.settle()
    fabric.advance(310, step_s=1)


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
            if k[0] == 0
        ]
        for a in vms:
            for b in vms:
                if a.host != b.host:
                    assert fabric.ping(a, b)

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
