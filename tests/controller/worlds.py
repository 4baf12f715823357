"""Random worlds: hosts and their ports, networks and who is in them, histories, and packets.

A ``Chance`` decides everything; it draws from hypothesis, which shrinks, or from random.Random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from controller.bridges import PortNames
from controller.engine import Engine, Settings
from controller.events import Committed, Connected, Effects, Event, Lost, Received, Tick
from controller.frames import ADVERTISEMENT, ETH_TYPE_RARP, SOLICITATION, Arp, Nd
from controller.journey import IpHeader, Journey, Packet, Punt
from controller.neighbours import nd_trial
from controller.pipeline import DHCP_MAC, PROBE_ETH_TYPE, PROBE_MAC
from controller.security import link_local
from controller.simulator import Far, SimulatedBridge, SimulatedFabric
from controller.wire import decode, encode, readback
from tests.fake import frames
from topology.draft import Draft
from topology.errors import VxlanError
from topology.model import Host, Network, Remote, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

T = TypeVar("T")

PATCH, FIRST_TUNNEL = 1, 5
BROADCAST = (1 << 48) - 1
ALL_NODES = 0x333300000001
VNIS = tuple(Vni(vni) for vni in (0, 100, 200, (1 << 24) - 2))
VLANS = (None, *(Vlan(vlan) for vlan in (10, 20, 4094)))
VM_MACS = tuple(Mac(0x525400000000 | number) for number in range(1, 6))
STRANGERS = tuple(Mac(0x525400000000 | number) for number in (0xA1, 0xA2))
V4 = (*tuple(Ip.parse(f"10.1.1.{number}") for number in range(2, 7)), Ip.parse("10.9.9.9"))
V6 = (*tuple(Ip.parse(f"fd00::{number}") for number in range(2, 6)), Ip.parse("fd09::9"))
SUBNETS = tuple(map(Subnet.parse, ("10.1.1.0/24", "10.1.0.0/16", "fd00::/64", "fd00::/16")))
GATEWAY = Ip.parse("10.1.1.1")
FOREIGN = tuple(VtepIp(Ip.parse(f"192.168.33.{number}")) for number in (200, 201))
UNDECLARED = VtepIp(Ip.parse("192.168.33.250"))
CHATTER = (130, 131, 132, 133, 134, 143)
"""ICMPv6 types: MLD, router solicitation and advertisement."""


class Chance:
    """Every decision is a number below another."""

    def __init__(self, source: Random) -> None:
        self.below = source.randrange

    def pick(self, among: Sequence[T]) -> T:
        return among[self.below(len(among))]

    def once_in(self, times: int) -> bool:
        """True once in so many times; never is what shrinks to."""
        return self.below(times) == times - 1

    def some(self, among: Sequence[T], most: int = 9) -> list[T]:
        """A few of them, in their order."""
        chosen = {self.below(len(among)) for _ in range(self.below(min(most, len(among)) + 1))}
        return [one for index, one in enumerate(among) if index in chosen]


@dataclass
class World:
    """An engine, the bridges connected to it, and what their ports really lead to.

    ``vteps`` and ``remotes`` are the truth of the underlay; the engine has been told of most.
    """

    engine: Engine
    vteps: dict[Dpid, VtepIp]
    remotes: dict[tuple[Dpid, int], Remote]
    keyless: set[tuple[Dpid, int]]
    now_s: float = 100.0
    _bridges: dict[int, SimulatedBridge] = field(default_factory=dict)
    _fabric: SimulatedFabric | None = None
    _epoch: int = 0

    @property
    def topology(self) -> Topology:
        return self.engine.topology

    @property
    def connected(self) -> list[Dpid]:
        return sorted(replica.dpid for replica in self.engine.replicas.values())

    def facts_of(self, dpid: Dpid) -> Host:
        return self.topology.hosts[dpid]

    def name_of(self, _dpid: Dpid, port: int) -> str:
        return port_name(port)

    # What happens to it

    def handle(self, event: Event) -> Effects:
        effects = self.engine.handle(event, self.now_s)
        for dpid in effects.wake:
            self._bridges.pop(dpid, None)
        if effects.wake:
            self._fabric = None
        return effects

    def commit(self, plan: Callable[[Draft], object]) -> bool:
        """Have the plan carried out; False where the API would refuse it."""
        draft = Draft(self.topology)
        try:
            plan(draft)
        except VxlanError:
            return False
        self.handle(Committed(tuple(draft.changes)))
        return True

    def connect(self, dpid: Dpid) -> None:
        self._epoch += 1
        ports = {port: port_name(port) for at, port in self.remotes if at == dpid}
        self.handle(Connected(dpid, self._epoch, "", None, {PATCH: "patch-tun", **ports}))

    def disconnect(self, dpid: Dpid) -> None:
        self.handle(Lost(dpid, self.engine.replicas[dpid].epoch))
        self._bridges.pop(dpid, None)
        self._fabric = None

    def refuse_nd(self, dpid: Dpid) -> None:
        """Its datapath turns out to be one that cannot answer solicitations."""
        turn = encode.encode_flow(nd_trial()[0])
        error = decode.SwitchError(2, 15, turn)
        self.handle(Received(dpid, self.engine.replicas[dpid].epoch, error))

    def move_vtep(self, dpid: Dpid, vtep: VtepIp) -> None:
        """The host's underlay address changes, and it is declared."""
        host = replace(self.topology.hosts[dpid], declared_vtep=vtep)
        if self.commit(lambda draft: draft.set_host(host)):
            self.vteps[dpid] = vtep
            self._fabric = None

    # Frames

    def fabric(self) -> SimulatedFabric:
        if self._fabric is None:
            for dpid, replica in self.engine.replicas.items():
                if dpid not in self._bridges:
                    self._bridges[dpid] = SimulatedBridge(
                        dpid,
                        self.vteps[replica.dpid],
                        replica.bridge.patch_port,
                        replica.desired().values(),
                        dict(replica.private.groups),
                    )
            there = [self._bridges[dpid] for dpid in self.engine.replicas]
            self._fabric = SimulatedFabric(there, self.wiring(), self.keyless, self.elsewhere())
        return self._fabric

    def elsewhere(self) -> list[VtepIp]:
        """Addresses of the underlay where none of our connected bridges is."""
        ours = {self.vteps[dpid] for dpid in self.connected}
        return [vtep for vtep in (*FOREIGN, *self.vteps.values()) if vtep not in ours]

    def wiring(self) -> dict[tuple[int, int], Far]:
        at: dict[Remote, Far] = {vtep: Foreign.at(vtep) for vtep in self.elsewhere()}
        at |= {self.vteps[dpid]: dpid for dpid in self.connected}
        return {
            place: "flow" if remote == "flow" else at.get(remote, Foreign.at(VtepIp(remote)))
            for place, remote in self.remotes.items()
        }

    def answer(self, punts: Sequence[Punt]) -> tuple[list[Journey], list[Effects]]:
        """The controller gets these packet-ins; the journeys of its packet-outs."""
        effects: list[Effects] = []
        for punt in punts:
            self.now_s += 1.0
            packet_in = decode.packet_in(frames.packet_in(punt))
            replica = self.engine.replicas[punt.dpid]
            effects.append(self.handle(Received(punt.dpid, replica.epoch, packet_in)))
        return list(self.emitted()), effects

    def emitted(self) -> Iterator[Journey]:
        """The journeys of the controller's packet-outs since this was asked last, but of probes."""
        for dpid, replica in self.engine.replicas.items():
            for message in replica.pull():
                if message[1] == encode.PACKET_OUT:
                    size = int.from_bytes(message[16:18], "big")
                    actions = readback.read_actions(message[24 : 24 + size])
                    frame = frames.from_bytes(message[24 + size :])
                    if (frame.eth_dst, frame.eth_type) != (PROBE_MAC, PROBE_ETH_TYPE):
                        yield self.fabric().emit(dpid, actions, frame)

    def __repr__(self) -> str:
        lines = [f"{dpid} at {vtep}" for dpid, vtep in self.vteps.items()]
        lines += [f"port {port} of {dpid} to {to}" for (dpid, port), to in self.remotes.items()]
        lines += [f"keyless: {sorted(self.keyless)}", f"connected: {self.connected}"]
        there = self.topology
        for facts in (there.hosts, there.networks, there.vteps, there.vms, there.vips):
            lines += map(repr, facts.values())
        lines += map(repr, there.learned.values())
        return "\n".join(lines)


