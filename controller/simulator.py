"""Walks a packet through the flows that bridges hold, from host to host, as Open vSwitch would.

It reads the very bytes that are sent to switches, so that encoder and pipeline are proven together.
Pure: bridges and wiring come in, a Journey comes out. An ambiguous pipeline (two flows of one
priority that match the same packet) and a loop are errors, never a guess.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from controller.bridges import Egress
from controller.engine import Engine
from controller.flow import (
    ETH_TYPE_ARP,
    ETH_TYPE_IPV6,
    OFPP_IN_PORT,
    VLAN_PRESENT,
    Action,
    Bucket,
    CopyToController,
    Field,
    Flow,
    Group,
    Move,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    ofctl_match,
)
from controller.frames import Arp, Nd
from controller.journey import (
    Ambiguous,
    Delivery,
    Hop,
    IpHeader,
    Journey,
    Loop,
    Packet,
    Punt,
    UnderlayCopy,
)
from controller.pipeline import Table
from controller.replica import Replica
from controller.terms import ADVERTISEMENT, PROTO_ICMPV6, PROTO_UDP, SOLICITATION
from controller.wire import encode
from controller.wire.readback import read_buckets, read_flow
from topology.types import Dpid, Foreign, Location, VtepIp

Far: TypeAlias = int | Literal["flow"]  # the dpid, or foreign VTEP, at a tunnel port's other end
Wiring: TypeAlias = Mapping[tuple[int, int], Far]  # (dpid, tunnel port) -> far end

_VLAN_ID = 0xFFF
_ARP_FIELDS = (Field.ARP_OP, Field.ARP_SHA, Field.ARP_SPA, Field.ARP_THA, Field.ARP_TPA)
_SOLICITED = 1 << 30


@dataclass(frozen=True, slots=True)
class _Entry:
    flow: Flow
    cookie: int


class SimulatedBridge:
    """A br-tun: its flows by table, its groups, its ports, the VTEP its tunnels end at."""

    def __init__(
        self,
        dpid: int,
        vtep: int | None,
        patch_port: int | None,
        flows: Iterable[bytes],
        groups: Mapping[int, bytes],
    ) -> None:
        self.dpid = Dpid(dpid)
        self.vtep = vtep
        self.patch_port = patch_port
        self._groups = groups
        self._raw: dict[int, list[bytes]] = {}
        self._tables: dict[int, list[_Entry]] = {}
        for add in flows:
            self._raw.setdefault(add[24], []).append(add)

    @classmethod
    def desired(cls, engine: Engine, replica: Replica) -> SimulatedBridge:
        """The bridge as it should be."""
        host = engine.topology.hosts.get(replica.dpid)
        return cls(
            replica.dpid,
            None if host is None else host.vtep,
            replica.bridge.patch_port,
            replica.desired().values(),
            replica.private.groups,
        )

    def install(self, flow: Flow, cookie: int) -> None:
        """Hold one more flow, whoever made it."""
        entries = self._entries(flow.table)
        entries.append(_Entry(flow, cookie))
        entries.sort(key=lambda entry: -entry.flow.priority)

    def lookup(self, table: int, fields: Mapping[Field, int]) -> _Entry | None:
        """The flow that a packet with these fields hits; Ambiguous if there are two."""
        found: _Entry | None = None
        for entry in self._entries(table):
            if found is not None and entry.flow.priority < found.flow.priority:
                break
            if all(_matches(fields, *term) for term in entry.flow.match):
                if found is not None:
                    raise Ambiguous(
                        f"host {self.dpid} table {Table(table).name}: both"
                        f" {ofctl_match(found.flow.match)!r} and {ofctl_match(entry.flow.match)!r}"
                        f" match at priority {entry.flow.priority}"
                    )
                found = entry
        return found

    def buckets(self, group_id: int) -> tuple[Bucket, ...]:
        """A group's buckets; none when there is no such group."""
        return read_buckets(self._groups.get(group_id, b""))

    def _entries(self, table: int) -> list[_Entry]:
        if table not in self._tables:
            entries = [
                _Entry(read_flow(add), encode.cookie_of(add)) for add in self._raw.get(table, ())
            ]
            self._tables[table] = sorted(entries, key=lambda entry: -entry.flow.priority)
        return self._tables[table]


def _matches(fields: Mapping[Field, int], name: Field, value: int, mask: int | None) -> bool:
    there = fields.get(name)
    if there is None:
        return False
    return there == value if mask is None else there & mask == value & mask


@dataclass(slots=True)
class _Walker:
    """A packet under way on one bridge: its fields, and the hosts it came through."""

    bridge: SimulatedBridge
    fields: dict[Field, int]
    packet: Packet
    path: tuple[Dpid, ...]

    def fork(self) -> _Walker:
        return replace(self, fields=dict(self.fields))

    def frame(self) -> Packet:
        """The packet with all that was rewritten."""
        fields = self.fields
        tag = fields[Field.VLAN_VID]
        arp = self.packet.arp
        if arp is not None:
            op, sha, spa, tha, tpa = (fields[name] for name in _ARP_FIELDS)
            arp = Arp(op, sha, spa, tha, tpa)
        return replace(
            self.packet,
            eth_src=fields[Field.ETH_SRC],
            eth_dst=fields[Field.ETH_DST],
            vlan=tag & _VLAN_ID if tag & VLAN_PRESENT else None,
            arp=arp,
            nd=None if self.packet.nd is None else _nd_of(fields),
        )


def _fields_of(packet: Packet, in_port: int, tunnel: tuple[int, int, int]) -> dict[Field, int]:
    fields = {
        Field.IN_PORT: in_port,
        Field.ETH_DST: packet.eth_dst,
        Field.ETH_SRC: packet.eth_src,
        Field.ETH_TYPE: packet.eth_type,
        Field.VLAN_VID: 0 if packet.vlan is None else VLAN_PRESENT | packet.vlan,
        Field.TUN_ID: tunnel[0],
        Field.TUN_SRC: tunnel[1],
        Field.TUN_DST: tunnel[2],
    }
    arp = packet.arp
    if arp is not None and packet.eth_type == ETH_TYPE_ARP:
        values = (arp.op, arp.sender_mac, arp.sender_ip, arp.target_mac, arp.target_ip)
        fields.update(zip(_ARP_FIELDS, values, strict=True))
    if packet.nd is not None:
        fields.update(_nd_fields(packet.nd))
    elif packet.ip is not None:
        fields.update(_ip_fields(packet.ip))
    return fields


def _nd_fields(nd: Nd) -> dict[Field, int]:
    """An absent link-layer option reads as 0."""
    option = Field.ND_SLL if nd.kind == SOLICITATION else Field.ND_TLL
    option_type = 0 if not nd.link_layer else 1 if nd.kind == SOLICITATION else 2
    return {
        Field.ETH_TYPE: ETH_TYPE_IPV6,
        Field.IP_PROTO: PROTO_ICMPV6,
        Field.IPV6_SRC: nd.source,
        Field.IPV6_DST: nd.destination,
        Field.ICMPV6_TYPE: nd.kind,
        Field.ICMPV6_CODE: 0,
        Field.ND_TARGET: nd.target,
        Field.ND_RESERVED: _SOLICITED if nd.solicited else 0,
        Field.ND_OPTIONS_TYPE: option_type,
        option: nd.link_layer,
    }


def _nd_of(fields: Mapping[Field, int]) -> Nd:
    kind = fields[Field.ICMPV6_TYPE]
    option = Field.ND_TLL if kind == ADVERTISEMENT else Field.ND_SLL
    return Nd(
        kind,
        fields[Field.IPV6_SRC],
        fields[Field.IPV6_DST],
        fields[Field.ND_TARGET],
        fields.get(option, 0),
        kind == ADVERTISEMENT and bool(fields[Field.ND_RESERVED] & _SOLICITED),
    )


def _ip_fields(ip: IpHeader) -> dict[Field, int]:
    fields = {Field.IP_PROTO: ip.proto}
    if ip.src.is_v4:
        fields |= {Field.IPV4_SRC: ip.src.low32, Field.IPV4_DST: ip.dst.low32}
    else:
        fields |= {Field.IPV6_SRC: int(ip.src), Field.IPV6_DST: int(ip.dst)}
        if ip.proto == PROTO_ICMPV6:
            fields |= {Field.ICMPV6_TYPE: ip.icmp_type, Field.ICMPV6_CODE: 0}
    if ip.proto == PROTO_UDP:
        fields |= {Field.UDP_SRC: ip.sport, Field.UDP_DST: ip.dport}
    return fields


class SimulatedFabric:
    """Bridges and what their tunnel ports lead to, among it ``foreign`` VTEPs.

    ``keyless`` ports know network 0 only. ``elsewhere`` has the VTEPs of hosts where the journey is
    not followed: a copy to one of them is noted, and that is all.
    """

    def __init__(
        self,
        bridges: Iterable[SimulatedBridge],
        wiring: Wiring,
        keyless: Collection[tuple[int, int]] = (),
        foreign: Iterable[VtepIp] = (),
        elsewhere: Mapping[VtepIp, Dpid] | None = None,
    ) -> None:
        self.bridges = {bridge.dpid: bridge for bridge in bridges}
        self.wiring = wiring
        self.keyless = keyless
        self._elsewhere = frozenset(elsewhere.values()) if elsewhere else frozenset()
        self._at: dict[int, Location] = {vtep.low32: Foreign.at(vtep) for vtep in foreign}
        self._at |= {vtep.low32: dpid for vtep, dpid in (elsewhere or {}).items()}
        for bridge in self.bridges.values():
            if bridge.vtep is not None:
                self._at[_low32(bridge.vtep)] = bridge.dpid

    @classmethod
    def desired(cls, engine: Engine, wiring: Wiring | None = None) -> SimulatedFabric:
        """Every connected bridge as it should be; wired as given, else as the facts say."""
        bridges = [SimulatedBridge.desired(engine, replica) for replica in engine.replicas.values()]
        wires = wired_by_facts(engine) if wiring is None else wiring
        return cls(bridges, wires, keyless_by_facts(engine), map(VtepIp, engine.topology.vteps))

    def send(self, dpid: int, packet: Packet) -> Journey:
        """The journey of a packet that br-int of this host hands to br-tun."""
        bridge = self.bridges[Dpid(dpid)]
        if bridge.patch_port is None:
            return Journey(lost=[f"host {bridge.dpid} has no patch port"])
        journey = Journey()
        self._enter(journey, bridge, packet, bridge.patch_port, (0, 0, 0), ())
        return journey

    def emit(self, dpid: int, actions: Iterable[Action], packet: Packet) -> Journey:
        """The journey of a packet-out of the controller."""
        journey = Journey()
        fields = _fields_of(packet, encode.OFPP_CONTROLLER, (0, 0, 0))
        walker = _Walker(self.bridges[Dpid(dpid)], fields, packet, (Dpid(dpid),))
        self._execute(journey, walker, actions, cookie=0)
        return journey

    def arrive(self, dpid: int, vtep: VtepIp, vni: int, packet: Packet) -> Journey:
        """The journey of a packet that the underlay brings to this host from some address."""
        journey = Journey()
        bridge = self.bridges[Dpid(dpid)]
        sender = self._at.get(vtep.low32, Foreign.at(vtep))
        in_port = self._arrival_port(bridge.dpid, sender, vni)
        if in_port is None or bridge.vtep is None:
            journey.lost.append(f"host {bridge.dpid} has no tunnel port for {vtep}")
        else:
            self._enter(
                journey, bridge, packet, in_port, (vni, vtep.low32, _low32(bridge.vtep)), ()
            )
        return journey

    def _enter(
        self,
        journey: Journey,
        bridge: SimulatedBridge,
        packet: Packet,
        in_port: int,
        tunnel: tuple[int, int, int],
        path: tuple[Dpid, ...],
    ) -> None:
        if bridge.dpid in path:
            raise Loop("the packet went in a circle: " + " > ".join(map(str, (*path, bridge.dpid))))
        fields = _fields_of(packet, in_port, tunnel)
        walker = _Walker(bridge, fields, packet, (*path, bridge.dpid))
        table: int | None = Table.CLASSIFY
        while table is not None:
            entry = bridge.lookup(table, walker.fields)
            if entry is None:
                journey.hops.append(Hop(bridge.dpid, Table(table), None, None))
                return
            journey.hops.append(Hop(bridge.dpid, Table(table), entry.flow, entry.cookie))
            self._execute(journey, walker, entry.flow.actions, entry.cookie)
            if entry.flow.goto is not None and entry.flow.goto <= table:
                raise Loop(f"host {bridge.dpid}: table {table} goes back to {entry.flow.goto}")
            table = entry.flow.goto

    def _execute(
        self, journey: Journey, walker: _Walker, actions: Iterable[Action], cookie: int
    ) -> None:
        fields = walker.fields
        for action in actions:
            match action:
                case SetField(Field.VLAN_VID, value):
                    fields[Field.VLAN_VID] = VLAN_PRESENT | value
                case SetField(name, value):
                    fields[name] = value
                case Move(source, target):
                    fields[target] = fields[source]
                case PushVlan():
                    fields[Field.VLAN_VID] |= VLAN_PRESENT
                case PopVlan():
                    fields[Field.VLAN_VID] = 0
                case CopyToController(max_len_bytes, _meter):
                    journey.punts.append(_punt(walker, cookie, max_len_bytes))
                case Group(group_id):
                    for bucket in walker.bridge.buckets(group_id):
                        self._execute(journey, walker.fork(), bucket.actions, cookie)
                case Output(port):
                    self._output(journey, walker, port)

    def _output(self, journey: Journey, walker: _Walker, port: int) -> None:
        bridge, in_port = walker.bridge, walker.fields[Field.IN_PORT]
        if port == in_port:
            journey.lost.append(f"host {bridge.dpid}: output to the port it came from, {port}")
            return
        out = in_port if port == OFPP_IN_PORT else port
        if out == bridge.patch_port:
            answered = port == OFPP_IN_PORT
            journey.deliveries.append(Delivery(bridge.dpid, walker.frame(), answered))
        else:
            self._tunnel(journey, walker, out)

    def _tunnel(self, journey: Journey, walker: _Walker, port: int) -> None:
        bridge, packet = walker.bridge, walker.frame()
        far = self.wiring.get((bridge.dpid, port))
        if far is None:
            journey.lost.append(f"host {bridge.dpid}: port {port} leads nowhere")
            return
        vni = 0 if (bridge.dpid, port) in self.keyless else walker.fields[Field.TUN_ID]
        to = self._far_end(walker, far)
        journey.copies.append(UnderlayCopy(bridge.dpid, to, port, vni, packet))
        peer = self.bridges.get(to) if isinstance(to, Dpid) else None
        if peer is None or peer.vtep is None or bridge.vtep is None:
            if not isinstance(to, Foreign) and to not in self._elsewhere:
                journey.lost.append(f"host {bridge.dpid}: nobody answers at the end of port {port}")
            return
        in_port = self._arrival_port(peer.dpid, bridge.dpid, vni)
        if in_port is None:
            journey.lost.append(f"host {peer.dpid} has no tunnel port for host {bridge.dpid}")
            return
        outer = (vni, _low32(bridge.vtep), _low32(peer.vtep))
        self._enter(journey, peer, packet, in_port, outer, walker.path)

    def _far_end(self, walker: _Walker, far: Far) -> Location | None:
        if far == "flow":
            return self._at.get(walker.fields[Field.TUN_DST])
        return Foreign(far) if far > Dpid.MAX else Dpid(far)

    def _arrival_port(self, dpid: Dpid, sender: Location, vni: int) -> int | None:
        """Open vSwitch prefers the port whose remote_ip is the sender's, and whose key fits."""
        found: int | None = None
        best = (False, False)
        for (at, port), far in self.wiring.items():
            keyless = (at, port) in self.keyless
            if at != dpid or far not in (sender, "flow") or (keyless and vni):
                continue
            rank = (far == sender, keyless)
            if found is None or rank > best:
                found, best = port, rank
        return found


def _low32(vtep: int) -> int:
    return vtep & 0xFFFFFFFF


def _punt(walker: _Walker, cookie: int, max_len_bytes: int) -> Punt:
    fields = walker.fields
    return Punt(
        walker.bridge.dpid,
        cookie,
        fields[Field.IN_PORT],
        fields[Field.TUN_ID],
        fields[Field.TUN_SRC],
        fields[Field.TUN_DST],
        walker.frame(),
        max_len_bytes,
    )


def wired_by_facts(
    engine: Engine, replicas: Iterable[Replica] | None = None
) -> dict[tuple[int, int], Far]:
    """What is known of tunnel ports' other ends, of all hosts or these; not of unproven ports."""
    wiring: dict[tuple[int, int], Far] = {}
    for replica in engine.replicas.values() if replicas is None else replicas:
        dpid, egress = replica.dpid, Egress.of(engine.topology, replica.bridge)
        for vtep, port in egress.peers.items():
            host = engine.topology.host_at(VtepIp(vtep))
            if host is not None:
                wiring[dpid, port] = host.dpid
            elif vtep in engine.topology.vteps:
                wiring[dpid, port] = Foreign.at(VtepIp(vtep))
        if egress.flow_port is not None:
            wiring[dpid, egress.flow_port] = "flow"
    return wiring


def keyless_by_facts(
    engine: Engine, replicas: Iterable[Replica] | None = None
) -> set[tuple[int, int]]:
    """The tunnel ports that are known to put every frame into network 0."""
    return {
        (replica.dpid, port)
        for replica in (engine.replicas.values() if replicas is None else replicas)
        for port in Egress.of(engine.topology, replica.bridge).keyless
    }
