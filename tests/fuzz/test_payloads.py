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
from controller.events import Effects, PacketsIn
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


def packet_in(cookie: int, in_port: int, tun_id: int, tun_src: int, frame: bytes) -> bytes:
    terms = [(Field.IN_PORT, in_port, None), (Field.TUN_ID, tun_id, None)]
    if tun_src:
        terms += [(Field.TUN_SRC, tun_src, None), (Field.TUN_DST, 0xC0A8210C, None)]
    fixed = b"\xff" * 4 + len(frame).to_bytes(2, "big") + b"\x01\0" + cookie.to_bytes(8, "big")
    return encode.message(encode.PACKET_IN, 0, fixed + encode_match(tuple(terms)) + b"\0\0" + frame)


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

    def send(self, dpid: int, cookie: int, in_port: int, vni: int, tun_src: int, frame: bytes):
        fabric = self.fabric
        packet = decode.packet_in(packet_in(cookie, in_port, vni, tun_src, frame))
        assert packet.frame == frame
        fabric.now_s += 0.001
        fabric._handle(PacketsIn(dpid, fabric._connected[dpid], [packet]))
        while fabric.step():
            pass
        for said_by, actions, out in fabric.sent:
            assert said_by == dpid, f"only the host that asked is answered: {actions} {out.hex()}"
            self._is_fair(actions, out, frame)
        fabric.sent.clear()

    def _is_fair(self, actions: tuple[object, ...], out: bytes, asked: bytes) -> None:
        """An answer goes to who asked; what goes on is what was sent, as it was sent."""
        if any(isinstance(action, Group) for action in actions) or any(
            isinstance(action, SetField) and action.field is Field.TUN_DST for action in actions
        ):
            assert out == frames.untagged(asked)
            return
        assert isinstance(actions[-1], Output)
        assert out[:6] == asked[6:12] or out[0] & 1, "an answer to somebody else"

    def look(self) -> None:
        """What holds at any time, whatever was sent."""
        fabric = self.fabric
        topology, packets = fabric.engine.topology, fabric.engine.packets
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
            assert not {ip for ip, _s in entry.ips} & {VIP, *ips_of(topology.vms, key[0])}
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
        for cut in (len(frame), 128):
            judge.send(dpid, cookie, 5 if foreign else 1, vni, RACK.low32 * foreign, frame[:cut])
    judge.look()


def test_any_payload_to_any_flow(judge: Judge) -> None:
    chance = random.Random(SEED)
    macs = [int(vm.mac) for vm in judge.fabric.vms] + [0x02FA00000000 | n for n in range(40)]
    ips = [vm.ip.low32 for vm in judge.fabric.vms] + [VIP.low32, 0x0A0101FE]
    payloads = Payloads(chance, macs, ips)
    for number in range(COUNT):
        dpid, cookie, vni = chance.choice(judge.flows)
        foreign = cookie_kind(cookie) in FOREIGN_KINDS
        sound = chance.random() < 0.9
        in_port = (5 if foreign else 1) if sound else chance.choice((1, 5, 9, 0xFFFFFFFE))
        vni = vni if sound else chance.choice((0, 99, PLAIN, SECURE, REACTIVE, (1 << 64) - 1))
        tun_src = RACK.low32 if foreign and sound else chance.choice((0, 1, 0xC0A8210D, 1 << 31))
        frame = payloads.frame()
        try:
            judge.send(dpid, cookie, in_port, vni, tun_src, frame)
            if number % 500 == 0:
                judge.fabric.tick()
                judge.fabric.settle()
            if number % 5000 == 0:
                judge.look()
        except Exception as error:
            kind = cookie_kind(cookie)
            raise AssertionError(
                f"payload {number} to {kind!r} of host {dpid}, network {vni}: {error!r}\n"
                f"for {CORPUS.name}: {frame.hex()}  # {error!r}\n"
                f"again: VXLAN_SEED={SEED} VXLAN_FUZZ_PAYLOADS={COUNT}"
                f" python -m pytest {Path(__file__).relative_to(Path.cwd())}"
            ) from error
    judge.look()
    judge.fabric.settle()
    judge.fabric.assert_in_sync()
    assert Mac(0x02FA00000000) in {mac for _vni, mac in judge.fabric.engine.topology.learned}
