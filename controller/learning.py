"""Packet-ins to learned MACs: who is believed, what is remembered, when it is forgotten."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controller.frames import Frame
from controller.moves import Moves, Verdict
from controller.sightings import Sightings
from controller.terms import ADVERTISEMENT
from topology.model import LearnedMac, MacKey, Network, Topology, Vip
from topology.types import Foreign, Ip, Location, Mac, Vni

MAX_IPS_PER_MAC = 16
REPEAT_S = 0.5
"""Copies of one source that come closer together than this teach nothing new."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many learned MACs are remembered: of one place, and of one network."""

    per_place: int = 2048
    per_network: int = 16384


class Lesson(NamedTuple):
    """What a frame teaches: a learned MAC, a registered VM's move, or who holds a virtual IP.

    ``flaps``: a MAC that is not followed any more for a while.
    """

    learned: LearnedMac | None = None
    moved: tuple[MacKey, Location] | None = None
    held: Vip | None = None
    flaps: str | None = None


NOTHING = Lesson()
_NEVER = float("inf")


def observe(
    topology: Topology,
    moves: Moves,
    network: Network,
    place: Location,
    frame: Frame,
    now_s: float,
    sightings: Sightings,
) -> Lesson:
    """What this frame, sent from behind this place, teaches.

    A registered MAC or IP is never learned over: that it was seen is noted. The
    latest place to send wins a learned MAC.
    """
    mac = Mac(frame.eth_src)
    if not mac.is_station:
        return NOTHING
    key = (network.vni, mac)
    vm = topology.vms.get(key)
    if vm is not None:
        if vm.host == place:
            return NOTHING
        if not network.follow_moves or not frame.announces:
            sightings.note(network.vni, mac, 0, place, now_s)
            return NOTHING
        return _moved(moves, key, vm.host, place, now_s)
    if not network.learning or network.port_security:
        return NOTHING
    if frame.arp is None and frame.nd is None and key not in topology.learned:
        return Lesson(LearnedMac(*key, place, now_s, (), moves.generation(key)))
    return _learned(topology, moves, network.vni, mac, place, frame, now_s, sightings)


def _moved(moves: Moves, key: MacKey, left: Location, place: Location, now_s: float) -> Lesson:
    verdict = moves.ask(key, left, place, now_s, announced=True)
    if verdict is Verdict.MOVE:
        return Lesson(moved=(key, place))
    return _flapping(verdict, f"VM {Mac(key[1])} (network {key[0]})", left, place)


def _flapping(verdict: Verdict, what: str, left: object, place: object) -> Lesson:
    if verdict is not Verdict.FLAPS:
        return NOTHING
    return Lesson(flaps=f"{what} flaps between {left} and {place}: it stays at {left} for now")


def _learned(
    topology: Topology,
    moves: Moves,
    vni: int,
    mac: Mac,
    place: Location,
    frame: Frame,
    now_s: float,
    sightings: Sightings,
) -> Lesson:
    key = (vni, mac)
    before = topology.learned.get(key)
    if before is not None and before.host != place:
        verdict = moves.ask(key, before.host, place, now_s, announced=frame.announces)
        if verdict is not Verdict.MOVE:
            what = f"learned MAC {mac} (network {vni})"
            return _flapping(verdict, what, before.host, place)
        before = before._replace(host=place, seen_s=float("-inf"))
    ip = spoken_ip(frame)
    if ip is not None and not _may_be_learned(topology, vni, ip):
        if (vni, ip) not in topology.vips:
            sightings.note(vni, mac, ip, place, now_s)
        ip = None
    ips = dict(before.ips) if before is not None else {}
    fresh = before is not None and now_s - before.seen_s < REPEAT_S
    if fresh and (ip is None or now_s - ips.get(ip, float("-inf")) < REPEAT_S):
        return NOTHING
    if ip is not None:
        ips[ip] = now_s
    if len(ips) > MAX_IPS_PER_MAC:
        del ips[min(ips, key=lambda known: (ips[known], known))]
    known = tuple(sorted(ips.items()))
    return Lesson(LearnedMac(Vni(vni), mac, place, now_s, known, moves.generation(key)))


