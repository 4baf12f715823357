"""A switch that holds all its flows comes back: what it takes to see that nothing is to be done."""

from __future__ import annotations

import time

from bench import world
from bench.harness import Broken, Report, Scale
from bench.proxy import Proxy
from topology.lab import Fabric
from topology.lab.command import run

TITLE = "Reconcile of a bridge that holds the right flows"

VMS = 33_333
SHORT_VMS = 300
_OURS, _DIFF, _PEER = "ours, connect to LIVE", "ours, GET .../diff", "ovs-ofctl dump-flows"
_SENT = "flow-mods sent"


def measure(scale: Scale, report: Report) -> None:
    with world.fabric(hosts=1) as one, world.proxy(one) as proxy:
        (host,) = one.lab.hosts
        world.declare_ghost(one)
        world.answer(one.rest.put("/v1/networks/0", {"hosts": "all"}))
        world.declare(one, host)
        vms = world.spread(SHORT_VMS if scale.short else VMS, [0], [world.GHOST])
        world.register(one, vms)
        dpid = host.dpid
        world.point(host, proxy.target)
        world.wait_live(one, [dpid])
        flows = world.flow_count(host)
        report.note(f"{flows:,} flows")
        for _turn in range(scale.rounds):
            world.settle(host)
            before = proxy.flow_mods
            report.sample(_OURS, _reconnect(one, proxy, dpid), "s")
            report.sample(_PEER, _dump(host.ovs.env), "s")
            report.sample(_DIFF, _diff(one, dpid), "s")
            sent = proxy.flow_mods - before
            report.sample(_SENT, sent, "flow-mods")
            if sent or world.flow_count(host) != flows:
                raise Broken(f"{sent} flow-mods to a bridge that holds all {flows} flows")
    report.goal(f"{_OURS}, against {_PEER}", lambda m: m[_OURS] / m[_PEER], at_most=3)
    report.goal(_SENT, lambda m: m[_SENT], at_most=0)


def _reconnect(one: Fabric, proxy: Proxy, dpid: str) -> float:
    """Seconds from the switch's new connection, after a cut, until it is LIVE again."""
    proxy.cut()
    world.wait(lambda: world.state(one, dpid) == "DISCONNECTED", "disconnected")
    proxy.resume()
    return world.wait_live(one, [dpid]) - world.connected_s(one.lab.hosts[0])


def _dump(env: dict[str, str]) -> float:
    began_s = time.monotonic()
    run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "br-tun", env=env, timeout_s=120)
    return time.monotonic() - began_s


def _diff(one: Fabric, dpid: str) -> float:
    began_s = time.monotonic()
    diff = world.answer(one.rest.get(f"/v1/hosts/{dpid}/diff"))
    took_s = time.monotonic() - began_s
    if not diff["in_sync"]:
        raise Broken(f"the diff names {len(diff['missing'])} missing, {len(diff['extra'])} extra")
    return took_s