def port_name(port: int) -> str:
    return f"vxlan{port - FIRST_TUNNEL}"


# How a world begins


def new_world(chance: Chance) -> World:
    """Two to five hosts; ports for each peer, flow-based ones, or both; most of it known."""
    dpids = [Dpid(number + 1) for number in range(2 + chance.below(4))]
    vteps = {dpid: VtepIp(Ip.parse(f"192.168.33.{11 + dpid}")) for dpid in dpids}
    kind = chance.pick(("peer", "flow", "any"))
    remotes: dict[tuple[Dpid, int], Remote] = {}
    keyless: set[tuple[Dpid, int]] = set()
    hosts = []
    for dpid in dpids:
        own = chance.pick(("peer", "flow", "both")) if kind == "any" else kind
        peers = [vtep for vtep in (*vteps.values(), *FOREIGN) if vtep != vteps[dpid]]
        ends: list[Remote] = [] if own == "flow" else list(peers)
        if own == "both":
            ends = chance.some(peers, 3)
        if own != "peer":
            ends.append("flow")
        known = []
        for number, end in enumerate(ends):
            place = (dpid, FIRST_TUNNEL + number)
            remotes[place] = end
            if chance.once_in(12):
                keyless.add(place)
            if not chance.once_in(15):
                known.append((port_name(place[1]), end))
        declared = bool(chance.below(2))
        keyless_names = [port_name(port) for at, port in sorted(keyless) if at == dpid]
        hosts.append(
            Host(
                dpid,
                declared_vtep=vteps[dpid],
                declared_remotes=tuple(known) if declared else (),
                seen_remotes=() if declared else tuple(known),
                seen_keyless=tuple(keyless_names),
            )
        )
    engine = Engine(Settings(PortNames()), b"secret")
    engine.load(hosts)
    world = World(engine, vteps, remotes, keyless)
    for dpid in dpids:
        if dpid == 1 or not chance.once_in(10):
            world.connect(dpid)
            if chance.once_in(6):
                world.refuse_nd(dpid)
    if not chance.once_in(4):
        world.now_s = 200.0
        world.handle(Tick())  # new bridges are trusted no more
    return world


