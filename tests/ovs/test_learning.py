"""Nothing is registered: hosts are told where MACs are, and learn nothing by themselves."""

from __future__ import annotations

import pytest

from topology.lab.frame import plain
from topology.lab.ovs import wait_until


@pytest.fixture(scope="module")
def spoken(fabric):
    """The fabric after every VM has pinged every other, with what the pings say."""
    results = fabric.lab.ping_all()
    return fabric, results


def test_every_pair_pings(spoken):
    fabric, results = spoken

    assert len(results) == len(fabric.lab.vms) * (len(fabric.lab.vms) - 1)
    assert all(result.ok for result in results.values()), results
    assert not any(result.duplicates for result in results.values()), results


def test_every_host_is_told_where_the_remote_macs_are(spoken):
    fabric, _results = spoken
    fabric.wait_learned()

    for host in fabric.lab.hosts:
        assert not [flow for flow in host.dump_flows() if "learn(" in flow]
        remote = {vm.mac for vm in fabric.lab.vms if vm.host is not host}
        flows = fabric.macs(host, priority=1)
        assert set(flows) == remote, "its own VM is there, or another's is not"
        assert all("hard_timeout=300," in flow for flow in flows.values())
    assert set(fabric.learned()) == {vm.mac for vm in fabric.lab.vms}


def test_a_unicast_reaches_one_vtep(spoken):
    fabric, _results = spoken
    fabric.wait_learned()
    one, *_others, last = fabric.lab.vms

    with fabric.lab.capture() as cap:
        assert one.ping(last.ip, count=5, interval_s=0.05).ok
    there = [seen for seen in cap.unicast(last.mac) if seen.ip_proto == 1]
    assert [(seen.port, seen.outer_dst) for seen in there] == [(one.host.name, last.host.vtep)] * 5


def test_one_frame_teaches_every_host(spoken):
    fabric, _results = spoken
    one, *others = fabric.lab.vms
    newcomer = "52:54:00:00:0a:01"

    one.send_frames([plain(newcomer)])

    wait_until(
        lambda: all(newcomer in fabric.macs(vm.host, priority=1) for vm in others),
        "every other host knows the newcomer",
        timeout_s=2,
    )
    assert newcomer not in fabric.macs(one.host, priority=1)
    assert fabric.learned()[newcomer]["host"] == one.host.dpid


def test_an_address_seen_in_arp_is_answered_everywhere(spoken):
    fabric, _results = spoken
    fabric.wait_learned()
    assert {mac: entry["ips"] for mac, entry in fabric.learned().items() if entry["ips"]} == {
        vm.mac: [vm.ip] for vm in fabric.lab.vms
    }

    fabric.lab.flush_arp()
    with fabric.lab.capture() as cap:
        assert all(result.ok for result in fabric.lab.ping_all(count=1).values())
    assert cap.arp_requests() == []


def test_what_comes_from_a_tunnel_never_leaves_by_one(spoken):
    fabric, _results = spoken
    one, *others = fabric.lab.vms
    newcomer = "52:54:00:00:0a:02"

    with fabric.lab.capture() as cap:
        one.send_frames([plain(newcomer)] * 5)
    sent = [seen for seen in cap.vxlan() if seen.eth_src == newcomer]
    assert {seen.port for seen in sent} == {one.host.name}
    for vm in others:
        assert len([seen for seen in sent if seen.outer_dst == vm.host.vtep]) == 5
    assert len(sent) == 5 * len(others)


def test_unknown_unicast_goes_to_every_vtep_once(spoken):
    fabric, _results = spoken
    one, *others = fabric.lab.vms
    nobody = "52:54:00:00:0a:ff"

    with fabric.lab.capture() as cap:
        one.send_frames([plain(one.mac, nobody)])
    seen = [(frame.port, frame.outer_dst) for frame in cap.unicast(nobody)]
    assert sorted(seen) == sorted((one.host.name, vm.host.vtep) for vm in others)
