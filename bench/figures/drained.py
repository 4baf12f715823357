"""Many switches that take whatever comes: how fast flow-mods leave the controller."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from bench.farm.fabric import WAIT_MAX_S, Fabric, vm
from bench.farm.sender import limit_s
from bench.harness import Broken, Report, Scale
from bench.rest import must, ndjson

TITLE = "100 drained switches, 10,000 VMs in one network by batch, until the last barrier"

SWITCHES, VMS = 100, 10_000
SHORT_SWITCHES, SHORT_VMS = 10, 300
VNI, VLAN = 100, 10
FLOWS_PER_VM = 3
"""On every other host: where its MAC is, who-has answered, gratuitous ARP let through."""
SAMPLE = 600

FORMATS: Sequence[tuple[str, str, Callable[[list[dict[str, object]]], Any]]] = (
    ("vxlan-l2", "application/json", lambda vms: vms),
    ("vxlan-l2, msgpack", "application/msgpack", msgpack.packb),
    ("vxlan-l2, NDJSON", "application/x-ndjson", ndjson),
)
LIMIT = "joined bytes, sent"


def measure(scale: Scale, report: Report) -> None:
    switches, vms = (SHORT_SWITCHES, SHORT_VMS) if scale.short else (SWITCHES, VMS)
    for _round in range(scale.rounds):
        for series, content_type, encoded in FORMATS:
            flow_mods, sample = _registered(switches, vms, series, content_type, encoded, report)
        each = flow_mods // switches
        report.sample(LIMIT, switches * each / limit_s(switches, sample, each), "flow-mods/s")
    report.note(f"{switches} switches, {vms} VMs with one IPv4 each, {flow_mods} flow-mods")
    report.goal(
        "flow-mods per second over all switches",
        lambda medians: medians["vxlan-l2"],
        at_least=3_000_000,
    )


def _registered(
    switches: int,
    vms: int,
    series: str,
    content_type: str,
    encoded: Callable[[list[dict[str, object]]], Any],
    report: Report,
) -> tuple[int, list[bytes]]:
    """One batch in a new fabric; the flow-mods it led to, and a few of those."""
    with Fabric(switches) as fabric:
        fabric.declare()
        fabric.network(VNI, VLAN, everywhere=True)
        fabric.connect()
        fabric.settle()
        body = encoded([vm(number, VNI, fabric.dpid(number % switches)) for number in range(vms)])
        fabric.farm.mark(sample=SAMPLE)
        began_s = time.monotonic()
        path = f"/v1/vms/batch?wait={WAIT_MAX_S}"
        answer = must(fabric.rest.call("POST", path, body, content_type))
        replied_s = time.monotonic() - began_s
        got = fabric.farm.counters()
        fabric.check_held()
        if answer["applied"] != {"hosts": switches, "of": switches}:
            raise Broken(f"applied: {answer['applied']}")
        least = vms * (switches - 1) * FLOWS_PER_VM
        if got.flow_mods < least:
            raise Broken(f"{got.flow_mods} flow-mods came, {least} at least are due")
        elapsed_s = got.last_barrier_s - began_s
        report.sample(series, got.flow_mods / elapsed_s, "flow-mods/s")
        report.sample(f"{series}, until REST answers", replied_s, "s")
        report.note(f"{got.octets / got.flow_mods:.0f} bytes a flow-mod")
        return got.flow_mods, fabric.farm.sample()