def claim(
    topology: Topology, moves: Moves, vni: int, place: Location, frame: Frame, now_s: float
) -> Lesson:
    """A registered VM speaks for a virtual IP that it may hold: from now on it does."""
    mac = Mac(frame.eth_src)
    vm = topology.vms.get((vni, mac))
    ip = spoken_ip(frame)
    vip = None if ip is None else topology.vips.get((vni, ip))
    if vm is None or vip is None or vm.host != place:
        return NOTHING
    if mac not in vip.macs or vip.holder == mac:
        return NOTHING
    if vip.holder is not None:
        verdict = moves.ask(("vip", vip.key), vip.holder, mac, now_s, announced=True)
        if verdict is not Verdict.MOVE:
            return _flapping(verdict, f"virtual IP {ip} (network {vni})", vip.holder, mac)
    return Lesson(held=replace(vip, holder=mac))


def believed(topology: Topology, learned: LearnedMac) -> bool:
    """Whether what was learned counts as the facts are now: it could be learned again."""
    network = topology.networks.get(learned.vni)
    if network is None or not network.learning or network.port_security:
        return False
    if learned.key in topology.vms:
        return False
    if not isinstance(learned.host, Foreign):
        return True
    vtep = topology.vteps.get(learned.host.vtep)
    return vtep is not None and vtep.learning and learned.vni in vtep.vnis


def recall(
    topology: Topology,
    vni: int,
    mac: int,
    place: Location,
    seen_s: float,
    ips: Mapping[Ip, float],
) -> LearnedMac | None:
    """A learned MAC as its own flows on its host tell it; None where more is known already."""
    if (vni, mac) in topology.learned:
        return None
    known = tuple(
        sorted((ip, at_s) for ip, at_s in ips.items() if _may_be_learned(topology, vni, ip))
    )
    entry = LearnedMac(Vni(vni), Mac(mac), place, seen_s, known)
    return entry if believed(topology, entry) else None


def spoken_ip(frame: Frame) -> Ip | None:
    """The IP that the sender of ARP or ND says is its own."""
    arp, nd = frame.arp, frame.nd
    if arp is not None and arp.sender_mac == frame.eth_src:
        ip = Ip.v4(arp.sender_ip)
    elif nd is not None and nd.link_layer in (0, frame.eth_src):
        ip = Ip(nd.target if nd.kind == ADVERTISEMENT else nd.source)
    else:
        return None
    return ip if ip.is_station else None


def _may_be_learned(topology: Topology, vni: int, ip: Ip) -> bool:
    if not ip.is_station or (vni, ip) in topology.vips:
        return False
    return topology.vm_with_ip(vni, ip) is None


def surplus(topology: Topology, entry: LearnedMac, limits: Limits) -> tuple[MacKey, ...]:
    """What is to be forgotten so that this entry fits: the stalest of who has the most.

    Of a place that is the network with most there, so that no tenant pushes out another's.
    """
    if len(topology.learned_on(entry.host)) > limits.per_place:
        return (topology.stalest_learned_of_place(entry.host),)
    if len(topology.learned_in(entry.vni)) > limits.per_network:
        return (topology.stalest_learned_of_network(entry.vni),)
    return ()


def aged(entry: LearnedMac, now_s: float, timeout_s: float) -> LearnedMac | None:
    """What is left of a learned MAC at this time: without stale IPs, None when it is all stale."""
    if now_s - entry.seen_s >= timeout_s:
        return None
    ips = tuple(pair for pair in entry.ips if now_s - pair[1] < timeout_s)
    return entry if ips == entry.ips else entry._replace(ips=ips)


@dataclass(slots=True)
class Ages:
    """When to look at which learned MAC again: one appointment for each."""

    timeout_s: float
    _heap: list[tuple[float, MacKey]] = field(default_factory=list)
    _at: dict[MacKey, float] = field(default_factory=dict)

    def note(self, entry: LearnedMac) -> None:
        """Make an appointment for when the entry, or an IP of it, is stale unless renewed."""
        at_s = min([entry.seen_s, *(seen_s for _ip, seen_s in entry.ips)]) + self.timeout_s
        key = entry.key
        if self._at.get(key, _NEVER) > at_s:
            self._at[key] = at_s
            heapq.heappush(self._heap, (at_s, key))

    def due(self, now_s: float) -> Iterator[MacKey]:
        """The keys whose appointment has come; who is not stale yet is to be noted again."""
        while self._heap and self._heap[0][0] <= now_s:
            at_s, key = heapq.heappop(self._heap)
            if self._at.get(key) == at_s:
                del self._at[key]
                yield key
