"""Reads the counters of switches' flows into the ledger, a table at a time.

A flow's counter is compared with what the same place (table, priority, match) had counted before:
what takes a place inherits its counter. One that went down begins at 0 again. Only places that
have counted anything are remembered, and only while a switch holds them; they outlive the
connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from controller.events import DumpPart
from controller.flow import Field, Flow
from controller.happenings import Happening
from controller.ledger import COUNTED, FLOODED, Ledger, tally
from controller.pipeline import MISS_PRIORITY, Kind, Table, cookie_kind
from controller.replica import Replica, State
from controller.terms import GROUP_BIT, group_id
from controller.wire import decode, encode
from topology.model import Topology
from topology.types import Mac

READ_EVERY_S = 10.0
READ_REST = 50
"""A switch rests this many times as long as it took to tell its counters."""

READ_BYTES_PER_S = 40_000_000
"""So much is read a second, of all switches: 200,000 flows, a twentieth of a core's time."""

REPLY_BYTES = 20_000
"""What a reply costs besides its flows, as if it were longer."""

AT_ONCE = 8
"""So many switches are asked at the same time."""

STUCK_S = 60.0

TALKS = frozenset(
    {
        Kind.LOCAL_REGISTERED,
        Kind.LOCAL_LEARNED,
        Kind.LOCAL_LEARNED_ARP,
        Kind.LOCAL_LEARNED_ND,
        Kind.VIP_CLAIM,
        Kind.DHCP_REQUEST,
    }
)
"""Flows of one source each: what their multicast halves count is its broadcast and multicast."""

FLOOD_MISS = encode.cookie_of(
    encode.encode_flow(Flow(Kind.TABLE_MISS, Table.FLOOD, MISS_PRIORITY, ()))
)
"""A switch without this flow was emptied."""

Waiter = Callable[[int], None]
"""Called with the dpid of a switch that has told its counters, or is gone."""


@dataclass(slots=True)
class _Reading:
    """A switch that is telling its counters: what is awaited, and what it told."""

    xids: set[int]
    since_s: float
    seen: dict[int, int] = field(default_factory=dict)
    size_bytes: int = REPLY_BYTES
    vteps: dict[int, int] = field(default_factory=dict)  # by VNI


@dataclass(slots=True)
class _Meter:
    """What is remembered of a switch.

    ``last``: place -> packets and bytes in one number. ``known``: whatever its flows counted
    since they were made is to be counted; a controller that has just started does not know what
    an earlier one counted.
    """

    last: dict[int, int] = field(default_factory=dict)
    known: bool = False
    read_s: float | None = None
    next_s: float = 0.0
    size_bytes: int = REPLY_BYTES  # of what it told last
    reading: _Reading | None = None
    waiters: list[Waiter] = field(default_factory=list)  # for the reading under way
    upcoming: list[Waiter] = field(default_factory=list)  # for the one after it


