"""The controller starts while its switches hold their flows: until all of them are in hand."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench import world
from bench.figures.reconcile import GREETING_MAX
from bench.harness import Broken, Report, Scale

TITLE = "Start with all VMs in the store, until every host is LIVE"

HOSTS = 3
NETWORKS = 10
VMS = 100_000
SHORT_VMS = 900
_OURS, _READY, _SENT = "ours, process start to LIVE", "ours, until REST answers", "flow-mods sent"


def measure(scale: Scale, report: Report) -> None:
    with world.fabric(HOSTS) as one, ExitStack() as stack:
        hosts = one.lab.hosts
        dpids = [host.dpid for host in hosts]
        proxies = [stack.enter_context(world.proxy(one)) for _host in hosts]
        for host in hosts:
            world.declare(one, host)
        vnis = world.networks(one, NETWORKS)
        world.register(one, world.spread(SHORT_VMS if scale.short else VMS, vnis, dpids))
        for host, proxy in zip(hosts, proxies, strict=True):
            world.point(host, proxy.target)
        world.wait_live(one, dpids)
        flows = [world.flow_count(host) for host in hosts]
        report.note(f"{HOSTS} hosts, {sum(flows):,} flows")
        for _turn in range(scale.rounds):
            before = sum(proxy.flow_mods for proxy in proxies)
            one.controller.kill()
            for host in hosts:
                world.settle(host)
            began_s = time.monotonic()
            ready_s = one.controller.start(ready_within_s=300)
            report.sample(_OURS, world.wait_live(one, dpids) - began_s, "s")
            report.sample(_READY, ready_s, "s")
            sent = sum(proxy.flow_mods for proxy in proxies) - before
            report.sample(_SENT, sent, "flow-mods")
            if sent > GREETING_MAX * HOSTS or flows != [world.flow_count(host) for host in hosts]:
                raise Broken(f"{sent} flow-mods to {HOSTS} bridges that hold all their flows")
    report.goal("seconds until LIVE", lambda m: m[_OURS], at_most=5)
    report.goal(_SENT, lambda m: m[_SENT], at_most=0)