def populate(world: World, chance: Chance) -> None:
    """Networks first, then who is in them."""
    for vni, vlan in zip(VNIS, VLANS, strict=True):
        if vni == 0 or not chance.once_in(3):
            network = some_network(chance, vni, vlan)
            world.commit(lambda draft, network=network: draft.set_network(network))
    for foreign in FOREIGN:
        if chance.below(2):
            declare(world, chance, foreign)
    for _ in range(2 + chance.below(8)):
        register(world, chance)
    if chance.once_in(3):
        share(world, chance)


def some_network(chance: Chance, vni: Vni, vlan: Vlan | None) -> Network:
    """A network with any policy that is allowed."""
    subnets = tuple(chance.some(SUBNETS, 3))
    security = chance.once_in(4)
    v4 = any(subnet.is_v4 for subnet in subnets)
    mode: Any = "reactive" if chance.once_in(4) else "proactive"
    return Network(
        vni,
        vlan=vlan,
        unknown_unicast=chance.pick(("flood", "drop")),
        unknown_arp=chance.pick(("flood", "drop")),
        multicast=chance.pick(("flood", "flood", "drop")),
        quiet=chance.once_in(3),
        arp_responder=not chance.once_in(5),
        learning=not chance.once_in(4),
        port_security=security,
        follow_moves=not security and chance.once_in(4),
        subnets=subnets,
        mode=mode,
        hosts="all" if chance.once_in(8) else tuple(Dpid(n) for n in chance.some((1, 2), 1)),
        dhcp=v4 and chance.once_in(2),
        gateway=GATEWAY if v4 and chance.once_in(2) else None,
    )


