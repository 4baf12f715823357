"""The ledger of broadcast, unknown unicast and multicast (BUM): what became of it, by network.

It adds up what flows counted since they were last read (counting.py reads them). Counts never go
down: a flow's counter is only ever compared with what it was before.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from controller.pipeline import Kind
from topology.types import Mac

INTERVAL_S = 10.0
"""Rates, history and events are over so many seconds."""

HISTORY = 360
"""So many intervals are remembered: an hour."""

TALKERS_MAX = 256
"""So many senders of a network are counted; when there are more, the lesser half is let go."""

ENCAPSULATION_BYTES = 50
"""What VXLAN over IPv4 adds to each copy of a frame (RFC 7348, 5): Ethernet, IPv4, UDP, VXLAN."""

ANSWERED = frozenset(
    {
        Kind.ARP_RESPONDER,
        Kind.ARP_RESPONDER_LEARNED,
        Kind.ND_SOLICIT,
        Kind.ND_SOLICIT_LEARNED,
        Kind.DHCP_SERVER,
    }
)
"""Flows that answer in the switch."""

BY_CONTROLLER = frozenset({Kind.NEIGHBOUR_PUNT, Kind.ND_PUNT, Kind.DHCP_REQUEST, Kind.UNICAST_PUNT})
"""Flows that hand a frame to the controller; those that flood it too count there as well."""

SUPPRESSED = frozenset(
    {
        Kind.NEIGHBOUR_DROP,
        Kind.MULTICAST_DROP,
        Kind.QUIET_DROP,
        Kind.UNICAST_DROP,
        Kind.ARP_LOCAL,
        Kind.ND_LOCAL,
        Kind.FORGED,
    }
)
"""Flows that drop by policy, or because the VM on this host answers itself."""

FLOODED = frozenset(
    {
        Kind.NETWORK_FLOOD,
        Kind.BROADCAST_FLOOD,
        Kind.NEIGHBOUR_FLOOD,
        Kind.UNICAST_FLOOD,
        Kind.ARP_GRATUITOUS,
        Kind.ARP_GRATUITOUS_LEARNED,
        Kind.ARP_PROBE,
        Kind.ND_DAD,
        Kind.EGRESS_FLOOD,
    }
)
"""Flows that send one copy to each VTEP of the network."""

UNKNOWN_UNICAST = frozenset({Kind.UNICAST_FLOOD, Kind.UNICAST_DROP, Kind.UNICAST_PUNT})

COUNTED = ANSWERED | BY_CONTROLLER | SUPPRESSED | FLOODED


class Tally(NamedTuple):
    """Frames and bytes (of the frames as VMs sent them) by what became of them.

    ``copies`` crossed the underlay; ``saved_copies`` and ``saved_bytes`` (with encapsulation) did
    not, because a frame was answered in the switch or dropped by policy.
    """

    answered: int = 0
    answered_bytes: int = 0
    by_controller: int = 0
    by_controller_bytes: int = 0
    suppressed: int = 0
    suppressed_bytes: int = 0
    flooded: int = 0
    flooded_bytes: int = 0
    copies: int = 0
    unknown_unicast: int = 0
    unknown_unicast_bytes: int = 0
    saved_copies: int = 0
    saved_bytes: int = 0


NOTHING = Tally()


def tally(kind: Kind, frames: int, octets: int, vteps: int, *, floods: bool) -> Tally:
    """What frames that one flow counted come to; ``vteps``: how many a flooded one would reach."""
    there: dict[str, int] = {}
    if kind in ANSWERED:
        there |= {"answered": frames, "answered_bytes": octets}
    elif kind in BY_CONTROLLER:
        there |= {"by_controller": frames, "by_controller_bytes": octets}
    elif kind in SUPPRESSED:
        there |= {"suppressed": frames, "suppressed_bytes": octets}
    if kind in FLOODED or (floods and kind in BY_CONTROLLER):
        there |= {"flooded": frames, "flooded_bytes": octets, "copies": frames * vteps}
    if kind in UNKNOWN_UNICAST:
        there |= {"unknown_unicast": frames, "unknown_unicast_bytes": octets}
    # Where a forged frame would have gone is not known: perhaps to one VTEP only.
    if kind in ANSWERED or (kind in SUPPRESSED and kind is not Kind.FORGED):
        there["saved_copies"] = frames * vteps
        there["saved_bytes"] = (octets + frames * ENCAPSULATION_BYTES) * vteps
    return Tally(**there)


class Counts:
    """Numbers of a Tally that grow."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("Q", NOTHING)

    def add(self, more: Tally) -> None:
        numbers = self._numbers
        for index, number in enumerate(more):
            if number:
                numbers[index] += number

    def now(self) -> Tally:
        return Tally(*self._numbers)


class Sample(NamedTuple):
    """Frames and saved bytes of one interval; ``ended_s`` in the engine's clock."""

    ended_s: float
    answered: int
    suppressed: int
    flooded: int
    unknown_unicast: int
    saved_bytes: int


