"""The health of tunnels: which are up, how long a round trip takes, what size of packet they carry.

A tunnel is one way, from a host to another's VTEP. Probes go from the controller to the sending
host, through the tunnel, and from the receiving host back here. What the two OpenFlow sessions add
is taken off by their barriers: the time out and the time back, summed over both directions of a
tunnel, are exactly the two sessions' round trips, however unlike the ways out and back are.

No probe counts as lost before the receiver has answered a barrier sent LOST_AFTER_S later: until
then it may be this process, or a session, that is slow. A tunnel whose far host is not connected
cannot be seen, and is unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from topology.types import VtepIp

ROUND_S = 3.0
PROBES_PER_S = 1000
"""Of all hosts together; with more tunnels than that allows the rounds come less often."""
LOST_AFTER_S, LOOK_S = 1.0, 0.25
DOWN_AFTER = 3
"""So many probes in a row, each LOST_AFTER_S after the one before it was given up."""
PEERS_MAX = 127
TUNNELS_MAX = 16_384
"""Beyond 128 hosts each watches the same number of others, fewer than all."""

MTU_EVERY_S = 60.0
MTU_PROBES_PER_S = 100
MTU_AT_ONCE = 4
"""Tunnels of one host whose size is tried at the same time."""
MTU_PROBES_TO_ONE_PER_S = 10
"""Copies of probes are metered in the receiver's switch (bridges.py): these stay well below."""
MTU_TRIES = 2
SMALL_BYTES = 60
"""The inner IP packet of a probe that only asks whether the tunnel is up."""

_SAMPLES = 8
_NEVER = float("-inf")


class TunnelState(StrEnum):
    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a tunnel: how it is reached, and the MTU that shared networks want, 0 where
    none is shared that is in use.
    """

    dpid: int
    vtep: VtepIp
    port: int | None
    mtu_bytes: int


@dataclass(slots=True)
class _Sizing:
    """The search for the largest packet that comes through: low did, high did not."""

    size: int
    low: int
    high: int
    asked_s: float = _NEVER
    tries: int = 0


@dataclass(slots=True)
class Tunnel:
    """What is known of one direction between two hosts. Times are the engine's clock."""

    peer: Peer
    state: TunnelState = TunnelState.UNKNOWN
    sent: int = 0
    lost: int = 0
    missed: int = 0  # in a row
    asked_s: float | None = None  # when the probe was sent that is waited for
    seen_s: float | None = None
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    mtu_bytes: int | None = None  # the largest IP packet that came through
    mtu_short: bool = False  # mtu_needed did not
    mtu_due_s: float = _NEVER
    sizing: _Sizing | None = None

    @property
    def mtu_ok(self) -> bool | None:
        """Whether what the networks need comes through; None while that was not tried."""
        if self.mtu_bytes is not None and self.mtu_bytes >= self.peer.mtu_bytes:
            return True
        return False if self.mtu_short else None


@dataclass(slots=True)
class _Session:
    """A host's OpenFlow session: its barriers, and the tunnels it sends into."""

    xid: int = 0
    asked: dict[int, float] = field(default_factory=dict)  # barrier -> when it was sent
    asked_s: float = _NEVER
    answered_s: float = _NEVER  # when the last barrier that was answered had been sent
    trips_s: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    tunnels: dict[int, Tunnel] = field(default_factory=dict)
    waiting: dict[int, None] = field(default_factory=dict)  # peers whose small probe is out
    sizing: dict[int, None] = field(default_factory=dict)  # peers whose MTU is being tried
    planned_s: float = _NEVER
    round_s: float = _NEVER
    next_s: float = _NEVER


Change: TypeAlias = tuple[int, Tunnel]
"""A sender, and a tunnel of it that went up or down."""


@dataclass(slots=True)
class Turn:
    """What a host is to send now: by size of the inner IP packet, the peers. ``ask``: hosts to
    send a barrier. ``changed``: tunnels that are down now. ``short``: too small an MTU was found.
    """

    probes: dict[int, list[Tunnel]] = field(default_factory=dict)
    ask: set[int] = field(default_factory=set)
    changed: list[Tunnel] = field(default_factory=list)
    short: list[Tunnel] = field(default_factory=list)


