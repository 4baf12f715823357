"""How many packet-ins of one host are taken: a storm costs its own host, and nobody else.

Switches limit what they copy by meters; this holds for those without, and for those that lie. What
is over a host's budget is shed before its frame is read. Within the budget nobody can say for
certain which VM sent a frame, since a VM may send from any MAC; but who sent little of late still
gets through when others used the host's budget up, and each class of packet-ins has a share of its
own, so that an unknown source's flood takes nothing from DHCP or from probes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from controller.pipeline import COOKIE_OWNER, Kind
from controller.wire.decode import PacketIn
from topology.types import Mac

RATE_PER_S, BURST = 4000.0, 8000.0
"""A host's packet-ins: about what all its meters let pass, a tenth of what the engine can take."""
SHARE_PER_S, SHARE_BURST = 50.0, 100.0
"""Of each class, beyond that, for those who sent little."""
LITTLE = 4
"""So many packet-ins of one source within a second are little."""
TELL_S = 60.0
"""A host that is shed is logged so often, and is forgotten as one when it was not for so long."""
REST_S = 40e-6
"""A connection is not read for so long for each packet-in of it that was shed: at most 25,000 a
second are read only to be thrown away, some percent of a core."""
HOSTS_MAX = 4096
_CELLS = 256
_SENDERS = 8
_SAMPLED = 8


class Class(IntEnum):
    """Kinds of packet-ins that share a meter in the switch, and a share here."""

    SOURCE = 0
    NEIGHBOUR = 1
    ASKED = 2
    CONVERSATION = 3
    SERVICE = 4
    OWN = 5


_OF_KIND = {
    Kind.LOCAL_ARP: Class.NEIGHBOUR,
    Kind.LOCAL_ND: Class.NEIGHBOUR,
    Kind.TUNNEL_FOREIGN_NEIGHBOUR: Class.NEIGHBOUR,
    Kind.ND_PUNT: Class.ASKED,
    Kind.NEIGHBOUR_PUNT: Class.ASKED,
    Kind.UNICAST_PUNT: Class.CONVERSATION,
    Kind.DHCP_REQUEST: Class.SERVICE,
    Kind.VIP_CLAIM: Class.SERVICE,
    Kind.PROBE_IN: Class.OWN,
    Kind.ASK_ANSWER: Class.OWN,
}
_CLASSES = {COOKIE_OWNER << 8 | kind: of for kind, of in _OF_KIND.items()}


class Sender(NamedTuple):
    """A source address in a network (of unknown VLAN: VNI 0), and its part of what was shed."""

    vni: int
    mac: int
    part: float


class Senders:
    """Who sends most, in little memory: the counts of Space-Saving (Metwally et al., 2005).

    What took a place over may be overcounted by what was there; that much is not believed.
    """

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], list[int]] = {}  # count, and how much may be others'
        self._total = 0

    def note(self, vni: int, mac: int) -> None:
        self._total += 1
        counts = self._counts
        there = counts.get((vni, mac))
        if there is not None:
            there[0] += 1
            return
        least = 0
        if len(counts) >= _SENDERS:
            fewest = min(counts, key=lambda key: counts[key][0])
            least = counts.pop(fewest)[0]
        counts[vni, mac] = [least + 1, least]

    def top(self) -> Sender | None:
        """Who sent a quarter or more for certain; None where no source stands out."""
        if not self._counts:
            return None
        sent, vni, mac = max((count - doubt, *key) for key, (count, doubt) in self._counts.items())
        return Sender(vni, mac, sent / self._total) if sent * 4 >= self._total else None

    def network(self) -> int | None:
        """The network that most of it came from; None where nothing was noted."""
        if not self._counts:
            return None
        return max((count, vni) for (vni, _mac), (count, _doubt) in self._counts.items())[1]


