"""What packet-ins lead to: lessons, answers, and conversations of reactive networks.

Each comes from one flow, whose kind (in its cookie) says why. Nothing is believed that the flow
could not have sent: the port, the VTEP and the network are checked again.
"""

from __future__ import annotations

from controller import dhcp, frames, learning
from controller.bridges import dhcp_server
from controller.counting import Counting
from controller.derivation import Derivation
from controller.desired import answers, owner_of
from controller.events import Effects
from controller.flow import Field, Group, Output, SetField
from controller.frames import Frame, untagged
from controller.learning import (
    DUE_S,
    MAX_MACS_PER_IP,
    NOTHING,
    PRESSED,
    Lesson,
    Limits,
    Newcomers,
    observe,
)
from controller.moves import Moves
from controller.news import of_vip
from controller.pipeline import DHCP_MAC, FOREIGN_KINDS, Kind
from controller.replica import Replica
from controller.sightings import Sightings
from controller.terms import ADVERTISEMENT, ARP_REQUEST, SOLICITATION, group_id, to_local_vlan
from controller.wire import encode
from controller.wire.decode import PacketIn
from topology.model import LearnedMac, Network, Put, Remove, Vm
from topology.types import Ip, Mac, Vni

LINES, LINES_S = 10, 10.0
"""So many lines about who flaps are logged within so many seconds."""

_UNKNOWN = (Kind.LOCAL_UNKNOWN, Kind.LOCAL_ARP, Kind.LOCAL_ND)


