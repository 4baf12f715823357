"""What 100,000 VMs on 100 connected hosts cost the controller in resident memory."""

from __future__ import annotations

import time

from bench.farm.fabric import Fabric, vm
from bench.harness import Report, Scale

TITLE = "resident memory of the controller, 100,000 VMs on 100 hosts"

HOSTS, VMS, NETWORKS = 100, 100_000, 10
SHORT_HOSTS, SHORT_VMS = 10, 500
APPLIED_WITHIN_S = 900.0
AUDITED_S = 25.0
"""By then every host's flows were compared once more, which takes memory too."""


def measure(scale: Scale, report: Report) -> None:
    hosts, vms = (SHORT_HOSTS, SHORT_VMS) if scale.short else (HOSTS, VMS)
    for _round in range(scale.rounds):
        with Fabric(hosts) as fabric:
            empty_mb = fabric.memory_mb()["VmRSS"]
            fabric.declare()
            for vni in range(1, NETWORKS + 1):
                fabric.network(vni, vni)
            fabric.connect()
            fabric.register(
                # Each network has VMs on every host.
                vm(number, 1 + number // hosts % NETWORKS, fabric.dpid(number % hosts))
                for number in range(vms)
            )
            fabric.wait_applied(APPLIED_WITHIN_S)
            fabric.check_held()
            flows = sum(fabric.farm.held())
            time.sleep(0 if scale.short else AUDITED_S)
            memory_mb = fabric.memory_mb()
        report.sample("vxlan-l2", memory_mb["VmRSS"], "MB")
        report.sample("at its highest", memory_mb["VmHWM"], "MB")
        report.sample("just started", empty_mb, "MB")
    report.note(f"{vms:,} VMs in {NETWORKS} networks on {hosts} hosts, which hold {flows:,} flows")
    report.goal("resident, MB (2**20 bytes)", lambda medians: medians["vxlan-l2"], at_most=400)