class Tunnels:
    """Every tunnel that is watched, and when to probe it."""

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}
        self._received: dict[int, int] = {}  # probes of size to each host in this second
        self._second = 0
        self.count = 0

    # Sessions

    def connected(self, dpid: int) -> None:
        """A host has a session of its own again; what was known of its tunnels is history."""
        self.lost(dpid)
        self._sessions[dpid] = _Session()

    def lost(self, dpid: int) -> None:
        session = self._sessions.pop(dpid, None)
        if session is not None:
            self.count -= len(session.tunnels)

    def barrier(self, dpid: int, now_s: float) -> int:
        """Note that a barrier is sent; its number, below 2^16."""
        session = self._sessions[dpid]
        session.xid = (session.xid + 1) % 0x10000
        session.asked[session.xid] = session.asked_s = now_s
        if len(session.asked) > _SAMPLES:
            del session.asked[next(iter(session.asked))]
        return session.xid

    def answered(self, dpid: int, xid: int, now_s: float) -> None:
        session = self._sessions.get(dpid)
        sent_s = None if session is None else session.asked.pop(xid, None)
        if session is not None and sent_s is not None:
            session.answered_s = max(session.answered_s, sent_s)
            session.trips_s.append(now_s - sent_s)

    # What is watched

    def due(self, dpid: int, now_s: float) -> bool:
        """Whether this host has a turn now."""
        session = self._sessions.get(dpid)
        return session is not None and now_s >= session.next_s

    def is_stale(self, dpid: int, now_s: float) -> bool:
        """Whether the host's peers are to be told again."""
        return now_s >= self._sessions[dpid].planned_s

    def plan(self, dpid: int, peers: Iterable[Peer], now_s: float) -> None:
        """These are the far ends to watch from here; what is known of the same ends stays."""
        session = self._sessions[dpid]
        before, session.tunnels = session.tunnels, {}
        for peer in peers:
            tunnel = before.get(peer.dpid)
            if tunnel is None or tunnel.peer.vtep != peer.vtep:
                tunnel = Tunnel(peer)
            elif tunnel.peer != peer:
                if tunnel.peer.mtu_bytes != peer.mtu_bytes or tunnel.peer.port != peer.port:
                    tunnel.mtu_due_s, tunnel.mtu_short, tunnel.sizing = now_s, False, None
                    session.sizing.pop(peer.dpid, None)
                tunnel.peer = peer
            session.tunnels[peer.dpid] = tunnel
        for gone in before.keys() - session.tunnels.keys():
            session.waiting.pop(gone, None)
            session.sizing.pop(gone, None)
        self.count += len(session.tunnels) - len(before)
        session.planned_s = now_s + self.round_s

    def replan(self, dpids: Iterable[int] | None = None) -> None:
        """Ports, addresses or networks changed: have these hosts' peers told again soon."""
        for dpid in self._sessions if dpids is None else dpids:
            session = self._sessions.get(dpid)
            if session is not None:
                session.planned_s = _NEVER

    def refresh(self, now_s: float) -> None:
        """Try every tunnel, and its size, at once."""
        for session in self._sessions.values():
            session.round_s = session.next_s = session.planned_s = _NEVER
            for tunnel in session.tunnels.values():
                tunnel.mtu_due_s = min(tunnel.mtu_due_s, now_s)

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for that a refresh asked for."""
        return any(
            session.round_s == _NEVER
            or any(session.tunnels[peer].missed < DOWN_AFTER for peer in session.waiting)
            or any(not session.tunnels[peer].mtu_short for peer in session.sizing)
            for session in self._sessions.values()
        )

    @property
    def round_s(self) -> float:
        """How often every tunnel is probed."""
        return max(ROUND_S, self.count / PROBES_PER_S)

    # Probes

    def turn(self, dpid: int, now_s: float) -> Turn:
        """What this host sends now."""
        session, turn = self._sessions[dpid], Turn()
        self._give_up(dpid, session, turn, now_s)
        self._size(dpid, session, turn, now_s)
        if now_s >= session.round_s:
            session.round_s = now_s + self.round_s
            for peer, tunnel in session.tunnels.items():
                self._ask(session, peer, tunnel, turn, now_s)
                if now_s >= tunnel.mtu_due_s and tunnel.state is TunnelState.UP:
                    self._begin_sizing(session, peer, tunnel)
        quick = bool(session.waiting or session.sizing)
        session.next_s = min(session.round_s, now_s + LOOK_S) if quick else session.round_s
        if turn.probes:
            turn.ask.add(dpid)
        return turn

    def _ask(self, session: _Session, peer: int, tunnel: Tunnel, turn: Turn, now_s: float) -> None:
        if peer not in self._sessions:
            self._unknown(session, peer, tunnel)
        elif tunnel.peer.port is None:
            session.waiting.pop(peer, None)
            tunnel.asked_s = None
            if tunnel.state is not TunnelState.DOWN:
                tunnel.state = TunnelState.DOWN
                turn.changed.append(tunnel)
        elif tunnel.asked_s is None:
            session.waiting[peer] = None
            tunnel.asked_s = now_s
            tunnel.sent += 1
            turn.probes.setdefault(SMALL_BYTES, []).append(tunnel)

    def _unknown(self, session: _Session, peer: int, tunnel: Tunnel) -> None:
        tunnel.state, tunnel.asked_s, tunnel.missed = TunnelState.UNKNOWN, None, 0
        tunnel.times_s.clear()
        tunnel.sizing = None
        session.waiting.pop(peer, None)
        session.sizing.pop(peer, None)

    def _give_up(self, dpid: int, session: _Session, turn: Turn, now_s: float) -> None:
        """Whoever waits for a probe that is lost asks again; or knows that the tunnel is down."""
        for peer in list(session.waiting):
            tunnel = session.tunnels[peer]
            if peer not in self._sessions:
                self._unknown(session, peer, tunnel)
                continue
            if tunnel.asked_s is None or not self._is_lost(dpid, peer, tunnel.asked_s, turn, now_s):
                continue
            del session.waiting[peer]
            tunnel.asked_s = None
            tunnel.lost += 1
            tunnel.missed += 1
            if tunnel.missed < DOWN_AFTER:
                self._ask(session, peer, tunnel, turn, now_s)
            elif tunnel.state is not TunnelState.DOWN:
                tunnel.state = TunnelState.DOWN
                turn.changed.append(tunnel)

    def _is_lost(self, dpid: int, peer: int, sent_s: float, turn: Turn, now_s: float) -> bool:
        """Whether it is past all doubt that a probe did not arrive."""
        if now_s < sent_s + LOST_AFTER_S or self._sessions[dpid].answered_s < sent_s:
            return False
        there = self._sessions[peer]
        if there.answered_s >= sent_s + LOST_AFTER_S:
            return True
        if there.asked_s < sent_s + LOST_AFTER_S:
            turn.ask.add(peer)
        return False

    # Sizes

    def _size(self, dpid: int, session: _Session, turn: Turn, now_s: float) -> None:
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._received.clear()
        for peer in list(session.sizing)[:MTU_AT_ONCE]:
            tunnel = session.tunnels[peer]
            gone = tunnel.peer.port is None or peer not in self._sessions
            if gone or tunnel.state is not TunnelState.UP:
                del session.sizing[peer]
                tunnel.sizing = None
                continue
            sizing = tunnel.sizing
            if sizing is None:
                wanted = tunnel.peer.mtu_bytes
                sizing = tunnel.sizing = _Sizing(wanted, min(SMALL_BYTES, wanted), wanted + 1)
            elif sizing.asked_s != _NEVER:
                if not self._is_lost(dpid, peer, sizing.asked_s, turn, now_s):
                    continue
                if tunnel.seen_s is None or tunnel.seen_s < sizing.asked_s:
                    self._ask(session, peer, tunnel, turn, now_s)  # is it the size, or all of it?
                    continue
                if sizing.tries >= MTU_TRIES:
                    self._too_large(session, peer, tunnel, sizing, turn, now_s)
                    if tunnel.sizing is None:
                        continue
            if self._received.get(peer, 0) >= MTU_PROBES_TO_ONE_PER_S:
                continue
            self._received[peer] = self._received.get(peer, 0) + 1
            sizing.asked_s = now_s
            sizing.tries += 1
            turn.probes.setdefault(sizing.size, []).append(tunnel)

    def _begin_sizing(self, session: _Session, peer: int, tunnel: Tunnel) -> None:
        if tunnel.peer.mtu_bytes:
            session.sizing.setdefault(peer)

    def _too_large(
        self,
        session: _Session,
        peer: int,
        tunnel: Tunnel,
        sizing: _Sizing,
        turn: Turn,
        now_s: float,
    ) -> None:
        if sizing.size == tunnel.peer.mtu_bytes:
            if not tunnel.mtu_short:
                turn.short.append(tunnel)
            was, tunnel.mtu_bytes, tunnel.mtu_short = tunnel.mtu_bytes, None, True
            if was is not None and was < sizing.size:
                tunnel.mtu_bytes = was
        sizing.high = sizing.size
        self._next_size(session, peer, tunnel, sizing, now_s)

    def _next_size(
        self, session: _Session, peer: int, tunnel: Tunnel, sizing: _Sizing, now_s: float
    ) -> None:
        """Halve what is left; done when nothing is."""
        if sizing.high - sizing.low > 1:
            sizing.size = (sizing.low + sizing.high) // 2
            sizing.asked_s, sizing.tries = _NEVER, 0
            return
        tunnel.mtu_bytes = sizing.low
        tunnel.sizing = None
        session.sizing.pop(peer, None)
        tunnel.mtu_due_s = now_s + max(MTU_EVERY_S, self.count / MTU_PROBES_PER_S)

    def arrived(
        self, dpid: int, peer: int, size_bytes: int, sent_s: float, now_s: float
    ) -> Tunnel | None:
        """A probe came through; the tunnel, if that brought it up after it was down."""
        session = self._sessions.get(dpid)
        tunnel = None if session is None else session.tunnels.get(peer)
        if session is None or tunnel is None:
            return None
        tunnel.seen_s = now_s
        sizing = tunnel.sizing
        if sizing is not None and sizing.size == size_bytes and sizing.asked_s != _NEVER:
            if size_bytes == tunnel.peer.mtu_bytes:
                tunnel.mtu_short = False
            sizing.low = size_bytes
            self._next_size(session, peer, tunnel, sizing, now_s)
            session.next_s = min(session.next_s, now_s)
        if size_bytes != SMALL_BYTES:
            return None
        if sent_s == tunnel.asked_s:
            tunnel.asked_s = None
            session.waiting.pop(peer, None)
        tunnel.missed = 0
        tunnel.times_s.append(now_s - sent_s)
        before, tunnel.state = tunnel.state, TunnelState.UP
        if before is not TunnelState.UP:
            tunnel.mtu_due_s = now_s
            self._begin_sizing(session, peer, tunnel)
            session.next_s = min(session.next_s, now_s)
        return tunnel if before is TunnelState.DOWN else None

    # Questions

    def of(self, dpid: int) -> Iterator[Tunnel]:
        """The tunnels that are watched from this host, by their far ends."""
        session = self._sessions.get(dpid)
        if session is not None:
            yield from session.tunnels.values()

    def between(self, dpid: int, peer: int) -> Tunnel | None:
        """The tunnel from one host to another, if it is watched."""
        session = self._sessions.get(dpid)
        return None if session is None else session.tunnels.get(peer)

    def state_of(self, tunnel: Tunnel) -> TunnelState:
        """A tunnel's state as it is to be told: of a host that just went it is not known."""
        return tunnel.state if tunnel.peer.dpid in self._sessions else TunnelState.UNKNOWN

    def round_trip_s(self, dpid: int, peer: int) -> float | None:
        """Through the tunnel and back through the other, without what the sessions add.

        The least of the last few of each: a busy process only ever adds. None where either way is
        not up.
        """
        there, back = self.between(dpid, peer), self.between(peer, dpid)
        if there is None or back is None or not there.times_s or not back.times_s:
            return None
        if not there.state is back.state is TunnelState.UP:
            return None
        trips = [self._sessions[each].trips_s for each in (dpid, peer)]
        if not all(trips):
            return None
        both_ways_s = min(there.times_s) + min(back.times_s)
        return max(0.0, both_ways_s - sum(min(samples) for samples in trips))


def around(dpids: list[int], dpid: int, most: int) -> list[int]:
    """A host's neighbours on the ring of all, as many on either side: two watch each other."""
    if len(dpids) - 1 <= most:
        return [other for other in dpids if other != dpid]
    at, half = dpids.index(dpid), most // 2
    size = len(dpids)
    return [dpids[(at + step) % size] for step in (*range(-half, 0), *range(1, half + 1))]


def peers_of_each(hosts: int) -> int:
    """How many others each host watches when there are so many."""
    return max(2, min(PEERS_MAX, TUNNELS_MAX // max(1, hosts)))
