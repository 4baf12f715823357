"""A cable with a fault does what it is told, and an observer of flows sees what happens to them."""

from __future__ import annotations

from topology.lab.ovs import wait_until
from topology.lab.wire import Impairment

DELAY_MS = 40


def test_a_bad_cable_loses_delays_and_doubles(make_lab):
    lab = make_lab(hosts=2)
    lab.seed_flows()
    lab.warm_underlay()
    one, two = lab.vms
    wait_until(lambda: one.ping(two.ip, 1).ok, "a first ping")

    with lab.impaired(one.host, Impairment(loss=1.0, only="control")):
        wait_until(lambda: one.ping(two.ip, 5, 0.05).ok, "pings are not TCP")
    with lab.impaired(one.host, Impairment(loss=1.0, only="overlay")):
        assert one.ping(two.ip, 5, 0.05, 0.5).received == 0
    with lab.impaired(one.host, Impairment(delay_ms=DELAY_MS, duplicate=1.0)):
        wait_until(lambda: one.ping(two.ip, 1).ok, "the cable is there")
        slow = one.ping(two.ip, 5, 0.05)
    assert slow.ok
    assert slow.duplicates >= 5
    assert min(slow.rtts_ms) >= 2 * DELAY_MS
    wait_until(lambda: one.ping(two.ip, 5, 0.05).ok, "and is a good one again")


def test_an_observer_is_told_of_deleted_flows(make_lab):
    lab = make_lab(hosts=1, vms="none")
    (host,) = lab.hosts
    host.ofctl("add-flow", "br-tun", "cookie=0x1,table=5,priority=1,actions=drop")
    with lab.watch_flows(host) as quiet, lab.watch_flows(host, adds=True) as every:
        host.ofctl("add-flow", "br-tun", "cookie=0x2,table=6,hard_timeout=1,actions=drop")
        host.ofctl("del-flows", "br-tun", "cookie=0x1/-1")
        host.ofctl("add-flow", "br-tun", "cookie=0x1,table=5,priority=1,actions=drop")
        wait_until(lambda: len(list(every.updates())) == 4, "two come, two go")

        assert [(gone.cookie, gone.table) for gone in quiet.deleted()] == [("0x1", 5)]
        assert [update.event for update in quiet.updates()] == ["DELETED", "DELETED"]
        assert [update.event for update in every.updates()].count("ADDED") == 2
