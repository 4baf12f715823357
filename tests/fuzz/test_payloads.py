"""Whatever frame a VM sends to whatever flow: no exception, no growth, nothing that it may not do.

    VXLAN_SEED=7 VXLAN_FUZZ_PAYLOADS=1000000 python -m pytest tests/fuzz/test_payloads.py

replays one run; what was ever found is in corpus/payloads.hex, and goes to every flow always.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import frames
from controller.engine import Settings
from controller.events import Effects
from controller.flow import CopyToController, Field, Group, Output, SetField
from controller.learning import MAX_IPS_PER_MAC, Limits
from controller.pipeline import FOREIGN_KINDS, PROBE_MAC, Kind, cookie_kind
from controller.sightings import SIGHTINGS_MAX
from controller.wire import decode, encode, readback
from controller.wire.encode import encode_match
from tests.fake import FakeFabric
from tests.fuzz.payloads import Payloads
from topology.model import Vm
from topology.types import Foreign, Ip, Mac, Subnet, VtepIp

CORPUS = Path(__file__).with_name("corpus") / "payloads.hex"
COUNT = int(os.environ.get("VXLAN_FUZZ_PAYLOADS", "20000"))
SEED = int(os.environ.get("VXLAN_SEED", "6"))
AT_ONCE = 20
LIMITS = Limits(per_place=64, per_network=128)
SILENT = 3
"""This host sends nothing."""
PLAIN, SECURE, FOLLOWING, DROPPING, REACTIVE, SHARED = 100, 200, 300, 400, 500, 600
RACK = VtepIp(Ip.parse("192.168.33.200"))
RACK_PLACE = int(Foreign.at(RACK))
VIP = Ip.v4(0x0A0101C8)


class Fuzzed(FakeFabric):
    """A fabric with every policy. What its switches are told to send is kept, not sent."""

    def __init__(self) -> None:
        super().__init__(3, "flow", Settings(limits=LIMITS))
        self.sent: list[tuple[int, tuple[object, ...], bytes]] = []
        self.followed: set[tuple[tuple[int, int], int]] = set()
        self.connect_all()
        subnet = (Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64"))
        everywhere = {"hosts": "all", "subnets": subnet}
        self.network(PLAIN, 10, **everywhere, dhcp=True)
        self.network(SECURE, 20, **everywhere, port_security=True, dhcp=True)
        self.network(FOLLOWING, 30, **everywhere, follow_moves=True)
        self.network(DROPPING, 40, **everywhere, unknown_unicast="drop", unknown_arp="drop")
        self.network(
            REACTIVE, 50, **everywhere, mode="reactive", unknown_unicast="drop", unknown_arp="drop"
        )
        self.network(SHARED, 60, **everywhere, mode="reactive", quiet=True, multicast="drop")
        self.vtep(RACK, (PLAIN, FOLLOWING, REACTIVE))
        self.vms = []
        for vni, vlan in (
            (PLAIN, 10),
            (SECURE, 20),
            (FOLLOWING, 30),
            (DROPPING, 40),
            (REACTIVE, 50),
        ):
            for host in range(3):
                vm = self.vm(host, vni, vlan)
                self.register(vm, ips=(vm.ip, Ip.parse(f"fd00::{vm.ip.low32 & 0xFF:x}")))
                self.vms.append(vm)
            self.vip(VIP, *self.vms[-3:])
        self.facts = dict(self.engine.topology.vms)
        self.sent.clear()

    def deliver_down(self, dpid: int) -> bool:
        queue = self._down.get(dpid)
        if not queue:
            return False
        switch = self.switches[dpid]
        self._up[dpid].extend(switch.receive(queue.popleft(), self.now_s))
        while switch.packet_outs:
            actions, frame = switch.packet_outs.pop()
            if frame[6:12] != PROBE_MAC.to_bytes(6, "big"):
                self.sent.append((dpid, actions, frame))
        return True

    def _take(self, effects: Effects) -> None:
        self.followed |= {(key, int(place)) for key, place in effects.moves.items()}
        effects.moves.clear()  # facts stay: what was to be followed is judged
        super()._take(effects)

    def copying(self) -> list[tuple[int, int, int]]:
        """(dpid, cookie, VNI) of each flow that copies to the controller, and may say which."""
        found = []
        for dpid in self.switches.keys() - {SILENT}:
            for cookie, add in self.switches[dpid].cookies.items():
                flow = readback.read_flow(add)
                if any(isinstance(action, CopyToController) for action in flow.actions):
                    said = [a.value for a in flow.actions if isinstance(a, SetField)]
                    said += [term[1] for term in flow.match if term[0] is Field.TUN_ID]
                    found.append((dpid, cookie, said[0] if said else 0))
        return found


def _goes_on(actions: tuple[object, ...]) -> bool:
    """Whether this sends a frame to other hosts."""
    return any(
        isinstance(action, Group)
        or (isinstance(action, SetField) and action.field is Field.TUN_DST)
        for action in actions
    )


def packet_in(cookie: int, in_port: int, vni: int, tun_src: int, frame: bytes) -> decode.PacketIn:
    """By way of the bytes that a switch sends."""
    terms = [(Field.IN_PORT, in_port, None), (Field.TUN_ID, vni, None)]
    if tun_src:
        terms += [(Field.TUN_SRC, tun_src, None), (Field.TUN_DST, 0xC0A8210C, None)]
    fixed = b"\xff" * 4 + len(frame).to_bytes(2, "big") + b"\x01\0" + cookie.to_bytes(8, "big")
    body = fixed + encode_match(tuple(terms)) + b"\0\0" + frame
    packet = decode.packet_in(encode.message(encode.PACKET_IN, 0, body))
    assert packet.frame == frame
    return packet


class Judge:
    """Sends to a fuzzed fabric, and looks at what came of it."""

    def __init__(self) -> None:
        self.fabric = Fuzzed()
        self.flows = self.fabric.copying()
        kinds = {cookie_kind(cookie) for _dpid, cookie, _vni in self.flows}
        wanted = {Kind.LOCAL_UNKNOWN, Kind.LOCAL_ARP, Kind.LOCAL_ND, Kind.TUNNEL_FOREIGN}
        wanted |= {Kind.TUNNEL_FOREIGN_NEIGHBOUR, Kind.VIP_CLAIM, Kind.DHCP_REQUEST, Kind.ND_PUNT}
        wanted |= {Kind.UNICAST_PUNT, Kind.NEIGHBOUR_PUNT, Kind.PROBE_IN, Kind.LOCAL_STRAY}
        assert wanted | {Kind.ASK_ANSWER} == kinds, "every flow that copies is fuzzed"

    def send(self, dpid: int, packets: list[decode.PacketIn]) -> None:
        """What one read of a host's connection brings."""
        fabric = self.fabric
        fabric.now_s += 0.001 * len(packets)
        fabric.packets_in(dpid, packets)
        fabric.settle()
        assert not fabric.engine.stumbles, fabric.log[-1]
        sent, fabric.sent = fabric.sent, []
        if sent:
            asked = [packet.frame for packet in packets]
            onward = {frames.untagged(frame) for frame in asked}
            askers = {frame[6:12] for frame in asked}
            for said_by, actions, out in sent:
                assert said_by == dpid, "only the host that asked is answered"
                if _goes_on(actions):
                    assert out in onward, "what goes on is what was sent"
                else:
                    assert isinstance(actions[-1], Output)
                    assert out[:6] in askers or out[0] & 1, "an answer to somebody else"

    def look(self) -> None:
        """What holds at any time, whatever was sent."""
        fabric = self.fabric
        topology, packets = fabric.engine.topology, fabric.engine.packets
        assert not fabric.engine.stumbles, fabric.log[-1]
        assert topology.vms == fabric.facts, "no registered fact changes"
        for (vni, _mac), place in fabric.followed:
            assert vni == FOLLOWING, "who is followed"
            assert place in (1, 2, RACK_PLACE), "to where nothing was sent from"
        for key, entry in topology.learned.items():
            assert entry.host != SILENT, "learned where nothing was sent from"
            network = topology.networks[key[0]]
            assert network.learning
            assert not network.port_security
            assert key not in topology.vms
            assert entry.mac.is_station
            assert len(entry.ips) <= MAX_IPS_PER_MAC
            assert not {ip for ip, _s in entry.ips} & ips_of(topology.vms, key[0])
            assert not any((key[0], ip) in topology.vips for ip, _s in entry.ips)
        for place in (1, 2, RACK_PLACE):
            assert len(topology.learned_on(place)) <= LIMITS.per_place
        assert all(len(topology.learned_in(v)) <= LIMITS.per_network for v in topology.networks)
        assert len(list(packets.sightings.since(0.0))) <= SIGHTINGS_MAX
        assert len(packets.newcomers) <= 3 * 7 * LIMITS.per_place
        for vip in topology.vips.values():
            assert vip.holder is None or vip.holder in vip.macs
        for dpid, replica in fabric.engine.replicas.items():
            assert len(replica.private.units) < 600, f"host {dpid}"
        assert not fabric.engine.inquiries._asks