def register(world: World, chance: Chance) -> bool:
    """A VM is registered, changed, or moved."""
    vni = chance.pick(sorted(world.topology.networks))
    places = [*sorted(world.topology.hosts)] * 3 + [Foreign.at(vtep) for vtep in FOREIGN]
    mac = chance.pick(VM_MACS)
    ips = {V4[VM_MACS.index(mac)], V6[VM_MACS.index(mac)]}
    if chance.once_in(4):
        ips = {*chance.some(V4, 2), *chance.some(V6, 2)}
    vm = Vm(
        mac,
        Vni(vni),
        chance.pick(places),
        tuple(ips),
        respond=not chance.once_in(8),
    )
    return world.commit(lambda draft: draft.set_vm(vm))


def share(world: World, chance: Chance) -> bool:
    """A virtual IP, held by nobody yet or by one of its VMs."""
    vni = Vni(chance.pick(sorted(world.topology.networks)))
    macs = tuple(chance.some(VM_MACS, 3)) or VM_MACS[:1]
    vip = Vip(vni, chance.pick((*V4, *V6)), macs, holder=chance.pick((None, *macs)))
    return world.commit(lambda draft: draft.set_vip(vip))


def declare(world: World, chance: Chance, foreign: VtepIp) -> bool:
    """A foreign VTEP, with some of the networks."""
    vnis = tuple(Vni(vni) for vni in chance.some(sorted(world.topology.networks)))
    vtep = Vtep(foreign, vnis, learning=not chance.once_in(4))
    return world.commit(lambda draft: draft.set_vtep(vtep))


# What happens then


def happen(world: World, chance: Chance) -> None:
    """One change of the facts, if it is allowed."""
    there = world.topology
    match chance.below(12):
        case 0 | 1 | 2:
            register(world, chance)
        case 3:
            if there.vms:
                key = chance.pick(sorted(there.vms))
                world.commit(lambda draft: draft.remove_vm(key))
        case 4 | 5:
            vni = chance.pick(VNIS)
            network = some_network(chance, vni, chance.pick(VLANS))
            world.commit(lambda draft: draft.set_network(network))
        case 6:
            vni = chance.pick(VNIS)
            world.commit(lambda draft: draft.remove_network(vni))
        case 7:
            share(world, chance)
        case 8:
            if there.vips:
                key = chance.pick(sorted(there.vips))
                world.commit(lambda draft: draft.remove_vip(key))
        case 9:
            foreign = chance.pick(FOREIGN)
            if chance.below(3):
                declare(world, chance, foreign)
            else:
                world.commit(lambda draft: draft.remove_vtep(foreign))
        case 10:
            dpid = chance.pick(sorted(world.vteps))
            world.move_vtep(dpid, VtepIp(VtepIp.v4(world.vteps[dpid].low32 ^ 0x20)))
        case 11:
            dpid = chance.pick(sorted(world.vteps))
            if dpid in world.engine.replicas and len(world.connected) > 1:
                world.disconnect(dpid)
            elif dpid not in world.engine.replicas:
                world.connect(dpid)


# Packets


@dataclass(frozen=True)
class Sent:
    """A packet, and where it comes from: br-int of a host, or (with a VTEP) the underlay."""

    dpid: Dpid
    packet: Packet
    vtep: VtepIp | None = None
    vni: int = 0


