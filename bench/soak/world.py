"""The fabric that is soaked: real switches, VMs of three sorts, and the pings between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from topology.lab import Fabric, Lab, LabHost, RestClient, VmNs
from topology.lab import ping as pinging
from topology.lab.ping import Ping, PingResult

T = TypeVar("T")
INTERVAL_S = 0.05
CALL_TIMEOUT_S = 6.0
LEARN_TIMEOUT_S = 60
TENANT, TENANT_VLAN = 100, 10


@dataclass(frozen=True)
class Stream:
    """Pings between two places. ``dst`` None: from host to host on the underlay, the control."""

    src: VmNs | None
    dst: VmNs | None
    src_host: LabHost
    dst_host: LabHost
    ip: str

    def __str__(self) -> str:
        ends = [one.name for one in (self.src or self.src_host, self.dst or self.dst_host)]
        return f"{ends[0]} to {ends[1]} ({self.ip})"

    @property
    def is_control(self) -> bool:
        """Whether it passes no br-tun, and nothing of the controller's."""
        return self.src is None

    def touches(self, *hosts: LabHost) -> bool:
        """Whether it begins or ends on one of these hosts."""
        return self.src_host in hosts or self.dst_host in hosts

    def start(self, world: World) -> Ping:
        if self.src is not None:
            return self.src.ping_start(self.ip, interval_s=INTERVAL_S)
        log = world.directory / f"control-{self.src_host.name}.out"
        processes = world.lab.processes
        return pinging.start(
            self.src_host.netns, log, processes, self.ip, None, INTERVAL_S, 1.0, "br-phy"
        )


@dataclass
class World:
    """registered, learned, tenants: a VM of each sort per host; mover: a tenant that moves."""

    fabric: Fabric
    directory: Path
    registered: list[VmNs] = field(default_factory=list)
    learned: list[VmNs] = field(default_factory=list)
    tenants: list[VmNs] = field(default_factory=list)
    mover: VmNs | None = None
    dpids: dict[LabHost, str] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        return self.fabric.lab

    @property
    def vms(self) -> list[VmNs]:
        return self.lab.vms

    def streams(self) -> list[Stream]:
        """Who pings whom, as the VMs are placed now."""
        found = []
        for ring in (self.registered, self.learned, self.tenants):
            for src, dst in _ring(ring):
                found += [Stream(src, dst, src.host, dst.host, ip) for ip in dst.ips]
        if self.mover is not None:
            first = self.tenants[0]
            found.append(Stream(first, self.mover, first.host, self.mover.host, self.mover.ip))
        for one, other in _ring(self.lab.hosts):
            found.append(Stream(None, None, one, other, other.vtep))
        return found


def _ring(of: list[T]) -> Iterator[tuple[T, T]]:
    return zip(of, [*of[1:], *of[:1]], strict=True)


@contextlib.contextmanager
def world(hosts: int, tunnels: str, directory: Path) -> Iterator[World]:
    """Hosts, VMs and the controller, in step; nothing is registered yet."""
    with Lab(hosts=hosts, tunnels="flow" if tunnels == "flow" else "peer", vms="none") as lab:
        fabric = Fabric(lab, directory, {"learn_timeout": LEARN_TIMEOUT_S})
        fabric.rest = RestClient(fabric.controller.rest.url, CALL_TIMEOUT_S)
        fabric.controller.start()
        fabric.connect(60)
        one = World(fabric, directory)
        one.dpids = {host: host.dpid for host in lab.hosts}
        for index in range(hosts):
            at = index + 10
            one.registered.append(_vm(lab, index, f"a{index + 1}", at, ip6=f"fd00::{at:x}"))
            one.learned.append(_vm(lab, index, f"l{index + 1}", at + 50))
        if tunnels == "flow":  # a port for one peer without key=flow carries network 0 only
            for index in range(hosts):
                one.tenants.append(_vm(lab, index, f"t{index + 1}", index + 110, tenant=True))
            one.mover = _vm(lab, 1, "mover", 200, tenant=True)
        yield one


def _vm(
    lab: Lab, host: int, name: str, number: int, *, ip6: str | None = None, tenant: bool = False
) -> VmNs:
    vlan, vni = (TENANT_VLAN, TENANT) if tenant else (None, 0)
    return lab.add_vm(host, lab.addressing.vm(number), None, vlan, name, vni=vni, ip6=ip6)


class Traffic:
    """All streams at once; ``account`` tells what they lost."""

    def __init__(self, world: World) -> None:
        self._pings = {stream: stream.start(world) for stream in world.streams()}
        for ping in self._pings.values():
            ping.wait_received(5)

    def finish(self) -> dict[Stream, PingResult]:
        return {stream: ping.finish() for stream, ping in self._pings.items()}