def ips_of(vms: dict[tuple[int, int], Vm], vni: int) -> set[Ip]:
    return {ip for vm in vms.values() if vm.vni == vni for ip in vm.ips}


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def corpus() -> Iterator[tuple[bytes, str]]:
    for line in CORPUS.read_text().splitlines():
        data, _, why = line.partition("#")
        if data.strip():
            assert why.strip(), f"no reason: {line}"
            yield bytes.fromhex(data), why.strip()


@pytest.mark.parametrize(("frame", "why"), list(corpus()), ids=[why for _frame, why in corpus()])
def test_what_was_found_before(judge: Judge, frame: bytes, why: str) -> None:
    for dpid, cookie, vni in judge.flows:
        foreign = cookie_kind(cookie) in FOREIGN_KINDS
        origin = (5, vni, RACK.low32) if foreign else (1, vni, 0)
        cuts = (frame, frame[:128])
        judge.send(dpid, [packet_in(cookie, *origin, cut) for cut in cuts])
    judge.look()


def some_packet_in(chance: random.Random, cookie: int, vni: int, frame: bytes) -> decode.PacketIn:
    """Mostly as that flow would copy it; now and then from where it cannot come from."""
    foreign = cookie_kind(cookie) in FOREIGN_KINDS
    if chance.random() < 0.9:
        origin = (5, vni, RACK.low32) if foreign else (1, vni, 0)
    else:
        origin = (
            chance.choice((1, 5, 9, 0xFFFFFFFE)),
            chance.choice((0, 99, PLAIN, SECURE, REACTIVE, (1 << 64) - 1)),
            chance.choice((0, 1, 0xC0A8210D, 1 << 31, RACK.low32)),
        )
    return packet_in(cookie, *origin, frame)


