"""Storms: one host floods the controller with new MACs; all switches connect again at once."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from bench.caller import Caller
from bench.farm.fabric import Fabric, vm
from bench.harness import Broken, Report, Scale
from bench.rest import must

TITLE = "one host floods with new MACs; 500 switches connect again at once"

VNI, VLAN = 100, 10
FLOOD, SHORT_FLOOD = 1_000_000, 20_000
HOSTS, PINGS, SHORT_PINGS = 8, 300, 30
SWITCHES, NETWORKS, VMS = 500, 100, 10_000
SHORT_SWITCHES, SHORT_NETWORKS, SHORT_VMS = 60, 12, 600
HOSTS_OF_A_NETWORK = 10
LIVE_WITHIN_S = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(scale: Scale, report: Report) -> None:
    sizes = (SHORT_SWITCHES, SHORT_NETWORKS, SHORT_VMS)
    for _round in range(scale.rounds):
        flood(report, SHORT_FLOOD if scale.short else FLOOD, SHORT_PINGS if scale.short else PINGS)
        reconnect(report, *(sizes if scale.short else (SWITCHES, NETWORKS, VMS)))


def flood(report: Report, count: int, pings: int) -> None:
    """Another host's new MACs, and REST, while one host sends as many as it can."""
    with Fabric(HOSTS) as fabric:
        fabric.declare()
        fabric.network(VNI, VLAN, everywhere=True)
        fabric.connect()
        fabric.settle()
        farm = fabric.farm
        report.distribution("quiet: a new MAC of another host", farm.ping(VNI, pings, 1))
        known = _learned(fabric)
        memory = fabric.memory_mb()["VmRSS"]
        farm.mark()
        began_s, cpu_s = time.monotonic(), _cpu_s(fabric)
        farm.flood(0, VNI, count)
        writes = [vm(number, VNI, fabric.dpid(1)) for number in range(1, 2000)]
        with Caller(fabric.rest.url, fabric.dpid(2), writes) as caller:
            seen = farm.ping(VNI, pings, 1)
            while farm.flooding():
                time.sleep(0.2)
        seconds = time.monotonic() - began_s
        report.distribution("flooded: a new MAC of another host", seen)
        _called(report, "flooded", caller)
        report.sample("flooded: packet-ins sent by one host", count / seconds, "1/s")
        report.sample("flooded: CPU of the controller", (_cpu_s(fabric) - cpu_s) / seconds, "cores")
        mods = farm.counters().flow_mods / HOSTS / seconds
        report.sample("flooded: flow-mods to each host", mods, "1/s")
        report.sample("flooded: memory grown", fabric.memory_mb()["VmRSS"] - memory, "MB")
        lost = known - _learned(fabric)
        if lost:
            raise Broken(f"{len(lost)} MACs of other hosts were forgotten")
        shed = must(fabric.rest.get(f"/v1/hosts/{fabric.dpid(0)}"))["shed"]
        if not shed:
            raise Broken("nothing was shed")
        report.sample("flooded: shed", shed / count * 100, "%")
        farm.wait_quiet(1.0)
        fabric.check_in_sync()
    report.note(f"{count:,} packet-ins of as many MACs from one of {HOSTS} hosts")


def reconnect(report: Report, switches: int, networks: int, vms: int) -> None:
    """All at once, twice in a row; the second time half of them die while they connect."""
    with Fabric(switches, hold=True) as fabric:
        fabric.declare()
        for vni in range(1, networks + 1):
            fabric.network(vni, vni)
        spread = max(1, switches // HOSTS_OF_A_NETWORK)
        fabric.register(
            vm(n, n % networks + 1, fabric.dpid((n % networks + n // networks * spread) % switches))
            for n in range(vms)
        )
        fabric.connect()
        fabric.settle()
        for name, dying in (("all again", 0), ("half dying", switches // 2)):
            fabric.farm.mark()
            began_s = time.monotonic()
            fabric.farm.reconnect(dying)
            number = vms + 1000 * bool(dying)
            writes = [vm(number + n, 1, fabric.dpid(0)) for n in range(500)]
            with Caller(fabric.rest.url, fabric.dpid(1), writes) as caller:
                fabric.farm.wait_connected(LIVE_WITHIN_S)
                fabric.wait_live(LIVE_WITHIN_S)
                report.sample(f"{name}: all LIVE", time.monotonic() - began_s, "s")
            _called(report, name, caller)
            fabric.settle()
            fabric.check_held()
        for host in range(0, switches, max(1, switches // 20)):
            if not must(fabric.rest.get(f"/v1/hosts/{fabric.dpid(host)}/diff"))["in_sync"]:
                raise Broken(f"host {host} is not in sync")
    report.note(f"{switches} switches, {networks} networks, {vms:,} VMs")


def _called(report: Report, name: str, caller: Caller) -> None:
    if caller.failed:
        raise Broken(f"{len(caller.failed)} calls failed, such as {caller.failed[0]}")
    report.sample(f"{name}: REST, median", statistics.median(caller.seconds) * 1000, "ms")
    report.sample(f"{name}: REST, longest", max(caller.seconds) * 1000, "ms")


def _learned(fabric: Fabric) -> set[str]:
    """The MACs of other hosts than the one that floods."""
    flooding = fabric.dpid(0)
    entries = fabric.rest.items(f"/v1/learned?vni={VNI}")
    return {entry["mac"] for entry in entries if entry["host"] != flooding}


def _cpu_s(fabric: Fabric) -> float:
    stat = Path(f"/proc/{fabric.controller.pid}/stat").read_text(encoding="ascii")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS
