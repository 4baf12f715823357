"""What becomes of a packet, told hop by hop: which flow on which host, for which fact, to what end.

Pure: a question about two stations goes in, stages come out. What bridges should hold is known;
what they do hold may be given as ``installed``, and then the first difference is the fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from controller import remedies
from controller.engine import Engine
from controller.explain import flow_view, station_text
from controller.faults import Fault, fault_of_drop, fault_of_loss, foreign_flow, missing_flow
from controller.flow import (
    ETH_TYPE_IPV4,
    CopyToController,
    Flow,
    Group,
    Output,
    ofctl_actions,
    ofctl_match,
)
from controller.frames import Arp, Nd, solicited_node
from controller.journey import Hop, IpHeader, Journey, Packet, SimulationError, UnderlayCopy
from controller.pipeline import WHY, Kind, cookie_kind
from controller.replica import PRIVATE
from controller.scene import Installed, Scene, Subject
from controller.service import End, FlowView, TracedHop, TracedStage, TraceReport
from controller.stations import BROADCAST_NAME, Station, place_name
from controller.terms import ARP_REQUEST, BROADCAST, PROTO_ICMPV6, PROTO_UDP, SOLICITATION
from controller.wire.encode import encode_flow
from topology.model import MacKey, Network
from topology.types import Dpid, Foreign, Ip, Mac, VtepIp

KINDS: Final = ("arp", "nd", "icmp", "tcp", "udp")
PROTO_ICMP, PROTO_TCP = 1, 6
ECHO_REQUEST6 = 128  # RFC 4443, 4.1
NO_ADDRESS_YET: Final = Ip.v4(0)


@dataclass(frozen=True, slots=True)
class Asked:
    """The question: from whom to whom (None: everybody), what; or one frame of the source's."""

    src: Station
    dst: Station | None
    kind: str | None = None
    frame: Packet | None = None


@dataclass(slots=True)
class Stage:
    """One packet of the question, from its sender to its ends."""

    what: str
    outcome: str = ""
    ok: bool = False
    hops: list[TracedHop] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    fault: Fault | None = None
    packet: Packet | None = None
    probed: bool = False
    """Whether it is one that a probe can stand for: unicast, from host to host."""

    def met(self, dpid: Dpid) -> list[int]:
        """The cookies of the flows that it hits on a host."""
        return [hop.cookie for hop in self.hops if hop.cookie is not None and hop.dpid == dpid]

    def told(self) -> TracedStage:
        return TracedStage(self.what, self.outcome, self.ok, tuple(self.hops), tuple(self.ends))


@dataclass(frozen=True, slots=True)
class Trace:
    """The answer: the stages, whether all arrive, and if not the first fault."""

    asked: Asked
    stages: Sequence[Stage]
    verdict: str

    @property
    def delivered(self) -> bool:
        return bool(self.stages) and all(stage.ok for stage in self.stages)

    @property
    def fault(self) -> Fault | None:
        return next((stage.fault for stage in self.stages if stage.fault is not None), None)

    def told(self) -> TraceReport:
        fault = self.fault
        return TraceReport(
            self.asked.src.vni,
            str(self.asked.src),
            BROADCAST_NAME if self.asked.dst is None else str(self.asked.dst),
            self.delivered,
            self.verdict,
            None if fault is None else fault.cause,
            None if fault is None else fault.command,
            tuple(stage.told() for stage in self.stages),
        )


