"""Packet-ins to learned MACs: who is believed, what is remembered, when it is forgotten."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from controller.frames import Frame
from topology.model import LearnedMac, MacKey, Topology
from topology.types import Dpid, Ip, Mac, Vni

MAX_IPS_PER_MAC = 16
REPEAT_S = 0.5
"""Copies of one source that come closer together than this teach nothing new."""


def observe(
    topology: Topology, vni: int, dpid: int, frame: Frame, now_s: float
) -> LearnedMac | None:
    """What this frame, sent by a VM of this host, teaches; None when it is nothing new.

    A registered MAC or IP is never learned over. The latest host to send wins a learned MAC.
    """
    network = topology.networks.get(vni)
    mac = Mac(frame.eth_src)
    if network is None or not network.learning or not mac.is_station:
        return None
    if (vni, mac) in topology.vms:
        return None
    before = topology.learned.get((vni, mac))
    if before is not None and before.host != dpid:
        before = replace(before, host=Dpid(dpid), seen_s=float("-inf"))
    ip = _spoken_for(topology, vni, frame)
    ips = dict(before.ips) if before is not None else {}
    fresh = before is not None and now_s - before.seen_s < REPEAT_S
    if fresh and (ip is None or now_s - ips.get(ip, float("-inf")) < REPEAT_S):
        return None
    if ip is not None:
        ips[ip] = now_s
    if len(ips) > MAX_IPS_PER_MAC:
        del ips[min(ips, key=lambda known: (ips[known], known))]
    return LearnedMac(Vni(vni), mac, Dpid(dpid), now_s, tuple(sorted(ips.items())))


def recall(
    topology: Topology, vni: int, mac: int, dpid: int, seen_s: float, ips: dict[int, float]
) -> LearnedMac | None:
    """A learned MAC as its own flows on its host tell it; None where more is known already."""
    network = topology.networks.get(vni)
    if network is None or not network.learning:
        return None
    if (vni, mac) in topology.vms or (vni, mac) in topology.learned:
        return None
    known = tuple(
        sorted(
            (Ip.v4(low32), at_s)
            for low32, at_s in ips.items()
            if 0 < low32 < 0xE0000000 and topology.vm_with_ip(vni, Ip.v4(low32)) is None
        )
    )
    return LearnedMac(Vni(vni), Mac(mac), Dpid(dpid), seen_s, known)


def _spoken_for(topology: Topology, vni: int, frame: Frame) -> Ip | None:
    """The IP that the sender of an ARP packet says is its own, if it may be learned."""
    arp = frame.arp
    if arp is None or arp.sender_mac != frame.eth_src:
        return None
    ip = Ip.v4(arp.sender_ip)
    if not ip.is_station or topology.vm_with_ip(vni, ip) is not None:
        return None
    return ip


def aged(entry: LearnedMac, now_s: float, timeout_s: float) -> LearnedMac | None:
    """What is left of a learned MAC at this time: without stale IPs, None when it is all stale."""
    if now_s - entry.seen_s >= timeout_s:
        return None
    ips = tuple(pair for pair in entry.ips if now_s - pair[1] < timeout_s)
    return entry if ips == entry.ips else replace(entry, ips=ips)


@dataclass(slots=True)
class Ages:
    """When to look at which learned MAC again: one appointment for each."""

    timeout_s: float
    _heap: list[tuple[float, MacKey]] = field(default_factory=list)
    _at: dict[MacKey, float] = field(default_factory=dict)

    def note(self, entry: LearnedMac) -> None:
        """Make an appointment for when the entry, or an IP of it, is stale unless renewed."""
        stalest_s = min((seen_s for _ip, seen_s in entry.ips), default=entry.seen_s)
        at_s = min(stalest_s, entry.seen_s) + self.timeout_s
        if self._at.get(entry.key, float("inf")) > at_s:
            self._at[entry.key] = at_s
            heapq.heappush(self._heap, (at_s, entry.key))

    def due(self, now_s: float) -> Iterator[MacKey]:
        """The keys whose appointment has come; who is not stale yet is to be noted again."""
        while self._heap and self._heap[0][0] <= now_s:
            at_s, key = heapq.heappop(self._heap)
            if self._at.get(key) == at_s:
                del self._at[key]
                yield key
