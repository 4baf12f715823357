"""The simulator does with a packet what Open vSwitch's own ofproto/trace says that it would do.

Random worlds on one real bridge: same flows hit, same copies through tunnels, same frames to
br-int, same packet-ins. VXLAN_TRACE_WORLDS=2000 compares that many worlds, and other ones each
time.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from controller.bridges import METERS
from controller.engine import Engine, Settings
from controller.events import Connected, Tick
from controller.frames import SOLICITATION, Nd
from controller.journey import Packet
from controller.pipeline import COOKIE_OWNER, Kind, cookie_kind
from controller.wire import encode
from tests.controller.worlds import (
    BROADCAST,
    FIRST_TUNNEL,
    FOREIGN,
    PATCH,
    UNDECLARED,
    V4,
    V6,
    Chance,
    Sent,
    World,
    a_packet,
    happen,
    populate,
    port_name,
)
from tests.fake import frames
from tests.wire.switch import Connection
from topology.lab import LabHost
from topology.model import Fact, Host, Network, Remote, Vm
from topology.types import Dpid, Foreign, Ip, Mac, Vlan, Vni, VtepIp

WORLDS = int(os.environ.get("VXLAN_TRACE_WORLDS", "0"))
FRAMES = 25
SELF = Dpid(1)
VTEPS = {Dpid(dpid): VtepIp(Ip.parse(f"192.168.33.{11 + dpid}")) for dpid in range(1, 5)}
REMOTES: tuple[Remote, ...] = (VTEPS[Dpid(2)], VTEPS[Dpid(3)], FOREIGN[0], VTEPS[Dpid(4)], "flow")
KEYLESS = FIRST_TUNNEL + 3
NEIGHBOURS = {*VTEPS.values(), *FOREIGN, *(VtepIp(vtep ^ 0x20) for vtep in VTEPS.values())}


# The real bridge


class Appctl:
    """ovs-appctl without a process for each call: it speaks JSON-RPC."""

    def __init__(self, host: LabHost) -> None:
        (path,) = host.ovs.rundir.glob("ovs-vswitchd.*.ctl")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._ids = itertools.count()
        self._buffer = ""

    def __call__(self, method: str, *params: str) -> str:
        request = {"id": next(self._ids), "method": method, "params": params}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            self._buffer += self._socket.recv(1 << 20).decode()
            try:
                answer, end = json.JSONDecoder().raw_decode(self._buffer)
            except ValueError:
                continue
            self._buffer = self._buffer[end:]
            assert answer["error"] is None, answer["error"]
            return answer["result"]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def wired(ovs_host: LabHost) -> LabHost:
    """br-tun has every kind of tunnel port; what it hands to br-int leaves by one port."""
    host = ovs_host
    host.vsctl("del-port", "br-tun", "vxlan0")
    for number, remote in enumerate(REMOTES):
        port, name = FIRST_TUNNEL + number, port_name(FIRST_TUNNEL + number)
        options = ["type=vxlan", f"ofport_request={port}", f"options:remote_ip={remote}"]
        if port != KEYLESS:
            options.append("options:key=flow")
        host.vsctl("add-port", "br-tun", name, "--", "set", "interface", name, *options)
    host.vsctl("add-port", "br-int", "sink", "--", "set", "interface", "sink", "type=internal")
    sink = host.vsctl("get", "interface", "sink", "ofport").strip()
    host.ofctl("del-flows", "br-int")
    host.ofctl("add-flow", "br-int", f"actions=output:{sink}")
    assert host.ports["patch-tun"] == PATCH
    for vtep in NEIGHBOURS:
        host.appctl("tnl/neigh/set", "br-phy", str(vtep), str(Mac(0x020000000000 | vtep.low32)))
    return host


@pytest.fixture
def bridge(wired: LabHost, wire: Connection) -> Iterator[RealBridge]:
    assert wire.ask([encode.meter_mod(encode.ADD, meter) for meter in METERS]) == []
    appctl = Appctl(wired)
    yield RealBridge(wire, appctl)
    appctl.close()


@dataclass
class RealBridge:
    """Holds what the engine wants of host 1, and traces frames through it."""

    wire: Connection
    appctl: Callable[..., str]
    _held: dict[int, bytes] = field(default_factory=dict)
    _groups: dict[int, bytes] = field(default_factory=dict)

    def hold(self, world: World) -> None:
        replica = world.engine.replicas[SELF]
        wanted, groups = replica.desired(), dict(replica.private.groups)
        mods = [
            encode.group_mod(
                encode.GROUP_MODIFY if group_id in self._groups else encode.GROUP_ADD,
                group_id,
                buckets,
            )
            for group_id, buckets in groups.items()
            if self._groups.get(group_id) != buckets
        ]
        mods += [encode.delete_of(self._held[cookie]) for cookie in self._held.keys() - wanted]
        mods += [wanted[cookie] for cookie in wanted.keys() - self._held.keys()]
        mods += [encode.group_mod(encode.GROUP_DELETE, gid) for gid in self._groups.keys() - groups]
        assert [reply for reply in self.wire.ask(mods) if reply[1] == encode.ERROR] == []
        self._held, self._groups = wanted, groups

    def trace(self, packet: Packet, in_port: int, tunnel: str) -> str:
        frame = frames.to_bytes(packet).hex()
        return self.appctl("ofproto/trace", "br-tun", f"in_port={in_port}{tunnel}", frame)


# What became of a frame, in words that both sides can say


@dataclass
class Outcome:
    """Cookies of our flows in the order hit; copies (VTEP, VNI, tag); frames to br-int; punts."""

    hit: list[int] = field(default_factory=list)
    copies: list[tuple[str, int, int | None]] = field(default_factory=list)
    delivered: list[dict[str, object]] = field(default_factory=list)
    punted: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = [f"{cookie_kind(cookie)!r} {cookie:#x}" for cookie in self.hit]
        return f"{kinds}\n copies {self.copies}\n delivered {self.delivered}\n punted {self.punted}"


def simulated(world: World, sent: Sent) -> Outcome:
    fabric = world.fabric()
    if sent.vtep is None:
        journey = fabric.send(SELF, sent.packet)
    else:
        journey = fabric.arrive(SELF, sent.vtep, sent.vni, sent.packet)
    copies = []
    for copy in journey.copies:
        if copy.to is None:  # a flow-based port that was taken for another, and got no address
            continue
        vtep = copy.to.vtep if isinstance(copy.to, Foreign) else world.vteps[copy.to]
        copies.append((str(vtep), copy.vni, copy.packet.vlan))
    return Outcome(
        [hop.cookie for hop in journey.hops if hop.dpid == SELF and hop.cookie is not None],
        copies,
        [fields_of(there.packet) for there in journey.deliveries if there.dpid == SELF],
        [punt.cookie for punt in journey.punts if punt.dpid == SELF],
    )


def fields_of(packet: Packet) -> dict[str, object]:
    """The fields that flows rewrite, as datapath actions name them."""
    there: dict[str, object] = {
        "vlan": packet.vlan,
        "eth.src": str(Mac(packet.eth_src)),
        "eth.dst": str(Mac(packet.eth_dst)),
    }
    if packet.arp is not None:
        arp = packet.arp
        there |= {"arp.op": str(arp.op), "arp.sip": str(Ip.v4(arp.sender_ip))}
        there |= {"arp.tip": str(Ip.v4(arp.target_ip)), "arp.sha": str(Mac(arp.sender_mac))}
        there["arp.tha"] = str(Mac(arp.target_mac))
    if packet.nd is not None:
        nd = packet.nd
        there |= {"icmpv6.type": str(nd.kind), "icmpv6.code": "0"}
        there |= {"ipv6.src": str(Ip(nd.source)), "ipv6.dst": str(Ip(nd.destination))}
        there |= {"nd.target": str(Ip(nd.target)), "link layer": str(Mac(nd.link_layer))}
    return there


def traced(text: str, packet: Packet) -> Outcome:
    """What ofproto/trace says."""
    found = re.findall(r"^\s*\d+\. .*cookie (0x\w+)", text, re.M)
    cookies = [int(cookie, 16) for cookie in found]
    outcome = Outcome([cookie for cookie in cookies if cookie >> 56 == COOKIE_OWNER])
    actions = re.search(r"^Datapath actions: (.*)$", text, re.M)
    assert actions is not None, text
    carry_out(split(actions[1]), fields_of(packet), outcome)
    return outcome


def split(text: str) -> list[str]:
    """Datapath actions, or what is in their parentheses, parted at the outer commas."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [part for part in (*parts, text[start:]) if part]