class Tracer:
    """Walks the packets of one question. ``since``: since when VMs are registered as they are."""

    def __init__(
        self,
        engine: Engine,
        asked: Asked,
        *,
        now_s: float,
        installed: Mapping[Dpid, Installed] | None = None,
        since: Mapping[MacKey, str] | None = None,
    ) -> None:
        self._engine = engine
        self._topology = engine.topology
        self._asked = asked
        self._now_s = now_s
        self._since = since or {}
        self._installed = installed
        self._network = self._topology.networks[asked.src.vni]
        places = (asked.src.place, None if asked.dst is None else asked.dst.place)
        self.hosts = tuple(
            dict.fromkeys(
                place for place in places if place is not None and not isinstance(place, Foreign)
            )
        )
        self._scene = Scene(engine, self.hosts, int(self._network.vni))

    def trace(self) -> Trace:
        asked = self._asked
        fault = self._cannot_begin()
        if fault is not None:
            stage = Stage(self._what(), outcome="lost", fault=fault)
            return Trace(asked, [stage], fault.text)
        stages: list[Stage] = []
        if asked.frame is not None:
            stages.append(self._walk("frame", asked.frame, asked.src, asked.dst))
        elif asked.dst is None:
            stages.append(self._walk("broadcast", self._broadcast(), asked.src, None))
        else:
            stages += self._stages(asked.src, asked.dst)
        return Trace(asked, stages, self.verdict(stages))

    def _cannot_begin(self) -> Fault | None:
        """Whatever keeps every packet of the question from being followed."""
        src, dst = self._asked.src, self._asked.dst
        if dst is not None and dst.vni != src.vni:
            mine, other = self._network_name(src.vni), self._network_name(dst.vni)
            return Fault(
                "different-networks",
                f"{src} is in {mine}, {dst} is in {other}: networks are isolated from each other;"
                " a router has to join them",
            )
        for station in (src, dst):
            place = None if station is None else station.place
            if place is None or isinstance(place, Foreign) or place in self._engine.replicas:
                continue
            name = place_name(self._topology, place)
            return Fault(
                "host-disconnected",
                f"host {name} of {station} is not connected here: its bridge keeps the flows that"
                " it had, and what it does with a packet cannot be told",
                f"ovs-vsctl get-controller br-tun; ovs-vsctl list controller   # on {name}",
            )
        for dpid in self.hosts:
            trouble = self._no_ports(dpid)
            if trouble is not None:
                return trouble
        if isinstance(src.place, Foreign) and (dst is None or isinstance(dst.place, Foreign)):
            return Fault("foreign", f"{src} is behind a foreign VTEP: ask for a VM as destination")
        return None

    def _no_ports(self, dpid: Dpid) -> Fault | None:
        bridge = self._engine.replicas[dpid].bridge
        name = place_name(self._topology, dpid)
        if bridge.patch_port is None:
            return Fault(
                "no-patch-port",
                f"host {name}: br-tun has no port named {bridge.names.patch}, so no frame of a VM"
                " gets in or out",
                remedies.on(remedies.join_bridges(bridge.names.patch), name),
            )
        if not bridge.tunnel_ports and len(self.hosts) > 1:
            return Fault(
                "no-tunnel-port",
                f"host {name}: br-tun has no tunnel port"
                f" (none is named like {', '.join(bridge.names.tunnels)})",
                remedies.on(remedies.add_tunnel_port("vxlan0", "flow"), name),
            )
        return None

    # Packets

    def _stages(self, src: Station, dst: Station) -> list[Stage]:
        kind = self._asked.kind
        v4 = src.address(v4=True), dst.address(v4=True)
        v6 = src.address(v4=False), dst.address(v4=False)
        stages = []
        if v4[1] is not None and kind != "nd":
            mine = v4[0] or NO_ADDRESS_YET
            arp = Arp(ARP_REQUEST, src.mac or 0, mine.low32, 0, v4[1].low32)
            packet = Packet.carrying(arp, BROADCAST, self._network.vlan)
            stages.append(self._walk(f"ARP request for {v4[1]}", packet, src, dst))
        elif v6[1] is not None and kind != "arp":
            stages.append(self._walk(f"ND solicitation for {v6[1]}", self._nd(v6), src, dst))
        if kind in ("arp", "nd") or dst.mac is None:
            return stages
        pair = v4 if v4[0] and v4[1] else v6
        there, back = self._data(pair, src, dst), self._data(pair[::-1], dst, src)
        name = (kind or "icmp").upper()
        stages.append(self._walk(f"{name} to {dst}", there, src, dst))
        if dst.is_known:
            stages.append(self._walk(f"{name} back to {src}", back, dst, src))
        return stages

    def _nd(self, pair: tuple[Ip | None, Ip | None]) -> Packet:
        source, target = int(pair[0] or 0), int(pair[1] or 0)
        group, group_mac = solicited_node(target)
        mac = self._asked.src.mac or 0
        nd = Nd(SOLICITATION, source, group, target, mac if source else 0)
        return Packet.soliciting(nd, mac, group_mac, self._network.vlan)

    def _data(self, pair: tuple[Ip | None, Ip | None], src: Station, dst: Station) -> Packet:
        vlan, mac, to = self._network.vlan, src.mac or 0, dst.mac or 0
        if pair[0] is None or pair[1] is None:
            return Packet(mac, to, vlan, ETH_TYPE_IPV4)
        v4 = pair[0].is_v4
        kind = self._asked.kind or "icmp"
        proto = {"tcp": PROTO_TCP, "udp": PROTO_UDP}.get(kind, PROTO_ICMP if v4 else PROTO_ICMPV6)
        # Ports from the dynamic range (RFC 6335, 6): none that a flow is about.
        header = IpHeader(pair[0], pair[1], proto)
        if proto == PROTO_UDP:
            header = replace(header, sport=49152, dport=49152)
        elif proto == PROTO_ICMPV6:
            header = replace(header, icmp_type=ECHO_REQUEST6)
        return Packet.routed(header, mac, to, vlan)

    def _broadcast(self) -> Packet:
        src = self._asked.src
        if self._asked.kind == "arp":
            mine = src.address(v4=True) or NO_ADDRESS_YET
            arp = Arp(ARP_REQUEST, src.mac or 0, mine.low32, 0, mine.low32)
            return Packet.carrying(arp, BROADCAST, self._network.vlan)
        return Packet(src.mac or 0, BROADCAST, self._network.vlan, ETH_TYPE_IPV4)

    # The walk

    def _walk(self, what: str, packet: Packet, src: Station, dst: Station | None) -> Stage:
        stage = Stage(what, packet=packet)
        try:
            journey = self._journey(packet, src, dst, self._installed)
        except SimulationError as error:
            stage.outcome, stage.fault = "lost", Fault("ambiguous-flows", str(error))
            return stage
        self._tell(stage, journey, src)
        self._judge(stage, journey, packet, src, dst)
        if self._installed:
            stage.fault = self._difference(packet, src, dst, journey) or stage.fault
        stage.probed = stage.probed and stage.fault is None
        return stage

    def _journey(
        self,
        packet: Packet,
        src: Station,
        dst: Station | None,
        installed: Mapping[Dpid, Installed] | None,
    ) -> Journey:
        fabric = self._scene.fabric(packet, installed)
        if isinstance(src.place, Foreign) and dst is not None and isinstance(dst.place, Dpid):
            return fabric.arrive(
                dst.place, src.place.vtep, int(src.vni), replace(packet, vlan=None)
            )
        assert isinstance(src.place, Dpid)
        return fabric.send(src.place, packet)

    def _tell(self, stage: Stage, journey: Journey, src: Station) -> None:
        """The hops in order, with the crossings of the underlay between those of two hosts."""
        copies = {copy.to: copy for copy in journey.copies if copy.to is not None}
        last = src.place
        for hop in journey.hops:
            if hop.dpid != last and hop.dpid in copies:
                stage.hops.append(self._crossing(copies[hop.dpid]))
            last = hop.dpid
            stage.hops.append(self._hop(hop))
        walked = {hop.dpid for hop in journey.hops}
        aside = [copy for copy in journey.copies if copy.to not in walked]
        for copy in aside if len(aside) == 1 else ():
            stage.hops.append(self._crossing(copy))
        for delivery in journey.deliveries:
            how = "answered" if delivery.answered else "delivered"
            to = "back to its sender" if delivery.answered else "to br-int"
            stage.ends.append(End(delivery.dpid, how, f"{to} on {self._name(delivery.dpid)}"))
        if aside:
            places = [self._name(copy.to) for copy in aside[:3] if copy.to is not None]
            more = f" and {len(aside) - 3} more" if len(aside) > 3 else ""
            stage.ends.append(End(None, "flooded", f"one copy each to {', '.join(places)}{more}"))
        for punt in journey.punts:
            detail = f"a copy of {self._name(punt.dpid)} goes to the controller"
            stage.ends.append(End(punt.dpid, "controller", detail))
        stage.ends += [End(None, "lost", self._named(reason)) for reason in journey.lost]

    def _judge(
        self, stage: Stage, journey: Journey, packet: Packet, src: Station, dst: Station | None
    ) -> None:
        place = None if dst is None else dst.place
        reached = set(journey.reached)
        if any(delivery.answered for delivery in journey.deliveries):
            stage.outcome, stage.ok = f"answered in the switch on {self._name(src.place)}", True
        elif dst is not None and place is not None and place == src.place:
            stage.outcome = f"both are on {self._name(place)}: br-int delivers it there"
            stage.ok = True
        elif isinstance(place, Foreign) and any(copy.to == place for copy in journey.copies):
            stage.outcome, stage.ok = f"leaves for {self._name(place)}", True
        elif place is not None and place in reached:
            stage.probed = packet.eth_dst != BROADCAST and isinstance(src.place, Dpid)
            asked = " and is answered by itself" if packet.eth_dst == BROADCAST else ""
            stage.outcome, stage.ok = f"delivered on {self._name(place)}{asked}", True
        elif self._is_answered_here(journey):
            stage.outcome, stage.ok = "answered by the controller, which installs the flows", True
        elif place is None and (journey.copies or reached or _is_flooded(stage)):
            count = len(journey.copies)
            stage.outcome = f"flooded: one copy to each of {count} VTEPs"
            stage.ok = dst is None
            if dst is not None:
                stage.fault = Fault(
                    "not-known",
                    f"{dst} is neither registered nor learned in"
                    f" {self._network_name(int(self._network.vni))}: the packet is flooded to"
                    f" {count} VTEPs, and whoever has the address may answer",
                    f"vxlanctl vm add MAC --network {self._network.vni} --host HOST --ip ADDRESS",
                )
        else:
            stage.outcome = "lost"
            stage.fault = self._lost(journey, packet, src, dst)

    def _is_answered_here(self, journey: Journey) -> bool:
        """Whether the controller answers: a new conversation, or a solicitation without option."""
        dst = self._asked.dst
        if dst is None or not dst.is_known:
            return False
        kinds = {punt.kind for punt in journey.punts}
        return bool(kinds & {Kind.UNICAST_PUNT, Kind.NEIGHBOUR_PUNT, Kind.ND_PUNT})

    def _lost(self, journey: Journey, packet: Packet, src: Station, dst: Station | None) -> Fault:
        if journey.lost:
            return fault_of_loss(self._named(journey.lost[0]))
        last = journey.hops[-1] if journey.hops else None
        if last is None:
            return Fault("no-flows", "the packet meets no flow at all")
        return fault_of_drop(self._topology, self._network, last, packet, src, dst)

    def _difference(
        self, packet: Packet, src: Station, dst: Station | None, found: Journey
    ) -> Fault | None:
        """Where what is installed first leads another way than what should be."""
        wanted = self._journey(packet, src, dst, None)
        for there, should in zip(found.hops, wanted.hops, strict=False):
            if there.cookie == should.cookie and there.flow == should.flow:
                continue
            if there.dpid != should.dpid:
                return None
            name = self._name(should.dpid)
            if there.cookie is not None and cookie_kind(there.cookie) is None:
                return foreign_flow(name, there)
            return missing_flow(name, should)
        if len(found.hops) < len(wanted.hops):
            should = wanted.hops[len(found.hops)]
            return missing_flow(self._name(should.dpid), should)
        return None

    # Words

    def _hop(self, hop: Hop) -> TracedHop:
        view = None
        if hop.flow is not None and hop.cookie is not None:
            view = _view(hop.flow, hop.cookie)
        return TracedHop(
            hop.dpid,
            self._host_name(hop.dpid),
            int(hop.table),
            hop.table.name,
            view,
            hop.why,
            self._reason(hop),
            _event(self._engine, hop),
            hop.cookie,
        )

    def _crossing(self, copy: UnderlayCopy) -> TracedHop:
        topology = self._topology
        replica = self._engine.replicas.get(copy.sender)
        port = "" if replica is None else replica.ports.get(copy.port, str(copy.port))
        vtep = None if copy.to is None else topology.vtep_of(copy.to)
        where = f"VNI {copy.vni}, port {port}, to {vtep} ({self._name(copy.to)})"
        return TracedHop(
            copy.sender,
            self._host_name(copy.sender),
            None,
            None,
            None,
            f"crosses the underlay: {where}",
            None,
            "underlay",
        )

    def _reason(self, hop: Hop) -> str | None:
        """The fact behind a flow."""
        subject = None if hop.cookie is None else self._scene.subjects.get(hop.cookie)
        return None if subject is None else self._fact(subject)

    def _fact(self, subject: Subject) -> str | None:
        table, key = subject
        topology = self._topology
        vni = int(self._network.vni)
        match key:
            case ("mac", int(mac)) | (int(), "mac", int(mac)) | ("vm", int(), int(mac)):
                return self._whereabouts(vni, mac)
            case ("ip", int(ip)) | (int(), "ip", int(ip)):
                vm, learned = topology.vm_with_ip(vni, ip), topology.learned_with_ip(vni, ip)
                owner = vm or learned
                if owner is None:
                    return None
                return f"{Ip(ip)} is {self._whereabouts(vni, int(owner.mac))}"
            case ("net", int(of)):
                network = topology.networks.get(of)
                return None if network is None else _network_text(network)
            case ("vtep", VtepIp() as vtep):
                host = topology.host_at(vtep)
                return f"{vtep} is {'a foreign VTEP' if host is None else self._name(host.dpid)}"
            case "ports" | "flow port" if table == PRIVATE:
                return "this bridge's ports"
        return None

    def _whereabouts(self, vni: int, mac: int) -> str:
        topology = self._topology
        place = topology.place_of(vni, mac)
        text = f"{station_text(topology, vni, mac)}, is on {place_name(topology, place)}"
        since = self._since.get((self._network.vni, Mac(mac)))
        learned = topology.learned.get((vni, mac))
        if (vni, mac) in topology.vms:
            return f"{text}: registered, since {since}" if since else f"{text}: registered"
        if learned is not None:
            return f"{text}: heard {max(0, round(self._now_s - learned.seen_s))} s ago"
        return text

    def verdict(self, stages: Sequence[Stage]) -> str:
        """What came of all of them, in a sentence or two."""
        asked = self._asked
        for stage in stages:
            if stage.fault is not None:
                anyway = f" ({stage.outcome} all the same)" if stage.ok else ""
                return f"{stage.what}: {stage.fault.text}{anyway}"
        told = "; ".join(f"{stage.what}: {stage.outcome}" for stage in stages)
        if asked.dst is None or asked.frame is not None or not stages:
            return told or f"nothing is known of {asked.dst} that a packet could be sent to"
        return f"{asked.src} reaches {asked.dst}. {told}"

    def _what(self) -> str:
        to = BROADCAST_NAME if self._asked.dst is None else str(self._asked.dst)
        return f"{self._asked.src} to {to}"

    def _name(self, place: Dpid | Foreign | None) -> str:
        return place_name(self._topology, place)

    def _named(self, text: str) -> str:
        """A text of the simulator with the hosts' names in place of their dpids."""
        for dpid in self.hosts:
            text = text.replace(str(dpid), self._name(dpid))
        return text

    def _host_name(self, dpid: Dpid) -> str | None:
        host = self._topology.hosts.get(dpid)
        return None if host is None else host.name

    def _network_name(self, vni: int) -> str:
        network = self._topology.networks.get(vni)
        return f"network {network.name or vni}" if network else f"network {vni}"


