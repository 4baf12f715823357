"""Who announces itself from another host has moved there, where the network lets it."""

from __future__ import annotations

import pytest

from topology.lab.frame import garp, na, plain, rarp
from topology.lab.ovs import wait_until

MAC, IP, IP6 = "52:54:00:00:0c:01", "10.1.1.70", "fd00::70"


def announcements(mac):
    return {"GARP": garp(mac, IP), "RARP": rarp(mac), "NA": na(mac, IP6)}


ANNOUNCEMENTS = announcements(MAC)


@pytest.fixture(scope="module")
def trio(open_fabric):
    with open_fabric(hosts=3, tunnels="flow", vms="namespace") as fabric:
        yield fabric


def host_of(fabric):
    entry = fabric.learned().get(MAC)
    return None if entry is None else entry["host"]


@pytest.fixture
def learned(trio):
    """The MAC speaks from the first host, as a guest of the VM there."""
    one, *_others = trio.lab.vms
    one.send_frames([garp(MAC, IP)])
    wait_until(lambda: host_of(trio) == one.host.dpid, "learned")
    return trio


@pytest.mark.parametrize("how", ANNOUNCEMENTS)
def test_a_learned_mac_moves_with_its_announcement(learned, how):
    _one, two, three = learned.lab.vms
    two.send_frames([ANNOUNCEMENTS[how]])
    wait_until(lambda: host_of(learned) == two.host.dpid, "moved")
    wait_until(lambda: two.host.vtep in learned.macs(three.host, 1)[MAC], "and its flow with it")


def test_late_packets_do_not_move_it_back(learned):
    one, two, three = learned.lab.vms
    generation = learned.learned()[MAC]["generation"]
    two.send_frames([garp(MAC, IP)])
    wait_until(lambda: host_of(learned) == two.host.dpid, "moved")
    one.send_frames([plain(MAC, three.mac)] * 20)
    three.send_frames([plain(three.mac, two.mac)])
    assert host_of(learned) == two.host.dpid
    assert learned.learned()[MAC]["generation"] == generation + 1


@pytest.mark.parametrize("follow", [True, False])
def test_a_registered_vm_moves_only_where_the_network_allows_it(trio, follow):
    one, two, _three = trio.lab.vms
    mac = f"52:54:00:00:0c:1{follow:d}"
    trio.network(0, follow_moves=follow)
    body = {"mac": mac, "host": one.host.dpid, "ips": [IP, IP6]}
    assert trio.rest.post("/v1/vms?wait=10", body).status == 201
    path = f"/v1/vms/0/{mac}"
    try:
        for frame in announcements(mac).values():
            two.send_frames([plain(mac)])
            assert trio.rest.get(path)["host"] == one.host.dpid
            two.send_frames([frame])
            if follow:
                wait_until(lambda: trio.rest.get(path)["host"] == two.host.dpid, "moved")
                assert trio.rest.put(f"{path}?wait=10", {"host": one.host.dpid}).status == 200
            else:
                one.ping(two.ip, count=1)
                assert trio.rest.get(path)["host"] == one.host.dpid
        assert trio.in_sync()
    finally:
        trio.rest.delete(f"{path}?wait=10")


def test_who_flaps_is_held_and_reported_once(trio):
    one, two, _three = trio.lab.vms
    mac = "52:54:00:00:0c:02"
    for _round in range(6):
        for vm in (one, two):
            vm.send_frames([garp(mac, "10.1.1.71")])
            assert vm.ping(one.ip if vm is two else two.ip, count=1).ok
    log = trio.controller.log_tail(100_000).splitlines()
    assert len([line for line in log if mac in line and "flaps" in line]) == 1
