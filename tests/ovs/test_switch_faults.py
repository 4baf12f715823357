"""Switches, their ports and cables fail under fire: others lose nothing, and all is right after.

The fault is always at the first host; whoever is on another one notices nothing.
"""

from __future__ import annotations

import time

import pytest

from tests.ovs.fire import ALL_FAULTS, all_reach, cookies, dual_stack, fire, pairs
from topology.lab.wire import Impairment


def remake(host, port: str, number: int, *options: str) -> None:
    """A port of br-tun goes, and comes back with another number."""
    host.vsctl("del-port", "br-tun", port)
    host.vsctl(
        *("add-port", "br-tun", port, "--", "set", "interface", port, *options),
        f"ofport_request={number}",
    )


def killed_switch(fabric, host) -> None:
    host.restart_vswitchd(0.2)


def killed_database(_fabric, host) -> None:
    host.ovs.stop_ovsdb()
    time.sleep(0.3)
    host.ovs.start_ovsdb()


def cut_session(_fabric, host) -> None:
    host.appctl("bridge/reconnect", "br-tun")


def pulled_cable(_fabric, host) -> None:
    host.set_uplink(False)
    time.sleep(1)
    host.set_uplink(True)


def lossy_cable(fabric, host) -> None:
    how = Impairment(loss=0.1, delay_ms=20, jitter_ms=20, duplicate=0.1, reorder=0.1, seed=1)
    with fabric.lab.impaired(host, how):
        time.sleep(2)


def disabled_tunnel(_fabric, host) -> None:
    host.ofctl("mod-port", "br-tun", "vxlan0", "down")
    time.sleep(0.3)
    host.ofctl("mod-port", "br-tun", "vxlan0", "up")


def remade_tunnel(_fabric, host) -> None:
    remote = host.vsctl("get", "interface", "vxlan0", "options:remote_ip").strip().strip('"')
    key = ["options:key=flow"] if remote == "flow" else []
    remake(host, "vxlan0", 40, "type=vxlan", f"options:remote_ip={remote}", *key)


def remade_patch_port(_fabric, host) -> None:
    remake(host, "patch-tun", 50, "type=patch", "options:peer=patch-int")


def unplugged_vm(fabric, host) -> None:
    vm = fabric.lab.vms[0]
    host.vsctl("del-port", "br-int", vm.port)
    vm.plug()


EVERY_FAULT = (
    *(cut_session, killed_database, disabled_tunnel, remade_tunnel, remade_patch_port),
    *(unplugged_vm, pulled_cable, lossy_cable, killed_switch),
)
FAULTS = {
    "flow": EVERY_FAULT if ALL_FAULTS else (cut_session, killed_database, lossy_cable),
    "peer": EVERY_FAULT
    if ALL_FAULTS
    else (remade_tunnel, remade_patch_port, pulled_cable, killed_switch),
}


@pytest.mark.parametrize("tunnels", FAULTS)
def test_a_fault_of_one_host_costs_nobody_else(make_fabric, tunnels):
    """Four hosts with a VM each, the fourth learned; one fault after the other."""
    fabric = make_fabric(hosts=4, tunnels=tunnels, vms="none")
    *registered, _learned = dual_stack(fabric.lab)
    for vm in registered:
        fabric.register(vm)
    all_reach(fabric)
    for fault in FAULTS[tunnels]:
        costs_nobody_else(fabric, fault)


def costs_nobody_else(fabric, fault) -> None:
    lab, name = fabric.lab, fault.__name__
    victim, *others = lab.hosts

    with fire(fabric, pairs(lab.vms), watched=others) as one:
        fault(fabric, victim)
        fabric.wait_settled(30)

    exposed = set() if fault is cut_session else {vm.name for vm in lab.vms if vm.host is victim}
    unexposed = {s: n for s, n in one.lost.items() if not {s.src, s.dst} & exposed}
    assert (name, unexposed) == (name, {})
    assert (name, one.wrongs) == (name, [])
    all_reach(fabric)
    for host in lab.hosts:
        wanted = {flow["cookie"] for flow in fabric.rest.items(f"/v1/hosts/{host.dpid}/flows")}
        there = cookies(host)
        extra = there - {f"0x{int(cookie, 16):x}" for cookie in wanted}
        assert (name, host.name, extra) == (name, host.name, set())
    assert fabric.in_sync(), name