def _view(flow: Flow, cookie: int) -> FlowView:
    """The flow as a user reads it; one that is not ours keeps its own cookie."""
    kind = cookie_kind(cookie)
    if kind is None:
        return FlowView(
            f"{cookie:#018x}",
            flow.table,
            flow.priority,
            ofctl_match(flow.match),
            ofctl_actions(flow),
            "not one of this controller's flows",
        )
    return replace(flow_view(encode_flow(flow)), cookie=f"{cookie:#018x}", why=WHY[kind])


def _is_flooded(stage: Stage) -> bool:
    """Whether it met the flood group, though there may be nobody else to flood to."""
    return any(hop.event == "flood" for hop in stage.hops)


def _network_text(network: Network) -> str:
    where = "untagged" if network.vlan is None else f"on local VLAN {network.vlan}"
    name = f"network {network.name}, " if network.name else "network "
    return f"{name}VNI {network.vni}, is {where} on each host"


def _event(engine: Engine, hop: Hop) -> str:
    """What the flow does with the packet, in one word."""
    if hop.flow is None:
        return "drop"
    replica = engine.replicas.get(hop.dpid)
    patch = None if replica is None else replica.bridge.patch_port
    for action in hop.flow.actions:
        match action:
            case Output(port) if port == patch:
                return "deliver"
            case Output(port):
                return "answer" if port > 0xFFFFFF00 else "tunnel"
            case Group():
                return "flood"
    if hop.flow.goto is not None:
        return "next"
    copied = any(isinstance(action, CopyToController) for action in hop.flow.actions)
    return "controller" if copied else "drop"
