"""Packet-ins to learned MACs: who is believed, what is remembered, when it is forgotten."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controller.budget import Buckets
from controller.frames import Frame
from controller.moves import Moves, Verdict
from controller.sightings import Sightings
from controller.terms import ADVERTISEMENT
from topology.model import LearnedMac, MacKey, Network, Topology, Vip
from topology.types import Foreign, Ip, Location, Mac, Vni

MAX_IPS_PER_MAC = 16
MAX_MACS_PER_IP = 8
REPEAT_S = 0.5
"""Copies of one source that come closer together than this teach nothing new."""


NEWS_BURST_MIN, NEWS_PER_S_MIN, NEWS_WITHIN_S = 64, 50.0, 40.0
PRESSED = 0.75
SETTLED_S = 60.0
DUE_S = 60.0
"""What was heard so long ago may be renewed at any rate: nobody can make that often."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many learned MACs are remembered: of one place, and of one network."""

    per_place: int = 2048
    per_network: int = 16384

    @property
    def floor(self) -> int:
        """So many of a place are remembered even where their network is full."""
        return self.per_network // 1024

    @property
    def news(self) -> Buckets:
        """How much that is new each place may teach of each network: each piece is a flow-mod on
        every host. All that a place may teach at once, and again within NEWS_WITHIN_S.
        """
        burst = max(NEWS_BURST_MIN, self.per_place)
        return Buckets(burst, max(NEWS_PER_S_MIN, burst / NEWS_WITHIN_S))


class Newcomers:
    """MACs that were learned while their place taught very many of their network.

    When there is no room these go first, oldest first: who was known before a flood of MACs began
    stays known. Who is heard again after SETTLED_S is no newcomer any more.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.per_place
        self._of: dict[tuple[int, int], dict[MacKey, float]] = {}

    def add(self, place: int, key: MacKey, now_s: float) -> None:
        there = self._of.setdefault((place, key[0]), {})
        there.pop(key, None)
        there[key] = now_s
        if len(there) > self._most:
            del there[next(iter(there))]

    def heard(self, place: int, key: MacKey, now_s: float) -> None:
        """It was heard again."""
        there = self._of.get((place, key[0]))
        if there is not None and now_s - there.get(key, now_s) >= SETTLED_S:
            del there[key]

    def oldest(self, topology: Topology, place: int, vni: int) -> MacKey | None:
        """The first to go, which is no newcomer then."""
        there = self._of.get((place, vni), {})
        while there:
            key = next(iter(there))
            del there[key]
            entry = topology.learned.get(key)
            if entry is not None and entry.host == place:
                return key
        return None

    def forget(self, topology: Topology) -> None:
        """Drop those that are not known any more, or elsewhere."""
        for (place, vni), there in list(self._of.items()):
            known = topology.learned_of_network_on(vni, place)
            left = {key: at_s for key, at_s in there.items() if key in known}
            if left:
                self._of[place, vni] = left
            else:
                del self._of[place, vni]

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))


class Lesson(NamedTuple):
    """What a frame teaches: a learned MAC, a registered VM's move, or who holds a virtual IP.

    ``flaps``: a MAC that is not followed any more for a while. ``after_s``: how long ago the same
    was heard of the learned MAC before; None where it says something new.
    """

    learned: LearnedMac | None = None
    moved: tuple[MacKey, Location] | None = None
    held: Vip | None = None
    flaps: str | None = None
    after_s: float | None = None


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
        lesson = _moved(moves, key, vm.host, place, now_s)
        if lesson.moved is None:
            sightings.note(network.vni, mac, 0, place, now_s)
        return lesson
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
    if verdict is Verdict.MANY:
        return Lesson(
            flaps=f"{what} is not followed from {left} to {place} for now: too many move at once"
        )
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
    after_s = None
    if before is not None and (ip is None or ip in ips):
        after_s = now_s - (before.seen_s if ip is None else ips[ip])
    if ip is not None:
        ips[ip] = now_s
    if len(ips) > MAX_IPS_PER_MAC:
        del ips[min(ips, key=lambda known: (ips[known], known))]
    entry = LearnedMac(
        Vni(vni), mac, place, now_s, tuple(sorted(ips.items())), moves.generation(key)
    )
    return Lesson(entry, after_s=after_s)


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
        verdict = moves.ask(
            ("vip", vip.key), vip.holder, mac, now_s, announced=True, counted=(-1 - vni,)
        )
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


def surplus(
    topology: Topology, entry: LearnedMac, limits: Limits, newcomers: Newcomers
) -> MacKey | None:
    """What is to be forgotten so that this entry fits: of its own place, a newcomer or the stalest.

    Of a place it is the network with most there that loses one, so that no tenant pushes out
    another's; and no place pushes out another's, not even in a network that is full.
    """
    place, vni = entry.host, int(entry.vni)
    if len(topology.learned_on(place)) > limits.per_place:
        vni = topology.most_learned_on(place)
    elif (
        len(topology.learned_in(vni)) <= limits.per_network
        or len(topology.learned_of_network_on(vni, place)) <= limits.floor
    ):
        return None
    newcomer = newcomers.oldest(topology, place, vni)
    return newcomer or next(iter(topology.learned_of_network_on(vni, place)))


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
