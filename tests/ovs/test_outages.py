"""The controller dies, hangs, or comes back as another release: under fire, nothing is lost.

``VXLAN_STOP_S=60``, ``VXLAN_KILLS=20`` and ``VXLAN_FAULTS=all`` make the outages as long and as
many as a release wants them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from controller.pipeline import Kind, cookie_kind
from tests.ovs.fire import ALL_FAULTS, all_reach, cookies, dual_stack, fire, pairs, solid
from topology.lab.ovs import wait_until

STOP_S = float(os.environ.get("VXLAN_STOP_S", "0"))
KILLS = int(os.environ.get("VXLAN_KILLS", "2"))
OLDER = Path(__file__).with_name("older_release.py")
GHOSTS = 1500


BOTH = pytest.mark.parametrize("tunnels", ["peer", "flow"])
ONE = pytest.mark.parametrize("tunnels", ["peer", "flow"] if ALL_FAULTS else ["flow"])


@pytest.fixture
def make_trio(make_fabric):
    """Three hosts with a VM each, of IPv4 and IPv6: two are registered, the third is learned."""

    def make(tunnels, **options):
        fabric = make_fabric(hosts=3, tunnels=tunnels, vms="none", options=options)
        first, second, third = dual_stack(fabric.lab)
        for vm in (first, second):
            fabric.register(vm)
        all_reach(fabric)
        wait_until(lambda: set(fabric.learned()) == {third.mac}, "the third is learned")
        return fabric

    return make


def has_given_up(host) -> bool:
    """Whether its switch has ended the session because nobody answered."""
    log = (host.ovs.rundir / "ovs-vswitchd.log").read_text(encoding="utf-8")
    return "no response to inactivity probe" in log


def ghosts(fabric, first: int, count: int = GHOSTS):
    """VMs that are registered only."""
    hosts = [host.dpid for host in fabric.lab.hosts]
    return [
        {
            "mac": f"52:55:00:00:{number >> 8:02x}:{number & 255:02x}",
            "host": hosts[number % len(hosts)],
            "ips": [f"10.2.{number >> 8}.{number & 255}"],
        }
        for number in range(first, first + count)
    ]


def assert_in_hand(fabric) -> None:
    """Every host holds what it should and nothing else, by its own dump."""
    fabric.wait_settled(60)
    assert fabric.in_sync()
    for host in fabric.lab.hosts:
        wanted = {flow["cookie"] for flow in fabric.rest.items(f"/v1/hosts/{host.dpid}/flows")}
        assert solid(cookies(host)) == solid(f"0x{int(cookie, 16):x}" for cookie in wanted)


@BOTH
def test_killed_and_started_under_fire(make_trio, tunnels):
    fabric = make_trio(tunnels)
    lab = fabric.lab
    known = fabric.rest.items("/v1/vms")
    added_s = {host: fabric.ages(host) for host in lab.hosts}

    with fire(fabric, pairs(lab.vms)) as one:
        fabric.controller.kill()
        for vm in lab.vms:
            vm.flush_arp()  # addresses are asked for while nobody but the switches can answer
        time.sleep(0.7)
        fabric.controller.start()
        fabric.wait_settled(30)

    assert one.lost == {}
    assert one.wrongs == []
    assert fabric.rest.items("/v1/vms") == known
    assert_in_hand(fabric)
    for host in lab.hosts:
        now_s = fabric.ages(host)
        renewed = solid(
            name for name, age_s in added_s[host].items() if now_s.get(name, age_s) < age_s
        )
        # The controller greets every switch with its probe flow, whatever is there.
        assert {cookie_kind(int(name, 16)) for name in renewed} <= {Kind.PROBE_IN}


def test_killed_again_and_again_amid_writes_and_while_it_takes_over(make_trio):
    """The kills come later each time: amid the batch, while switches connect, while they adopt."""
    fabric = make_trio("flow")
    controller = fabric.controller

    with fire(fabric, pairs(fabric.lab.vms)) as one:
        for number in range(KILLS):
            batch = ghosts(fabric, number * GHOSTS)
            assert fabric.rest.post("/v1/vms/batch", batch).status == 201
            time.sleep(number % 4 * 0.02)
            controller.kill()
            controller.begin()
            time.sleep(0.8 + number % 4 * 0.15)
            controller.kill()
            controller.start()
        fabric.wait_settled(60)

    assert one.lost == {}
    assert one.wrongs == []
    assert len(fabric.rest.items("/v1/vms")) == 2 + KILLS * GHOSTS, "what was acknowledged is there"
    assert_in_hand(fabric)


@pytest.mark.parametrize(
    ("tunnels", "policy"),
    [
        ("peer", {}),
        (
            "flow",
            {
                "unknown_unicast": "drop",
                "unknown_arp": "drop",
                "subnets": ["10.1.1.0/24", "fd00::/64"],
            },
        ),
    ],
    ids=["flood", "drop"],
)
def test_stopped_until_the_switches_give_up_and_learned_macs_expire(make_trio, tunnels, policy):
    """Who was learned is reached also where the network drops what nobody knows (decision 0031).

    The switches are as impatient as the time is short; VXLAN_STOP_S=60 leaves them as they are.
    """
    learn_s = 3 if STOP_S == 0 else 30
    fabric = make_trio(tunnels, learn_timeout=learn_s)
    lab = fabric.lab
    if STOP_S == 0:
        for host in lab.hosts:
            host.vsctl("set", "controller", "br-tun", "inactivity_probe=1000")
    fabric.network(0, **policy)

    with fire(fabric, pairs(lab.vms)) as one:
        time.sleep(0.5)
        fabric.controller.pause()
        time.sleep(STOP_S or learn_s + 0.5)
        wait_until(lambda: all(map(has_given_up, lab.hosts)), "the switches give up", 20)
        lab.vms[0].flush_arp()
        lab.vms[1].flush_arp()
        time.sleep(0.5)
        fabric.controller.resume()
        fabric.wait_settled(30)

    assert one.lost == {}
    assert one.wrongs == []
    assert_in_hand(fabric)


@ONE
def test_what_changed_while_a_host_was_away_is_so_when_it_is_back(make_trio, tunnels):
    """VMs deleted and moved meanwhile: its stale flows go, and no others for a moment."""
    fabric = make_trio(tunnels)
    away, near, far = fabric.lab.hosts
    gone, moved = ghosts(fabric, 0, 2)
    for body in (gone, {**moved, "host": near.dpid}):
        assert fabric.rest.post("/v1/vms?wait=10", {**body, "vni": 0}).status == 201

    with fire(fabric, pairs(fabric.lab.vms)) as one:
        away.set_controller(f"tcp:{fabric.lab.controller_ip}:9")  # one for another: no flush
        wait_until(lambda: not fabric.host(away)["connected"], "away")
        assert fabric.rest.delete(f"/v1/vms/0/{gone['mac']}?wait=10").status in (200, 204)
        assert (
            fabric.rest.put(f"/v1/vms/0/{moved['mac']}?wait=10", {"host": far.dpid}).status == 200
        )
        assert gone["mac"] in fabric.macs(away, 10), "it does not know yet"
        away.set_controller(fabric.controller.target)
        fabric.wait_settled(30)

    assert one.lost == {}
    assert one.wrongs == []
    assert gone["mac"] not in "\n".join(away.dump_flows())
    assert far.vtep in fabric.macs(away, 10)[moved["mac"]]
    assert_in_hand(fabric)


@ONE
def test_another_release_takes_over_and_the_way_back(make_trio, tunnels):
    """Other cookies, priorities, groups and meters: made before the old ones are broken."""
    fabric = make_trio(tunnels)
    lab, controller = fabric.lab, fabric.controller
    present = controller.app
    ours = {host: cookies(host) for host in lab.hosts}
    groups = {host: host.ofctl("dump-groups", "br-tun") for host in lab.hosts}
    meters = {host: sorted(host.ofctl("dump-meters", "br-tun").split()) for host in lab.hosts}

    for app in (OLDER, present):
        with fire(fabric, pairs(lab.vms)) as one:
            controller.stop()
            controller.app = app
            controller.start()
            fabric.wait_settled(30)
        assert one.lost == {}
        assert one.wrongs == []
        assert_in_hand(fabric)
        for host in lab.hosts:
            if app == OLDER:
                assert not solid(ours[host] & cookies(host)), "all of its flows are other ones"
                assert groups[host] != host.ofctl("dump-groups", "br-tun")
    for host in lab.hosts:
        wait_until(lambda host=host: host.ofctl("dump-groups", "br-tun") == groups[host], "groups")
        assert sorted(host.ofctl("dump-meters", "br-tun").split()) == meters[host]