class PacketIns:
    """Takes the packet-ins of every switch."""

    def __init__(self, derivation: Derivation, limits: Limits, counting: Counting) -> None:
        self._derivation = derivation
        self._counting = counting
        self._topology = derivation.topology
        self._limits = limits
        self.moves = Moves()
        self.sightings = Sightings()
        self.newcomers = Newcomers(limits)
        self._news, self._repeats = limits.news, limits.news
        self._lines, self._lines_s = 0, float("-inf")

    def take(
        self,
        replica: Replica,
        kind: Kind,
        packet: PacketIn,
        frame: Frame,
        now_s: float,
        effects: Effects,
    ) -> bool:
        """One packet-in of one of our flows; False where it tells more than may be learned now."""
        if kind is Kind.LOCAL_STRAY:
            if packet.in_port == replica.bridge.patch_port and Mac(frame.eth_src).is_station:
                vlan = frames.vlan_of(packet.frame)
                self.sightings.note(None, frame.eth_src, vlan, replica.dpid, now_s)
            return True
        network = self._topology.networks.get(packet.tun_id)
        if network is None:
            return True
        if kind in FOREIGN_KINDS:
            return self._from_foreign(network, packet, frame, now_s, effects)
        if packet.in_port != replica.bridge.patch_port:
            return True
        if kind in _UNKNOWN:
            return self._learn(
                observe(
                    self._topology,
                    self.moves,
                    network,
                    replica.dpid,
                    frame,
                    now_s,
                    self.sightings,
                ),
                now_s,
                effects,
            )
        match kind:
            case Kind.VIP_CLAIM:
                lesson = learning.claim(
                    self._topology, self.moves, network.vni, replica.dpid, frame, now_s
                )
                self._learn(lesson, now_s, effects)
            case Kind.DHCP_REQUEST:
                self._dhcp(replica, network, packet, frame)
            case Kind.ND_PUNT:
                self._solicited(replica, network, packet, frame)
            case Kind.UNICAST_PUNT:
                self._unicast(replica, network, packet, frame)
            case Kind.NEIGHBOUR_PUNT:
                self._who_has(replica, network, packet, frame)
            case _:
                return True
        effects.wake.add(replica.dpid)
        return True

    # Lessons

    def _from_foreign(
        self, network: Network, packet: PacketIn, frame: Frame, now_s: float, effects: Effects
    ) -> bool:
        vtep = self._topology.vteps.get(Ip.v4(packet.tun_src))
        if vtep is None or not vtep.learning or network.vni not in vtep.vnis:
            return True
        lesson = observe(
            self._topology, self.moves, network, vtep.location, frame, now_s, self.sightings
        )
        return self._learn(lesson, now_s, effects)

    def _learn(self, lesson: Lesson, now_s: float, effects: Effects) -> bool:
        """Take a lesson in; False where its place has taught too much that is new of late."""
        if lesson is NOTHING:
            return True
        entry = lesson.learned
        if entry is not None:
            vni, mac, place = entry[:3]
            if lesson.after_s is not None:
                self.newcomers.heard(place, (vni, mac), now_s)
                if lesson.after_s < DUE_S and self._repeats.take((place, vni), now_s) is None:
                    return False
            else:
                left = self._news.take((place, vni), now_s)
                if left is None:
                    return False
                if left < PRESSED and (vni, mac) not in self._topology.learned:
                    self.newcomers.add(place, (vni, mac), now_s)
            self.remember(entry)
            return True
        if lesson.held is not None:
            self._derivation.apply(Put(lesson.held))
            effects.holders.add(lesson.held.key)
            effects.happened.append(of_vip(lesson.held))
        if lesson.moved is not None:
            key, place = lesson.moved
            effects.moves[key] = place
        if lesson.flaps is not None:
            self._complain(lesson.flaps, now_s, effects)
        return True

    def _complain(self, line: str, now_s: float, effects: Effects) -> None:
        """Log who is not followed; of many, some."""
        if now_s - self._lines_s >= LINES_S:
            self._lines, self._lines_s = 0, now_s
        self._lines += 1
        if self._lines <= LINES:
            effects.log.append(line)
        elif self._lines == LINES + 1:
            effects.log.append("more flap, or move at once, than are logged: see vxlanctl doctor")

    def remember(self, entry: LearnedMac) -> None:
        """Take a learned MAC in, within the limits."""
        topology, derivation = self._topology, self._derivation
        derivation.apply(Put(entry))
        surplus = learning.surplus(topology, entry, self._limits, self.newcomers)
        if surplus is not None:
            derivation.apply(Remove(LearnedMac, surplus))
        for ip, _seen_s in entry.ips:
            if topology.speakers_of(entry.vni, ip) > MAX_MACS_PER_IP:
                stalest = topology.stalest_speaker_of(entry.vni, ip)
                others = tuple(pair for pair in stalest.ips if pair[0] != ip)
                derivation.apply(Put(stalest._replace(ips=others)))

    def forget(self, now_s: float) -> None:
        """Drop what is over."""
        self.moves.forget(now_s)
        self._news.forget(now_s)
        self._repeats.forget(now_s)
        self.newcomers.forget(self._topology)

    # Answers

    def _dhcp(self, replica: Replica, network: Network, packet: PacketIn, frame: Frame) -> None:
        vm = self._topology.vms.get((network.vni, frame.eth_src))
        lease = None if vm is None else lease_of(network, vm)
        if vm is None or lease is None or vm.host != replica.dpid:
            return
        answer = dhcp.answer(packet.frame, vm.mac, lease, DHCP_MAC)
        if answer is not None:
            self._to_vm(replica, network, answer)

    def _solicited(
        self, replica: Replica, network: Network, packet: PacketIn, frame: Frame
    ) -> None:
        nd = frame.nd
        if nd is None or nd.kind != SOLICITATION:
            return
        mac = self._answering(network, Ip(nd.target), replica)
        if mac is None:
            if self._goes_on(network, Ip(nd.target), replica):
                self._flood(replica, network, packet.frame)
        elif mac != frame.eth_src:
            self._answer(replica, network, frame, mac)

    def _answering(self, network: Network, ip: Ip, asked: Replica) -> Mac | None:
        """Whose MAC the flows would answer with on this host."""
        owner = owner_of(self._topology, network.vni, ip)
        if owner is None or owner.host == asked.dpid or not answers(network, owner):
            return None
        return owner.mac

    def _goes_on(
        self, network: Network, ip: Ip, asked: Replica, *, announced: bool = False
    ) -> bool:
        """Whether who-has that is not answered here reaches the others, as flows would have it."""
        owner = owner_of(self._topology, network.vni, ip)
        if owner is not None and answers(network, owner):
            if announced:
                return True
            if isinstance(owner, Vm):
                return owner.host != asked.dpid
        declared = isinstance(owner, Vm) or (network.vni, ip) in self._topology.vips
        return declared or not _is_dropped(network, ip)

    def _to_vm(self, replica: Replica, network: Network, frame: bytes) -> None:
        """Hand a frame to br-int, on the network's local VLAN."""
        patch = replica.bridge.patch_port
        if patch is not None:
            actions = (*to_local_vlan(network), Output(patch))
            replica.send(encode.packet_out(actions, frame))

    def _flood(self, replica: Replica, network: Network, frame: bytes) -> None:
        """Send a frame on as its flow would have."""
        actions = (SetField(Field.TUN_ID, network.vni), Group(group_id(network.vni)))
        sent = untagged(frame)
        replica.send(encode.packet_out(actions, sent))
        self._counting.flooded(replica, network.vni, len(sent))

    # Conversations

    def _unicast(self, replica: Replica, network: Network, packet: PacketIn, frame: Frame) -> None:
        if not self._meet(replica, network.vni, frame.eth_dst, frame.eth_src):
            return
        if network.unknown_unicast == "drop":
            self._send_on(replica, network, packet.frame, frame.eth_dst)

    def _meet(self, replica: Replica, vni: Vni, eth_dst: int, eth_src: int) -> bool:
        """The sender's host gets the way there, the other end's the way back."""
        if not self._derivation.converse(replica, vni, "mac", eth_dst):
            return False
        there = self._topology.place_of(vni, eth_dst)
        other = None if there is None else self._derivation.replicas.get(there)
        if other is not None:
            self._derivation.converse(other, vni, "mac", eth_src)
        return True

    def _send_on(self, replica: Replica, network: Network, frame: bytes, eth_dst: int) -> None:
        there = self._topology.place_of(network.vni, eth_dst)
        vtep = None if there is None else self._topology.vtep_of(there)
        if vtep is None:
            return
        egress = replica.egress
        port = egress.peers.get(vtep, egress.flow_port)
        if port is not None and egress.carries(port, network.vni):
            actions = (
                SetField(Field.TUN_ID, network.vni),
                SetField(Field.TUN_DST, vtep.low32),
                Output(port),
            )
            replica.send(encode.packet_out(actions, untagged(frame)))

    def _who_has(self, replica: Replica, network: Network, packet: PacketIn, frame: Frame) -> None:
        ip = _asked_for(frame)
        if ip is None:
            return
        dropped = _is_dropped(network, ip)
        mac = self._answering(network, ip, replica)
        if mac is None or frame.announces or _is_probe(frame):
            if dropped and self._goes_on(network, ip, replica, announced=frame.announces):
                self._flood(replica, network, packet.frame)
            return
        self._derivation.converse(replica, network.vni, "ip", ip)
        self._meet(replica, network.vni, mac, frame.eth_src)
        if dropped:
            self._answer(replica, network, frame, mac)

    def _answer(self, replica: Replica, network: Network, frame: Frame, mac: Mac) -> None:
        if frame.arp is not None:
            self._to_vm(replica, network, frames.arp_answer(mac, frame.arp, frame.eth_src))
        elif frame.nd is not None:
            answer = frames.advertisement(mac, frame.nd.target, frame.nd, frame.eth_src)
            self._to_vm(replica, network, answer)


def _is_dropped(network: Network, ip: Ip) -> bool:
    """Whether flows drop who-has for this IP unless it is known."""
    return network.unknown_arp == "drop" and network.subnet_of(ip) is not None


def _asked_for(frame: Frame) -> Ip | None:
    if frame.arp is not None and frame.arp.op == ARP_REQUEST:
        return Ip.v4(frame.arp.target_ip)
    if frame.nd is not None and frame.nd.kind != ADVERTISEMENT:
        return Ip(frame.nd.target)
    return None


def _is_probe(frame: Frame) -> bool:
    """Whether it asks if an address is free."""
    if frame.arp is not None:
        return frame.arp.sender_ip == 0
    return frame.nd is not None and frame.nd.source == 0


def lease_of(network: Network, vm: Vm) -> dhcp.Lease | None:
    """What DHCP tells a registered VM; None when it has no address in a subnet."""
    server = dhcp_server(network)
    for ip in vm.ips:
        subnet = network.subnet_of(ip) if ip.is_v4 else None
        if server is not None and subnet is not None:
            return dhcp.Lease(
                ip,
                subnet.bits,
                server,
                network.gateway,
                network.dns,
                network.mtu_bytes,
                network.lease_s,
                vm.name,
            )
    return None
