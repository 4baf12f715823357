"""The part of the fabric that a packet can meet: few flows of few hosts, whatever there is in all.

A bridge may hold half a million flows. Of a network's units only those of the packet's own MACs and
IPs can match it, so a scene holds these, what is the bridge's own, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from controller.engine import Engine
from controller.flow import Flow
from controller.journey import Packet
from controller.pipeline import cookie_kind
from controller.replica import PRIVATE, Replica
from controller.simulator import (
    SimulatedBridge,
    SimulatedFabric,
    keyless_by_facts,
    wired_by_facts,
)
from controller.wire.encode import cookie_of, split
from topology.types import Dpid, Ip, VtepIp

Subject = tuple[int, Hashable]
"""Whose flow it is: the table's key, and the unit's."""


@dataclass(frozen=True, slots=True)
class Installed:
    """How what a bridge holds differs from what it should hold.

    ``foreign`` are flows that nobody asked for, with their cookies, as far as they can be read;
    ``changed`` are flows whose actions are not as they should be, by cookie.
    """

    missing: frozenset[int] = frozenset()
    foreign: tuple[tuple[int, Flow], ...] = ()
    changed: Mapping[int, Flow] = field(default_factory=dict)


AS_WANTED = Installed()


@dataclass(slots=True)
class Scene:
    """Bridges that hold what the packets of a question can meet; and whose flow is whose."""

    engine: Engine
    hosts: tuple[Dpid, ...]
    vni: int
    subjects: dict[int, Subject] = field(default_factory=dict)
    wanted: dict[Dpid, dict[int, bytes]] = field(default_factory=dict)

    def fabric(
        self, packet: Packet, installed: Mapping[Dpid, Installed] | None = None
    ) -> SimulatedFabric:
        """The bridges of the scene: as they should be, or as they were found to be."""
        engine = self.engine
        replicas = [engine.replicas[dpid] for dpid in self.hosts if dpid in engine.replicas]
        bridges = []
        for replica in replicas:
            flows = dict(self._relevant(replica, packet))
            self.wanted.setdefault(replica.dpid, {}).update(flows)
            found = (installed or {}).get(replica.dpid, AS_WANTED)
            bridges.append(self._bridge(replica, flows, found))
        topology = engine.topology
        elsewhere: dict[VtepIp, Dpid] = {}
        for dpid in topology.members(self.vni):
            walked = dpid in self.hosts and dpid in engine.replicas
            vtep = topology.vtep_of(Dpid(dpid))
            if vtep is not None and not walked:
                elsewhere[vtep] = Dpid(dpid)
        return SimulatedFabric(
            bridges,
            wired_by_facts(engine, replicas),
            keyless_by_facts(engine, replicas),
            map(VtepIp, topology.vteps),
            elsewhere,
        )

    def _bridge(
        self, replica: Replica, flows: Mapping[int, bytes], found: Installed
    ) -> SimulatedBridge:
        host = self.engine.topology.hosts.get(replica.dpid)
        bridge = SimulatedBridge(
            replica.dpid,
            None if host is None else host.vtep,
            replica.bridge.patch_port,
            [
                add
                for cookie, add in flows.items()
                if cookie not in found.missing and cookie not in found.changed
            ],
            replica.private.groups,
        )
        for cookie, flow in (*found.foreign, *found.changed.items()):
            bridge.install(flow, cookie)
        return bridge

    def _relevant(self, replica: Replica, packet: Packet) -> Iterator[tuple[int, bytes]]:
        """The flows that the packet can meet on this bridge, by cookie."""
        skips = replica.bridge.skips
        macs, ips = _macs_of(packet), _ips_of(packet)
        for key, table in replica.tables.items():
            if key == PRIVATE:
                units = [key for key in table.units if _may_match(key, self.vni, macs, ips)]
            elif key < 0:
                units = list(table.units)
            elif key == self.vni:
                units = [*(("mac", mac) for mac in macs), *(("ip", ip) for ip in ips)]
            else:
                continue
            for unit_key in units:
                unit = table.units.get(unit_key)
                for add in () if unit is None else split(unit.side(replica.dpid)):
                    cookie = cookie_of(add)
                    if cookie_kind(cookie) not in skips:
                        self.subjects[cookie] = (key, unit_key)
                        yield cookie, add


def _may_match(key: Hashable, vni: int, macs: Collection[int], ips: Collection[int]) -> bool:
    """Whether a unit of a bridge's own table can be met: of a VM only if it is one of these."""
    match key:
        case ("vm", int(of), int(mac)) | (int(of), "mac", int(mac)):
            return of == vni and mac in macs
        case (int(of), "ip", int(ip)):
            return of == vni and ip in ips
    return True


def _macs_of(packet: Packet) -> set[int]:
    macs = {packet.eth_src, packet.eth_dst}
    if packet.arp is not None:
        macs |= {packet.arp.sender_mac, packet.arp.target_mac}
    if packet.nd is not None:
        macs.add(packet.nd.link_layer)
    return macs


def _ips_of(packet: Packet) -> set[int]:
    ips: set[int] = set()
    if packet.arp is not None:
        ips |= {Ip.v4(packet.arp.sender_ip), Ip.v4(packet.arp.target_ip)}
    if packet.nd is not None:
        ips |= {packet.nd.source, packet.nd.destination, packet.nd.target}
    if packet.ip is not None:
        ips |= {packet.ip.src, packet.ip.dst}
    return ips