class Rates(NamedTuple):
    """Per second, over the last interval that is over."""

    answered: float = 0.0
    suppressed: float = 0.0
    flooded: float = 0.0
    unknown_unicast: float = 0.0
    saved_bytes: float = 0.0


QUIET = Rates()


@dataclass(slots=True)
class Talker:
    """Broadcast and multicast that one MAC sent on one host."""

    frames: int = 0
    octets: int = 0
    before: int = 0  # frames, when the interval began
    per_s: float = 0.0


@dataclass(slots=True)
class Book:
    """One network's counts: in all, by host, by sender, and over the last hour."""

    total: Counts = field(default_factory=Counts)
    before: Tally = NOTHING  # when the interval began
    rates: Rates = QUIET
    hosts: dict[int, Counts] = field(default_factory=dict)
    talkers: dict[tuple[Mac, int], Talker] = field(default_factory=dict)
    _history: array[int] = field(default_factory=lambda: array("Q"))  # samples, one after another

    def close(self, turn: int, length_s: float) -> Tally:
        """End an interval; what it came to."""
        now = self.total.now()
        gone = Tally(*(after - before for after, before in zip(now, self.before, strict=True)))
        self.before = now
        figures = (
            gone.answered,
            gone.suppressed,
            gone.flooded,
            gone.unknown_unicast,
            gone.saved_bytes,
        )
        self.rates = Rates(*(figure / length_s for figure in figures))
        for talker in self.talkers.values():
            talker.per_s = (talker.frames - talker.before) / length_s
            talker.before = talker.frames
        if any(figures):
            self._history.extend((turn, *figures))
            del self._history[: -HISTORY * _SAMPLE]
        return gone

    def samples(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Each turn in which anything happened, with its figures."""
        numbers = iter(self._history)
        while sample := tuple(islice(numbers, _SAMPLE)):
            yield sample[0], sample[1:]


_SAMPLE = len(Sample._fields)


class Ledger:
    """Counts since ``since_s``, in the engine's clock, when its first turn came.

    The sum outlives networks.
    """

    def __init__(self) -> None:
        self.since_s: float | None = None
        self.sum = Book()
        self.books: dict[int, Book] = {}
        self._turn = 0
        self._turned_s = 0.0
        self._active: set[int] = set()  # networks that counted in this interval or the last

    # Counting

    def count(self, vni: int, dpid: int, more: Tally) -> None:
        """So much more was counted in a network, on one host."""
        book = self._book(vni)
        host = book.hosts.get(dpid)
        if host is None:
            host = book.hosts[dpid] = Counts()
        host.add(more)
        book.total.add(more)
        self.sum.total.add(more)

    def talked(self, vni: int, dpid: int, mac: Mac, frames: int, octets: int) -> None:
        """A MAC sent so much more broadcast and multicast."""
        talkers = self._book(vni).talkers
        talker = talkers.get((mac, dpid))
        if talker is None:
            if len(talkers) >= TALKERS_MAX:
                lesser = sorted(talkers, key=lambda key: talkers[key].frames)
                for key in lesser[: TALKERS_MAX // 2]:
                    del talkers[key]
            talker = talkers[mac, dpid] = Talker()
        talker.frames += frames
        talker.octets += octets

    def _book(self, vni: int) -> Book:
        self._active.add(vni)
        book = self.books.get(vni)
        if book is None:
            book = self.books[vni] = Book()
        return book

    # Intervals

    def turn(self, now_s: float, networks: Container[int]) -> dict[int, Tally]:
        """End the interval if it is time: what it came to, in each network where there was any.

        Books of networks that are no more are closed for good.
        """
        if self.since_s is None:
            self.since_s = self._turned_s = now_s
        number = int((now_s - self.since_s) // INTERVAL_S)
        if number <= self._turn:
            return {}
        length_s, self._turned_s, self._turn = now_s - self._turned_s, now_s, number
        self.sum.close(number, length_s)
        gone: dict[int, Tally] = {}
        active, self._active = self._active, set()
        for vni in active:
            of_network = self.books[vni].close(number, length_s)
            if any(of_network):
                gone[vni] = of_network
                self._active.add(vni)  # once more, for its rates to fall
        for vni in [vni for vni in self.books if vni not in networks]:
            del self.books[vni]
            self._active.discard(vni)
        return gone

    def history(self, book: Book) -> list[Sample]:
        """The last hour, interval by interval; nothing happened in those that were not kept."""
        if self.since_s is None:
            return []
        kept = dict(book.samples())
        first = max(1, self._turn - HISTORY + 1)
        nothing = (0,) * (_SAMPLE - 1)
        return [
            Sample(self.since_s + turn * INTERVAL_S, *kept.get(turn, nothing))
            for turn in range(first, self._turn + 1)
        ]
