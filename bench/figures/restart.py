"""The controller is killed and started again while VMs ping each other every 10 ms."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench import world
from bench.harness import Broken, Report, Scale
from bench.peers.ovn import ABSENT, ovn, present
from topology.lab import Lab

TITLE = "Restart under pings"

HOSTS = 3
VMS = 5_000
SHORT_VMS = 200
#: OVN takes a minute to come to as many ports
OVN_ROUNDS = 2
INTERVAL_S = 0.01
_BEFORE_S, _DOWN_S, _AFTER_S = 1.0, 1.0, 2.0
_OURS, _OVN, _OVN_ALL = "ours", "OVN as installed", "OVN, ovn-monitor-all=true"


def measure(scale: Scale, report: Report) -> None:
    vms = SHORT_VMS if scale.short else VMS
    report.note(f"{vms:,} VMs; kill -9, down for {_DOWN_S:g} s; OVN: ovn-controller of one host")
    if not present():
        report.note(ABSENT)
    for turn in range(scale.rounds):
        _ours(report, vms)
        if present() and turn < OVN_ROUNDS and not scale.short:
            _ovn(report, _OVN, vms, monitor_all=False)
            _ovn(report, _OVN_ALL, vms, monitor_all=True)
    report.goal("packets lost", lambda m: m[f"{_OURS}, lost"], at_most=0)


def _ours(report: Report, count: int) -> None:
    with world.fabric(HOSTS, vms="namespace") as one:
        dpids = world.connect(one)
        for vm in one.lab.vms:
            world.answer(one.register(vm), 201)
        world.register(one, world.spread(count, [0], dpids), "?wait=60")

        def restart() -> None:
            one.controller.kill()
            time.sleep(_DOWN_S)
            one.controller.start(ready_within_s=120)
            world.wait_live(one, dpids)

        _pinged(report, _OURS, one.lab, restart)


def _ovn(report: Report, series: str, count: int, *, monitor_all: bool) -> None:
    with ovn(HOSTS, monitor_all=monitor_all) as one:
        one.add_ports(count)
        host = one.lab.hosts[0]

        def restart() -> None:
            one.kill_controller(host)
            time.sleep(_DOWN_S)
            one.start_controller(host)
            # It has caught up when a later change is everywhere.
            one.add_ports(1)

        _pinged(report, series, one.lab, restart)


def _pinged(report: Report, series: str, lab: Lab, restart: Callable[[], None]) -> None:
    """Every other VM pings the first one, whose host's agent is restarted."""
    first, *others = lab.vms
    for vm in others:
        world.wait(lambda: vm.ping(first.ip, count=1).ok, "VMs reach each other", 20)  # noqa: B023
    pings = [vm.ping_start(first.ip, interval_s=INTERVAL_S) for vm in others]
    time.sleep(_BEFORE_S)
    began_s = time.monotonic()
    restart()
    took_s = time.monotonic() - began_s
    time.sleep(_AFTER_S)
    results = [ping.finish() for ping in pings]
    sent = sum(result.sent for result in results)
    if sent < len(pings) * _BEFORE_S / INTERVAL_S / 2:
        raise Broken(f"only {sent} pings were sent")
    lost = sum(result.lost for result in results)
    report.sample(f"{series}, lost", lost, "packets")
    report.sample(f"{series}, kill to in step", took_s, "s")