def carry_out(actions: list[str], packet: dict[str, object], outcome: Outcome) -> None:
    tunnelled = False  # the port of the underlay comes after tnl_push
    for action in actions:
        name, _, rest = action.partition("(")
        inner = rest.removesuffix(")")
        if name == "clone":
            carry_out(split(inner), dict(packet), outcome)
        elif name in ("sample", "userspace"):
            outcome.punted += [int(cookie, 16) for cookie in re.findall(r"cookie=(\w+)", inner)]
        elif name == "tnl_push":
            outer = re.search(r"ipv4\(src=[^,]*,dst=([\d.]+).*vni=(0x\w+)", inner)
            assert outer is not None, action
            outcome.copies.append((outer[1], int(outer[2], 16), packet["vlan"]))
            tunnelled = True
        elif name == "pop_vlan":
            packet["vlan"] = None
        elif name == "push_vlan":
            packet["vlan"] = int(re.findall(r"vid=(\d+)", inner)[0])
        elif name == "set":
            rewrite(inner, packet)
        elif name.isdigit():
            if not tunnelled:
                outcome.delivered.append(dict(packet))
            tunnelled = False
        else:
            assert name == "drop", action


def rewrite(field_set: str, packet: dict[str, object]) -> None:
    header, _, rest = field_set.partition("(")
    for pair in split(rest.removesuffix(")")):
        name, value = pair.split("=")
        value = value.split("/")[0]
        if header == "nd" and name in ("sll", "tll"):
            packet["link layer"] = value
        elif header == "vlan" and name == "vid":
            packet["vlan"] = int(value)
        elif header != "nd_ext":
            assert f"{header}.{name}" in packet, field_set
            packet[f"{header}.{name}"] = value


# Worlds


def a_world(chance: Chance) -> World:
    """Host 1 with some of the bridge's ports, most of them known; the others are facts only."""
    ports = {FIRST_TUNNEL + number: remote for number, remote in enumerate(REMOTES)}
    for port in list(ports):
        if chance.once_in(3):
            del ports[port]
    known = tuple(
        (port_name(port), remote) for port, remote in ports.items() if not chance.once_in(8)
    )
    keyless = (port_name(KEYLESS),) if KEYLESS in ports else ()
    engine = Engine(Settings(), b"secret")
    hosts = [Host(dpid, declared_vtep=vtep) for dpid, vtep in VTEPS.items() if dpid != SELF]
    own = Host(
        SELF,
        declared_vtep=VTEPS[SELF],
        declared_remotes=known if chance.below(2) else (),
        seen_remotes=known,
        seen_keyless=keyless,
    )
    engine.load([own, *hosts])
    remotes = {(SELF, port): remote for port, remote in ports.items()}
    world = World(engine, dict(VTEPS), remotes, {(SELF, KEYLESS)} if keyless else set())
    names = {port: port_name(port) for port in ports}
    world.handle(Connected(SELF, 1, "", None, {PATCH: "patch-tun", **names}))
    if chance.below(2):
        world.now_s = 200.0
        world.handle(Tick())
    return world


def arrival_port(world: World, sent: Sent) -> int | None:
    """Where Open vSwitch would have a frame of this sender come in."""
    assert sent.vtep is not None
    ends = sorted(
        (remote == "flow", (SELF, port) not in world.keyless, port)
        for (_dpid, port), remote in world.remotes.items()
        if remote in (sent.vtep, "flow") and not (sent.vni and (SELF, port) in world.keyless)
    )
    return ends[0][2] if ends else None


def compare(bridge: RealBridge, world: World, sent: Sent, seen: Counter[str]) -> None:
    in_port, tunnel = PATCH, ""
    if sent.vtep is not None:
        port = arrival_port(world, sent)
        if port is None:
            assert world.fabric().arrive(SELF, sent.vtep, sent.vni, sent.packet).hops == []
            return
        in_port = port
        tunnel = f",tun_src={sent.vtep},tun_dst={VTEPS[SELF]},tun_id={int(sent.vni)}"
    bridge.hold(world)
    text = bridge.trace(sent.packet, in_port, tunnel)
    ours, theirs = simulated(world, sent), traced(text, sent.packet)
    assert ours == theirs, f"{sent}\nours: {ours}\ntheirs: {theirs}\n{text}"
    seen["frames"] += 1
    seen["copies"] += len(ours.copies)
    seen["delivered"] += len(ours.delivered)
    seen["punted"] += len(ours.punted)
    for cookie in ours.hit:
        kind = cookie_kind(cookie)
        assert kind is not None
        seen[kind.name] += 1


CERTAINLY = {
    Kind.ARP_GRATUITOUS,
    Kind.ARP_PROBE,
    Kind.ARP_RESPONDER,
    Kind.DELIVER,
    Kind.DHCP_REQUEST,
    Kind.EGRESS_VTEP,
    Kind.FORGED,
    Kind.LOCAL_LEARNED,
    Kind.MULTICAST_DROP,
    Kind.ND_DAD,
    Kind.ND_PUNT,
    Kind.ND_REPLY,
    Kind.NEIGHBOUR_DROP,
    Kind.NEIGHBOUR_PUNT,
    Kind.QUIET_DROP,
    Kind.SECURE_IP,
    Kind.SOURCE_GUARD,
    Kind.TUNNEL_FOREIGN,
    Kind.TUNNEL_PEER_PORT,
    Kind.TUNNEL_VTEP,
    Kind.UNICAST_PUNT,
}
"""Some of what random frames hit, so that a comparison of nothing is noticed."""