def a_packet(world: World, chance: Chance, at: Dpid | None = None) -> Sent:
    """Mostly what a VM would send, as itself or as another, now and then from the underlay."""
    dpid = chance.pick(world.connected) if at is None else at
    if chance.once_in(6):
        return from_underlay(world, chance, dpid)
    carried = list(networks_at(world, dpid))
    if not carried or chance.once_in(12):
        return Sent(dpid, a_frame(world, chance, None, 0, chance.pick(VLANS)))
    network = chance.pick(carried)
    own = [vm for vm in world.topology.vms.values() if vm.key[0] == network.vni and vm.host == dpid]
    sender = chance.pick(own) if own and not chance.once_in(4) else None
    return Sent(dpid, a_frame(world, chance, sender, network.vni, network.vlan))


def from_underlay(world: World, chance: Chance, dpid: Dpid) -> Sent:
    vtep = chance.pick((*FOREIGN, *FOREIGN, *world.vteps.values(), UNDECLARED))
    foreign = world.topology.vteps.get(vtep)
    vni: int = chance.pick((*VNIS, 0xABCDEF))
    if foreign is not None and foreign.vnis and chance.below(3):
        vni = chance.pick(foreign.vnis)
    behind = [
        vm
        for vm in world.topology.vms.values()
        if vm.vni == vni and world.topology.vtep_of(vm.host) == vtep
    ]
    sender = chance.pick(behind) if behind and chance.below(2) else None
    return Sent(dpid, a_frame(world, chance, sender, vni, None), vtep, vni)


def networks_at(world: World, dpid: Dpid) -> Iterator[Network]:
    for vni in sorted(world.topology.networks):
        if world.topology.is_member(dpid, vni):
            yield world.topology.networks[vni]


def a_frame(world: World, chance: Chance, sender: Vm | None, vni: int, vlan: Vlan | None) -> Packet:
    """One of all kinds of frames."""
    mac = sender.mac if sender is not None else chance.pick((*VM_MACS, *STRANGERS))
    if chance.once_in(60):
        mac = chance.pick((Mac(0), Mac(ALL_NODES), PROBE_MAC, DHCP_MAC))
    vms = [vm for vm in world.topology.vms.values() if vm.vni == vni]
    other = chance.pick(vms) if vms else None
    if other is not None and not chance.once_in(5):
        dst = other.mac
    else:
        dst = chance.pick((*VM_MACS, *STRANGERS))
    v4 = _an_ip(chance, sender, V4)
    v6 = _an_ip(chance, sender, (*V6, link_local(mac)))
    to4 = _an_ip(chance, other, (*V4, GATEWAY))
    to6 = _an_ip(chance, other, V6)
    match chance.below(16):
        case 0 | 1:
            return Packet.routed(IpHeader(v4, to4), mac, dst, vlan)
        case 2:
            return Packet.routed(IpHeader(v6, to6, 58, icmp_type=128), mac, dst, vlan)
        case 3:
            return Packet.routed(IpHeader(v4, to4, 17, 1024, 53), mac, dst, vlan)
        case 4:
            group = chance.pick((BROADCAST, BROADCAST, 0x01005E000001, ALL_NODES))
            return Packet.routed(IpHeader(v4, Ip.v4(0xFFFFFFFF), 17, 9, 9), mac, group, vlan)
        case 5:
            return a_dhcp_request(chance, mac, dst, vlan)
        case 6:
            return chatter(chance, mac, v4, v6, vlan)
        case 7 | 8 | 9 | 10:
            return an_arp(chance, mac, v4, to4, dst, vlan)
        case 11 | 12 | 13 | 14:
            return a_neighbour_message(chance, mac, v6, to6, dst, vlan)
    eth_type = chance.pick((ETH_TYPE_RARP, 0x88CC, PROBE_ETH_TYPE, 0x0842))
    to = chance.pick((BROADCAST, dst, PROBE_MAC, 0x0180C200000E))
    return Packet(mac, to, vlan, eth_type, payload=b"\x01" * 46)


