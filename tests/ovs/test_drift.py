"""Flows change behind the controller's back, or the switch dies: put right, and nothing else."""

from __future__ import annotations

import time

from controller.pipeline import Kind, Table, cookie_kind
from controller.replica import SECOND_AUDIT_S
from topology.lab.ovs import wait_until

WITHIN_S = 30
TWO_AUDITS_S = 42
#: What a switch deletes by itself when a group is deleted.
USE_GROUPS = {
    Kind.ARP_GRATUITOUS,
    Kind.ARP_PROBE,
    Kind.ND_DAD,
    Kind.NETWORK_FLOOD,
    Kind.UNICAST_FLOOD,
}


def kinds(cookies: set[str]) -> set[Kind | None]:
    return {cookie_kind(int(cookie, 16)) for cookie in cookies}


def test_what_changed_behind_our_back_is_put_right_and_nothing_else(make_fabric):
    """Three hosts with a fault each, one without; watched for two audits."""
    fabric = make_fabric(hosts=4, vtep_ofports=5)
    lab = fabric.lab
    bare, littered, groupless, sound = lab.hosts
    for vm in lab.vms:
        fabric.register(vm)
    lab.ping_all(count=1)
    # An audit soon after connecting would mend the faults before they can be told apart.
    time.sleep(SECOND_AUDIT_S + 1)
    before = {host: set(fabric.ages(host)) for host in lab.hosts}
    deleted = set(bare.dump_flows(Table.UNICAST, stats=False))
    groups = groupless.ofctl("dump-groups", "br-tun")
    began_s = time.monotonic()

    bare.ofctl("del-flows", "br-tun", "table=20")
    littered.ofctl(
        "add-flow", "br-tun", f"table=20,priority=50,dl_dst={lab.vms[2].mac},actions=drop"
    )
    littered.ofctl("add-flow", "br-tun", "table=77,cookie=0x7606000000000bad,actions=drop")
    groupless.ofctl("del-groups", "br-tun")

    def mended() -> bool:
        return (
            set(bare.dump_flows(Table.UNICAST, stats=False)) == deleted
            and not [f for f in littered.dump_flows() if "priority=50" in f or "table=77" in f]
            and groupless.ofctl("dump-groups", "br-tun") == groups
            and set(fabric.ages(groupless)) == before[groupless]
        )

    wait_until(mended, "mended", timeout_s=WITHIN_S)
    drifts = fabric.rest.get("/v1/status")["drifts"]
    assert drifts["missing"] >= len(deleted), "the faults were real"
    assert drifts["extra"] >= 1
    lab.flush_arp()
    assert all(result.ok for result in lab.ping_all().values())

    time.sleep(max(0.0, began_s + TWO_AUDITS_S - time.monotonic()))
    renewed = {}
    for host in lab.hosts:
        waited_s = time.monotonic() - began_s
        now = fabric.ages(host)
        assert set(now) == before[host]
        renewed[host] = {cookie for cookie, age_s in now.items() if age_s < waited_s - 0.01}
    assert kinds(renewed[bare]) == {Kind.UNICAST_REGISTERED, Kind.UNICAST_LOCAL, Kind.UNICAST_MISS}
    assert len(renewed[bare]) == len(deleted)
    assert kinds(renewed[groupless]) == USE_GROUPS
    assert renewed[littered] == renewed[sound] == set()
    assert fabric.in_sync()


def test_a_killed_switch_is_pinging_again(shape, make_fabric):
    fabric = make_fabric(**shape)
    lab = fabric.lab
    victim, *others = lab.vms
    fabric.register(victim)
    assert all(result.ok for result in lab.ping_all(count=1).values())

    victim.host.restart_vswitchd(down_s=0.5)
    began_s = time.monotonic()

    def pings() -> bool:
        return all(vm.ping(victim.ip, count=1, timeout_s=0.5).ok for vm in others)

    wait_until(pings, "pinging again", timeout_s=WITHIN_S)
    assert time.monotonic() - began_s < WITHIN_S
    fabric.wait_settled()
    assert all(result.ok for result in lab.ping_all().values())
    assert fabric.in_sync()