def play(bridge: RealBridge, seed: str, seen: Counter[str]) -> None:
    """A world with a history, and the frames that host 1 sends or gets on the way."""
    chance = Chance(Random(seed))
    world = a_world(chance)
    populate(world, chance)
    for _ in range(FRAMES):
        if chance.once_in(5):
            happen(world, chance)
        if SELF not in world.engine.replicas:
            return
        sent = a_packet(world, chance, SELF)
        compare(bridge, world, sent, seen)
        if sent.vtep is None:
            world.answer(world.fabric().send(SELF, sent.packet).punts)


def test_random_frames_take_the_same_way(bridge):
    seen: Counter[str] = Counter()
    for number in range(WORLDS or 200):
        seed = f"{number}/{os.getpid()}" if WORLDS else f"{number}"
        try:
            play(bridge, seed, seen)
        except AssertionError as error:
            raise AssertionError(f"seed {seed!r}: {error}") from error
    print(*(f"{count:>8} {what}" for what, count in seen.most_common()), sep="\n")
    assert {kind.name for kind in CERTAINLY if not seen[kind.name]} == set()


# One world that is always the same


A, B, C = (Mac(0x525400000000 | number) for number in (1, 2, 3))
BLUE = Vni(100)


@pytest.fixture
def fixed(bridge: RealBridge) -> tuple[RealBridge, World]:
    """Hosts 1 and 2, a VM on each, in an untagged network and in one on VLAN 10."""
    known = (("vxlan4", "flow"),)
    engine = Engine(Settings(), b"secret")
    hosts = [Host(dpid, declared_vtep=VTEPS[dpid]) for dpid in (Dpid(2), Dpid(3))]
    facts: list[Fact] = [Host(SELF, declared_vtep=VTEPS[SELF], seen_remotes=known), *hosts]
    facts.append(Network(BLUE, vlan=Vlan(10)))
    for vni in (Vni(0), BLUE):
        facts += [Vm(A, vni, SELF, (V4[0], V6[0])), Vm(B, vni, Dpid(2), (V4[1], V6[1]))]
    engine.load(facts)
    world = World(engine, dict(VTEPS), {(SELF, FIRST_TUNNEL + 4): "flow"}, set())
    world.handle(Connected(SELF, 1, "", None, {PATCH: "patch-tun", FIRST_TUNNEL + 4: "vxlan4"}))
    return bridge, world


@pytest.mark.parametrize("vlan", [None, 10])
def test_a_solicitation_becomes_its_answer(fixed, vlan):
    """In two tables, ND_REPLY the second; and what br-int gets is what the simulator says."""
    bridge, world = fixed
    group = 0x3333FF000000 | int(V6[1]) & 0xFFFFFF
    nd = Nd(SOLICITATION, int(V6[0]), 0xFF02 << 112 | 0x1FF000003, int(V6[1]), A)
    seen: Counter[str] = Counter()

    compare(bridge, world, Sent(SELF, Packet.soliciting(nd, A, group, vlan)), seen)

    assert (seen["ND_SOLICIT"], seen["ND_REPLY"]) == (1, 1)
    assert (seen["delivered"], seen["copies"], seen["punted"]) == (1, 0, 0)


@pytest.mark.parametrize("vlan", [None, 10])
def test_a_flooded_frame_leaves_untagged_with_its_networks_vni(fixed, vlan):
    bridge, world = fixed
    sent = Sent(SELF, Packet(C, BROADCAST, vlan))
    bridge.hold(world)

    outcome = traced(bridge.trace(sent.packet, PATCH, ""), sent.packet)

    reached = ["192.168.33.13", "192.168.33.14"] if vlan is None else ["192.168.33.13"]
    vni = 0 if vlan is None else int(BLUE)
    assert outcome.copies == [(vtep, vni, None) for vtep in reached]


def test_a_stranger_on_the_underlay_gets_nothing_in(fixed):
    bridge, world = fixed
    seen: Counter[str] = Counter()

    compare(bridge, world, Sent(SELF, Packet(C, A), UNDECLARED, 0), seen)

    assert (seen["TUNNEL_IN"], seen["TABLE_MISS"], seen["delivered"]) == (1, 1, 0)