@pytest.mark.timeout(3600)
def test_any_payload_to_any_flow(judge: Judge) -> None:
    chance = random.Random(SEED)
    macs = [int(vm.mac) for vm in judge.fabric.vms] + [0x02FA00000000 | n for n in range(40)]
    ips = [vm.ip.low32 for vm in judge.fabric.vms] + [VIP.low32, 0x0A0101FE]
    payloads = Payloads(chance, macs, ips)
    flows = {dpid: [flow for flow in judge.flows if flow[0] == dpid] for dpid in (1, 2)}
    for turn in range(COUNT // AT_ONCE):
        dpid = chance.choice((1, 2))
        packets = []
        for _ in range(AT_ONCE):
            _dpid, cookie, vni = chance.choice(flows[dpid])
            packets.append(some_packet_in(chance, cookie, vni, payloads.frame()))
        try:
            judge.send(dpid, packets)
            if turn % 25 == 0:
                judge.fabric.tick()
                judge.fabric.settle()
            if turn % 250 == 0:
                judge.look()
        except Exception as error:
            lines = "\n".join(
                f"{packet.frame.hex()}  # to {cookie_kind(packet.cookie)!r}" for packet in packets
            )
            raise AssertionError(
                f"turn {turn}, host {dpid}: {error!r}; for {CORPUS.name}, one of\n{lines}\n"
                f"again: VXLAN_SEED={SEED} VXLAN_FUZZ_PAYLOADS={COUNT}"
                " python -m pytest tests/fuzz/test_payloads.py"
            ) from error
    judge.look()
    judge.fabric.assert_in_sync()
    assert Mac(0x02FA00000000) in {mac for _vni, mac in judge.fabric.engine.topology.learned}