class Budget:
    """One host's. ``shed`` counts what was not taken, since the controller started."""

    __slots__ = (
        "_cells",
        "_cells_s",
        "_since_s",
        "_tokens",
        "_told_s",
        "last_s",
        "senders",
        "shares",
        "shed",
        "since_s",
    )

    def __init__(self, now_s: float) -> None:
        self.shed = 0
        self.since_s = self.last_s = float("-inf")  # of the storm that goes on, or was the last
        self.senders = Senders()
        self.shares = [SHARE_BURST] * len(Class)
        self._tokens = BURST
        self._since_s = now_s
        self._told_s = float("-inf")
        self._cells: list[int] = []
        self._cells_s = float("-inf")

    def admit(self, packets: Sequence[PacketIn], now_s: float) -> Sequence[PacketIn]:
        """Those of the packet-ins that came together that are to be taken."""
        past_s = now_s - self._since_s
        if past_s > 0.0:
            self._since_s = now_s
            self._tokens = min(BURST, self._tokens + past_s * RATE_PER_S)
            if self._cells:
                more = past_s * SHARE_PER_S
                self.shares = [min(SHARE_BURST, share + more) for share in self.shares]
        if len(packets) <= self._tokens:
            self._tokens -= len(packets)
            return packets
        return self._choose(packets, now_s)

    def _choose(self, packets: Sequence[PacketIn], now_s: float) -> Sequence[PacketIn]:
        if not self._cells or now_s - self._cells_s >= 1.0:
            self._cells, self._cells_s = [0] * (_CELLS * len(Class)), now_s
        cells, shares, tokens = self._cells, self.shares, self._tokens
        taken: list[PacketIn] = []
        for packet in packets:
            of = _CLASSES.get(packet.cookie >> 48, 0)
            # Python's hash of bytes is seeded: nobody can choose a MAC to share another's cell.
            cell = of * _CELLS + hash(packet.frame[6:12]) % _CELLS
            cells[cell] += 1
            if tokens >= 1.0:
                tokens -= 1.0
            elif shares[of] >= 1.0 and (cells[cell] <= LITTLE or of == Class.OWN):
                shares[of] -= 1.0
            else:
                self.note_shed(packet.tun_id, packet.frame, now_s)
                continue
            taken.append(packet)
        self._tokens = tokens
        return taken

    def note_shed(self, vni: int, frame: bytes, now_s: float) -> None:
        """One packet-in is not taken, or teaches nothing, because there were too many."""
        if now_s - self.last_s > TELL_S:
            self.since_s = now_s
            self.senders = Senders()
        self.last_s = now_s
        self.shed += 1
        if self.shed % _SAMPLED == 1:
            self.senders.note(vni, int.from_bytes(frame[6:12], "big"))

    def is_to_be_told(self, now_s: float) -> bool:
        """Whether it is time for a line in the log."""
        if now_s - self._told_s < TELL_S:
            return False
        self._told_s = now_s
        return True


def told(budget: Budget) -> str:
    """In words, who it was that sent too much."""
    top = budget.senders.top()
    if top is not None:
        return f"{top.part:.0%} of them from {Mac(top.mac)} in network {top.vni}"
    vni = budget.senders.network()
    return "from many MACs" + ("" if vni is None else f", most of them in network {vni}")


class Budgets:
    """Every host's, whether it is connected or not: who comes back has what he left."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, Budget] = OrderedDict()
        self.shed = 0

    def of(self, dpid: int, now_s: float) -> Budget:
        budget = self._of.get(dpid)
        if budget is None:
            budget = self._of[dpid] = Budget(now_s)
            if len(self._of) > HOSTS_MAX:
                self._of.popitem(last=False)
        return budget

    def known(self, dpid: int) -> Budget | None:
        return self._of.get(dpid)


class Bucket:
    """A rate with a burst; each key of ``Buckets`` has one."""

    __slots__ = ("at_s", "tokens")

    def __init__(self, tokens: float, at_s: float) -> None:
        self.tokens = tokens
        self.at_s = at_s


class Buckets:
    """So many at once, and so many a second after that, of each key.

    A key that has not asked for so long that its bucket is full again takes no memory.
    """

    def __init__(self, burst: float, per_s: float) -> None:
        self.burst = burst
        self._per_s = per_s
        self._of: dict[tuple[int, int], Bucket] = {}

    def take(self, key: tuple[int, int], now_s: float) -> float | None:
        """Take one: how full the bucket is then (0 to 1), None where it was empty."""
        bucket = self._of.get(key)
        if bucket is None:
            bucket = self._of[key] = Bucket(self.burst, now_s)
        elif now_s > bucket.at_s:
            more = (now_s - bucket.at_s) * self._per_s
            bucket.tokens = min(self.burst, bucket.tokens + more)
            bucket.at_s = now_s
        if bucket.tokens < 1.0:
            return None
        bucket.tokens -= 1.0
        return bucket.tokens / self.burst

    def forget(self, now_s: float) -> None:
        """Drop those that are full again."""
        full_s = self.burst / self._per_s
        for key in [key for key, one in self._of.items() if now_s - one.at_s >= full_s]:
            del self._of[key]

    def __len__(self) -> int:
        return len(self._of)
