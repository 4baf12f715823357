"""What the controller asks switches and VMs when somebody wants to know: counters, who is there.

Whether a VM runs where it is registered, and on which local VLAN, only the VM itself can tell. It
is asked for its address, as a neighbour would ask, through br-int of its host, and its answer comes
back by a flow of its own. An ARP probe (RFC 5227, 2.1.1) teaches nobody anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from controller import craft
from controller.events import DumpPart
from controller.flow import Field as F
from controller.flow import Output, PushVlan, SetField
from controller.frames import Arp, Frame, Nd, solicited_node
from controller.journey import Packet
from controller.pipeline import ASK_MAC
from controller.replica import Replica
from controller.terms import ADVERTISEMENT, ARP_REPLY, ARP_REQUEST, BROADCAST, SOLICITATION
from controller.wire import decode, encode
from topology.errors import Conflict
from topology.types import Dpid, Ip, Mac, Vlan

OPEN_MAX = 1024
"""So many questions may be open at a time."""

ANSWERS_MAX = 16

_LINK_LOCAL = 0xFE80 << 112
OFPP_TABLE = 0xFFFFFFF9

Counted = Callable[[dict[int, decode.FlowEntry]], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A VM answered: on which host, its MAC, the local VLAN of the answer, how long it took."""

    dpid: Dpid
    mac: Mac
    vlan: Vlan | None
    after_s: float


@dataclass(slots=True)
class Ask:
    """A question to whoever has an address, on one host; ``answers`` come in while it is open."""

    dpid: Dpid
    ip: Ip
    since_s: float
    heard: Callable[[], None]
    answers: list[Answer] = field(default_factory=list)


@dataclass(slots=True)
class _Count:
    left: set[int]
    done: Counted
    found: dict[int, decode.FlowEntry] = field(default_factory=dict)


class Inquiries:
    """The open questions to switches and VMs."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int, int], _Count] = {}  # dpid, epoch, xid
        self._asks: list[Ask] = []

    # Counters

    def count(self, replica: Replica, cookies: Iterable[int], done: Counted) -> None:
        """Read these flows of a switch; ``done`` gets those that are there, by cookie."""
        wanted = list(dict.fromkeys(cookies))
        if len(self._counts) + len(wanted) > OPEN_MAX * 2:
            raise Conflict("too many questions are open: ask again in a moment")
        if not wanted:
            done({})
            return
        counting = _Count(set(), done)
        for cookie in wanted:
            xid = replica.ask_flow(cookie)
            counting.left.add(xid)
            self._counts[replica.dpid, replica.epoch, xid] = counting

    def take(self, replica: Replica, part: DumpPart) -> bool:
        """A part of a multipart reply; False if it answers none of these questions."""
        at = (int(replica.dpid), replica.epoch, part.xid)
        counting = self._counts.get(at)
        if counting is None:
            return False
        for entry in decode.flow_entries(part.body):
            counting.found[entry.cookie] = entry
        if not part.more:
            del self._counts[at]
            counting.left.discard(part.xid)
            if not counting.left:
                counting.done(counting.found)
        return True

    def forget(self, dpid: int) -> None:
        """A connection is over: nothing asked through it is answered any more."""
        for at in [at for at in self._counts if at[0] == dpid]:
            del self._counts[at]

    # Who is there

    def ask(
        self,
        replica: Replica,
        ip: Ip,
        vlans: Iterable[Vlan | None],
        now_s: float,
        heard: Callable[[], None],
    ) -> Ask:
        """Ask for this address on these local VLANs (None: untagged) of a host's br-int."""
        if len(self._asks) >= OPEN_MAX:
            raise Conflict("too many questions are open: ask again in a moment")
        ask = Ask(replica.dpid, ip, now_s, heard)
        self._asks.append(ask)
        patch = replica.bridge.patch_port
        for vlan in vlans if patch is not None else ():
            tag = () if vlan is None else (PushVlan(), SetField(F.VLAN_VID, vlan))
            replica.send(encode.packet_out((*tag, Output(patch or 0)), question(ip)))
        return ask

    def close(self, ask: Ask) -> None:
        self._asks.remove(ask)

    def hear(self, replica: Replica, packet: decode.PacketIn, frame: Frame, now_s: float) -> None:
        """A frame came back to the address that asks."""
        speaker = _speaks_for(frame)
        if speaker is None or not Mac(frame.eth_src).is_station:
            return
        vlan = None
        if packet.frame[12:14] == b"\x81\x00":
            tag = int.from_bytes(packet.frame[14:16], "big") & 0xFFF
            vlan = Vlan(tag) if 0 < tag <= Vlan.MAX else None
        for ask in self._asks:
            if ask.dpid == replica.dpid and ask.ip == speaker:
                answer = Answer(replica.dpid, Mac(frame.eth_src), vlan, now_s - ask.since_s)
                if len(ask.answers) < ANSWERS_MAX:
                    ask.answers.append(answer)
                ask.heard()


def question(ip: Ip) -> bytes:
    """Who has this address? From nobody's own, so that no table of neighbours learns from it."""
    if ip.is_v4:
        arp = Arp(ARP_REQUEST, ASK_MAC, 0, 0, ip.low32)
        return craft.to_bytes(Packet.carrying(arp, BROADCAST))
    source = _LINK_LOCAL | _eui64(ASK_MAC)
    group, group_mac = solicited_node(ip)
    nd = Nd(SOLICITATION, source, group, int(ip), ASK_MAC)
    return craft.to_bytes(Packet.soliciting(nd, ASK_MAC, group_mac))


def inject(replica: Replica, frame: bytes) -> None:
    """Let a bridge treat a frame as if br-int had handed it over."""
    patch = replica.bridge.patch_port
    if patch is not None:
        replica.send(encode.packet_out((Output(OFPP_TABLE),), frame, in_port=patch))


def _speaks_for(frame: Frame) -> Ip | None:
    if frame.arp is not None and frame.arp.op == ARP_REPLY:
        return Ip.v4(frame.arp.sender_ip)
    if frame.nd is not None and frame.nd.kind == ADVERTISEMENT:
        return Ip(frame.nd.target)
    return None


def _eui64(mac: int) -> int:
    """The interface identifier of a link-local address (RFC 4291, appendix A)."""
    return (mac >> 24 ^ 0x020000) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF
