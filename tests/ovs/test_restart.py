"""The controller goes away, or stops answering: the fabric does not notice. See test_outages.py."""

from __future__ import annotations

import time

from topology.lab.frame import plain
from topology.lab.ovs import wait_until


def test_what_was_learned_outlives_a_killed_controller(shape, make_fabric):
    fabric = make_fabric(**shape)
    lab = fabric.lab
    assert all(result.ok for result in lab.ping_all(count=1).values())
    fabric.wait_learned()

    pings = [vm.ping_start(lab.vms[0].ip, interval_s=0.05) for vm in lab.vms[1:]]
    fabric.controller.kill()
    time.sleep(1)
    fabric.controller.start()
    fabric.wait_settled()
    time.sleep(1)

    assert [ping.finish().lost for ping in pings] == [0] * len(pings)
    fabric.wait_learned()
    # A host's local side tells a new controller what its VMs had taught the old one.
    assert set(fabric.learned()) == {vm.mac for vm in lab.vms}


def test_without_controller_unknown_macs_are_flooded(shape, make_fabric):
    fabric = make_fabric(**shape, options={"learn_timeout": 3})
    lab = fabric.lab
    assert all(result.ok for result in lab.ping_all(count=1).values())
    fabric.controller.kill()

    def forgotten() -> bool:
        return not any(fabric.macs(host, priority=1) for host in lab.hosts)

    wait_until(forgotten, "learned flows time out", timeout_s=6)
    results = lab.ping_all()
    assert all(result.ok for result in results.values()), results
    newcomer = "52:54:00:00:0c:01"
    with lab.capture() as cap:
        lab.vms[0].send_frames([plain(newcomer)])
    assert len([seen for seen in cap.vxlan() if seen.eth_src == newcomer]) == len(lab.hosts) - 1


def test_a_controller_that_hangs_costs_no_packet(make_fabric):
    fabric = make_fabric(hosts=3, vtep_ofports=5)
    lab = fabric.lab
    known, *others = lab.vms
    fabric.register(known)
    assert all(result.ok for result in lab.ping_all(count=1).values())
    newcomer = "52:54:00:00:0c:02"

    pings = [vm.ping_start(known.ip, interval_s=0.05) for vm in others]
    fabric.controller.pause()
    with lab.capture() as cap:
        known.send_frames([plain(newcomer)])
        others[0].send_frames([plain(others[0].mac, newcomer)])
        time.sleep(3)
    fabric.controller.resume()
    fabric.wait_settled()
    time.sleep(0.5)

    assert [ping.finish().lost for ping in pings] == [0, 0]
    assert len([seen for seen in cap.vxlan() if newcomer in (seen.eth_src, seen.eth_dst)]) == 4
    wait_until(lambda: newcomer in fabric.macs(others[0].host, 1), "the newcomer is learned now")


def test_a_controller_that_was_never_told_anything_restarts_empty(make_fabric):
    fabric = make_fabric(hosts=2)
    fabric.controller.kill()
    fabric.controller.start()
    fabric.wait_settled()

    assert fabric.rest.items("/v1/vms") == []
    assert {host["dpid"] for host in fabric.rest.items("/v1/hosts")} == {
        host.dpid for host in fabric.lab.hosts
    }
    assert fabric.in_sync()
    assert all(result.ok for result in fabric.lab.ping_all(count=1).values())
