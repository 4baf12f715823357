"""What one change costs where there is much: 100,000 VMs on 10 switches, and on 1,000."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.farm.fabric import WAIT_MAX_S, Fabric, vm
from bench.harness import Broken, Report, Scale
from bench.rest import must

TITLE = "one POST /v1/vms?wait= in a network of 10 hosts, with 10 and with 1,000 switches"

FEW, MANY = 10, 1_000
NETWORKS, VMS, CHANGES = 1_000, 100_000, 200
SHORT_MANY, SHORT_NETWORKS, SHORT_VMS, SHORT_CHANGES = 20, 20, 400, 10
HOSTS_OF_A_NETWORK = 10
APPLIED_WITHIN_S = 600.0


def measure(scale: Scale, report: Report) -> None:
    many = SHORT_MANY if scale.short else MANY
    networks, vms = (SHORT_NETWORKS, SHORT_VMS) if scale.short else (NETWORKS, VMS)
    changes = SHORT_CHANGES if scale.short else CHANGES
    for _round in range(scale.rounds):
        for switches in (many, FEW):
            _one_change(report, switches, networks, vms, changes)
    report.note(
        f"{vms:,} VMs in {networks:,} networks, each on {HOSTS_OF_A_NETWORK} hosts;"
        f" {changes} changes"
    )
    report.goal(
        f"p50 with {many:,} switches, times that with {FEW}",
        lambda medians: medians[f"{_name(many)} p50"] / medians[f"{_name(FEW)} p50"],
        at_most=2,
    )


def _name(switches: int) -> str:
    return f"{switches:,} switches"


def _one_change(report: Report, switches: int, networks: int, vms: int, changes: int) -> None:
    series = _name(switches)
    with Fabric(switches) as fabric:
        fabric.declare()
        for vni in range(1, networks + 1):
            fabric.network(vni, 1 + vni % 4094)
        began_s = time.monotonic()
        fabric.register(_vms(fabric, switches, networks, vms))
        report.sample(f"{series}, VMs durable", time.monotonic() - began_s, "s")
        fabric.connect()
        fabric.wait_applied(APPLIED_WITHIN_S)
        report.sample(f"{series}, all LIVE", fabric.live_s, "s")
        fabric.farm.mark()
        latencies_s = [
            _posted_s(fabric, _vm(fabric, switches, networks, number))
            for number in range(vms, vms + changes)
        ]
        report.distribution(series, latencies_s)
        fabric.farm.wait_quiet()
        flow_mods = fabric.farm.counters().flow_mods
        report.sample(f"{series}, flow-mods a change", flow_mods / changes, "flow-mods")
        fabric.check_held()


def _vms(fabric: Fabric, switches: int, networks: int, vms: int) -> Iterator[dict[str, object]]:
    return (_vm(fabric, switches, networks, number) for number in range(vms))


def _vm(fabric: Fabric, switches: int, networks: int, number: int) -> dict[str, object]:
    """Its network's hosts are neighbours, and the networks lie all around."""
    network, nth = number % networks, number // networks
    host = (network * HOSTS_OF_A_NETWORK + nth % HOSTS_OF_A_NETWORK) % switches
    return vm(number, 1 + network, fabric.dpid(host))


def _posted_s(fabric: Fabric, body: dict[str, object]) -> float:
    began_s = time.monotonic()
    answer = must(fabric.rest.post(f"/v1/vms?wait={WAIT_MAX_S}", body))
    elapsed_s = time.monotonic() - began_s
    if answer.status != 201 or answer["applied"] != {"hosts": 10, "of": 10}:
        raise Broken(f"answered {answer.status}: {answer.body}")
    return elapsed_s