class Counting:
    """Asks every connected switch in turn, at little cost to either side."""

    def __init__(self, topology: Topology, replicas: Mapping[int, Replica]) -> None:
        self._topology = topology
        self._replicas = replicas
        self._meters: dict[int, _Meter] = {}
        self._asked: dict[int, None] = {}  # switches that somebody waits for
        self._round: list[int] = []  # switches that have not had their turn
        self._at_once = 0
        self._free_s = 0.0
        self.ledger = Ledger()
        self.woken: set[int] = set()

    # When

    def tick(self, now_s: float) -> list[Happening]:
        """Ask whoever is due; and end an interval of the ledger, which may be an event."""
        for dpid in list(self._asked):
            self._ask_first(dpid, now_s)
        if not self._round:
            self._round = list(self._replicas)
        self._go_round(now_s)
        return self._turn(now_s)

    def _go_round(self, now_s: float) -> None:
        """Ask whoever is due, in turn, as long as there is room."""
        while self._round and self._at_once < AT_ONCE and now_s >= self._free_s:
            replica = self._replicas.get(self._round.pop())
            if replica and replica.state is State.LIVE and self._is_due(replica.dpid, now_s):
                self._ask(replica, now_s)

    def _is_due(self, dpid: int, now_s: float) -> bool:
        meter = self._meters.get(dpid)
        if meter is None:
            return True
        if meter.reading is not None:
            if now_s - meter.reading.since_s < STUCK_S:
                return False
            self._stop(meter)
        return now_s >= meter.next_s

    def _turn(self, now_s: float) -> list[Happening]:
        happened = []
        turned = self.ledger.turn(now_s, self._topology.networks)
        if turned:
            self._forget_hosts()
        for vni, gone in turned.items():
            network = self._topology.networks.get(vni)
            if network is not None:
                data: dict[str, object] = {
                    "vni": vni,
                    "name": network.name,
                    "answered": gone.answered,
                    "suppressed": gone.suppressed,
                    "flooded": gone.flooded,
                    "saved_bytes": gone.saved_bytes,
                }
                happened.append(Happening("suppressed", data))
        return happened

    def _forget_hosts(self) -> None:
        known = self._topology.hosts
        for dpid in [dpid for dpid in self._meters if dpid not in known]:
            if dpid not in self._replicas:
                del self._meters[dpid]

    def request(self, dpids: Iterable[int], waiter: Waiter, now_s: float) -> None:
        """Have these switches asked now; the waiter hears of each once."""
        for dpid in dpids:
            meter = self._meters.setdefault(dpid, _Meter())
            meter.upcoming.append(waiter)
            self._asked[dpid] = None
            self._ask_first(dpid, now_s)

    def _ask_first(self, dpid: int, now_s: float) -> None:
        """Ask a switch that somebody waits for, unless it is being asked, or too many are."""
        meter, replica = self._meters[dpid], self._replicas.get(dpid)
        if replica is None:
            self.lost(dpid)
        elif replica.state is State.LIVE and meter.reading is None and self._at_once < AT_ONCE:
            self._ask(replica, now_s)

    def _ask(self, replica: Replica, now_s: float) -> None:
        meter = self._meters.setdefault(replica.dpid, _Meter())
        self._asked.pop(replica.dpid, None)
        meter.waiters += _taken(meter.upcoming)
        xids = {replica.ask_flows(table) for table in self._tables(replica)}
        meter.reading = _Reading(xids, now_s)
        self._at_once += 1
        self._spend(meter.size_bytes, now_s)
        self.woken.add(replica.dpid)

    def _spend(self, size_bytes: int, now_s: float) -> None:
        self._free_s = max(self._free_s, now_s) + size_bytes / READ_BYTES_PER_S

    def _tables(self, replica: Replica) -> list[Table]:
        """The tables that count BUM there: most switches have two of them."""
        topology = self._topology
        tables = [Table.FROM_LOCAL, Table.FLOOD]
        if any(topology.networks[vni].port_security for vni in topology.networks_on(replica.dpid)):
            tables += [Table.SENDER, Table.SOURCE_IP]
        if replica.egress.unproven:
            tables.append(Table.EGRESS)
        return tables

    # What switches tell

    def take(self, replica: Replica, part: DumpPart, now_s: float) -> bool:
        """A part of a dump; False if it is not for the ledger. Malformed if it does not add up."""
        meter = self._meters.get(replica.dpid)
        reading = None if meter is None else meter.reading
        if meter is None or reading is None or part.xid not in reading.xids:
            return False
        self._read(replica, meter, reading, part.body)
        if not part.more:
            reading.xids.discard(part.xid)
            if not reading.xids:
                self._finish(replica.dpid, meter, reading, now_s)
        return True

    def _finish(self, dpid: int, meter: _Meter, reading: _Reading, now_s: float) -> None:
        meter.last, meter.known, meter.read_s = reading.seen, True, now_s
        took_s = now_s - reading.since_s
        meter.next_s = max(reading.since_s + READ_EVERY_S, now_s + took_s * READ_REST)
        self._spend(max(0, reading.size_bytes - meter.size_bytes), now_s)
        meter.size_bytes = reading.size_bytes
        self._stop(meter)
        for waiter in _taken(meter.waiters):
            waiter(dpid)
        for other in list(self._asked):
            if self._at_once >= AT_ONCE:
                break
            self._ask_first(other, now_s)
        self._go_round(now_s)

    def _stop(self, meter: _Meter) -> None:
        if meter.reading is not None:
            meter.reading = None
            self._at_once -= 1

    def _read(self, replica: Replica, meter: _Meter, reading: _Reading, body: bytes) -> None:
        last, seen = meter.last, reading.seen
        for flow in decode.counted_flows(body):
            place, value = hash(flow.place), flow.packets << 64 | flow.octets
            before = last.get(place, 0)
            seen[place] = last[place] = value
            if value != before and meter.known:
                self._count(replica, flow, body[flow.start : flow.end], before, reading.vteps)
        reading.size_bytes += len(body)

    def _count(
        self,
        replica: Replica,
        flow: decode.CountedFlow,
        entry: bytes,
        before: int,
        vteps: dict[int, int],
    ) -> None:
        kind = cookie_kind(flow.cookie)
        if kind not in COUNTED and kind not in TALKS:
            return
        frames, octets = _more(flow.packets, flow.octets, before)
        terms = decode.place_match(flow.place)
        vni = terms[Field.TUN_ID][0] if Field.TUN_ID in terms else decode.sets_tunnel(entry)
        if kind is None or vni is None or not frames:
            return
        self._add(replica, kind, vni, frames, octets, vteps, floods=decode.floods(entry))
        if kind in TALKS and _to_many(kind, terms) and Field.ETH_SRC in terms:
            source = Mac(terms[Field.ETH_SRC][0])
            self.ledger.talked(vni, replica.dpid, source, frames, octets)

    def _add(
        self,
        replica: Replica,
        kind: Kind,
        vni: int,
        frames: int,
        octets: int,
        vteps: dict[int, int],
        *,
        floods: bool,
    ) -> None:
        if kind not in COUNTED:
            return
        reach = vteps.get(vni)
        if reach is None:
            reach = vteps[vni] = reached(replica, vni)
        more = tally(kind, frames, octets, reach, floods=floods)
        self.ledger.count(vni, replica.dpid, more)

    # What happens to flows and switches

    def removed(self, replica: Replica, flow: decode.FlowRemoved) -> None:
        """A flow ended, and told what it had counted."""
        meter, kind = self._meters.get(replica.dpid), cookie_kind(flow.cookie)
        if meter is None or not meter.known or not flow.place or kind is None:
            return
        place = hash(flow.place)
        before = meter.last.pop(place, 0)
        if meter.reading is not None:
            meter.reading.seen.pop(place, None)
        frames, octets = _more(flow.packets, flow.octets, before)
        tunnel = decode.place_match(flow.place).get(Field.TUN_ID)
        if frames and tunnel is not None:
            # A flow that punts says no more whether it floods too: those that end rarely do.
            self._add(replica, kind, tunnel[0], frames, octets, {}, floods=kind in FLOODED)

    def emptied(self, dpid: int) -> None:
        """A switch holds none of our flows: they will all count from 0."""
        meter = self._meters.setdefault(dpid, _Meter())
        self._stop(meter)
        meter.last, meter.known = {}, True
        if meter.waiters:
            meter.upcoming += _taken(meter.waiters)
            self._asked[dpid] = None

    def lost(self, dpid: int) -> None:
        """A switch disconnected; what it counted last is remembered, as it keeps its flows."""
        meter = self._meters.get(dpid)
        self._asked.pop(dpid, None)
        if meter is not None:
            self._stop(meter)
            meter.next_s = 0.0
            for waiter in _taken(meter.waiters) + _taken(meter.upcoming):
                waiter(dpid)

    def flooded(self, replica: Replica, vni: int, octets: int) -> None:
        """The controller itself flooded a frame from a switch, which no flow there counts."""
        more = tally(Kind.NETWORK_FLOOD, 1, octets, reached(replica, vni), floods=True)
        self.ledger.count(vni, replica.dpid, more)

    def read_s(self, dpids: Collection[int], now_s: float) -> float | None:
        """Since when all of these switches have told their counters; None while one has not."""
        times = [now_s]
        for dpid in dpids:
            meter = self._meters.get(dpid)
            if meter is None or meter.read_s is None:
                return None
            times.append(meter.read_s)
        return min(times)


def reached(replica: Replica, vni: int) -> int:
    """How many VTEPs a switch floods a network's frames to."""
    return decode.bucket_count(replica.private.groups.get(group_id(vni), b""))


def _more(packets: int, octets: int, before: int) -> tuple[int, int]:
    """What was counted since; a counter that is less than before began at 0 again."""
    packets_before, octets_before = before >> 64, before & (1 << 64) - 1
    if packets < packets_before or octets < octets_before:
        return packets, octets
    return packets - packets_before, octets - octets_before


def _to_many(kind: Kind, terms: dict[Field, tuple[int, int | None]]) -> bool:
    """Whether a source's flow is its multicast half; DHCP requests are not parted."""
    return kind is Kind.DHCP_REQUEST or terms.get(Field.ETH_DST) == (GROUP_BIT, GROUP_BIT)


def _taken(waiters: list[Waiter]) -> list[Waiter]:
    taken = list(waiters)
    waiters.clear()
    return taken