def _an_ip(chance: Chance, vm: Vm | None, pool: Sequence[Ip]) -> Ip:
    """One of the VM's own if it has any of the pool's family, now and then another's."""
    own = [ip for ip in vm.ips if ip.is_v4 == pool[0].is_v4] if vm is not None else []
    return chance.pick(own) if own and not chance.once_in(5) else chance.pick(pool)


def a_dhcp_request(chance: Chance, mac: int, dst: int, vlan: int | None) -> Packet:
    to = BROADCAST if chance.below(4) else dst
    src = Ip.v4(0) if chance.below(4) else chance.pick(V4)
    ports = (67, 68) if chance.once_in(8) else (68, 67)
    ip = IpHeader(src, Ip.v4(0xFFFFFFFF), 17, *ports)
    discover = (
        bytes((1, 1, 6, 0))
        + bytes(24)
        + mac.to_bytes(6, "big")
        + bytes(202)
        + bytes.fromhex("63825363350101ff")
    )
    return replace(Packet.routed(ip, mac, to, vlan), payload=discover)


def chatter(chance: Chance, mac: int, v4: Ip, v6: Ip, vlan: int | None) -> Packet:
    """What hosts multicast when they start."""
    if chance.once_in(3):
        ip = IpHeader(v4, Ip.v4(0xE0000016), 2)
        return replace(Packet.routed(ip, mac, 0x01005E000016, vlan), payload=b"\x22" * 16)
    src = Ip(0) if chance.once_in(3) else v6
    ip = IpHeader(src, Ip(0xFF02 << 112 | 0x16), 58, icmp_type=chance.pick(CHATTER))
    return Packet.routed(ip, mac, 0x333300000016, vlan)


def an_arp(chance: Chance, mac: int, v4: Ip, to4: Ip, dst: int, vlan: int | None) -> Packet:
    """Who-has, is-at, gratuitous, probe; now and then in another's name."""
    op = 2 if chance.once_in(5) else chance.pick((1, 1, 1, 1, 1, 3))
    spa, tpa = v4.low32, to4.low32
    match chance.below(6):
        case 4:
            tpa = spa
        case 5:
            spa = 0
    sha = chance.pick((*VM_MACS, *STRANGERS)) if chance.once_in(8) else mac
    to = dst if chance.once_in(5) else 1101088686081 if chance.once_in(12) else BROADCAST
    return Packet(mac, to, vlan, 0x0806, Arp(op, sha, spa, 0 if op == 1 else dst, tpa))


def a_neighbour_message(
    chance: Chance, mac: int, v6: Ip, to6: Ip, dst: int, vlan: int | None
) -> Packet:
    """Solicitations, advertisements, address probes; with and without their option."""
    claimed = chance.pick((*VM_MACS, *STRANGERS)) if chance.once_in(8) else mac
    option = 0 if chance.once_in(4) else claimed
    if chance.once_in(3):
        to, to_ip = (dst, int(to6)) if chance.below(2) else (ALL_NODES, 0xFF02 << 112 | 1)
        target = int(chance.pick(V6)) if chance.once_in(5) else int(v6)
        nd = Nd(ADVERTISEMENT, int(v6), to_ip, target, option, to == dst)
        return Packet.soliciting(nd, mac, to, vlan)
    source = int(v6)
    if chance.once_in(4):
        source, option = 0, 0
    node = 0xFF02 << 112 | 0x1FF << 24 | int(to6) & 0xFFFFFF
    to = dst if chance.once_in(5) else 0x3333FF000000 | int(to6) & 0xFFFFFF
    nd = Nd(SOLICITATION, source, node, int(to6), option)
    return Packet.soliciting(nd, mac, to, vlan)
